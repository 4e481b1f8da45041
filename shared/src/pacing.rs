//! How fast the clients of one network may do what needs no account.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    config::PacingConfig,
    domain::{Network, Timestamp},
    error::Error,
    store::Store,
};

/// How many networks a process keeps count of by itself, about 100 bytes each.
const MAX_NETWORKS: usize = 10_000;

/// Lets through what comes slowly enough from each network.
///
/// The first few of each network and minute a process lets through by itself, so that what ordinary clients do costs no round trip and no write.
/// From then on the table counts, for all processes together.
#[derive(Debug)]
pub struct Gate {
    store: Store,
    what: &'static str,
    config: PacingConfig,
    free: Mutex<HashMap<Network, Free>>,
}

/// What a process has let through by itself.
#[derive(Debug)]
struct Free {
    since: Timestamp,
    count: u32,
}

impl Gate {
    /// A gate for `what`, such as `SIGNUP`, which keeps its count apart from others.
    pub fn new(store: Store, what: &'static str, config: PacingConfig) -> Self {
        Self {
            store,
            what,
            config,
            free: Mutex::default(),
        }
    }

    /// Lets one through.
    ///
    /// # Errors
    /// [`Error::Paced`] if the network is too fast.
    pub async fn pass(&self, network: &Network, now: Timestamp) -> Result<(), Error> {
        let Some(pace) = self.config.pace else {
            return Ok(());
        };
        if self.is_free(network, now) {
            return Ok(());
        }
        self.store.pace_network(self.what, network, pace, now).await
    }

    fn is_free(&self, network: &Network, now: Timestamp) -> bool {
        let mut all = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_NETWORKS && !all.contains_key(network) {
            all.clear();
        }
        let free = all.entry(network.clone()).or_insert(Free { since: now, count: 0 });
        if now.since(free.since).as_secs() >= 60 {
            *free = Free { since: now, count: 0 };
        }
        free.count = free.count.saturating_add(1);
        free.count <= self.config.free_per_minute
    }
}
