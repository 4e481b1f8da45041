use std::{cell::Cell, future::Future, rc::Rc};

use aws_sdk_dynamodb::config::{
    ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
};

/// What one request made DynamoDB do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Requests sent, retries included.
    pub calls: u32,
    /// Read request units, as DynamoDB reported them. It reports none for a request that it refused.
    pub read_units: f64,
    /// Write request units, as DynamoDB reported them.
    pub write_units: f64,
}

tokio::task_local! {
    static METER: Rc<Cell<Usage>>;
}

/// Runs `work` and tells what it used. Calls that `work` hands to other tasks are not counted; the store starts none.
pub async fn metered<F: Future>(work: F) -> (F::Output, Usage) {
    let meter = Rc::new(Cell::new(Usage::default()));
    let output = METER.scope(Rc::clone(&meter), work).await;
    (output, meter.get())
}

/// How many requests this request has made so far.
pub(super) fn calls() -> u32 {
    METER.try_with(|meter| meter.get().calls).unwrap_or(0)
}

pub(super) fn add_read_units(units: Option<f64>) {
    add(|usage| usage.read_units += units.unwrap_or(0.0));
}

pub(super) fn add_write_units(units: Option<f64>) {
    add(|usage| usage.write_units += units.unwrap_or(0.0));
}

fn add(change: impl FnOnce(&mut Usage)) {
    // Start-up calls run outside any request and are not metered.
    let _outside_a_request = METER.try_with(|meter| {
        let mut usage = meter.get();
        change(&mut usage);
        meter.set(usage);
    });
}

/// Counts each attempt as it goes out, so that a retry shows up as one more call.
#[derive(Debug)]
pub(super) struct CountAttempts;

impl Intercept for CountAttempts {
    fn name(&self) -> &'static str {
        "CountAttempts"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), aws_sdk_dynamodb::error::BoxError> {
        add(|usage| usage.calls += 1);
        Ok(())
    }
}
