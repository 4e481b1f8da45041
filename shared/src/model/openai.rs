//! OpenAI's chat completions API (<https://platform.openai.com/docs/api-reference/chat>), as many servers speak it: each a little differently, so
//! what is read is only what is needed, and what a server says of an error may have any form.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    DEFAULT_WAIT, Failed, Piece, Pieces,
    http::{Http, Response},
    key::{ApiKey, Keys},
};
use crate::{
    config::{ConfigError, OpenAiConfig},
    domain::{Finish, ModelName, Prompt, Usage},
    error::Error,
};

/// The longest reply that is read, in bytes: an answer with what is around each of its words.
const MAX_REPLY: usize = 16 * 1024 * 1024;
/// The longest reply that is read where it is one document, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// A server that speaks the API.
#[derive(Debug, Clone)]
pub(super) struct OpenAi {
    http: Http,
    url: String,
    keys: Keys,
    dialect: Arc<Mutex<Dialect>>,
}

/// What servers differ in; found out by being refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    /// Whether the server wants the newer name of `max_tokens`; OpenAI's newer models take no other, most servers know only the older.
    newer_name: bool,
    /// Whether the server knows that it can be asked for its usage; some say it unasked and refuse the member.
    stream_options: bool,
}

/// A completion or a piece of one, as much of it as is needed.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    model: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    /// Of a whole completion.
    message: Option<Said>,
    /// Of a piece.
    delta: Option<Said>,
    /// A text, and not one of a list: servers make up their own.
    finish_reason: Option<Value>,
    /// Where Moonshot has it.
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    /// A text, or a list of parts of which some are texts.
    content: Option<Value>,
    refusal: Option<String>,
}

impl Said {
    fn text(self) -> Option<String> {
        let content = match self.content {
            Some(Value::String(text)) => Some(text),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
                Some(texts.collect())
            }
            _ => None,
        };
        content
            .filter(|text| !text.is_empty())
            .or(self.refusal)
            .filter(|text| !text.is_empty())
    }
}

impl OpenAi {
    /// # Errors
    /// Names the secret that holds the key, if it cannot be read.
    pub(super) async fn start(config: &OpenAiConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            http: Http::new(),
            url: format!("{}/chat/completions", config.base_url),
            dialect: Arc::new(Mutex::new(Dialect {
                newer_name: config.base_url.starts_with("https://api.openai.com"),
                stream_options: true,
            })),
            keys: Keys::start(&config.api_key).await?,
        })
    }

    fn dialect(&self) -> Dialect {
        *self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an answer, always as a stream: so every caller gets its first words soon, and what has come when it breaks off is known.
    pub(super) async fn open(&self, model: &ModelName, prompt: &Prompt) -> Result<Pieces, Failed> {
        let mut dialect = self.dialect();
        let mut tries = 0;
        let mut key = self.keys.current().await;
        loop {
            match self.request(model, prompt, dialect, key.as_ref()).await {
                Ok(pieces) => return Ok(pieces),
                Err(Refused::Failed(failed)) => return Err(failed),
                // There are two members to be wrong about.
                Err(Refused::Dialect(_)) if tries == 2 => return Err(Failed::unusable("it takes no such request")),
                Err(Refused::Dialect(other)) => {
                    (dialect, tries) = (other, tries + 1);
                    *self.dialect.lock().unwrap_or_else(PoisonError::into_inner) = other;
                }
                Err(Refused::Key(failed)) => match self.keys.other_than(key.as_ref()).await {
                    Some(other) => key = Some(other),
                    None => return Err(failed),
                },
            }
        }
    }

    async fn request(
        &self,
        model: &ModelName,
        prompt: &Prompt,
        dialect: Dialect,
        key: Option<&ApiKey>,
    ) -> Result<Pieces, Refused> {
        let json = body(model, prompt, dialect).to_string();
        let response = self.http.post(&self.url, key.map(ApiKey::reveal), json).await?;
        if !matches!(response.status, 200..300) {
            let (status, retry_after) = (response.status, response.retry_after.clone());
            let body = read(response).await?;
            return Err(refusal(status, retry_after.as_deref(), &body, dialect));
        }
        let content_type = response.content_type.as_deref().unwrap_or_default();
        if content_type.starts_with("text/event-stream") {
            return Ok(pieces(response).boxed());
        }
        // Some servers do not stream, some fail with 200, and some do not say that they stream.
        let document = read(response).await?;
        if document.starts_with(b"data:") || document.starts_with(b":") {
            let all = stream::iter([Ok(Text::default().of(&document))]);
            return Ok(told(all.boxed().eventsource()).boxed());
        }
        Ok(stream::iter(pieces_of(&document)?.into_iter().map(Ok)).boxed())
    }
}

/// Why a request got no answer.
enum Refused {
    /// The server may take the request in these words.
    Dialect(Dialect),
    /// The server does not know the key.
    Key(Failed),
    Failed(Failed),
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

fn body(model: &ModelName, prompt: &Prompt, dialect: Dialect) -> Value {
    let turns = prompt.turns.iter();
    let messages: Vec<_> = turns
        .map(|turn| json!({"role": turn.speaker.as_str(), "content": turn.text}))
        .collect();
    let mut body = Map::from_iter([
        ("model".to_owned(), json!(model.as_str())),
        ("messages".to_owned(), json!(messages)),
        ("stream".to_owned(), json!(true)),
    ]);
    if dialect.stream_options {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let limit = if dialect.newer_name {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    body.insert(limit.to_owned(), json!(prompt.max_output_tokens));
    let sampling = &prompt.sampling;
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            body.insert(name.to_owned(), json!(number));
        }
    }
    if let Some(seed) = sampling.seed {
        body.insert("seed".to_owned(), json!(seed));
    }
    if !sampling.stop.is_empty() {
        body.insert("stop".to_owned(), json!(sampling.stop));
    }
    Value::Object(body)
}

/// Bytes as text, whatever they are: the parser of events waits for ever for the rest of what is no UTF-8, and a byte order mark stops it.
#[derive(Default)]
struct Text {
    begun: bool,
    /// The beginning of a character whose end has not come.
    rest: Vec<u8>,
}

impl Text {
    fn of(&mut self, bytes: &[u8]) -> String {
        let mut bytes = [std::mem::take(&mut self.rest).as_slice(), bytes].concat();
        let is_begun = |error: std::str::Utf8Error| error.error_len().is_none();
        let tail = bytes.utf8_chunks().last().map_or(0, |last| last.invalid().len());
        if tail > 0 && std::str::from_utf8(&bytes[bytes.len() - tail..]).is_err_and(is_begun) {
            self.rest = bytes.split_off(bytes.len() - tail);
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) if !self.begun => text.to_owned(),
            _ => text.into_owned(),
        };
        self.begun |= !text.is_empty();
        text
    }
}

/// The pieces of a stream of server-sent events. It ends at the first failure.
fn pieces(response: Response) -> impl Stream<Item = Result<Piece, Failed>> + Send {
    // An event is kept until its end has come, so there is a limit to what is read.
    let alive = Arc::new(AtomicBool::new(false));
    let reading = (response, 0, Text::default(), Arc::clone(&alive));
    let bytes = stream::unfold(reading, |(mut response, read, mut text, alive)| async move {
        let chunk = response.chunk().await.transpose()?;
        alive.store(true, Ordering::Relaxed);
        let read = read + chunk.as_ref().map_or(0, |chunk| chunk.len());
        let chunk = chunk.and_then(|chunk| match read {
            0..=MAX_REPLY => Ok(text.of(&chunk)),
            _ => Err(Failed::unusable("the reply is too long")),
        });
        Some((chunk, (response, read, text, alive)))
    });
    let mut events = bytes.boxed().eventsource();
    let events = stream::poll_fn(move |context| match events.poll_next_unpin(context) {
        // Comments, and the beginning of an event whose end has not come, are life too.
        Poll::Pending if alive.swap(false, Ordering::Relaxed) => Poll::Ready(Some(Ok(Event::default()))),
        other => other,
    });
    told(events)
}

/// What events say, until the end or the first failure.
fn told(
    events: impl Stream<Item = Result<Event, EventStreamError<Failed>>> + Send,
) -> impl Stream<Item = Result<Piece, Failed>> + Send {
    let pieces = events.map(|event| match event {
        // Not JSON, and said by most servers; those that do not close the stream.
        Ok(event) if event.data == "[DONE]" => None,
        Ok(event) if event.data.is_empty() => Some(Ok(vec![Piece::Alive])),
        Ok(event) => Some(pieces_of(event.data.as_bytes())),
        Err(EventStreamError::Transport(failed)) => Some(Err(failed)),
        Err(_) => Some(Err(Failed::unusable("the reply is no stream of events"))),
    });
    let pieces = pieces.take_while(|event| std::future::ready(event.is_some()));
    let pieces = pieces.filter_map(std::future::ready).scan(false, |failed, event| {
        let after_failure = std::mem::replace(failed, event.is_err());
        std::future::ready((!after_failure).then_some(event))
    });
    pieces.flat_map(|event| {
        stream::iter(match event {
            Ok(pieces) => pieces.into_iter().map(Ok).collect(),
            Err(failed) => vec![Err(failed)],
        })
    })
}

/// What a completion or a piece of one says.
fn pieces_of(json: &[u8]) -> Result<Vec<Piece>, Failed> {
    let completion = serde_json::from_slice::<Completion>(json).or_else(|error| match mended(json) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(error),
    });
    let completion = completion.map_err(|_| Failed::unusable("the reply is no completion"))?;
    if let Some(error) = completion.error.filter(|error| !error.is_null()) {
        let busy = |code: &Value| matches!(code.as_u64(), Some(429 | 503 | 529));
        return Err(match classify(&error) {
            Some(known) => Failed::never(known),
            None if error.get("code").is_some_and(busy) => Failed::elsewhere(Error::ModelBusy(DEFAULT_WAIT)),
            None => Failed::unusable("the reply is an error"),
        });
    }
    let mut pieces = Vec::new();
    let name = completion.model.as_ref().and_then(Value::as_str);
    pieces.extend(
        name.filter(|name| !name.is_empty())
            .map(|name| Piece::Called(name.to_owned())),
    );
    let mut used = completion.usage;
    if let Some(choice) = completion.choices.into_iter().flatten().next() {
        let said = choice.delta.or(choice.message);
        pieces.extend(said.and_then(Said::text).map(Piece::Delta));
        if let Some(reason) = choice.finish_reason.as_ref().and_then(Value::as_str) {
            pieces.extend(finish(reason)?.map(Piece::Finished));
        }
        used = used.or(choice.usage);
    }
    pieces.extend(used.as_ref().and_then(usage).map(Piece::Used));
    if pieces.is_empty() {
        pieces.push(Piece::Alive);
    }
    Ok(pieces)
}

fn finish(reason: &str) -> Result<Option<Finish>, Failed> {
    Ok(Some(match reason {
        // Some servers say it in every piece.
        "" | "null" => return Ok(None),
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        "error" | "abort" | "insufficient_system_resource" => return Err(Failed::unusable("it broke off")),
        // Whatever else it is called, the server says that it is over.
        _ => Finish::Stop,
    }))
}

/// JSON whose escapes are halves of a character replaced, if it has any: what proxies leave that cut a text in the middle of one.
fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(json).ok()?;
    let mut mended = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, false);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let unit = |text: &str| {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        let next = escape.get(6..).and_then(unit);
        let length = match (unit(escape), next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                found = true;
                mended.push('\u{fffd}');
                rest = &escape[6..];
                continue;
            }
            (Some(_), _) => 6,
            // Every other escape is two characters of one byte.
            (None, _) => 2,
        };
        let (escape, after) = escape.split_at_checked(length)?;
        mended.push_str(escape);
        rest = after;
    }
    mended.push_str(rest);
    found.then(|| mended.into_bytes())
}

/// What was read and written, if the server says both.
fn usage(usage: &Value) -> Option<Usage> {
    let number = |pointer| usage.pointer(pointer).and_then(Value::as_u64);
    let input = number("/prompt_tokens")?;
    let output = number("/completion_tokens")?;
    let cached = number("/prompt_tokens_details/cached_tokens").or_else(|| number("/prompt_cache_hit_tokens"));
    // Some count what a model thinks in the total alone.
    let thought = number("/total_tokens").and_then(|total| total.checked_sub(input));
    Some(Usage {
        input,
        cached_input: cached.unwrap_or(0),
        output: output.max(thought.unwrap_or(0)),
        estimated: false,
    })
}

/// The body, unless it is longer than anything useful.
async fn read(mut response: Response) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(Failed::unusable("the reply is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: u16, retry_after: Option<&str>, body: &[u8], dialect: Dialect) -> Refused {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // Some servers wrap the envelope in an array.
    let envelope = body.get(0).unwrap_or(&body);
    let error = envelope.get("error").unwrap_or(envelope);
    if let Some(known) = classify(error) {
        return Failed::never(known).into();
    }
    let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let other_name = if dialect.newer_name {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    if matches!(status, 400..500) {
        if text.contains(&format!("'{other_name}'")) {
            let newer_name = !dialect.newer_name;
            return Refused::Dialect(Dialect { newer_name, ..dialect });
        }
        // The validators that refuse it name it in whatever form.
        if dialect.stream_options && body.to_string().contains("stream_options") {
            let stream_options = false;
            return Refused::Dialect(Dialect {
                stream_options,
                ..dialect
            });
        }
    }
    // The text of a server's error may quote the message, so only its code is logged.
    let code = error.get("code").map(Value::to_string).filter(|code| code.len() < 100);
    tracing::error!(status, code, "the model refused");
    match status {
        401 => Refused::Key(Failed::elsewhere(Error::model_failed())),
        429 | 503 | 529 => Failed::busy(retry_after).into(),
        500.. => Failed::for_now(retry_after).into(),
        _ => Failed::elsewhere(Error::model_failed()).into(),
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
        "exceeds the maximum number of tokens",
    ]) {
        Some(Error::ContextTooLong)
    } else if any(&["content_filter", "content_policy"]) {
        Some(Error::ContentFiltered)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{Again, PAUSE},
        *,
    };

    fn code_of(status: u16, body: &str) -> &'static str {
        let dialect = Dialect {
            newer_name: false,
            stream_options: true,
        };
        match refusal(status, None, body.as_bytes(), dialect) {
            Refused::Failed(failed) | Refused::Key(failed) => failed.error.code(),
            Refused::Dialect(Dialect { newer_name: true, .. }) => "other name",
            Refused::Dialect(_) => "no options",
        }
    }

    fn heard(json: &str) -> String {
        match pieces_of(json.as_bytes()) {
            Ok(pieces) => format!("{pieces:?}"),
            Err(failed) => failed.error.code().to_owned(),
        }
    }

    #[test]
    fn whatever_form_a_piece_has_it_is_understood() {
        let usage = |input, cached, output| {
            format!("[Used(Usage {{ input: {input}, cached_input: {cached}, output: {output}, estimated: false }})]")
        };
        for (json, expected) in [
            (r#"{"choices": [], "prompt_filter_results": []}"#, "[Alive]".to_owned()),
            (r#"{"choices": null}"#, "[Alive]".to_owned()),
            (
                r#"{"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": ""}]}"#,
                "[Alive]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {"reasoning_content": "hm"}}]}"#,
                "[Alive]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {"content": "a"}, "finish_reason": "null"}]}"#,
                r#"[Delta("a")]"#.to_owned(),
            ),
            (
                r#"{"model": 5, "choices": [{"delta": {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]}}]}"#,
                r#"[Delta("a")]"#.to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {"content": "a\ud83d"}}]}"#,
                "[Delta(\"a\u{fffd}\")]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {"content": "\\ud83d\ude00 \ud83d\ude00"}}]}"#,
                "[Delta(\"\\\\ud83d\u{fffd} \u{1f600}\")]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {}, "finish_reason": "eos_token"}]}"#,
                "[Finished(Stop)]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {}, "finish_reason": "model_length"}]}"#,
                "[Finished(Length)]".to_owned(),
            ),
            (
                r#"{"choices": [{"delta": {}, "finish_reason": "error"}]}"#,
                "model_failed".to_owned(),
            ),
            (
                r#"{"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}}"#,
                usage(21, 0, 60),
            ),
            (
                r#"{"choices": [{"delta": {}, "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}}]}"#,
                usage(9, 4, 2),
            ),
            (
                r#"{"error": {"code": 429, "message": "slow down"}}"#,
                "model_busy".to_owned(),
            ),
            (r#"{"error": "overloaded"}"#, "model_failed".to_owned()),
            ("[1]", "model_failed".to_owned()),
        ] {
            assert_eq!(heard(json), expected, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_text_in_the_end_and_a_byte_order_mark_is_none() {
        let mut text = Text::default();
        let smile = "\u{1f600}".as_bytes();
        let pieces: [&[u8]; 6] = [b"\xef\xbb\xbfa", &smile[..2], &smile[2..], b"\xff", b"\xe2\x82", b"b"];
        let told: Vec<_> = pieces.into_iter().map(|piece| text.of(piece)).collect();
        assert_eq!(told, ["a", "", "\u{1f600}", "\u{fffd}", "", "\u{fffd}b"]);
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_not_asked_again_before() {
        let dialect = Dialect {
            newer_name: false,
            stream_options: true,
        };
        let again = |status: u16, retry_after: Option<&str>| match refusal(status, retry_after, b"", dialect) {
            Refused::Failed(failed) => failed.again,
            _ => panic!("it has failed"),
        };
        for status in [500, 502, 504] {
            assert_eq!(again(status, None), Again::After(PAUSE));
        }
        for status in [429, 500, 503, 504, 529] {
            assert_eq!(again(status, Some("1")), Again::After(Duration::from_secs(1)));
            assert_eq!(again(status, Some("2")), Again::Elsewhere);
        }
        assert_eq!(again(429, None), Again::Elsewhere);
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
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}}"#,
                "other name",
            ),
            (
                422,
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
                "no options",
            ),
        ] {
            assert_eq!(code_of(status, body), code, "{status} {body}");
        }
    }
}
