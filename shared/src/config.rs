//! The environment variables of the functions: one struct a concern, read once at start-up.
//!
//! A function takes only the structs that it needs. A missing or unusable variable stops the start with a message that names it. What a
//! deployment may want to change is a parameter of `template.yaml`.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::domain::{Amount, ContextBudget, Message, ModelName, Password, PasswordPolicy, PriceList, Pricing, Rate};

/// A variable that is missing or cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment variable {}: {}", self.variable, self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// What a variable names cannot be used.
    pub(crate) fn new(variable: &'static str, problem: String) -> Self {
        Self { variable, problem }
    }
}

/// Where everything is stored.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// `TABLE_NAME`, required.
    pub name: String,
}

impl TableConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            name: required("TABLE_NAME")?,
        })
    }
}

/// How the services of AWS are reached. Only variables count, no files and no metadata services: they are what a function has.
#[derive(Debug, Clone)]
pub struct AwsConfig {
    /// `AWS_REGION`, or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL`: where all services are that [`AwsConfig::of_service`] says nothing else of; at AWS if it is not set.
    pub endpoint_url: Option<String>,
}

impl AwsConfig {
    /// Reads it from the environment.
    pub fn from_env() -> Self {
        Self {
            region: optional("AWS_REGION").or_else(|| optional("AWS_DEFAULT_REGION")),
            endpoint_url: optional("AWS_ENDPOINT_URL"),
        }
    }

    /// What a variable is for one service, such as `AWS_ENDPOINT_URL_SECRETS_MANAGER` for `AWS_ENDPOINT_URL` of `Secrets Manager`.
    pub fn of_service(variable: &str, service: &str) -> Option<String> {
        let service = service.to_uppercase().replace(' ', "_");
        optional(&format!("{variable}_{service}"))
    }
}

/// What tokens say and how long they live. All functions of a deployment share it.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// `TOKEN_ISSUER`, default `ai-chat-system`: the `iss` of every token.
    pub issuer: String,
    /// `TOKEN_AUDIENCE`, default `ai-chat-system`: the `aud` of every token.
    pub audience: String,
    /// `ACCESS_TOKEN_SECONDS`, default 360.
    pub access_lifetime: Duration,
    /// `REFRESH_TOKEN_SECONDS`, default 1800: also how long an unused session lasts.
    pub refresh_lifetime: Duration,
}

impl TokenConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        // 30 days bounds how long the table keeps a retired public key.
        let access = in_range("ACCESS_TOKEN_SECONDS", 360, 1..=2_592_000)?;
        let refresh = in_range("REFRESH_TOKEN_SECONDS", 1_800, 1..=2_592_000)?;
        if refresh < access {
            return Err(ConfigError {
                variable: "REFRESH_TOKEN_SECONDS",
                problem: format!("{refresh} is shorter than ACCESS_TOKEN_SECONDS ({access})"),
            });
        }
        Ok(Self {
            issuer: optional("TOKEN_ISSUER").unwrap_or_else(|| "ai-chat-system".into()),
            audience: optional("TOKEN_AUDIENCE").unwrap_or_else(|| "ai-chat-system".into()),
            access_lifetime: Duration::from_secs(access),
            refresh_lifetime: Duration::from_secs(refresh),
        })
    }
}

/// The secret that tokens are signed with. Prints as `[redacted]`.
#[derive(Clone)]
pub struct SigningConfig {
    /// `SIGNING_SEED`, required: 32 bytes in base64, the Ed25519 seed (RFC 8032 section 5.1.5), or any other text of at least 32
    /// characters, which is hashed to one (Secrets Manager can generate a text, but not bytes).
    pub seed: [u8; 32],
}

impl fmt::Debug for SigningConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningConfig { seed: [redacted] }")
    }
}

impl SigningConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable; never shows its value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::parse(&required("SIGNING_SEED")?).map_err(|problem| ConfigError {
            variable: "SIGNING_SEED",
            problem: problem.into(),
        })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        use sha2::{Digest, Sha256};
        let text = text.trim();
        if let Ok(bytes) = STANDARD.decode(text)
            && let Ok(seed) = bytes.try_into()
        {
            return Ok(Self { seed });
        }
        if text.len() < 32 {
            return Err("must be 32 bytes in base64, or a random text of at least 32 characters");
        }
        // The text has its full entropy already; the prefix only keeps this use of it apart from any other.
        let seed = Sha256::new()
            .chain_update(b"ed25519 seed\0")
            .chain_update(text)
            .finalize();
        Ok(Self { seed: seed.into() })
    }
}

/// What a new account gets.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// `SIGNUP_TOKENS`, default 4000.
    pub signup_grant: Amount,
    /// `PASSWORD_MIN_BYTES`, default 8, and `PASSWORD_MAX_BYTES`, default 1024: how long a new password may be.
    pub passwords: PasswordPolicy,
}

impl AccountConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let passwords = PasswordPolicy {
            min_bytes: in_range("PASSWORD_MIN_BYTES", 8, 1..=Password::MAX_BYTES)?,
            max_bytes: in_range("PASSWORD_MAX_BYTES", Password::MAX_BYTES, 1..=Password::MAX_BYTES)?,
        };
        if passwords.max_bytes < passwords.min_bytes {
            return Err(ConfigError {
                variable: "PASSWORD_MAX_BYTES",
                problem: format!(
                    "{} is less than PASSWORD_MIN_BYTES ({})",
                    passwords.max_bytes, passwords.min_bytes
                ),
            });
        }
        Ok(Self {
            signup_grant: amount("SIGNUP_TOKENS", 4_000)?,
            passwords,
        })
    }
}

/// How the charge of a chat is kept safe.
#[derive(Debug, Clone)]
pub struct BillingConfig {
    /// `HOLD_LEASE_SECONDS`, default 60: after this an unsettled hold is given back. Must be longer than the chat function may run,
    /// or the answer of a slow call is thrown away.
    pub hold_lease: Duration,
    /// `MAX_OPEN_HOLDS`, default 64: how many messages of one user may be in flight.
    pub max_open_holds: u16,
    /// `CHATS_PER_MINUTE`, default 60, and `CHAT_BURST`, default 100: how many messages one user may send, and how many of them at once; 0
    /// for no limit.
    pub pace: Option<Rate>,
}

impl BillingConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            hold_lease: Duration::from_secs(in_range("HOLD_LEASE_SECONDS", 60, 1..=3_600)?),
            max_open_holds: in_range("MAX_OPEN_HOLDS", 64, 1..=1_000)?,
            pace: rate(("CHATS_PER_MINUTE", 60), ("CHAT_BURST", 100))?,
        })
    }
}

/// How fast the clients of one network may do what needs no account, and how many of that a process lets through before it asks the table.
#[derive(Debug, Clone)]
pub struct PacingConfig {
    /// The pace; none for no limit.
    pub pace: Option<Rate>,
    /// How many of each network a process lets through in a minute by itself.
    pub free_per_minute: u32,
}

impl PacingConfig {
    /// `SIGNUPS_PER_MINUTE`, default 10, and `SIGNUP_BURST`, default 60.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn of_signups() -> Result<Self, ConfigError> {
        Ok(Self {
            pace: rate(("SIGNUPS_PER_MINUTE", 10), ("SIGNUP_BURST", 60))?,
            free_per_minute: 3,
        })
    }

    /// `LOGINS_PER_MINUTE`, default 60, and `LOGIN_BURST`, default 200. Failures with one name are slowed down much earlier.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn of_logins() -> Result<Self, ConfigError> {
        Ok(Self {
            pace: rate(("LOGINS_PER_MINUTE", 60), ("LOGIN_BURST", 200))?,
            free_per_minute: 10,
        })
    }

    /// `REFRESHES_PER_MINUTE`, default 300, and `REFRESH_BURST`, default 600.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn of_refreshes() -> Result<Self, ConfigError> {
        Ok(Self {
            pace: rate(("REFRESHES_PER_MINUTE", 300), ("REFRESH_BURST", 600))?,
            free_per_minute: 30,
        })
    }
}

fn rate(
    (per_minute, default_per_minute): (&'static str, u32),
    (burst, default_burst): (&'static str, u32),
) -> Result<Option<Rate>, ConfigError> {
    // At most one a millisecond, the unit of time here.
    let per_minute = in_range(per_minute, default_per_minute, 0..=60_000)?;
    Ok(Rate::new(per_minute, in_range(burst, default_burst, 0..=100_000)?))
}

/// What a message may be, and what it costs.
#[derive(Debug, Clone)]
pub struct MessageConfig {
    /// `MESSAGE_MAX_CHARACTERS`, default 8000, at most 16 000: that many of four bytes fit a body of 64 KiB.
    pub max_chars: usize,
    /// `SYSTEM_PROMPT`, none by default: what a model is told before everything else, at most 4000 bytes.
    pub system_prompt: Option<String>,
    /// `CONTEXT_MAX_TOKENS`, default 8000, at most 200 000: how much of a conversation goes with each of its messages, by a rough count. 0
    /// for nothing.
    pub context: ContextBudget,
    /// `MODEL_PRICES`, a [`PriceList`] in JSON by which each answer costs what the model read and wrote; without it
    /// `MESSAGE_COST_TOKENS`, default 100, is what each costs.
    pub pricing: Pricing,
}

impl MessageConfig {
    /// Reads it from the environment of a deployment that serves these models.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn from_env(served: &Served) -> Result<Self, ConfigError> {
        let pricing = match optional("MODEL_PRICES") {
            None => Pricing::Flat(amount("MESSAGE_COST_TOKENS", 100)?),
            Some(json) => {
                let list = PriceList::parse(&json, served.all());
                Pricing::ByUsage(list.map_err(|problem| ConfigError {
                    variable: "MODEL_PRICES",
                    problem,
                })?)
            }
        };
        let system_prompt = optional("SYSTEM_PROMPT");
        if system_prompt.as_ref().is_some_and(|prompt| prompt.len() > 4_000) {
            return Err(ConfigError {
                variable: "SYSTEM_PROMPT",
                problem: "is longer than 4000 bytes".into(),
            });
        }
        Ok(Self {
            max_chars: in_range("MESSAGE_MAX_CHARACTERS", Message::DEFAULT_MAX_CHARS, 1..=16_000)?,
            system_prompt,
            context: ContextBudget::new(in_range("CONTEXT_MAX_TOKENS", 8_000, 0..=200_000)?),
            pricing,
        })
    }
}

/// Which models answer.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// `MODEL_PROVIDER`, default `echo`.
    pub provider: ProviderConfig,
    /// Which of the provider's models.
    pub served: Served,
    /// `MODEL_MAX_OUTPUT_TOKENS`, default 1024, for the echo a million: how long an answer may be, in the model's own tokens. What that
    /// costs is held for every message, so more than is needed keeps people from using the last of their balance.
    pub max_output_tokens: u32,
    /// `MODEL_TIMEOUT_MILLISECONDS`, default 15 000: how long an answer may take. Must leave the function time to settle or release.
    pub timeout: Duration,
    /// `MODEL_SILENCE_MILLISECONDS`, default 10 000: how long a model may say nothing, before the answer or in it.
    pub silence: Duration,
}

/// The models that a deployment serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// `MODEL_NAME`: the one that answers where nobody asks for another.
    pub first: ModelName,
    /// `MODEL_FALLBACK`, none by default: the one that is asked when another says nothing.
    pub fallback: Option<ModelName>,
    /// `MODEL_CHOICES`, none by default: others that clients may ask for, separated by commas.
    pub others: Vec<ModelName>,
}

impl Served {
    /// Every one of them, the first first; one may come twice.
    pub fn all(&self) -> impl Iterator<Item = &ModelName> {
        std::iter::once(&self.first).chain(&self.fallback).chain(&self.others)
    }

    /// As [`Served::all`], each once.
    pub fn each(&self) -> Vec<&ModelName> {
        let mut each = Vec::new();
        for model in self.all() {
            if !each.contains(&model) {
                each.push(model);
            }
        }
        each
    }

    fn from_env(default: Option<&str>) -> Result<Self, ConfigError> {
        let name = |variable, text: &str| {
            ModelName::parse(text.trim()).map_err(|invalid| ConfigError {
                variable,
                problem: format!("'{text}': {}", invalid.reason),
            })
        };
        let first = match (optional("MODEL_NAME"), default) {
            (None, Some(default)) => default.to_owned(),
            (given, _) => given.map_or_else(|| required("MODEL_NAME"), Ok)?,
        };
        let fallback = optional("MODEL_FALLBACK");
        let others = optional("MODEL_CHOICES").unwrap_or_default();
        let others = others.split(',').filter(|text| !text.trim().is_empty());
        Ok(Self {
            first: name("MODEL_NAME", &first)?,
            fallback: fallback.map(|text| name("MODEL_FALLBACK", &text)).transpose()?,
            others: others
                .map(|text| name("MODEL_CHOICES", text))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The settings of one provider.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// Answers by naming the message; for tests and demonstrations.
    Echo(EchoConfig),
    /// Any server that speaks OpenAI's chat completions API.
    OpenAi(OpenAiConfig),
    /// Amazon Bedrock, in the region and with the permissions of the function.
    Bedrock,
}

/// How the echo behaves.
#[derive(Debug, Clone)]
pub struct EchoConfig {
    /// `ECHO_DELAY_MILLISECONDS`, default 0: how long it thinks.
    pub delay: Duration,
    /// `ECHO_PACE_MILLISECONDS`, default 0: how long each word takes it.
    pub pace: Duration,
    /// `ECHO_FAILURE`, default `none`: how every call fails after the delay.
    pub failure: EchoFailure,
}

/// A server that speaks OpenAI's chat completions API.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// `OPENAI_BASE_URL`, default `https://api.openai.com/v1`: what `/chat/completions` is added to.
    pub base_url: String,
    /// What is sent as a bearer token.
    pub api_key: ApiKeyConfig,
}

/// Where the key of a provider comes from. Prints without it.
#[derive(Clone)]
pub enum ApiKeyConfig {
    /// There is none.
    None,
    /// `OPENAI_API_KEY`: the key itself.
    Given(String),
    /// `OPENAI_API_KEY_SECRET`: the name or ARN of the secret in Secrets Manager that holds it, by itself or as the member `api_key` of a
    /// JSON object.
    Secret(String),
}

impl ApiKeyConfig {
    /// The variable that names the secret.
    pub(crate) const SECRET: &str = "OPENAI_API_KEY_SECRET";

    fn from_env() -> Result<Self, ConfigError> {
        match (optional("OPENAI_API_KEY"), optional(Self::SECRET)) {
            (None, None) => Ok(Self::None),
            (Some(key), None) => Ok(Self::Given(key)),
            (None, Some(name)) => Ok(Self::Secret(name)),
            (Some(_), Some(_)) => Err(ConfigError {
                variable: Self::SECRET,
                problem: "is set beside OPENAI_API_KEY; only one can be the key".into(),
            }),
        }
    }
}

impl fmt::Debug for ApiKeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Given(_) => f.write_str("[redacted]"),
            Self::Secret(name) => write!(f, "Secret({name})"),
        }
    }
}

impl OpenAiConfig {
    fn from_env() -> Result<Self, ConfigError> {
        let base_url = optional("OPENAI_BASE_URL").unwrap_or_else(|| "https://api.openai.com/v1".into());
        if !(base_url.starts_with("https://") || base_url.starts_with("http://")) {
            return Err(ConfigError {
                variable: "OPENAI_BASE_URL",
                problem: format!("'{base_url}' is not a URL such as https://api.openai.com/v1"),
            });
        }
        Ok(Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            api_key: ApiKeyConfig::from_env()?,
        })
    }
}

/// How the echo fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoFailure {
    /// Not at all.
    None,
    /// With an error, as a provider does that is down.
    Error,
    /// With an error after half of the answer.
    Midway,
    /// With a panic, as only a defect does.
    Panic,
}

impl ModelConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let (provider, default, longest) = match choice("MODEL_PROVIDER", "echo", &["echo", "openai", "bedrock"])? {
            "openai" => (ProviderConfig::OpenAi(OpenAiConfig::from_env()?), None, 1_024),
            "bedrock" => (ProviderConfig::Bedrock, None, 1_024),
            _ => {
                let echo = EchoConfig {
                    delay: Duration::from_millis(in_range("ECHO_DELAY_MILLISECONDS", 0, 0..=900_000)?),
                    pace: Duration::from_millis(in_range("ECHO_PACE_MILLISECONDS", 0, 0..=60_000)?),
                    failure: match choice("ECHO_FAILURE", "none", &["none", "error", "midway", "panic"])? {
                        "error" => EchoFailure::Error,
                        "midway" => EchoFailure::Midway,
                        "panic" => EchoFailure::Panic,
                        _ => EchoFailure::None,
                    },
                };
                (ProviderConfig::Echo(echo), Some("echo"), 1_000_000)
            }
        };
        Ok(Self {
            provider,
            served: Served::from_env(default)?,
            max_output_tokens: in_range("MODEL_MAX_OUTPUT_TOKENS", longest, 1..=1_000_000)?,
            timeout: Duration::from_millis(in_range("MODEL_TIMEOUT_MILLISECONDS", 15_000, 1..=900_000)?),
            silence: Duration::from_millis(in_range("MODEL_SILENCE_MILLISECONDS", 10_000, 1..=900_000)?),
        })
    }
}

/// What every log line of a function says.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `METRICS_NAMESPACE`, none by default: where CloudWatch keeps the metrics of the lines; without it they carry none.
    pub metrics_namespace: Option<String>,
    /// `STAGE`, default `local`.
    pub stage: String,
    /// `AWS_LAMBDA_FUNCTION_VERSION`, which Lambda sets: while a new version is tried, there are two.
    pub version: Option<String>,
}

impl LogConfig {
    /// Reads it from the environment.
    pub fn from_env() -> Self {
        Self {
            metrics_namespace: optional("METRICS_NAMESPACE"),
            stage: optional("STAGE").unwrap_or_else(|| "local".into()),
            version: optional("AWS_LAMBDA_FUNCTION_VERSION"),
        }
    }
}

/// Where a process runs.
#[derive(Debug)]
pub struct RuntimeConfig;

impl RuntimeConfig {
    /// Whether there is a Lambda Runtime API to take invocations from (`AWS_LAMBDA_RUNTIME_API`, which Lambda sets).
    pub fn is_in_lambda() -> bool {
        optional("AWS_LAMBDA_RUNTIME_API").is_some()
    }

    /// The first argument of the command line.
    pub fn first_argument() -> Option<String> {
        std::env::args().nth(1)
    }
}

/// What the edge adds to every answer.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// `ALLOWED_ORIGINS`, default `*`: the web origins that browsers may call from, separated by commas, compared exactly.
    pub allowed_origins: AllowedOrigins,
}

/// The web origins whose pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All of them. Credentials of browsers (cookies) are never allowed, and none are used.
    Any,
    /// These, such as `https://chat.example.com`.
    List(Vec<String>),
}

impl EdgeConfig {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// Names the variable that is unusable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = optional("ALLOWED_ORIGINS").unwrap_or_else(|| "*".into());
        let allowed_origins = parse_origins(&text).map_err(|problem| ConfigError {
            variable: "ALLOWED_ORIGINS",
            problem,
        })?;
        Ok(Self { allowed_origins })
    }
}

fn parse_origins(text: &str) -> Result<AllowedOrigins, String> {
    if text.trim() == "*" {
        return Ok(AllowedOrigins::Any);
    }
    let origins: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty())
        .collect();
    for origin in &origins {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '@', '?', '#'])) {
            return Err(format!("'{origin}' is not an origin such as https://chat.example.com"));
        }
    }
    Ok(AllowedOrigins::List(origins.into_iter().map(str::to_owned).collect()))
}

#[expect(clippy::disallowed_methods, reason = "this module is where the environment is read")]
fn optional(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

fn required(variable: &'static str) -> Result<String, ConfigError> {
    optional(variable).ok_or_else(|| ConfigError {
        variable,
        problem: "is required".into(),
    })
}

fn in_range<N>(variable: &'static str, default: N, range: std::ops::RangeInclusive<N>) -> Result<N, ConfigError>
where
    N: FromStr + PartialOrd + fmt::Display,
{
    let Some(text) = optional(variable) else {
        return Ok(default);
    };
    match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(ConfigError {
            variable,
            problem: format!(
                "'{text}' is not a whole number from {} to {}",
                range.start(),
                range.end()
            ),
        }),
    }
}

fn amount(variable: &'static str, default: u64) -> Result<Amount, ConfigError> {
    let number = in_range(variable, default, 0..=Amount::MAX.get())?;
    Ok(Amount::new(number).unwrap_or(Amount::MAX))
}

fn choice(
    variable: &'static str,
    default: &'static str,
    choices: &[&'static str],
) -> Result<&'static str, ConfigError> {
    let text = optional(variable).unwrap_or_else(|| default.into());
    choices
        .iter()
        .find(|choice| **choice == text)
        .copied()
        .ok_or_else(|| ConfigError {
            variable,
            problem: format!("'{text}' is none of: {}", choices.join(", ")),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_32_bytes_in_base64_or_a_long_text() {
        assert_eq!(
            SigningConfig::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
                .unwrap()
                .seed,
            [0; 32]
        );
        let generated = SigningConfig::parse("x7Gq,2m!Pz9_wLrT4vB8nKc5dYh3sJf6").unwrap();
        assert_ne!(generated.seed, [0; 32]);
        assert!(SigningConfig::parse("short").is_err());
        assert!(!format!("{generated:?}").contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn origins_are_exact_or_all() {
        assert_eq!(parse_origins("*"), Ok(AllowedOrigins::Any));
        let list = vec!["https://a.example".into(), "http://localhost:3000".into()];
        assert_eq!(
            parse_origins("https://a.example, http://localhost:3000"),
            Ok(AllowedOrigins::List(list))
        );
        for bad in [
            "https://*.example",
            "a.example",
            "https://a.example/",
            "null",
            "https://",
        ] {
            assert!(parse_origins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_config_error_names_its_variable() {
        let error = in_range("PATH", 1_u16, 0..=5).unwrap_err().to_string();
        assert!(error.starts_with("environment variable PATH: '"), "{error}");
    }
}
