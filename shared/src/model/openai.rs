//! OpenAI's chat completions API (<https://platform.openai.com/docs/api-reference/chat>), as many servers speak it: each a little differently, so
//! what is read is only what is needed, and what a server says of an error may have any form.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::{config::OpenAiConfig, domain::Message, error::Error};

/// The longest reply that is read, in bytes: an answer is stored in one item of at most 400 KB, beside the message.
const MAX_REPLY: usize = 1024 * 1024;
/// The longest answer that can be stored, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// How long to wait for a busy server that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// A server that speaks the API.
#[derive(Debug, Clone)]
pub(super) struct OpenAi {
    client: Client,
    config: OpenAiConfig,
}

/// A completion, as much of it as is needed.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
    model: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Said>,
    /// A text, and not one of a list: servers make up their own.
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
}

impl OpenAi {
    pub(super) fn new(config: &OpenAiConfig) -> Self {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(3))
            // A redirect would send the key and the message somewhere that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ai-chat-system/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            // Only a system without any root certificate has no client; requests then fail and say so.
            client: client.unwrap_or_default(),
            config: config.clone(),
        }
    }

    pub(super) async fn answer(&self, message: &Message) -> Result<Answer, Error> {
        let request = self
            .client
            .post(format!("{}/chat/completions", self.config.base_url))
            .json(&json!({
                "model": self.config.model,
                "messages": [{"role": "user", "content": message.as_str()}],
                "max_tokens": self.config.max_output_tokens,
                "stream": false,
            }));
        let request = match &self.config.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        // Sent once: whether a request that got no reply was answered, and is paid for, nobody knows. The client may ask again.
        let response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let wait = retry_after(&response);
        let body = read(response).await?;
        if !status.is_success() {
            return Err(refusal(status, wait, &body));
        }
        let completion: Completion =
            serde_json::from_slice(&body).map_err(|_| unusable("the reply is no completion"))?;
        if let Some(error) = completion.error.filter(|error| !error.is_null()) {
            // Some servers fail with 200.
            return Err(classify(&error).unwrap_or_else(|| unusable("the reply is an error")));
        }
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| unusable("the reply has no choice"))?;
        if choice.finish_reason.as_deref() == Some("content_filter") {
            return Err(Error::ContentFiltered);
        }
        let said = choice.message.and_then(|said| said.content.or(said.refusal));
        let text = said.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| unusable("the reply says nothing"))?;
        if text.len() > MAX_ANSWER {
            return Err(unusable("the answer is too long to be stored"));
        }
        Ok(Answer {
            text,
            model: completion
                .model
                .filter(|name| (1..=256).contains(&name.len()))
                .unwrap_or_else(|| self.config.model.clone()),
        })
    }
}

/// The body, unless it is longer than anything useful.
async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > MAX_REPLY {
            return Err(unusable("the reply is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What the server asks to wait, in seconds; a date is not understood, and nobody is sent away for more than ten minutes.
fn retry_after(response: &Response) -> Duration {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    seconds.map_or(DEFAULT_WAIT, |seconds| Duration::from_secs(seconds.clamp(1, 600)))
}

fn refusal(status: StatusCode, wait: Duration, body: &[u8]) -> Error {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // Some servers wrap the envelope in an array.
    let envelope = body.get(0).unwrap_or(&body);
    let error = envelope.get("error").unwrap_or(envelope);
    if let Some(known) = classify(error) {
        return known;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            tracing::warn!(status = status.as_u16(), "the model is busy");
            Error::ModelBusy(wait)
        }
        _ => {
            // The text of a server's error may quote the message, so only its code is logged.
            let code = error.get("code").map(Value::to_string).filter(|code| code.len() < 100);
            tracing::error!(status = status.as_u16(), code, "the model refused");
            Error::model_failed()
        }
    }
}

/// What an error object means that is about the message rather than the server. Its code may be a text, a number or missing.
fn classify(error: &Value) -> Option<Error> {
    let says = |member: &str, words: &[&str]| {
        let text = error.get(member).and_then(Value::as_str).unwrap_or_default();
        words.iter().any(|word| text.contains(word))
    };
    let any = |words: &[&str]| ["code", "type", "message"].iter().any(|member| says(member, words));
    if any(&[
        "context_length_exceeded",
        "context length",
        "context size",
        "exceed_context_size",
    ]) {
        Some(Error::ContextTooLong)
    } else if any(&["content_filter", "content_policy"]) {
        Some(Error::ContentFiltered)
    } else {
        None
    }
}

/// A request that got no usable reply. Neither the URL, which may hold a key, nor the body is logged.
fn failed(error: &reqwest::Error) -> Error {
    let kind = [
        (error.is_timeout(), "timed out"),
        (error.is_connect(), "no connection"),
        (error.is_body() || error.is_decode(), "cut off"),
    ];
    let kind = kind.iter().find(|(is, _)| *is).map_or("no reply", |(_, kind)| kind);
    tracing::error!(kind, "the model could not be asked");
    Error::model_failed()
}

fn unusable(why: &'static str) -> Error {
    tracing::error!(why, "the model's reply cannot be used");
    Error::model_failed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(status: u16, body: &str) -> &'static str {
        let status = StatusCode::from_u16(status).unwrap();
        refusal(status, DEFAULT_WAIT, body.as_bytes()).code()
    }

    #[test]
    fn whatever_form_a_refusal_has_it_is_understood_or_a_failure() {
        for (status, body, code) in [
            (
                400,
                r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#,
                "context_length_exceeded",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size"}}"#,
                "context_length_exceeded",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"maximum context length is 4096"}}]"#,
                "context_length_exceeded",
            ),
            (400, r#"{"error":{"code":"content_filter"}}"#, "content_filtered"),
            (429, r#"{"error":{"code":429}}"#, "model_busy"),
            (503, "", "model_busy"),
            (401, r#"{"error":"Unauthorized"}"#, "model_failed"),
            (500, "<html>", "model_failed"),
            (302, "", "model_failed"),
            (418, r#"{"error":null}"#, "model_failed"),
            (404, "[]", "model_failed"),
        ] {
            assert_eq!(code_of(status, body), code, "{status} {body}");
        }
    }
}
