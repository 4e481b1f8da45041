use aws_sdk_dynamodb::config::{
    ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
};

use crate::meter::{count, so_far};

/// How many requests this request has made so far.
pub(super) fn calls() -> u32 {
    so_far().calls
}

pub(super) fn add_read_units(units: Option<f64>) {
    count(|tally| tally.read_units += units.unwrap_or(0.0));
}

pub(super) fn add_write_units(units: Option<f64>) {
    count(|tally| tally.write_units += units.unwrap_or(0.0));
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
        count(|tally| tally.calls += 1);
        Ok(())
    }
}
