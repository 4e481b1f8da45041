//! A server that speaks Bedrock's ConverseStream on a bare connection, and does what a test tells it to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::frames;

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub enum Converse {
    /// It is answered.
    Answer,
    /// The connection ends without a word.
    Disconnect,
    /// The reply never comes.
    Stall,
    /// It is refused with this status, error and text.
    Refuse(u16, &'static str, &'static str),
    /// The reply is no stream of events.
    Document(&'static str),
    /// These, one after the other, as a stream of events.
    Stream(&'static [Frame]),
}

/// A part of a stream.
#[derive(Debug, Clone, Copy)]
pub enum Frame {
    /// The next words.
    Words(&'static str),
    /// What the model thinks before it says something.
    Thought(&'static str),
    /// An event of this name, with this payload.
    Event(&'static str, &'static str),
    /// The reason why it is over.
    Stop(&'static str),
    /// What was read, what besides that from a cache and what into one, and what was written.
    Usage(u32, u32, u32, u32),
    /// An exception of this name, with this text.
    Exception(&'static str, &'static str),
    /// An error that no model describes.
    Error(&'static str),
    /// The beginning of a frame.
    Half,
    /// A frame that was spoilt on its way.
    Spoilt,
    /// Nothing for this many milliseconds.
    Wait(u64),
    /// Nothing for ever.
    Stall,
    /// The connection breaks.
    Cut,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The name of the model.
    pub model: String,
    /// The names of the headers in lower case, with their values.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Value,
}

/// The server.
#[derive(Clone)]
pub struct BedrockServer {
    told: Arc<Mutex<Converse>>,
    told_of: Arc<Mutex<HashMap<&'static str, Converse>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// What `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` must be.
    pub url: String,
}

impl BedrockServer {
    /// Starts a server that answers.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            told: Arc::new(Mutex::new(Converse::Answer)),
            told_of: Arc::default(),
            asked: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let server = serving.clone();
                // Whoever asked may have gone.
                tokio::spawn(async move { server.converse(connection).await.unwrap_or_default() });
            }
        });
        server
    }

    /// Tells what to do with requests from now on.
    pub fn tell(&self, told: Converse) {
        *self.told.lock().unwrap() = told;
    }

    /// Tells what to do with requests for one model.
    pub fn tell_model(&self, model: &'static str, told: Converse) {
        self.told_of.lock().unwrap().insert(model, told);
    }

    /// What it has been asked since it was last asked this.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Answers one request and closes the connection.
    async fn converse(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let Some(asked) = read_request(&mut connection).await? else {
            return Ok(());
        };
        let last = asked.body["messages"].as_array().and_then(|messages| messages.last());
        let said = last
            .and_then(|message| message["content"][0]["text"].as_str())
            .unwrap_or_default()
            .to_owned();
        let told_of = self.told_of.lock().unwrap().get(asked.model.as_str()).copied();
        let told = told_of.unwrap_or(*self.told.lock().unwrap());
        self.asked.lock().unwrap().push(asked);
        match told {
            Converse::Disconnect => Ok(()),
            Converse::Stall => std::future::pending().await,
            Converse::Refuse(status, name, text) => {
                let body = json!({"message": text}).to_string();
                let head = format!(
                    "HTTP/1.1 {status} Refused\r\nx-amzn-ErrorType: {name}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + &body).as_bytes()).await
            }
            Converse::Document(body) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + body).as_bytes()).await
            }
            Converse::Answer => {
                let words = ["Heard: ", &said]
                    .into_iter()
                    .flat_map(|text| text.split_inclusive(' '));
                let start = frames::event("messageStart", &json!({"role": "assistant"}));
                let mut all = vec![start];
                all.extend(words.map(words_frame));
                all.extend([Frame::Stop("end_turn"), Frame::Usage(5, 0, 0, 7)].map(|frame| bytes(frame).unwrap()));
                stream(&mut connection, all.into_iter().map(Ok)).await
            }
            Converse::Stream(parts) => {
                let parts = parts.iter().map(|part| bytes(*part).ok_or(*part));
                stream(&mut connection, parts).await
            }
        }
    }
}

/// Sends frames, each in a chunk of its own, and the end unless one breaks the connection.
async fn stream(
    connection: &mut TcpStream,
    parts: impl Iterator<Item = Result<Vec<u8>, Frame>>,
) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n";
    connection.write_all(head.as_bytes()).await?;
    for part in parts {
        match part {
            Ok(frame) => {
                let chunk = [format!("{:x}\r\n", frame.len()).as_bytes(), &frame, b"\r\n"].concat();
                connection.write_all(&chunk).await?;
            }
            Err(Frame::Wait(milliseconds)) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Err(Frame::Stall) => std::future::pending().await,
            Err(_) => return connection.shutdown().await,
        }
    }
    connection.write_all(b"0\r\n\r\n").await
}

fn words_frame(text: &str) -> Vec<u8> {
    frames::event(
        "contentBlockDelta",
        &json!({"contentBlockIndex": 0, "delta": {"text": text}}),
    )
}

/// What a part looks like, if it is more than a moment or an end.
fn bytes(frame: Frame) -> Option<Vec<u8>> {
    Some(match frame {
        Frame::Words(text) => words_frame(text),
        Frame::Thought(text) => {
            let thought = json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": text}}});
            frames::event("contentBlockDelta", &thought)
        }
        Frame::Event(name, payload) => frames::event(name, &serde_json::from_str(payload).unwrap()),
        Frame::Stop(reason) => frames::event("messageStop", &json!({"stopReason": reason})),
        Frame::Usage(input, cached, written, output) => {
            let usage = json!({
                "inputTokens": input, "outputTokens": output, "totalTokens": input + cached + written + output,
                "cacheReadInputTokens": cached, "cacheWriteInputTokens": written,
            });
            frames::event("metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}}))
        }
        Frame::Exception(name, text) => frames::exception(name, &json!({"message": text})),
        Frame::Error(code) => frames::error(code, "No."),
        Frame::Half => words_frame("never said")[..30].to_vec(),
        Frame::Spoilt => {
            let mut frame = words_frame("never said");
            let middle = frame.len() / 2;
            frame[middle] ^= 1;
            frame
        }
        Frame::Wait(_) | Frame::Stall | Frame::Cut => return None,
    })
}

/// Reads a request with all of its body; `None` if there is none.
async fn read_request(connection: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut request = Vec::new();
    loop {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let headers: HashMap<_, _> = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        if body.len()
            < headers
                .get("content-length")
                .map_or(0, |length| length.parse().unwrap())
        {
            continue;
        }
        let path = head.split(' ').nth(1).unwrap();
        let model = path
            .strip_prefix("/model/")
            .and_then(|rest| rest.strip_suffix("/converse-stream"));
        return Ok(Some(Asked {
            model: model
                .unwrap_or_else(|| panic!("{path} is not asked"))
                .replace("%3A", ":"),
            body: serde_json::from_str(body).unwrap(),
            headers,
        }));
    }
}
