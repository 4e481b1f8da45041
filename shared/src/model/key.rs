//! The key of a provider: none, a given one, or one that is kept in Secrets Manager and may change there while the function lives.

use std::{fmt, sync::Arc, time::Duration};

use aws_sdk_secretsmanager::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    error::ProvideErrorMetadata,
};
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    aws,
    config::{ApiKeyConfig, ConfigError},
};

/// How long a secret is left alone that was read again because its key was refused: a key that is simply wrong is refused to every call.
const BETWEEN_READS: Duration = Duration::from_secs(60);

/// A provider's key. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ApiKey(Arc<str>);

impl ApiKey {
    /// The key, to be sent to the provider and nowhere else.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads the text of a secret: the key itself, or a JSON object with a member `api_key`.
    fn parse(secret: &str) -> Result<Self, &'static str> {
        let secret = secret.trim();
        let key = match serde_json::from_str::<Map<String, Value>>(secret) {
            Ok(object) => object.get("api_key").and_then(Value::as_str).map(str::to_owned),
            Err(_) => Some(secret.to_owned()),
        };
        let key = key.ok_or("it is a JSON object without a text `api_key`")?;
        // As it is sent in a header.
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it is no key: one or more visible ASCII characters");
        }
        Ok(Self(key.into()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Knows the key of a provider.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    None,
    Given(ApiKey),
    Kept(Arc<Kept>),
}

/// A key that is kept in a secret.
#[derive(Debug)]
pub(super) struct Kept {
    client: Client,
    secret: String,
    /// Locked while the secret is read again, so that calls which are refused at the same time read it once.
    last: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    key: ApiKey,
    /// When the secret was last read again.
    again: Option<Instant>,
}

impl Keys {
    /// Reads the secret, if the key is kept in one.
    ///
    /// # Errors
    /// Names the secret that cannot be read, or that holds no key.
    pub(super) async fn start(config: &ApiKeyConfig) -> Result<Self, ConfigError> {
        Ok(match config {
            ApiKeyConfig::None => Self::None,
            ApiKeyConfig::Given(key) => Self::Given(ApiKey(key.as_str().into())),
            ApiKeyConfig::Secret(secret) => {
                let client = connect();
                let key = read(&client, secret).await.map_err(|problem| {
                    let problem = format!("the secret '{secret}' cannot be used: {problem}");
                    ConfigError::new(ApiKeyConfig::SECRET, problem)
                })?;
                Self::Kept(Arc::new(Kept {
                    client,
                    secret: secret.clone(),
                    last: Mutex::new(Read { key, again: None }),
                }))
            }
        })
    }

    /// The key as far as is known.
    pub(super) async fn current(&self) -> Option<ApiKey> {
        match self {
            Self::None => None,
            Self::Given(key) => Some(key.clone()),
            Self::Kept(kept) => Some(kept.last.lock().await.key.clone()),
        }
    }

    /// The key that has come in the place of one that is refused, if there is one.
    pub(super) async fn other_than(&self, refused: Option<&ApiKey>) -> Option<ApiKey> {
        let Self::Kept(kept) = self else {
            return None;
        };
        let mut last = kept.last.lock().await;
        let now = Instant::now();
        // Another call may have read it while this one was refused.
        if refused == Some(&last.key) && last.again.is_none_or(|again| now - again >= BETWEEN_READS) {
            last.again = Some(now);
            match read(&kept.client, &kept.secret).await {
                Ok(key) => last.key = key,
                Err(problem) => {
                    tracing::error!(secret = kept.secret, problem, "the provider's key cannot be read again");
                }
            }
        }
        (refused != Some(&last.key)).then(|| last.key.clone())
    }
}

/// Secrets Manager, asked in a time that a start or a call can spare.
fn connect() -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_millis(1_500))
        .operation_timeout(Duration::from_secs(4))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(50))
        .with_max_backoff(Duration::from_millis(200));
    let config = Builder::from(aws::config())
        .timeout_config(timeouts)
        .retry_config(retries);
    Client::from_conf(config.build())
}

/// What is wrong, is said without anything of the secret's text.
async fn read(client: &Client, secret: &str) -> Result<ApiKey, String> {
    let value = client.get_secret_value().secret_id(secret).send().await;
    let value = value.map_err(|error| error.code().unwrap_or("no answer").to_owned())?;
    let text = value.secret_string().ok_or("it is not a text")?;
    Ok(ApiKey::parse(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_key_or_an_object_with_one() {
        for secret in ["sk-1", " sk-1\n", r#"{"api_key": "sk-1", "owner": "me"}"#] {
            assert_eq!(ApiKey::parse(secret).unwrap().reveal(), "sk-1", "{secret}");
        }
        for secret in [
            "",
            " \n",
            "{}",
            r#"{"api_key": 1}"#,
            r#"{"api_key": ""}"#,
            "two words",
            "k\u{e9}y",
        ] {
            assert!(ApiKey::parse(secret).is_err(), "{secret}");
        }
        assert_eq!(format!("{:?}", ApiKey::parse("sk-1")), "Ok([redacted])");
    }
}
