//! What every client of an AWS service shares: region, endpoints and credentials, from the standard environment variables of AWS.
//!
//! The SDK's own way to find them also knows files, roles and metadata services, none of which a function has: more than a megabyte of each of them.

use std::sync::LazyLock;

use aws_config::{BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::config::AwsConfig;

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
