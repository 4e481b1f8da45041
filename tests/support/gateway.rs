//! An HTTP server in front of the functions of a test, as the deployed REST API is one: what clients meet that no test wrote.

use std::sync::{Arc, Weak};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request as Received, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::net::TcpListener;

use super::{
    Request, Streaming, System,
    contract::Asked,
    reply::{Format, Reply},
    runtime::Answer,
};

impl System {
    /// Serves on a free port for as long as the system lives; tells the base URL, without a slash at its end.
    pub async fn serve(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::downgrade(self));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn answer(State(system): State<Weak<System>>, received: Received) -> Response {
    let Some(system) = system.upgrade() else {
        return failed();
    };
    let (parts, body) = received.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return failed();
    };
    let mut request = Request::new(parts.method.as_str(), parts.uri.path());
    for (name, value) in &parts.headers {
        request = request.header(name.as_str(), value.to_str().unwrap());
    }
    for pair in parts.uri.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request = request.query(name, value);
    }
    if !body.is_empty() {
        request = request.raw_body(std::str::from_utf8(&body).unwrap());
    }
    let asked = Asked::of(&system.route(&request), &request.rest_event());
    match system.forward(&request).await {
        Some(Answer::Response(response)) => {
            let reply = Reply::read(&response, Format::Rest, true);
            system.keep_secrets_told(&reply.body);
            if let Some(asked) = asked {
                asked.check(reply.status, &reply.headers, &reply.text);
            }
            respond(reply.status, &reply.headers, Body::from(reply.text))
        }
        Some(Answer::Stream(prelude, pieces)) => {
            let (status, headers, pieces) = Streaming::new(&prelude, pieces, asked).into_parts();
            let body = stream::unfold(pieces, |mut pieces| async {
                let (_, piece) = pieces.recv().await?;
                Some((Ok::<_, std::io::Error>(piece), pieces))
            });
            respond(status, &headers, Body::from_stream(body))
        }
        Some(Answer::Error(_)) | None => failed(),
    }
}

fn respond<'a>(status: u16, headers: impl IntoIterator<Item = (&'a String, &'a String)>, body: Body) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).unwrap()
}

/// What API Gateway says of a function that died or answered nothing that it understands.
fn failed() -> Response {
    let body = "{\"message\": \"Internal server error\"}";
    (StatusCode::BAD_GATEWAY, [("content-type", "application/json")], body).into_response()
}
