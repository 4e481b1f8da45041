//! Amazon Bedrock, by its Converse API (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>), which is the
//! same for all of its models.

use std::time::Duration;

use aws_sdk_bedrockruntime::{
    Client,
    config::{Builder, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::converse_stream::ConverseStreamError,
    types::{
        ContentBlock, ContentBlockDelta, ConversationRole, ConverseStreamOutput, InferenceConfiguration, Message,
        SystemContentBlock, TokenUsage, error::ConverseStreamOutputError,
    },
};
use futures_util::{StreamExt, stream};

use super::{Again, Failed, PAUSE, Piece, Pieces};
use crate::{
    domain::{Finish, ModelName, Prompt, Speaker, Turn, Usage},
    error::Error,
};

/// What stands for the beginning of a conversation that begins with the model: Bedrock wants the person first.
const BEGINNING: &str = "(The beginning is left out.)";

/// The models of this account and region.
#[derive(Debug, Clone)]
pub(super) struct Bedrock {
    client: Client,
}

impl Bedrock {
    pub(super) fn new(aws: Builder) -> Self {
        // How long an answer and each of its pieces may take is watched where it is the same for all providers, and there it is decided what
        // is asked again. Left to itself, the SDK would also take a model that thinks for long for a connection that is broken.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .disable_read_timeout()
            .disable_operation_attempt_timeout()
            .disable_operation_timeout()
            .build();
        let config = aws
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Self {
            client: Client::from_conf(config.build()),
        }
    }

    /// Asks for an answer, always as a stream: so every caller gets its first words soon, and what has come when it breaks off is known.
    pub(super) async fn open(&self, model: &ModelName, prompt: &Prompt) -> Result<Pieces, Failed> {
        let request = self
            .client
            .converse_stream()
            .model_id(model.as_str())
            .set_system(system(prompt))
            .set_messages(Some(messages(prompt)?))
            .inference_config(inference(prompt));
        let opened = request.send().await.map_err(|error| refused(&error))?;
        // It ends at the first failure.
        let pieces = stream::try_unfold(opened.stream, |mut events| async {
            let event = events.recv().await.map_err(|error| broken(&error))?;
            Ok(event.map(|event| (piece(event), events)))
        });
        Ok(pieces.boxed())
    }
}

/// What is said. A text without a visible character is refused.
fn said(prompt: &Prompt) -> impl Iterator<Item = &Turn> {
    prompt.turns.iter().filter(|turn| !turn.text.trim().is_empty())
}

fn system(prompt: &Prompt) -> Option<Vec<SystemContentBlock>> {
    let blocks: Vec<_> = said(prompt)
        .filter(|turn| turn.speaker == Speaker::System)
        .map(|turn| SystemContentBlock::Text(turn.text.clone()))
        .collect();
    Some(blocks).filter(|blocks| !blocks.is_empty())
}

/// The conversation, in which person and model take turns and the person begins.
fn messages(prompt: &Prompt) -> Result<Vec<Message>, Failed> {
    let mut turns: Vec<(Speaker, String)> = Vec::new();
    for turn in said(prompt).filter(|turn| turn.speaker != Speaker::System) {
        match turns.last_mut() {
            Some((speaker, text)) if *speaker == turn.speaker => {
                text.push_str("\n\n");
                text.push_str(&turn.text);
            }
            None if turn.speaker == Speaker::Assistant => {
                turns.push((Speaker::User, BEGINNING.to_owned()));
                turns.push((Speaker::Assistant, turn.text.clone()));
            }
            _ => turns.push((turn.speaker, turn.text.clone())),
        }
    }
    let message = |(speaker, text)| {
        let role = match speaker {
            Speaker::Assistant => ConversationRole::Assistant,
            Speaker::User | Speaker::System => ConversationRole::User,
        };
        let message = Message::builder().role(role).content(ContentBlock::Text(text)).build();
        message.map_err(|_| Failed::never(Error::model_failed()))
    };
    turns.into_iter().map(message).collect()
}

/// Bedrock knows no seed and no penalties.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number from 0 to 2, of which nobody needs more than seven digits"
)]
fn inference(prompt: &Prompt) -> InferenceConfiguration {
    let sampling = &prompt.sampling;
    let stop: Vec<_> = sampling.stop.iter().filter(|text| !text.is_empty()).cloned().collect();
    InferenceConfiguration::builder()
        .max_tokens(i32::try_from(prompt.max_output_tokens).unwrap_or(i32::MAX))
        // Its scale ends at 1.
        .set_temperature(sampling.temperature.map(|temperature| temperature.min(1.0) as f32))
        .set_top_p(sampling.top_p.map(|top_p| top_p as f32))
        .set_stop_sequences(Some(stop).filter(|stop| !stop.is_empty()))
        .build()
}

fn piece(event: ConverseStreamOutput) -> Piece {
    match event {
        ConverseStreamOutput::ContentBlockDelta(event) => match event.delta {
            Some(ContentBlockDelta::Text(text)) => Piece::Delta(text),
            // What it thinks is not its answer.
            _ => Piece::Alive,
        },
        ConverseStreamOutput::MessageStop(event) => Piece::Finished(finish(event.stop_reason.as_str())),
        ConverseStreamOutput::Metadata(event) => {
            let usage = event.usage.as_ref().and_then(usage);
            usage.map_or(Piece::Alive, Piece::Used)
        }
        _ => Piece::Alive,
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "content_filtered" | "guardrail_intervened" => Finish::ContentFilter,
        // Whatever else it is called, it is over.
        _ => Finish::Stop,
    }
}

/// What was read and written. Unlike elsewhere, what was read from a cache and what was written to one are not part of the input.
fn usage(usage: &TokenUsage) -> Option<Usage> {
    let number = |tokens: Option<i32>| u64::try_from(tokens.unwrap_or(0)).ok();
    let cached_input = number(usage.cache_read_input_tokens)?;
    let written = number(usage.cache_write_input_tokens)?;
    Some(Usage {
        input: number(Some(usage.input_tokens))? + cached_input + written,
        cached_input,
        output: number(Some(usage.output_tokens))?,
        estimated: false,
    })
}

/// Why there is no stream.
fn refused(error: &SdkError<ConverseStreamError>) -> Failed {
    let SdkError::ServiceError(refusal) = error else {
        return unreached(error);
    };
    let reply = refusal.raw();
    let (error, status) = (refusal.err(), reply.status().as_u16());
    let code = error.code().filter(|code| code.len() < 100).unwrap_or_default();
    // The text of an error may quote the message, so only its code is logged.
    tracing::error!(status, code, "the model refused");
    let message = error.message().unwrap_or_default();
    meaning(code, message, reply.headers().get("retry-after")).unwrap_or_else(|| match status {
        429 => Failed::busy(reply.headers().get("retry-after")),
        500.. => Failed::after_a_pause(Error::model_failed()),
        // Among others: no permission, no such model.
        _ => Failed::elsewhere(Error::model_failed()),
    })
}

/// Why there is no more of a stream.
fn broken<R>(error: &SdkError<ConverseStreamOutputError, R>) -> Failed {
    let SdkError::ServiceError(refusal) = error else {
        return unreached(error);
    };
    // In a stream they have no code of their own.
    let (code, message) = match refusal.err() {
        ConverseStreamOutputError::ThrottlingException(error) => ("ThrottlingException", error.message()),
        ConverseStreamOutputError::ValidationException(error) => ("ValidationException", error.message()),
        ConverseStreamOutputError::ServiceUnavailableException(error) => {
            ("ServiceUnavailableException", error.message())
        }
        ConverseStreamOutputError::InternalServerException(error) => ("InternalServerException", error.message()),
        ConverseStreamOutputError::ModelStreamErrorException(error) => ("ModelStreamErrorException", error.message()),
        other => ("", other.message()),
    };
    tracing::error!(code, "the model broke off");
    let known = meaning(code, message.unwrap_or_default(), None);
    known.unwrap_or_else(|| Failed::after_a_pause(Error::model_failed()))
}

/// What an error of this code and text means, if it is one that Bedrock documents.
fn meaning(code: &str, message: &str, retry_after: Option<&str>) -> Option<Failed> {
    Some(match code {
        "ThrottlingException" | "ModelNotReadyException" => Failed::busy(retry_after),
        "ServiceUnavailableException" if retry_after.is_none() => Failed {
            again: Again::After(PAUSE),
            ..Failed::busy(None)
        },
        "ServiceUnavailableException" => Failed::busy(retry_after),
        "ModelTimeoutException" => Failed::after_a_pause(Error::ModelTimedOut),
        "InternalServerException" | "ModelErrorException" | "ModelStreamErrorException" => {
            Failed::after_a_pause(Error::model_failed())
        }
        "ValidationException" => {
            let message = message.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
            // Each maker of models has its own words.
            if says(&[
                "input is too long",
                "prompt is too long",
                "too many input tokens",
                "too many total text bytes",
                "exceed context limit",
                "context length",
                "expected maxlength",
            ]) {
                Failed::never(Error::ContextTooLong)
            } else if says(&["content filter"]) {
                Failed::never(Error::ContentFiltered)
            } else {
                Failed::elsewhere(Error::model_failed())
            }
        }
        _ => return None,
    })
}

/// A request without a reply of the service, or a stream without more of one.
fn unreached<E, R>(error: &SdkError<E, R>) -> Failed {
    let (kind, again) = match error {
        // It was never sent, and never will be: there are no credentials, for example.
        SdkError::ConstructionFailure(_) => ("no request", Again::Elsewhere),
        SdkError::TimeoutError(_) => ("timed out", Again::After(PAUSE)),
        SdkError::ResponseError(_) => ("no event stream", Again::After(PAUSE)),
        _ => ("no connection", Again::After(PAUSE)),
    };
    tracing::error!(kind, "the model could not be asked");
    let error = Error::model_failed();
    Failed { error, again }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, IntoShared, Region};
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    };
    use aws_smithy_types::{
        body::SdkBody,
        event_stream::{Header, HeaderValue, Message as Frame},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::Sampling;

    fn frame(kind: &'static str, name: &'static str, payload: &Value) -> Vec<u8> {
        let type_header = match kind {
            "exception" => ":exception-type",
            _ => ":event-type",
        };
        let text = |text: &'static str| HeaderValue::String(text.into());
        let frame = Frame::new(payload.to_string())
            .add_header(Header::new(":message-type", text(kind)))
            .add_header(Header::new(type_header, text(name)))
            .add_header(Header::new(":content-type", text("application/json")));
        let mut bytes = Vec::new();
        write_message_to(&frame, &mut bytes).unwrap();
        bytes
    }

    fn event(name: &'static str, payload: &Value) -> Vec<u8> {
        frame("event", name, payload)
    }

    fn words(text: &str) -> Vec<u8> {
        event(
            "contentBlockDelta",
            &json!({"contentBlockIndex": 0, "delta": {"text": text}}),
        )
    }

    fn stop(reason: &str) -> Vec<u8> {
        event("messageStop", &json!({"stopReason": reason}))
    }

    fn prompt(turns: &[(Speaker, &str)]) -> Prompt {
        Prompt {
            turns: turns.iter().map(|(speaker, text)| Turn::new(*speaker, *text)).collect(),
            max_output_tokens: 50,
            sampling: Sampling::default(),
        }
    }

    /// A connection on which every request gets the same reply, and what was sent on it.
    ///
    /// The SDK's own replay client does this too, but turns on features of other crates, which the tests of the functions would then be
    /// built with and the functions not.
    #[derive(Debug, Clone)]
    struct Replay {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: Vec<u8>,
        sent: Arc<Mutex<Vec<HttpRequest>>>,
    }

    impl HttpConnector for Replay {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.sent.lock().unwrap().push(request);
            let mut response = HttpResponse::new(self.status.try_into().unwrap(), SdkBody::from(self.body.clone()));
            for (name, value) in &self.headers {
                response.headers_mut().insert(*name, *value);
            }
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    fn bedrock(status: u16, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> (Bedrock, Replay) {
        let replay = Replay {
            status,
            headers: headers.to_vec(),
            body,
            sent: Arc::default(),
        };
        let connection = replay.clone();
        let config = aws_sdk_bedrockruntime::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "key", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connection.clone().into_shared()));
        (Bedrock::new(config), replay)
    }

    /// What is heard of a reply, and why it ends if it does not end by itself.
    async fn hear(bedrock: &Bedrock, prompt: &Prompt) -> (Vec<Piece>, Option<Failed>) {
        let model = ModelName::parse("a.model-v1:0").unwrap();
        let mut pieces = match bedrock.open(&model, prompt).await {
            Ok(pieces) => pieces,
            Err(failed) => return (Vec::new(), Some(failed)),
        };
        let mut heard = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => heard.push(piece),
                Err(failed) => {
                    assert!(pieces.next().await.is_none(), "it goes on after a failure");
                    return (heard, Some(failed));
                }
            }
        }
        (heard, None)
    }

    async fn hear_stream(frames: &[Vec<u8>]) -> (Vec<Piece>, Option<Failed>) {
        let (bedrock, _) = bedrock(200, &[], frames.concat());
        hear(&bedrock, &prompt(&[(Speaker::User, "hello")])).await
    }

    #[tokio::test]
    async fn a_stream_of_events_is_an_answer_with_its_usage() {
        let thought = json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}});
        let used = json!({"usage": {
            "inputTokens": 5, "outputTokens": 7, "totalTokens": 12, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 20,
        }, "metrics": {"latencyMs": 1}});
        let frames = [
            event("messageStart", &json!({"role": "assistant"})),
            event("contentBlockDelta", &thought),
            words("Hel"),
            words("lo"),
            event("contentBlockStop", &json!({"contentBlockIndex": 0})),
            event("somethingNew", &json!({"more": true})),
            stop("end_turn"),
            event("metadata", &used),
        ];
        let (heard, failed) = hear_stream(&frames).await;
        assert!(failed.is_none(), "{failed:?}");
        let usage = "Used(Usage { input: 125, cached_input: 100, output: 7, estimated: false })";
        assert_eq!(
            heard.iter().map(|piece| format!("{piece:?}")).collect::<Vec<_>>(),
            [
                "Alive",
                "Alive",
                "Delta(\"Hel\")",
                "Delta(\"lo\")",
                "Alive",
                "Alive",
                "Finished(Stop)",
                usage
            ]
        );
    }

    #[tokio::test]
    async fn a_reason_to_stop_is_known_by_its_text_and_any_other_is_an_end() {
        for (reason, finish) in [
            ("end_turn", Finish::Stop),
            ("stop_sequence", Finish::Stop),
            ("max_tokens", Finish::Length),
            ("model_context_window_exceeded", Finish::Length),
            ("content_filtered", Finish::ContentFilter),
            ("guardrail_intervened", Finish::ContentFilter),
            ("something_new", Finish::Stop),
        ] {
            let (heard, _) = hear_stream(&[stop(reason)]).await;
            assert!(
                matches!(heard[..], [Piece::Finished(found)] if found == finish),
                "{reason}: {heard:?}"
            );
        }
    }

    #[tokio::test]
    async fn usage_that_cannot_be_is_not_believed() {
        let used = json!({"usage": {"inputTokens": -1, "outputTokens": 7, "totalTokens": 6}});
        let (heard, _) = hear_stream(&[stop("end_turn"), event("metadata", &used)]).await;
        assert!(matches!(heard[..], [Piece::Finished(_), Piece::Alive]), "{heard:?}");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_says_why() {
        let exception = |name: &'static str, message: &str| frame("exception", name, &json!({"message": message}));
        let cut = words("lo")[..20].to_vec();
        let mut wrong = words("lo");
        wrong[40] ^= 1;
        for (end, code, again) in [
            (exception("throttlingException", ""), "model_busy", Again::Elsewhere),
            (
                exception("serviceUnavailableException", ""),
                "model_busy",
                Again::After(PAUSE),
            ),
            (
                exception("internalServerException", ""),
                "model_failed",
                Again::After(PAUSE),
            ),
            (
                exception("modelStreamErrorException", ""),
                "model_failed",
                Again::After(PAUSE),
            ),
            (
                exception("somethingNewException", ""),
                "model_failed",
                Again::After(PAUSE),
            ),
            (
                exception("validationException", "Input is too long for requested model."),
                "context_length_exceeded",
                Again::Never,
            ),
            (
                exception("validationException", "No."),
                "model_failed",
                Again::Elsewhere,
            ),
            (frame("error", "x", &json!({})), "model_failed", Again::After(PAUSE)),
            (
                event("contentBlockDelta", &json!(7)),
                "model_failed",
                Again::After(PAUSE),
            ),
            (cut, "model_failed", Again::After(PAUSE)),
            (wrong, "model_failed", Again::After(PAUSE)),
            (
                b"<html>a proxy's error</html>".to_vec(),
                "model_failed",
                Again::After(PAUSE),
            ),
        ] {
            let (heard, failed) = hear_stream(&[words("Hel"), end]).await;
            let failed = failed.unwrap();
            assert_eq!((failed.error.code(), failed.again), (code, again));
            assert!(matches!(&heard[..], [Piece::Delta(text)] if text == "Hel"), "{heard:?}");
        }
        let (heard, failed) = hear_stream(&[words("Hel")]).await;
        assert!(
            failed.is_none() && matches!(heard[..], [Piece::Delta(_)]),
            "without a last event there is no end"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_understood_and_the_sdk_asks_once() {
        let busy = ("retry-after", "1");
        for (status, name, message, more, code, again) in [
            (429, "ThrottlingException", "", None, "model_busy", Again::Elsewhere),
            (
                429,
                "ThrottlingException",
                "",
                Some(busy),
                "model_busy",
                Again::After(Duration::from_secs(1)),
            ),
            (429, "ModelNotReadyException", "", None, "model_busy", Again::Elsewhere),
            (429, "SomethingNewException", "", None, "model_busy", Again::Elsewhere),
            (
                503,
                "ServiceUnavailableException",
                "",
                None,
                "model_busy",
                Again::After(PAUSE),
            ),
            (
                408,
                "ModelTimeoutException",
                "",
                None,
                "model_timed_out",
                Again::After(PAUSE),
            ),
            (
                424,
                "ModelErrorException",
                "",
                None,
                "model_failed",
                Again::After(PAUSE),
            ),
            (
                500,
                "InternalServerException",
                "",
                None,
                "model_failed",
                Again::After(PAUSE),
            ),
            (502, "", "<html>", None, "model_failed", Again::After(PAUSE)),
            (403, "AccessDeniedException", "", None, "model_failed", Again::Elsewhere),
            (403, "ExpiredTokenException", "", None, "model_failed", Again::Elsewhere),
            (
                404,
                "ResourceNotFoundException",
                "",
                None,
                "model_failed",
                Again::Elsewhere,
            ),
            (
                400,
                "ValidationException",
                "No such parameter.",
                None,
                "model_failed",
                Again::Elsewhere,
            ),
            (
                400,
                "ValidationException",
                "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
                None,
                "context_length_exceeded",
                Again::Never,
            ),
            (
                400,
                "ValidationException",
                "Too many input tokens. Max input tokens: 8192, request input token count: 9279",
                None,
                "context_length_exceeded",
                Again::Never,
            ),
            (
                400,
                "ValidationException",
                "Output blocked by content filtering policy",
                None,
                "content_filtered",
                Again::Never,
            ),
        ] {
            let headers: Vec<_> = [("x-amzn-errortype", name)].into_iter().chain(more).collect();
            let body = json!({"message": message}).to_string().into_bytes();
            let (bedrock, replay) = bedrock(status, &headers, body);
            let (_, failed) = hear(&bedrock, &prompt(&[(Speaker::User, "hello")])).await;
            let failed = failed.unwrap();
            assert_eq!(
                (failed.error.code(), failed.again),
                (code, again),
                "{status} {name} {message}"
            );
            assert_eq!(replay.sent.lock().unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn person_and_model_take_turns_and_the_person_begins() {
        use Speaker::{Assistant, System, User};
        let sampling = Sampling {
            temperature: Some(1.5),
            top_p: Some(0.5),
            seed: Some(1),
            stop: vec!["END".into(), String::new()],
            ..Sampling::default()
        };
        let prompt = Prompt {
            sampling,
            ..prompt(&[
                (System, "Be brief."),
                (Assistant, "Hello."),
                (User, "One."),
                (User, " \n"),
                (System, "Be kind."),
                (User, "Two."),
                (Assistant, "Three?"),
                (User, "Four."),
            ])
        };
        let (bedrock, replay) = bedrock(200, &[], stop("end_turn"));
        hear(&bedrock, &prompt).await;
        let request = replay.sent.lock().unwrap().remove(0);
        assert!(
            request.uri().ends_with("/model/a.model-v1%3A0/converse-stream"),
            "{}",
            request.uri()
        );
        let sent: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let said = |role: &str, text: &str| json!({"role": role, "content": [{"text": text}]});
        assert_eq!(
            sent,
            json!({
                "system": [{"text": "Be brief."}, {"text": "Be kind."}],
                "messages": [
                    said("user", BEGINNING),
                    said("assistant", "Hello."),
                    said("user", "One.\n\nTwo."),
                    said("assistant", "Three?"),
                    said("user", "Four."),
                ],
                "inferenceConfig": {"maxTokens": 50, "temperature": 1.0, "topP": 0.5, "stopSequences": ["END"]},
            })
        );
    }
}
