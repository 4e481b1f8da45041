//! Checks every balance against its ledger. No route leads here: a schedule invokes it once a day, and operators by name.

use shared::{
    Error,
    config::TableConfig,
    domain::Timestamp,
    lambda::{self, BoxError},
    reconcile::{ReconcileRequest, Reconciled, Reconciliation},
    store::Store,
};

struct App {
    reconciliation: Reconciliation,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    lambda::serve_operator(
        "ledger-reconcile",
        async |_now| {
            let store = Store::connect(&TableConfig::from_env()?);
            Ok(App {
                reconciliation: Reconciliation::new(store),
            })
        },
        reconcile,
    )
    .await
}

async fn reconcile(app: &App, request: ReconcileRequest, now: Timestamp) -> Result<Reconciled, Error> {
    app.reconciliation.run(&request, now).await
}
