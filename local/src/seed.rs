//! The seed that local tokens are signed with: made once and kept, so that tokens outlive a restart.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use local::template::BoxError;

/// The seed in `file`, in base64; made first if there is none. Only the owner can read it.
pub(crate) fn read_or_make(file: &Path) -> Result<String, BoxError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut created) => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            created.write_all(STANDARD.encode(seed).as_bytes())?;
            eprintln!("signing seed: {}, made now", file.display());
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    }
    Ok(fs::read_to_string(file)?)
}
