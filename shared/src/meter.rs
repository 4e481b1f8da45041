//! What one request did, counted where it is done and told by the edge in its log line.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

/// What one request did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Requests sent to DynamoDB, retries included.
    pub calls: u32,
    /// Read request units, as DynamoDB reported them. It reports none for a request that it refused.
    pub read_units: f64,
    /// Write request units, as DynamoDB reported them.
    pub write_units: f64,
    /// Holds placed.
    pub holds_opened: u32,
    /// Holds that became a charge.
    pub holds_settled: u32,
    /// Holds that went back because there was nothing to pay for.
    pub holds_released: u32,
    /// Holds of calls that died, given back after their lease.
    pub holds_expired: u32,
    /// What was charged, in tokens of balances.
    pub tokens_charged: u64,
    /// How often a model's provider was asked.
    pub provider_calls: u32,
    /// How often it failed, for another reason than what it was asked.
    pub provider_errors: u32,
    /// How long it was waited for and listened to.
    pub provider_time: Duration,
}

tokio::task_local! {
    static METER: Rc<Cell<Tally>>;
}

/// Runs `work` and tells what it did. What `work` hands to other tasks is not counted; nothing below the edge starts one.
pub async fn metered<F: Future>(work: F) -> (F::Output, Tally) {
    let meter = Rc::new(Cell::new(Tally::default()));
    let output = METER.scope(Rc::clone(&meter), work).await;
    (output, meter.get())
}

/// Counts something for the request that is served. Start-up runs outside any request and is not metered.
pub fn count(change: impl FnOnce(&mut Tally)) {
    let _outside_a_request = METER.try_with(|meter| {
        let mut tally = meter.get();
        change(&mut tally);
        meter.set(tally);
    });
}

/// What the request that is served has done so far.
pub fn so_far() -> Tally {
    METER.try_with(|meter| meter.get()).unwrap_or_default()
}
