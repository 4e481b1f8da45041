use serde::{Deserialize, Serialize};

use super::{Amount, Invalid, LedgerId, Person, Timestamp};

/// Tokens to be put on a balance, or taken off it if negative. Never zero, never beyond what a balance can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjustment(i64);

impl Adjustment {
    /// The largest: no balance can hold more.
    #[expect(clippy::cast_possible_wrap, reason = "it is less than 2^53")]
    pub const MOST: i64 = Amount::MAX.get() as i64;

    /// Reads an adjustment.
    ///
    /// # Errors
    /// Says that it is zero or larger than any balance.
    pub fn parse(tokens: i64) -> Result<Self, Invalid> {
        if tokens == 0 {
            return Err(Invalid::new("amount", "Amount must not be zero"));
        }
        match Amount::new(tokens.unsigned_abs()) {
            Some(_) => Ok(Self(tokens)),
            None => Err(Invalid::new("amount", "Amount is too large")),
        }
    }

    /// The number itself.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The balance after this, of a user who has that much `held`: it may all come back.
    ///
    /// # Errors
    /// Says that it would be below zero or, with what is held, beyond what a balance can hold.
    pub fn apply(self, balance: Amount, held: Amount) -> Result<Amount, Invalid> {
        let after = i64::try_from(balance.get())
            .ok()
            .and_then(|balance| balance.checked_add(self.0));
        match after {
            Some(after) if after < 0 => Err(Invalid::new("amount", "Amount would take the balance below zero")),
            after => after
                .and_then(|after| u64::try_from(after).ok())
                .and_then(Amount::new)
                .filter(|after| after.checked_add(held).is_some())
                .ok_or_else(|| Invalid::new("amount", "Amount would take the balance beyond the largest there is")),
        }
    }
}

/// Why somebody with the right to did something to somebody else's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// The longest reason, in characters.
    pub const MAX_CHARS: usize = 500;

    /// Reads a reason: some text without control characters, at most 500 characters.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Invalid::new("reason", "Reason is required"));
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(Invalid::new("reason", "Reason must be at most 500 characters long"));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("reason", "Reason must be one line"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One entry of a ledger: tokens that came to an account or left it, other than by chats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Sorts by the time it was made.
    pub id: LedgerId,
    /// What was put on the balance; negative if it was taken off. Zero for a correction that made the balance what the ledger says.
    pub amount: i64,
    /// Why.
    pub reason: String,
    /// Who did it; nobody if an operator's reconciliation did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Person>,
    /// The balance right after it; open holds are not part of it. None where no balance changed: such an entry takes the place of chats that
    /// were removed and of what they had cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_after: Option<Amount>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(tokens: u64) -> Amount {
        Amount::new(tokens).unwrap()
    }

    #[test]
    fn an_adjustment_keeps_a_balance_within_what_it_can_hold() {
        let adjust = |tokens, from| Adjustment::parse(tokens).unwrap().apply(balance(from), Amount::ZERO);
        assert_eq!(adjust(-100, 100), Ok(Amount::ZERO));
        assert_eq!(adjust(5, 100), Ok(balance(105)));
        assert!(adjust(-101, 100).unwrap_err().reason.contains("below zero"));
        let most = i64::try_from(Amount::MAX.get()).unwrap();
        assert_eq!(adjust(most, 0), Ok(Amount::MAX));
        assert!(adjust(most, 1).unwrap_err().reason.contains("beyond"));
        assert_eq!(adjust(-most, Amount::MAX.get()), Ok(Amount::ZERO));
        // What is held comes back on top of it.
        let with_hold = Adjustment::parse(most - 100).unwrap().apply(balance(0), balance(101));
        assert!(with_hold.unwrap_err().reason.contains("beyond"));
    }

    #[test]
    fn nothing_and_the_impossible_are_no_adjustments() {
        for tokens in [0, i64::MIN, i64::MAX, 1 << 53, -(1 << 53)] {
            assert!(Adjustment::parse(tokens).is_err(), "{tokens}");
        }
    }

    #[test]
    fn a_reason_is_one_line_of_text() {
        assert_eq!(Reason::parse(" refund ").unwrap().as_str(), "refund");
        assert!(Reason::parse(&"é".repeat(500)).is_ok());
        for text in ["", "  ", "two\nlines", "\u{0}", &"x".repeat(501)] {
            assert!(Reason::parse(text).is_err(), "{text:?}");
        }
    }
}
