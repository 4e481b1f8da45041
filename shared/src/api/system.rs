use serde::Serialize;

use super::{Endpoint, Family, Method, Nothing, Outcome, Public};

/// `GET /api/v1/health`
pub const HEALTH: Endpoint<Public, Nothing, Health> =
    Endpoint::new("system-health", Method::Get, &["/api/v1/health"], 200);

/// The gateway reaches its functions. The table is not asked: its health is the provider's business and every other endpoint's.
#[derive(Debug, Serialize)]
pub struct Health {
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
