use std::path::{Path, PathBuf};

/// The path that cargo built a function's binary at. All of a package's binaries lie side by side.
pub fn path_of(binary: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_system-health")).with_file_name(binary)
}
