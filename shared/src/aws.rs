//! What every client of an AWS service shares: region, endpoints and credentials, from the standard environment variables of AWS, and what it
//! means when a service does not answer.
//!
//! The SDK's own way to find them also knows files, roles and metadata services, none of which a function has: more than a megabyte of each of them.

use std::sync::LazyLock;

use aws_config::{BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::{config::AwsConfig, error::Error};

#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        AwsConfig::of_service(key.env(), key.service_id())
    }
}

/// The configuration of this process. How long to wait and how often to ask is each client's own business.
pub(crate) fn config() -> &'static SdkConfig {
    static CONFIG: LazyLock<SdkConfig> = LazyLock::new(|| {
        let config = AwsConfig::from_env();
        let credentials = EnvironmentVariableCredentialsProvider::new();
        let mut aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(config.region.map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .service_config(Environment);
        aws.set_endpoint_url(config.endpoint_url);
        aws.build()
    });
    &CONFIG
}

/// What a failed request means; with one of the codes in `busy` it may be sent again later. Only codes and messages are kept: the SDK's debug
/// form shows whole responses, items included.
pub(crate) fn failure<E>(operation: &str, error: &SdkError<E, HttpResponse>, busy: &[&str]) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code();
    let text = match (code, error.message()) {
        (Some(code), message) => format!("{operation}: {code}: {}", message.unwrap_or("no message")),
        (None, _) => {
            let mut text = format!("{operation}: {error}");
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            text
        }
    };
    let server_error = error
        .raw_response()
        .is_some_and(|response| response.status().is_server_error());
    let is_busy = match error {
        _ if server_error => true,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        _ => code.is_some_and(|code| busy.contains(&code)),
    };
    if is_busy {
        Error::Busy(text.into())
    } else {
        Error::Internal(text.into())
    }
}
