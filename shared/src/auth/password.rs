use std::sync::{Mutex, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordVerifier, Version,
    password_hash::phc::{self, Output, Salt},
};

use crate::{
    domain::{NewPassword, Password, PasswordHash, id::random},
    error::Error,
};

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane (Password Storage Cheat Sheet), about 20 ms of CPU.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash that no password has, made with the parameters above: checking against it costs what checking a real one costs.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The 19 MiB that hashes are computed in, kept from one to the next: fresh memory would cost 4 900 page faults each time, a quarter of
/// the whole. The lock lets a process compute one hash at a time, which bounds its memory.
static MEMORY: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// argon2id, version 1.3, with the parameters above.
fn compute(password: &[u8], salt: &[u8]) -> Result<Output, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
    let blocks = params.block_count();
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut output, memory.as_mut_slice())
        .map_err(Error::internal)?;
    Output::new(&output).map_err(Error::internal)
}

/// Hashes a new password with a fresh salt, to a PHC string (<https://github.com/P-H-C/phc-string-format>). Runs on a blocking thread.
///
/// # Errors
/// Only if the machine cannot give the memory.
pub async fn hash_password(password: &NewPassword) -> Result<PasswordHash, Error> {
    let password = password.as_password().clone();
    on_blocking_thread(move || {
        hash(
            password
                .bytes()
                .ok_or_else(|| Error::internal("a new password is too long to hash"))?,
        )
    })
    .await
}

/// Whether `password` is the one behind `hash`, and if so and the hash was made with other parameters than today's, a new hash for it.
///
/// Without a `hash` (nobody has that name) the answer is no, after the same work, so that the time tells nothing.
///
/// # Errors
/// A stored hash that cannot be read.
pub async fn check_password(password: &Password, stored: Option<&PasswordHash>) -> Result<Checked, Error> {
    let password = password.clone();
    let known = stored.is_some();
    let stored = stored.map_or(NOBODY, PasswordHash::as_str).to_owned();
    on_blocking_thread(move || {
        let parsed = phc::PasswordHash::new(&stored).map_err(Error::internal)?;
        // A text too long to be anybody's password costs the same too: it is checked against nobody's hash as an empty one.
        let (bytes, possible) = password.bytes().map_or((&[][..], false), |bytes| (bytes, true));
        let current = is_current(&parsed);
        let matches = match (&parsed.salt, &parsed.hash) {
            // Outputs compare in constant time.
            (Some(salt), Some(output)) if current => compute(bytes, salt.as_ref())? == *output,
            // The parameters in the hash are used, whatever they are.
            _ => Argon2::default().verify_password(bytes, &parsed).is_ok(),
        };
        let right = matches && known && possible;
        if !right {
            return Ok(Checked::Wrong);
        }
        if current {
            return Ok(Checked::Right { rehash: None });
        }
        Ok(Checked::Right {
            rehash: Some(hash(bytes)?),
        })
    })
    .await
}

/// What a password check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// Not the password, or nobody's.
    Wrong,
    /// The password.
    Right {
        /// A hash to store in place of the old one, whose parameters have been raised since.
        rehash: Option<PasswordHash>,
    },
}

fn hash(password: &[u8]) -> Result<PasswordHash, Error> {
    let salt = random::<16>();
    let phc = phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: phc::ParamsString::try_from(&Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?)
            .map_err(Error::internal)?,
        salt: Some(Salt::new(&salt).map_err(Error::internal)?),
        hash: Some(compute(password, &salt)?),
    };
    Ok(PasswordHash::new(phc.to_string()))
}

fn is_current(hash: &phc::PasswordHash) -> bool {
    let parameter = |name| hash.params.get_decimal(name);
    hash.algorithm.as_str() == "argon2id"
        && hash.version == Some(19)
        && parameter("m") == Some(MEMORY_KIB)
        && parameter("t") == Some(PASSES)
        && parameter("p") == Some(LANES)
}

/// 20 ms of hashing on the runtime's only thread would stall the connection's keep-alive and every timer.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;
    use crate::domain::{PasswordPolicy, Username};

    fn new_password(text: &str) -> NewPassword {
        let policy = PasswordPolicy {
            min_bytes: 8,
            max_bytes: 1024,
        };
        NewPassword::accept(Password::typed(text), &Username::parse("ada").unwrap(), policy).unwrap()
    }

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let hash = hash_password(&new_password("correct horse")).await.unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let right = check_password(&Password::typed("correct horse"), Some(&hash))
            .await
            .unwrap();
        assert_eq!(right, Checked::Right { rehash: None });
        for wrong in ["Correct horse", "", "correct horse\0", &"x".repeat(5_000)] {
            let checked = check_password(&Password::typed(wrong), Some(&hash)).await.unwrap();
            assert_eq!(checked, Checked::Wrong);
        }
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        for guess in ["", "password", "correct horse"] {
            assert_eq!(
                check_password(&Password::typed(guess), None).await.unwrap(),
                Checked::Wrong
            );
        }
    }

    #[tokio::test]
    async fn a_hash_with_weaker_parameters_is_replaced() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8_192, 1, 1, None).unwrap(),
        );
        let old: phc::PasswordHash = weak.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let old = PasswordHash::new(old.to_string());
        let checked = check_password(&Password::typed("correct horse"), Some(&old))
            .await
            .unwrap();
        let Checked::Right { rehash: Some(new) } = checked else {
            panic!("{checked:?}")
        };
        assert!(new.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }
}
