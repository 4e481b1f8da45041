use std::{collections::BTreeMap, time::Instant};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::contract::Asked;

/// What a client gets from a gateway that streams.
#[derive(Debug)]
pub struct Streaming {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pieces: UnboundedReceiver<(Instant, Bytes)>,
    read: String,
    asked: Option<Asked>,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its type.
    pub name: String,
    /// Its data, as JSON if it is.
    pub data: Value,
    /// When it had come.
    pub at: Instant,
}

impl Streaming {
    /// What is told is checked against the document, if it is said what was asked for.
    pub fn new(prelude: &Value, pieces: UnboundedReceiver<(Instant, Bytes)>, asked: Option<Asked>) -> Self {
        let headers = prelude["headers"].as_object().expect("the prelude has headers");
        let header = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
        let told = Self {
            status: prelude["statusCode"].as_u64().unwrap().try_into().unwrap(),
            headers: headers.iter().map(header).collect(),
            pieces,
            read: String::new(),
            asked,
        };
        if let Some(asked) = &told.asked {
            asked.check_head(told.status, &told.headers);
        }
        told
    }

    /// The status, the headers and the pieces of the body.
    pub fn into_parts(self) -> (u16, BTreeMap<String, String>, UnboundedReceiver<(Instant, Bytes)>) {
        (self.status, self.headers, self.pieces)
    }

    /// The next event, comments left out; `None` at the end.
    pub async fn next(&mut self) -> Option<Told> {
        let mut at = Instant::now();
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let event = parse(event, at);
                self.read = rest.to_owned();
                let Some(event) = event else {
                    continue;
                };
                if let Some(asked) = &self.asked {
                    asked.check_event(&event);
                }
                return Some(event);
            }
            match self.pieces.recv().await {
                Some((came, piece)) => {
                    at = came;
                    self.read.push_str(std::str::from_utf8(&piece).unwrap());
                }
                None => {
                    assert!(self.read.is_empty(), "an event without an end: {}", self.read);
                    return None;
                }
            }
        }
    }

    /// Every event that is still to come.
    pub async fn rest(&mut self) -> Vec<Told> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The whole body.
    pub async fn text(mut self) -> String {
        while let Some((_, piece)) = self.pieces.recv().await {
            self.read.push_str(std::str::from_utf8(&piece).unwrap());
        }
        self.read
    }
}

impl Told {
    /// The events of a stream that has ended; none, if this is none.
    pub fn all(text: &str) -> Vec<Self> {
        let events = text.split_terminator("\n\n").filter(|event| event.contains("data: "));
        events.filter_map(|event| parse(event, Instant::now())).collect()
    }
}

fn parse(event: &str, at: Instant) -> Option<Told> {
    let (mut name, mut data) = ("message".to_owned(), None);
    for line in event.lines() {
        match line.split_once(": ") {
            Some(("event", value)) => name = value.to_owned(),
            Some(("data", value)) => {
                assert!(data.is_none(), "data of several lines");
                data = Some(value.to_owned());
            }
            Some(("", _comment)) => {}
            _ => panic!("what is {line:?} in an event?"),
        }
    }
    let data = data?;
    let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
    Some(Told { name, data, at })
}
