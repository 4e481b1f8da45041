//! Passwords and tokens: the only code that touches argon2 and JWTs.

mod password;
mod token;

pub use password::{Checked, check_password, hash_password};
pub use token::{Claims, PublicKey, Purpose, Signer, Verifier};
