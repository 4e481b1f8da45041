//! What every client of an AWS service shares: credentials, region and endpoints, from the standard environment variables of AWS.

use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::OnceCell;

/// The configuration of this process, which is loaded once. How long to wait and how often to ask is each client's own business.
pub(crate) async fn config() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    CONFIG
        .get_or_init(async || aws_config::load_defaults(BehaviorVersion::latest()).await)
        .await
}
