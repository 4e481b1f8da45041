use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Amount, ModelName, Prompt};

/// What a model says it read and wrote, in its own tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What it read, the cached part included.
    #[serde(rename = "i")]
    pub input: u64,
    /// What of that it had read before and charges less for.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub cached_input: u64,
    /// What it wrote.
    #[serde(rename = "o")]
    pub output: u64,
    /// Whether the provider did not say and this is counted from the length of the texts.
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What one token of a model costs, in millionths of a token of the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// What it reads.
    pub input: u64,
    /// What it reads again; the same as `input` where it is not said.
    pub cached_input: Option<u64>,
    /// What it writes.
    pub output: u64,
    /// How many tokens the model can read at once, if it is known: no request costs more input than that.
    pub context: Option<u64>,
}

/// The prices of every model that a deployment serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// Which edition of the prices this is, such as a date; each chat says by which it was charged.
    pub version: String,
    /// What a hold is more than the bound, in per cent of it: 100 or more, 100 where it is not said.
    pub hold_percent: Option<u64>,
    /// The rates by the model's name.
    pub models: BTreeMap<String, Rates>,
}

/// How much of an answer a user got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// All that the model had to say, or all that it was given room or time for.
    All,
    /// What came before the model broke off.
    Part,
}

/// What answers cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pricing {
    /// Each the same.
    Flat(Amount),
    /// By what the model read and wrote.
    ByUsage(PriceList),
}

const MILLION: u128 = 1_000_000;

impl Rates {
    const fn cached(&self) -> u64 {
        match self.cached_input {
            Some(rate) => rate,
            None => self.input,
        }
    }

    fn cost(&self, usage: &Usage) -> Amount {
        let cached = usage.cached_input.min(usage.input);
        let millionths = product(usage.input - cached, self.input)
            .saturating_add(product(cached, self.cached()))
            .saturating_add(product(usage.output, self.output));
        whole_tokens(millionths)
    }

    fn bound(&self, prompt: &Prompt, percent: u64) -> Amount {
        let input = prompt.most_tokens().min(self.context.unwrap_or(u64::MAX));
        let millionths = product(input, self.input.max(self.cached()))
            .saturating_add(product(prompt.max_output_tokens.into(), self.output));
        whole_tokens(millionths.saturating_mul(percent.into()).div_ceil(100))
    }
}

fn product(tokens: u64, rate: u64) -> u128 {
    u128::from(tokens) * u128::from(rate)
}

/// Rounded up: a fraction of a token cannot be charged.
fn whole_tokens(millionths: u128) -> Amount {
    let tokens = u64::try_from(millionths.div_ceil(MILLION)).ok();
    tokens.and_then(Amount::new).unwrap_or(Amount::MAX)
}

impl PriceList {
    /// Reads a list of prices from JSON, in which every one of `served` must have its rates.
    ///
    /// # Errors
    /// Says what is wrong, in words for an operator.
    pub fn parse<'a>(json: &str, served: impl IntoIterator<Item = &'a ModelName>) -> Result<Self, String> {
        let list: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if list.version.is_empty() || list.version.len() > 64 {
            return Err("`version` must be 1 to 64 bytes long".into());
        }
        if list
            .hold_percent
            .is_some_and(|percent| !(100..=1_000).contains(&percent))
        {
            return Err("`hold_percent` must be from 100 to 1000".into());
        }
        match served
            .into_iter()
            .find(|model| !list.models.contains_key(model.as_str()))
        {
            Some(model) => Err(format!("there is no price for the model `{}`", model.as_str())),
            None => Ok(list),
        }
    }
}

impl Pricing {
    /// The most that an answer to `prompt` by any of `models` can cost: what is held for it.
    ///
    /// A model without a price costs more than anybody has; the configuration lets none be served.
    pub fn bound<'a>(&self, prompt: &Prompt, models: impl IntoIterator<Item = &'a ModelName>) -> Amount {
        match self {
            Self::Flat(price) => *price,
            Self::ByUsage(list) => {
                let percent = list.hold_percent.unwrap_or(100);
                let bound = |model: &ModelName| {
                    let rates = list.models.get(model.as_str());
                    rates.map_or(Amount::MAX, |rates| rates.bound(prompt, percent))
                };
                models.into_iter().map(bound).max().unwrap_or(Amount::ZERO)
            }
        }
    }

    /// What an answer costs, never more than was `held` for it.
    ///
    /// A flat price buys a whole answer: one that broke off costs nothing.
    pub fn cost(&self, model: &ModelName, usage: &Usage, got: Got, held: Amount) -> Amount {
        let cost = match self {
            Self::Flat(price) => match got {
                Got::All => *price,
                Got::Part => Amount::ZERO,
            },
            Self::ByUsage(list) => {
                let rates = list.models.get(model.as_str());
                rates.map_or(held, |rates| rates.cost(usage))
            }
        };
        cost.min(held)
    }

    /// By which edition of the prices a chat is charged; none for a flat price.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Flat(_) => None,
            Self::ByUsage(list) => Some(&list.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Sampling, Speaker, Turn};

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    fn tokens(number: u64) -> Amount {
        Amount::new(number).unwrap()
    }

    fn prompt(text: &str, max_output_tokens: u32) -> Prompt {
        Prompt {
            turns: vec![Turn::new(Speaker::User, text)],
            max_output_tokens,
            sampling: Sampling::default(),
        }
    }

    const LIST: &str = r#"{"version": "2026-11", "models": {
        "small": {"input": 150000, "cached_input": 75000, "output": 600000, "context": 100},
        "large": {"input": 2500000, "output": 10000000}
    }}"#;

    #[test]
    fn an_answer_costs_what_the_model_read_and_wrote_rounded_up() {
        let pricing = Pricing::ByUsage(PriceList::parse(LIST, &[model("small"), model("large")]).unwrap());
        let usage = Usage {
            input: 100,
            cached_input: 40,
            output: 10,
            estimated: false,
        };
        // 60 × 0.15 + 40 × 0.075 + 10 × 0.6 = 18
        assert_eq!(
            pricing.cost(&model("small"), &usage, Got::Part, tokens(1_000)),
            tokens(18)
        );
        let one = Usage {
            input: 1,
            ..Usage::default()
        };
        assert_eq!(pricing.cost(&model("small"), &one, Got::All, tokens(1_000)), tokens(1));
        assert_eq!(
            pricing.cost(&model("large"), &usage, Got::All, tokens(300)),
            tokens(300)
        );
        assert_eq!(pricing.version(), Some("2026-11"));
    }

    #[test]
    fn a_hold_is_the_most_that_any_of_the_models_can_cost() {
        let pricing = Pricing::ByUsage(PriceList::parse(LIST, &[]).unwrap());
        let prompt = prompt(&"x".repeat(1_000), 50);
        // The small one reads no more than its context: 100 × 0.15 + 50 × 0.6 = 45.
        assert_eq!(pricing.bound(&prompt, &[model("small")]), tokens(45));
        // 1080 × 2.5 + 50 × 10 = 3200
        assert_eq!(pricing.bound(&prompt, &[model("small"), model("large")]), tokens(3_200));
        assert_eq!(pricing.bound(&prompt, &[model("unknown")]), Amount::MAX);
    }

    #[test]
    fn the_example_can_be_used() {
        let example = include_str!("../../../prices.json");
        PriceList::parse(example, &[model("gpt-4o-mini"), model("gpt-4.1-mini")]).unwrap();
    }

    #[test]
    fn a_flat_price_buys_a_whole_answer() {
        let pricing = Pricing::Flat(tokens(100));
        let usage = Usage::default();
        assert_eq!(pricing.bound(&prompt("x", 1), &[model("any")]), tokens(100));
        assert_eq!(pricing.cost(&model("any"), &usage, Got::All, tokens(100)), tokens(100));
        assert_eq!(
            pricing.cost(&model("any"), &usage, Got::Part, tokens(100)),
            Amount::ZERO
        );
        assert_eq!(pricing.version(), None);
    }

    #[test]
    fn prices_that_are_unknown_negative_or_misspelt_are_refused() {
        for (json, problem) in [
            (r#"{"version": "1", "models": {}}"#, "no price for the model `small`"),
            (
                r#"{"version": "1", "models": {"small": {"input": -1, "output": 1}}}"#,
                "-1",
            ),
            (
                r#"{"version": "1", "models": {"small": {"input": 1.5, "output": 1}}}"#,
                "1.5",
            ),
            (r#"{"version": "1", "models": {"small": {"input": 1}}}"#, "output"),
            (
                r#"{"version": "1", "models": {"small": {"input": 1, "output": 1, "inptu": 2}}}"#,
                "inptu",
            ),
            (r#"{"models": {"small": {"input": 1, "output": 1}}}"#, "version"),
            (
                r#"{"version": "", "models": {"small": {"input": 1, "output": 1}}}"#,
                "version",
            ),
            (
                r#"{"version": "1", "hold_percent": 99, "models": {"small": {"input": 1, "output": 1}}}"#,
                "hold_percent",
            ),
            ("[]", "invalid"),
        ] {
            let error = PriceList::parse(json, &[model("small")]).unwrap_err();
            assert!(error.contains(problem), "{json}: {error}");
        }
    }

    proptest! {
        /// Whatever a provider says of what it read and wrote, a settlement only gives back.
        #[test]
        fn no_usage_costs_more_than_was_held(
            rates in (any::<u64>(), any::<Option<u64>>(), any::<u64>(), any::<Option<u64>>()),
            usage in (any::<u64>(), any::<u64>(), any::<u64>()),
            text in ".{0,50}",
            max_output_tokens in any::<u32>(),
        ) {
            let rates = Rates { input: rates.0, cached_input: rates.1, output: rates.2, context: rates.3 };
            let pricing = Pricing::ByUsage(PriceList {
                version: "1".into(),
                hold_percent: None,
                models: BTreeMap::from([("m".to_owned(), rates)]),
            });
            let usage = Usage { input: usage.0, cached_input: usage.1, output: usage.2, estimated: false };
            let held = pricing.bound(&prompt(&text, max_output_tokens), &[model("m")]);
            prop_assert!(pricing.cost(&model("m"), &usage, Got::All, held) <= held);
        }

        /// What a model truly reads and writes within the bounds is covered by the hold, so nothing is given away.
        #[test]
        fn what_is_held_covers_every_usage_within_the_bounds(
            rates in (0..1_000_000_000_u64, proptest::option::of(0..1_000_000_000_u64), 0..1_000_000_000_u64),
            text in ".{0,50}",
            max_output_tokens in 1..1_000_000_u32,
            shares in (0.0..=1.0_f64, 0.0..=1.0_f64, 0.0..=1.0_f64),
        ) {
            let rates = Rates { input: rates.0, cached_input: rates.1, output: rates.2, context: None };
            let list = PriceList { version: "1".into(), hold_percent: None, models: BTreeMap::from([("m".to_owned(), rates)]) };
            let prompt = prompt(&text, max_output_tokens);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small number")]
            let share = |of: u64, share: f64| ((of as f64) * share) as u64;
            let input = share(prompt.most_tokens(), shares.0);
            let usage = Usage {
                input,
                cached_input: share(input, shares.1),
                output: share(max_output_tokens.into(), shares.2),
                estimated: false,
            };
            let cost = rates.cost(&usage);
            let pricing = Pricing::ByUsage(list);
            let held = pricing.bound(&prompt, &[model("m")]);
            prop_assert_eq!(pricing.cost(&model("m"), &usage, Got::All, held), cost);
        }
    }
}
