//! `cargo lambda watch`, as the gateway: it routes by the router in `Cargo.toml` and speaks the Lambda Runtime API to the functions.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use local::template::BoxError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Fails early, with words, if the port is taken.
///
/// # Errors
/// If it is.
pub(crate) fn check_port(port: u16) -> Result<(), BoxError> {
    let free = TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpStream::connect(("127.0.0.1", port)).is_err();
    if free {
        Ok(())
    } else {
        Err(format!("port {port} is in use; choose another with --port").into())
    }
}

/// Starts the gateway. The functions are started apart from it: it would start each at its first request, through cargo, and leave
/// them behind when it is killed.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn start(cargo_lambda: &Path, root: &Path, port: u16) -> Result<Child, BoxError> {
    let mut command = Command::new(cargo_lambda);
    command
        // Its own CORS answers know no list of origins; without them preflights go to the fallback, which answers as the deployed gateway.
        .args([
            "lambda",
            "watch",
            "--only-lambda-apis",
            "--ignore-changes",
            "--disable-cors",
        ])
        .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C reaches the terminal's whole group; only this program's end should end what it started.
        .process_group(0)
        .kill_on_drop(true);
    command
        .spawn()
        .map_err(|error| format!("{}: {error}", cargo_lambda.display()).into())
}

/// Waits until `condition` holds.
///
/// # Errors
/// If the gateway ends, or half a minute passes.
pub(crate) async fn wait_for<F>(gateway: &mut Child, condition: impl Fn() -> F) -> Result<(), BoxError>
where
    F: Future<Output = Result<bool, BoxError>>,
{
    for _ in 0..300 {
        if let Some(status) = gateway.try_wait()? {
            return Err(format!("cargo lambda watch ended: {status}").into());
        }
        if timeout(Duration::from_secs(5), condition())
            .await
            .is_ok_and(|holds| holds.unwrap_or(false))
        {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err("cargo lambda watch or the functions do not answer".into())
}

/// Whether the gateway accepts connections.
pub(crate) async fn listens(port: u16) -> Result<bool, BoxError> {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    Ok(true)
}

/// Whether a request gets all the way to a function and back.
pub(crate) async fn is_healthy(port: u16) -> Result<bool, BoxError> {
    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let request = "GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    connection.read_to_string(&mut response).await?;
    Ok(response.starts_with("HTTP/1.1 200"))
}
