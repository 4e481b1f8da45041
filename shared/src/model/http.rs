//! Requests to providers without an SDK, on the HTTP client that the SDKs bring along: a second one would be a tenth of a function's size.

use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use aws_smithy_types::{
    body::SdkBody,
    byte_stream::{ByteStream, error::Error as BodyError},
};
use bytes::Bytes;

use super::Failed;
use crate::error::Error;

/// A client that keeps its connections. It follows no redirect: that would send the key and the message somewhere that nobody configured.
#[derive(Debug, Clone)]
pub(super) struct Http(SharedHttpConnector);

/// A reply whose body is still to come.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) retry_after: Option<String>,
    body: ByteStream,
}

impl Http {
    pub(super) fn new() -> Self {
        let settings = HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(3));
        let connector = Connector::builder()
            .connector_settings(settings.build())
            .sleep_impl(TokioSleep::new())
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc));
        Self(SharedHttpConnector::new(connector.build()))
    }

    /// Sends JSON, with a bearer token if there is one.
    pub(super) async fn post(&self, url: &str, token: Option<&str>, json: String) -> Result<Response, Failed> {
        let mut request = HttpRequest::new(SdkBody::from(json));
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            (
                "user-agent",
                concat!("ai-chat-system/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
        ];
        headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        // Neither of these is logged: the URL may hold a key, too.
        let unsendable = |_| Failed::unusable("its URL or its key cannot be sent");
        request.set_method("POST").map_err(unsendable)?;
        request.set_uri(url).map_err(unsendable)?;
        for (name, value) in headers {
            request.headers_mut().try_insert(name, value).map_err(unsendable)?;
        }
        let response = self.0.call(request).await.map_err(|error| unreached(&error))?;
        let header = |name| response.headers().get(name).map(str::to_owned);
        Ok(Response {
            status: response.status().as_u16(),
            content_type: header("content-type"),
            retry_after: header("retry-after"),
            body: ByteStream::new(response.into_body()),
        })
    }
}

impl Response {
    /// The next bytes of the body, until there are no more.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        self.body.try_next().await.map_err(|error| cut_off(&error))
    }
}

fn unreached(error: &ConnectorError) -> Failed {
    let kind = [
        (error.is_timeout(), "timed out"),
        (error.is_io(), "no connection"),
        (error.is_user(), "no request"),
    ];
    let kind = kind.iter().find(|(is, _)| *is).map_or("no reply", |(_, kind)| kind);
    tracing::error!(kind, "the model could not be asked");
    Failed::after_a_pause(Error::model_failed())
}

fn cut_off(_error: &BodyError) -> Failed {
    tracing::error!("the model's reply was cut off");
    Failed::after_a_pause(Error::model_failed())
}
