use std::fmt;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A number of tokens, the currency that a balance holds and a chat costs. Never negative.
///
/// At most 2^53 - 1, the largest integer that every JSON reader keeps exact (RFC 8259 section 6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("maximum" = Self::MAX.get())))]
pub struct Amount(u64);

impl Amount {
    /// No tokens.
    pub const ZERO: Self = Self(0);
    /// The largest amount there is.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// `tokens`, if it is no larger than [`Amount::MAX`].
    pub const fn new(tokens: u64) -> Option<Self> {
        if tokens <= Self::MAX.0 {
            Some(Self(tokens))
        } else {
            None
        }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, unless it passes [`Amount::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// What is left of it without `other`, or nothing if that is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl TryFrom<u64> for Amount {
    type Error = String;

    fn try_from(tokens: u64) -> Result<Self, String> {
        Self::new(tokens).ok_or_else(|| Invalid::new("amount", "Amount is too large").reason.into_owned())
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_above_the_largest_exact_json_integer() {
        let one = Amount::new(1).unwrap();
        assert_eq!(Amount::MAX.checked_add(one), None);
        assert_eq!(Amount::new(u64::MAX), None);
        assert_eq!(Amount::MAX.get(), 9_007_199_254_740_991);
    }
}
