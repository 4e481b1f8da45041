//! cargo-lambda, at the version that this project is tried with.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use local::template::BoxError;
use tokio::process::Command;

/// Its version. `.ci/run` and README name the same.
const VERSION: &str = "1.9.2";

/// The path of a cargo-lambda of the right version: the machine's own, or one installed below `data`.
///
/// # Errors
/// If there is none and it cannot be installed; says what to run.
pub(crate) async fn cargo_lambda(data: &Path) -> Result<PathBuf, BoxError> {
    let environment = data.join(format!("cargo-lambda-{VERSION}"));
    let installed = environment.join("bin/cargo-lambda");
    for candidate in [Path::new("cargo-lambda"), installed.as_path()] {
        if is_right(candidate).await {
            return Ok(candidate.to_owned());
        }
    }
    eprintln!(
        "installing cargo-lambda {VERSION} from PyPI into {}",
        environment.display()
    );
    let steps: [(&Path, Vec<&str>); 2] = [
        (
            Path::new("python3"),
            vec![
                "-m",
                "venv",
                environment.to_str().ok_or("the data directory's path is not UTF-8")?,
            ],
        ),
        (
            &environment.join("bin/python3"),
            vec![
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                PACKAGE,
            ],
        ),
    ];
    for (program, arguments) in steps {
        let status = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await;
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!(
                "cargo-lambda {VERSION} is missing and could not be installed. Install it yourself and run this again:\n  \
                 pip install cargo-lambda=={VERSION}\n(other ways: https://www.cargo-lambda.info/guide/installation.html)"
            )
            .into());
        }
    }
    if is_right(&installed).await {
        Ok(installed)
    } else {
        Err(format!(
            "{} was installed but is not cargo-lambda {VERSION}",
            installed.display()
        )
        .into())
    }
}

const PACKAGE: &str = "cargo-lambda==1.9.2";

async fn is_right(program: &Path) -> bool {
    let output = Command::new(program)
        .args(["lambda", "--version"])
        .stdin(Stdio::null())
        .output()
        .await;
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().any(|word| word == VERSION)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_of_the_version() {
        assert_eq!(PACKAGE, format!("cargo-lambda=={VERSION}"));
    }
}
