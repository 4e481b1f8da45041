use std::time::Duration;

use super::Timestamp;

/// A pace: so many at once, and from then on one in each interval.
///
/// The generic cell rate algorithm (ITU-T I.371, annex A) in its virtual-scheduling form: the state is one moment, the theoretical arrival time
/// until which those let through so far fill the pace. Somebody is idle when it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

/// What a pace says to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Go on; nothing was under way.
    Idle,
    /// Go on, within the burst.
    Within,
    /// Not before this much time has passed.
    Wait(Duration),
}

impl Rate {
    /// A pace of `per_minute` with `burst` at once, or none at all for no minute's number or no burst.
    pub fn new(per_minute: u32, burst: u32) -> Option<Self> {
        (per_minute > 0 && burst > 0).then(|| Self {
            interval: Duration::from_secs(60) / per_minute,
            burst,
        })
    }

    /// The time that each takes.
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// How far the theoretical arrival time may be ahead for another to be let through.
    pub fn tolerance(self) -> Duration {
        self.interval * (self.burst - 1)
    }

    /// The theoretical arrival time after one that found nobody busy.
    pub fn after_idle(self, now: Timestamp) -> Timestamp {
        now.plus(self.interval)
    }

    /// What to do with another now, if those before fill the pace until `busy_until`.
    pub fn judge(self, busy_until: Option<Timestamp>, now: Timestamp) -> Pace {
        let ahead = busy_until.map_or(Duration::ZERO, |until| until.since(now));
        if ahead.is_zero() {
            Pace::Idle
        } else if ahead <= self.tolerance() {
            Pace::Within
        } else {
            Pace::Wait(ahead - self.tolerance())
        }
    }
}

/// How long to wait after this many failed logins in a row with one name from one network: nothing after the first four, then a second, twice as
/// long each time, and never more than a quarter of an hour.
pub fn login_wait(failures: u32) -> Duration {
    const FREE: u32 = 4;
    const LONGEST: Duration = Duration::from_secs(15 * 60);
    match failures.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => LONGEST.min(Duration::from_secs(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_in_each_interval() {
        let rate = Rate::new(60, 5).unwrap();
        let start = Timestamp::from_millis(1_000_000);
        let mut until = None;
        let mut take = |now: Timestamp| {
            let pace = rate.judge(until, now);
            match pace {
                Pace::Idle => until = Some(rate.after_idle(now)),
                Pace::Within => until = until.map(|until| until.plus(rate.interval())),
                Pace::Wait(_) => {}
            }
            pace
        };
        assert_eq!(take(start), Pace::Idle);
        for _ in 0..4 {
            assert_eq!(take(start), Pace::Within);
        }
        assert_eq!(take(start), Pace::Wait(Duration::from_secs(1)));
        let soon = start.plus(Duration::from_millis(400));
        assert_eq!(take(soon), Pace::Wait(Duration::from_millis(600)));
        assert_eq!(take(start.plus(Duration::from_secs(1))), Pace::Within);
        assert_eq!(
            take(start.plus(Duration::from_secs(1))),
            Pace::Wait(Duration::from_secs(1))
        );
        assert_eq!(take(start.plus(Duration::from_secs(60))), Pace::Idle);
    }

    #[test]
    fn no_pace_is_no_number_or_no_burst() {
        assert!(Rate::new(0, 5).is_none());
        assert!(Rate::new(5, 0).is_none());
    }

    #[test]
    fn waits_grow_and_end_at_a_quarter_of_an_hour() {
        let seconds: Vec<_> = (0..20).map(|failures| login_wait(failures).as_secs()).collect();
        assert_eq!(
            seconds,
            [
                0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900
            ]
        );
        assert_eq!(login_wait(u32::MAX).as_secs(), 900);
    }
}
