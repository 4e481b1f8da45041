use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{Caching, Endpoint, Family, Input, Method, Nothing, Outcome, Parts, Public};
use crate::error::Error;

/// `GET /api/v1/health`
pub const HEALTH: Endpoint<Public, Nothing, Health> =
    Endpoint::new("system-health", Method::Get, &["/api/v1/health"], 200);
/// `GET /openapi.json`
pub const OPENAPI: Endpoint<Public, OpenApiRequest, OpenApi> =
    Endpoint::new("system-openapi", Method::Get, &["/openapi.json"], 200).with_caching(Caching::Revalidated);

/// The gateway reaches its functions. The table is not asked: its health is the provider's business and every other endpoint's.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "HealthBody"))]
pub struct Health {
    #[cfg_attr(test, schemars(extend("const" = "ok")))]
    status: &'static str,
    version: &'static str,
}

impl Health {
    /// The state of this build.
    pub const OK: Self = Self {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    };
}

impl Outcome for Health {
    type Body = Self;

    fn render(self, _family: Family) -> Self {
        self
    }
}

/// The document that says what this API is.
#[derive(Debug)]
pub struct OpenApiRequest {
    /// As [`Parts::base`].
    pub base: String,
}

impl Input for OpenApiRequest {
    type Body = ();
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            base: parts.base.to_owned(),
        })
    }
}

/// An OpenAPI document (<https://spec.openapis.org/oas/v3.1.2.html>): the snapshot in `docs/`, with the address that it was asked for at.
#[derive(Debug)]
pub struct OpenApi {
    members: BTreeMap<String, Box<RawValue>>,
}

impl OpenApi {
    /// The document for whoever finds the API at `base`.
    ///
    /// # Errors
    /// None that can happen: the snapshot is part of the build, and a test reads it.
    pub fn at(base: &str) -> Result<Self, Error> {
        // Its members are handed on as they are; to read all of it would take longer than everything else here.
        let mut members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(include_str!("../../../docs/openapi.json")).map_err(Error::internal)?;
        // Without a host: whatever it was asked for at, it is the same again.
        let url = match base.trim_end_matches('/') {
            "" => "/",
            below => below,
        };
        let servers = serde_json::value::to_raw_value(&json!([{"url": url}])).map_err(Error::internal)?;
        members.insert("servers".into(), servers);
        Ok(Self { members })
    }
}

/// The document about itself: no more than that it is one.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(rename = "DocumentBody")]
#[expect(dead_code, reason = "only its schema is wanted")]
pub(crate) struct DocumentSchema {
    #[schemars(regex(pattern = r"^3\.1\."))]
    openapi: String,
    info: serde_json::Map<String, serde_json::Value>,
    servers: Vec<serde_json::Map<String, serde_json::Value>>,
    tags: Vec<serde_json::Map<String, serde_json::Value>>,
    paths: serde_json::Map<String, serde_json::Value>,
    components: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
impl schemars::JsonSchema for OpenApi {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Document".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<DocumentSchema>()
    }
}

impl Outcome for OpenApi {
    type Body = Self;

    fn render(self, _family: Family) -> Self {
        self
    }
}

impl Serialize for OpenApi {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.serialize(serializer)
    }
}
