//! `GET /api/v1/admin/figures`: what the deployment did in the last 24 hours, for staff.

use shared::{
    Error,
    admin::Overview,
    api::{self, Call, Nothing, Staff},
    config::LogConfig,
    domain::Figures,
    lambda::{self, BoxError},
    metrics::Metrics,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_callers(
        api::ADMIN_FIGURES,
        async |store| Ok(Overview::new(store, Metrics::connect(LogConfig::from_env()))),
        tell,
    )
    .await
}

async fn tell(overview: &Overview, call: Call<Staff, Nothing>) -> Result<Figures, Error> {
    overview.figures(&call.caller, call.now).await
}
