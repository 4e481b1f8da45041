//! Faults at random, decided by a seed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::recorder::{Door, Fault};

/// A sequence of numbers that its seed decides (SplitMix64, <https://doi.org/10.1145/2660193.2660195>).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What goes wrong with which request: a function of the seed, the process that sends it and how many it has sent.
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    per_thousand: u64,
    sent: HashMap<u64, u64>,
    /// What goes wrong with the next requests of a process, and with how many: a fault that ends at once is one that the SDK deals with.
    storms: HashMap<u64, (Fault, &'static str, u64)>,
    /// How often what went wrong.
    pub tally: BTreeMap<&'static str, usize>,
}

impl Chaos {
    /// Lets something go wrong with so many requests of a thousand.
    pub fn new(seed: u64, per_thousand: u64) -> Self {
        Self {
            seed,
            per_thousand,
            sent: HashMap::new(),
            storms: HashMap::new(),
            tally: BTreeMap::new(),
        }
    }

    pub(super) fn next(&mut self, door: &Door, operation: &str) -> Option<Fault> {
        let sent = self.sent.entry(door.process).or_default();
        *sent += 1;
        let mut dice = Dice::new(self.seed ^ (door.process << 32) ^ *sent);
        if let Some((fault, name, left)) = self.storms.get_mut(&door.process).filter(|storm| storm.2 > 0) {
            *left -= 1;
            let (fault, name) = (*fault, *name);
            return self.count(fault, name, operation);
        }
        if dice.below(1_000) >= self.per_thousand {
            return None;
        }
        let (name, fault) = match dice.below(24) {
            0..=2 => ("request lost", Fault::RequestLost),
            3..=6 => ("reply lost", Fault::ReplyLost),
            7..=8 => ("500 before", Fault::ErrorBefore),
            9..=12 => ("500 after", Fault::ErrorAfter),
            // Within the attempt, after it but within the operation, and after that.
            13 => ("late", Fault::Late(Duration::from_millis(100 + dice.below(3_000)))),
            14..=15 => ("throttled", Fault::Throttled),
            16 => ("throttled inside", Fault::ThrottledInside),
            17..=19 => ("conflict", Fault::Conflict),
            20 => ("unprocessed", Fault::Unprocessed),
            21 => ("killed before", Fault::KilledBefore),
            22 => ("killed after", Fault::KilledAfter),
            _ => (
                "killed later",
                Fault::KilledLater(Duration::from_millis(dice.below(20))),
            ),
        };
        let killing = matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::KilledLater(_));
        if !killing && dice.below(3) == 0 {
            self.storms.insert(door.process, (fault, name, 2 + dice.below(6)));
        }
        self.count(fault, name, operation)
    }

    fn count(&mut self, fault: Fault, name: &'static str, operation: &str) -> Option<Fault> {
        if !fault.applies_to(operation) {
            return None;
        }
        *self.tally.entry(name).or_default() += 1;
        Some(fault)
    }
}
