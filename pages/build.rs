//! Bundles the pages, when something of them has changed. How, `build.py` says.

use std::{path::Path, process::Command};

/// Everything that the bundle is made of.
const INPUTS: [&str; 7] = [
    "build.py",
    "bundle.mjs",
    "package-lock.json",
    "package.json",
    "src",
    "tsconfig.json",
    "../tests/clients/openai/node.txt",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts by variables")]
#[expect(clippy::panic, reason = "that is how a build script fails")]
fn main() {
    for input in INPUTS {
        println!("cargo:rerun-if-changed={input}");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.py");
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    let status = Command::new("python3").arg(script).arg(out).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => panic!("the pages could not be bundled; what is above says why"),
        Err(error) => panic!("the pages need Python 3 as `python3` to be bundled: {error}"),
    }
}
