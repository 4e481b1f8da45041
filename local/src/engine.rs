//! An embedded DynamoDB: dynoxide, in this process, behind DynamoDB's own HTTP interface.

use std::{net::SocketAddr, path::Path};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use dynoxide::{Database, server};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::template::BoxError;

/// The credentials that functions and clients use locally. Real ones never get here, and without any the SDK would ask the instance
/// metadata service and wait.
pub const LOCAL_CREDENTIALS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "local"),
    ("AWS_SECRET_ACCESS_KEY", "local"),
    ("AWS_REGION", "us-east-1"),
];

/// A running engine. It stops when this is dropped or told to.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), String>>,
}

impl Engine {
    /// Starts an engine on a free port of the loopback interface, with its data in `file`, or in memory only.
    ///
    /// # Errors
    /// If the file cannot be opened or no port is free.
    pub async fn start(file: Option<&Path>) -> Result<Self, BoxError> {
        let database = match file {
            Some(file) => Database::new(file.to_str().ok_or("the data file's path is not UTF-8")?),
            None => Database::memory(),
        };
        let database = database.map_err(|error| format!("the embedded DynamoDB did not start: {error}"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server::serve_with_shutdown(listener, database, async {
            // Told to, or its owner is gone: either way it is over.
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            stop: Some(stop),
            server,
        })
    }

    /// The endpoint for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finishes what is running and stops.
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn stop(mut self) -> Result<(), BoxError> {
        drop(self.stop.take());
        self.server.await??;
        Ok(())
    }
}

/// A client for a local endpoint.
pub fn client(endpoint: &str) -> Client {
    let [(_, key), (_, secret), (_, region)] = LOCAL_CREDENTIALS;
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(key, secret, None, None, "local"))
        .region(Region::from_static(region))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}
