//! A Secrets Manager that knows what a test stores in it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a secret is.
#[derive(Debug, Clone)]
pub enum Stored {
    /// A text.
    Text(String),
    /// Bytes, in base64.
    Bytes(&'static str),
    /// Nothing that the caller may read.
    Denied,
}

/// The server.
#[derive(Clone)]
pub struct SecretServer {
    secrets: Arc<Mutex<HashMap<&'static str, Stored>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What `AWS_ENDPOINT_URL_SECRETS_MANAGER` must be.
    pub url: String,
}

impl SecretServer {
    /// Starts a server without secrets.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            secrets: Arc::default(),
            asked: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new()
            .route("/", post(get_secret_value))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Stores a secret in the place of the one before.
    pub fn store(&self, name: &'static str, secret: Stored) {
        self.secrets.lock().unwrap().insert(name, secret);
    }

    /// As [`SecretServer::store`], with a text.
    pub fn store_text(&self, name: &'static str, text: &str) {
        self.store(name, Stored::Text(text.to_owned()));
    }

    /// Forgets a secret.
    pub fn forget(&self, name: &str) {
        self.secrets.lock().unwrap().remove(name);
    }

    /// Which secrets were read since it was last asked this.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn get_secret_value(State(server): State<SecretServer>, headers: HeaderMap, body: String) -> Response {
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    let request: Value = serde_json::from_str(&body).unwrap();
    let name = request["SecretId"].as_str().unwrap();
    server.asked.lock().unwrap().push(name.to_owned());
    let refused = |code: &str| (StatusCode::BAD_REQUEST, json!({"__type": code, "Message": "No."}));
    let (status, body) = match server.secrets.lock().unwrap().get(name) {
        Some(Stored::Text(text)) => (StatusCode::OK, json!({"Name": name, "SecretString": text})),
        Some(Stored::Bytes(bytes)) => (StatusCode::OK, json!({"Name": name, "SecretBinary": bytes})),
        Some(Stored::Denied) => refused("AccessDeniedException"),
        None => refused("ResourceNotFoundException"),
    };
    (
        status,
        [("content-type", "application/x-amz-json-1.1")],
        body.to_string(),
    )
        .into_response()
}
