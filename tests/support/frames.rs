//! Event streams as Bedrock sends them, and a server that ends one wherever a test wants.
//!
//! The format is that of <https://smithy.io/2.0/aws/amazon-eventstream.html>: lengths, headers, a payload and two checksums.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// An event, such as `contentBlockDelta`.
pub fn event(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[
            (":message-type", "event"),
            (":event-type", name),
            (":content-type", "application/json"),
        ],
        payload.to_string().as_bytes(),
    )
}

/// A modelled exception in the middle of a stream, such as `throttlingException`.
pub fn exception(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[
            (":message-type", "exception"),
            (":exception-type", name),
            (":content-type", "application/json"),
        ],
        payload.to_string().as_bytes(),
    )
}

/// An error that no model describes.
pub fn error(code: &str, message: &str) -> Vec<u8> {
    frame(
        &[
            (":message-type", "error"),
            (":error-code", code),
            (":error-message", message),
        ],
        &[],
    )
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(u8::try_from(name.len()).unwrap());
        encoded.extend(name.as_bytes());
        // A string, whose length is two bytes.
        encoded.push(7);
        encoded.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        encoded.extend(value.as_bytes());
    }
    // The prelude of two lengths and its checksum are 12 bytes, the checksum of the whole is 4.
    let total = 12 + encoded.len() + payload.len() + 4;
    let mut frame = Vec::with_capacity(total);
    frame.extend(u32::try_from(total).unwrap().to_be_bytes());
    frame.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend(encoded);
    frame.extend(payload);
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

/// The checksum of gzip and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// How a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should: the last chunk is marked.
    Clean,
    /// The connection is closed.
    Cut,
    /// Nothing more comes.
    Never,
}

/// A server whose every response to a request is the same.
pub struct RawServer {
    /// Where it listens.
    pub url: String,
}

impl RawServer {
    /// Answers with an event stream of these bytes, frames or not.
    pub async fn stream(body: Vec<u8>, end: End) -> Self {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut response = head.as_bytes().to_vec();
        if !body.is_empty() {
            response.extend(format!("{:x}\r\n", body.len()).bytes());
            response.extend(body);
            response.extend(b"\r\n");
        }
        if end == End::Clean {
            response.extend(b"0\r\n\r\n");
        }
        Self::start(response, end).await
    }

    /// Refuses with an error, as Bedrock does before a stream begins, such as 429 `ThrottlingException`.
    pub async fn refuse(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"message": message}).to_string();
        let head = format!(
            "HTTP/1.1 {status} Refused\r\nx-amzn-ErrorType: {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::start([head.as_bytes(), body.as_bytes()].concat(), End::Clean).await
    }

    async fn start(response: Vec<u8>, end: End) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, response.clone(), end));
            }
        });
        Self { url }
    }
}

/// Answers one request and is done with the connection.
async fn answer(mut connection: TcpStream, response: Vec<u8>, end: End) {
    let mut request = Vec::new();
    while !is_complete(&request) {
        match connection.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    if connection.write_all(&response).await.is_ok() && end == End::Never {
        std::future::pending::<()>().await;
    }
    let _ = connection.shutdown().await;
}

/// Whether this is a request with all of its body.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another encoder makes of the same, which Amazon's own SDKs read.
    #[test]
    fn a_frame_has_its_lengths_and_checksums_where_others_have_them() {
        let other = b"\0\0\0w\0\0\0R\xab\xb5\xd3n\r:message-type\x07\0\x05event\x0b:event-type\x07\0\x0cmessageStart\
            \r:content-type\x07\0\x10application/json{\"role\": \"assistant\"}\xc1,\x0f8";
        let headers = [
            (":message-type", "event"),
            (":event-type", "messageStart"),
            (":content-type", "application/json"),
        ];
        assert_eq!(frame(&headers, br#"{"role": "assistant"}"#), other);
    }
}
