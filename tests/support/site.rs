//! A deployment as its clients know it: by a base URL, and by nothing else.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client as Table;
use axum::body::{Body, to_bytes};
use futures_util::StreamExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use super::{Account, Books, Reply, Request, Streaming, streaming::Told, system::items};

/// A deployment that is reached over HTTP, and the table behind it, which only the checks look at.
pub struct Site {
    /// Its base URL, without a slash at its end.
    pub url: String,
    client: Client<HttpConnector, Body>,
    table: (Table, String),
}

impl Site {
    pub fn new(url: String, client: Table, table: &str) -> Self {
        Self {
            url,
            client: Client::builder(TokioExecutor::new()).build_http(),
            table: (client, table.to_owned()),
        }
    }

    /// Sends a request; comes back with the status and the headers, before there is more.
    pub async fn stream(&self, request: &Request) -> Streaming {
        let response = self.client.request(request.http(&self.url)).await;
        let (parts, body) = response
            .unwrap_or_else(|error| panic!("{}: {error}", self.url))
            .into_parts();
        let headers = parts.headers.iter();
        let headers: serde_json::Map<_, _> = headers
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
            .collect();
        let (pieces, told) = unbounded_channel();
        tokio::spawn(async move {
            let mut body = Body::new(body).into_data_stream();
            loop {
                let piece = tokio::select! {
                    piece = body.next() => piece,
                    // Who does not listen any more has left: the connection ends with the body.
                    () = pieces.closed() => return,
                };
                match piece {
                    Some(Ok(piece)) => drop(pieces.send((Instant::now(), piece))),
                    _ => return,
                }
            }
        });
        Streaming::new(
            &json!({"statusCode": parts.status.as_u16(), "headers": headers}),
            told,
            None,
        )
    }

    /// Hears a stream of either form to its end: all of its events, and how long before its end the first words came. `meanwhile` is
    /// done when they have.
    pub async fn hear<T>(&self, request: &Request, meanwhile: impl Future<Output = T>) -> (Vec<Told>, Duration, T) {
        let mut streaming = self.stream(request).await;
        assert_eq!(streaming.status, 200);
        assert_eq!(streaming.headers["content-type"], "text/event-stream; charset=utf-8");
        let mut events = Vec::new();
        loop {
            let event = streaming.next().await.expect("it says something");
            let text = &event.data["delta"]
                .as_str()
                .or(event.data["choices"][0]["delta"]["content"].as_str());
            let is_first = text.is_some_and(|text| !text.is_empty());
            events.push(event);
            if is_first {
                break;
            }
        }
        let first = events.last().unwrap().at;
        let meanwhile = meanwhile.await;
        events.extend(streaming.rest().await);
        let gap = events.last().unwrap().at - first;
        (events, gap, meanwhile)
    }

    /// Sends a request.
    pub async fn send(&self, request: &Request) -> Reply {
        let response = self.client.request(request.http(&self.url)).await;
        let (parts, body) = response
            .unwrap_or_else(|error| panic!("{}: {error}", self.url))
            .into_parts();
        let bytes = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(header).collect(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Signs up and logs in.
    pub async fn account(&self, username: &str) -> Account {
        let password = "correct horse battery".to_owned();
        let credentials = json!({"username": username, "password": password});
        self.send(&Request::post("/api/v1/users", &credentials))
            .await
            .expect_status(201);
        let login = self
            .send(&Request::post("/api/v1/users/login", &credentials))
            .await
            .expect_status(200);
        Account {
            username: username.into(),
            password,
            access: login.text_of("access"),
            refresh: login.text_of("refresh"),
        }
    }

    /// Makes an API key.
    pub async fn api_key(&self, account: &Account) -> String {
        let made = Request::post("/api/v1/api-keys", &json!({"name": "a key"})).bearer(&account.access);
        let made = self.send(&made).await.expect_status(201);
        made.body["api_key"]["key"].as_str().unwrap().to_owned()
    }

    /// The balance that the user is told.
    pub async fn balance(&self, account: &Account) -> u64 {
        let balance = Request::get("/api/v1/users/token-balance").bearer(&account.access);
        let reply = self.send(&balance).await.expect_status(200);
        reply.body["token_balance"].as_u64().unwrap()
    }

    /// The user's chats, the newest first.
    pub async fn chats(&self, account: &Account) -> Vec<Value> {
        let page = self.send(&Request::get("/api/v1/chats").bearer(&account.access)).await;
        page.expect_status(200).body["data"].as_array().unwrap().clone()
    }

    /// The user's books, as they are in the table.
    pub async fn books(&self, account: &Account) -> Books {
        Books::from(&items(&self.table.0, &self.table.1, &account.username).await)
    }
}
