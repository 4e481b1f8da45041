//! Chance that can be repeated.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Draws values. One seed draws the same ones each time.
pub struct Random(TestRunner);

impl Random {
    /// What `PROPTEST_RNG_SEED` says instead of `usual`, if it is set: the variable that repeats the properties of `shared` too.
    pub fn seeds(usual: &[u64]) -> Vec<u64> {
        match std::env::var("PROPTEST_RNG_SEED") {
            Ok(seed) => vec![seed.parse().expect("PROPTEST_RNG_SEED is a number")],
            Err(_) => usual.to_vec(),
        }
    }

    /// The values of `seed`, and among those the ones of one `stream`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&stream.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    /// A value of a strategy.
    pub fn draw<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy
            .new_tree(&mut self.0)
            .expect("the strategy rejects next to nothing")
            .current()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.draw(0..end)
    }

    /// Whether something happens that happens so often in a hundred times.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
