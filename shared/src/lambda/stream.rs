//! Answers that are told piece by piece: a stream of server-sent events behind a prelude with the status and the headers
//! (<https://docs.aws.amazon.com/lambda/latest/dg/response-streaming-custom-runtime.html>), which is what a gateway route in the transfer
//! mode `RESPONSE_STREAM` takes, and nothing else.

use std::{convert::Infallible, rc::Rc, time::Duration};

use futures_util::stream::{self, BoxStream, StreamExt};
use lambda_http::{
    LambdaEvent,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    service_fn,
};
use lambda_runtime::{MetadataPrelude, StreamResponse};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use super::{
    Admit, BoxError, Edge, clock,
    event::Request,
    reply::{Reply, envelope},
    request_id, with_headers,
};
use crate::{
    api::{Call, Event, Events, Outcome, Streamed},
    chats::Listener,
    error::Error,
    meter,
};

/// How long a client hears nothing before it is told that the answer is still coming.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What the runtime sends on. An error in it would be written to the client as text, so there is none.
type Chunks = BoxStream<'static, Result<String, Infallible>>;

pub(super) async fn serve<A, I, O, App, H>(edge: Edge<A, I, O, App>, handler: H) -> Result<(), BoxError>
where
    A: Admit<App> + 'static,
    I: Streamed<O> + 'static,
    O: Outcome + 'static,
    App: 'static,
    H: AsyncFn(&App, Call<A, I>, Listener<'_>) -> Result<O, Error> + 'static,
{
    let served = Rc::new((edge, handler));
    let run = lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let served = Rc::clone(&served);
        async move {
            let (head, opened) = oneshot::channel();
            let (pieces, rest) = mpsc::unbounded_channel();
            let teller = Teller {
                head: Some(head),
                pieces,
            };
            // A task of its own: a client that leaves, and with it whoever reads the stream, does not stop what is to be paid for.
            tokio::task::spawn_local(async move {
                let (edge, handler) = served.as_ref();
                let event = (event.payload, event.context.request_id);
                Box::pin(edge.tell(handler, &event.0, &event.1, teller)).await;
            });
            // A task that panics opens nothing: the invocation fails, and a lease gives back what it held.
            let head: Reply = opened.await.map_err(|_| "the call ended without an answer")?;
            Ok::<_, BoxError>(response(head, rest))
        }
    }));
    let calls = LocalSet::new();
    let ended = calls.run_until(run).await;
    // The runtime ends when a connection to it breaks, as one may whose client has left. What was begun is finished first.
    calls.await;
    ended
}

/// Sends an answer to whoever listens, if anybody does.
struct Teller {
    head: Option<oneshot::Sender<Reply>>,
    pieces: mpsc::UnboundedSender<String>,
}

impl Teller {
    /// Sends the status and the headers, and what the reply has of a body.
    fn open(&mut self, reply: Reply) {
        if let Some(head) = self.head.take() {
            // Nobody may be there any more.
            let _ = head.send(reply);
        }
    }

    fn is_open(&self) -> bool {
        self.head.is_none()
    }

    fn send(&self, events: Vec<Event>) {
        for event in events {
            let name = event.name.map_or_else(String::new, |name| format!("event: {name}\n"));
            // JSON in one line: there is no line end in the data.
            let _ = self.pieces.send(format!("{name}data: {}\n\n", event.data));
        }
    }
}

impl<A, I, O, App> Edge<A, I, O, App>
where
    A: Admit<App>,
    I: Streamed<O>,
    O: Outcome,
{
    async fn tell(
        &self,
        handler: &impl AsyncFn(&App, Call<A, I>, Listener<'_>) -> Result<O, Error>,
        event: &RawValue,
        invocation: &str,
        mut teller: Teller,
    ) {
        let started = clock();
        let request = Request::decode(event);
        let request_id = request_id(request.as_ref().ok(), invocation);
        let manner = self.manner(request.as_ref().ok());
        let complete = |reply, succeeded| self.complete(reply, request.as_ref().ok(), request_id, succeeded);
        let mut events = None;
        let (outcome, tally) = meter::metered(async {
            let call = self.call(&request, manner.family, started).await?;
            events = call.input.events(started);
            let Some(events) = &mut events else {
                return handler(&self.app, call, Listener::Nobody).await;
            };
            let mut heard = |text: &str| {
                if !teller.is_open() {
                    teller.open(complete(Reply::events(self.endpoint.success), true));
                }
                teller.send(events.delta(text));
            };
            handler(&self.app, call, Listener::Somebody(&mut heard)).await
        })
        .await;
        // Before the last event: after it nothing may happen any more.
        let write = |status, error: Option<&Error>| {
            self.log
                .write(&self.line(&manner, request_id, status, tally, started), error);
        };
        match (outcome, events) {
            (Err(error), Some(mut events)) if teller.is_open() => {
                write(self.endpoint.success, Some(&error));
                teller.send(events.failed(envelope(&error, &manner, request_id).1));
            }
            (Ok(outcome), Some(mut events)) => {
                let head = with_headers(Reply::events(self.endpoint.success), &outcome.headers(manner.family));
                write(self.endpoint.success, None);
                teller.open(complete(head, true));
                teller.send(events.done(outcome));
            }
            (outcome, _) => {
                let rendered = outcome.and_then(|outcome| self.render(outcome, manner.family));
                let reply = match &rendered {
                    Ok(rendered) => rendered.reply(),
                    Err(error) => Reply::failure(error, &manner, request_id),
                };
                write(reply.status(), rendered.as_ref().err());
                teller.open(complete(reply, rendered.is_ok()));
            }
        }
    }
}

fn response(head: Reply, rest: mpsc::UnboundedReceiver<String>) -> StreamResponse<Chunks> {
    let (status, headers, body) = head.into_parts();
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    };
    let metadata_prelude = MetadataPrelude {
        status_code: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers: headers.into_iter().filter_map(header).collect::<HeaderMap>(),
        cookies: Vec::new(),
    };
    let first = stream::iter((!body.is_empty()).then_some(body));
    let rest = stream::unfold(rest, |mut rest| async {
        // Comments are no events; they keep what is between from taking the connection for dead.
        let next = tokio::time::timeout(HEARTBEAT, rest.recv()).await;
        let piece = next.unwrap_or_else(|_silence| Some(": still there\n\n".into()))?;
        Some((piece, rest))
    });
    StreamResponse {
        metadata_prelude,
        stream: first.chain(rest).map(Ok).boxed(),
    }
}
