use std::time::Duration;

use super::Timestamp;

/// How many hours a day of figures has.
pub const HOURS: usize = 24;

/// From the beginning of the first to that of the last.
const BEFORE: Duration = Duration::from_hours(HOURS as u64 - 1);

const HOUR_MILLIS: i64 = 3_600_000;

/// The last [`HOURS`] hours of the clock in UTC, of which the last is still running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    from: Timestamp,
    now: Timestamp,
}

impl Day {
    /// The one that has its last hour `now`.
    pub fn until(now: Timestamp) -> Self {
        let into_the_hour = now.as_millis().rem_euclid(HOUR_MILLIS);
        let last = now.as_millis().saturating_sub(into_the_hour);
        Self {
            from: Timestamp::from_millis(last).minus(BEFORE),
            now,
        }
    }

    /// When its first hour began.
    pub const fn from(self) -> Timestamp {
        self.from
    }

    /// The moment that it was asked for.
    pub const fn now(self) -> Timestamp {
        self.now
    }

    /// When its last hour will be over.
    pub fn end(self) -> Timestamp {
        self.from.plus(Duration::from_hours(HOURS as u64))
    }

    /// When each of its hours began, the first first.
    pub fn starts(self) -> impl Iterator<Item = Timestamp> {
        (0..HOURS as u64).map(move |hour| self.from.plus(Duration::from_hours(hour)))
    }

    /// Which of its hours a moment is in; none if it is in another day.
    pub fn hour_of(self, moment: Timestamp) -> Option<usize> {
        let hour = moment
            .as_millis()
            .checked_sub(self.from.as_millis())?
            .div_euclid(HOUR_MILLIS);
        usize::try_from(hour).ok().filter(|hour| *hour < HOURS)
    }
}

/// What was done in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts that people opened.
    pub sign_ups: u64,
    /// Messages that were answered and charged.
    pub messages: u64,
    /// What was charged for them, in tokens of balances.
    pub tokens_charged: u64,
    /// Requests of all kinds.
    pub requests: u64,
    /// Those that failed through no fault of whoever sent them.
    pub errors: u64,
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            sign_ups: self.sign_ups.saturating_add(other.sign_ups),
            messages: self.messages.saturating_add(other.messages),
            tokens_charged: self.tokens_charged.saturating_add(other.tokens_charged),
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
        }
    }
}

/// What a deployment did in a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// In which.
    pub day: Day,
    /// In each of its hours.
    pub hours: [Counts; HOURS],
    /// Holds that its requests left open, at least: a request tells both ends of its hold when it ends.
    pub holds_open: u64,
}

impl Figures {
    /// In all of its hours.
    pub fn totals(&self) -> Counts {
        self.hours.iter().copied().fold(Counts::default(), Counts::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(now: &str) -> [String; 3] {
        let now = time::OffsetDateTime::parse(now, &time::format_description::well_known::Rfc3339).unwrap();
        let day = Day::until(Timestamp::from_millis(now.unix_timestamp() * 1_000));
        let last = day.starts().last().unwrap();
        [day.from().to_string(), last.to_string(), day.end().to_string()]
    }

    #[test]
    fn the_running_hour_is_the_last_of_24_around_midnight_too() {
        for (now, expected) in [
            (
                "2026-11-26T02:41:00Z",
                ["2026-11-25T03:00:00Z", "2026-11-26T02:00:00Z", "2026-11-26T03:00:00Z"],
            ),
            (
                "2026-12-31T23:59:59Z",
                ["2026-12-31T00:00:00Z", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"],
            ),
            (
                "2027-01-01T00:00:00Z",
                ["2026-12-31T01:00:00Z", "2027-01-01T00:00:00Z", "2027-01-01T01:00:00Z"],
            ),
        ] {
            assert_eq!(day(now), expected);
        }
        assert_eq!(Day::until(Timestamp::from_millis(0)).starts().count(), HOURS);
    }

    #[test]
    fn a_moment_is_in_one_hour_of_its_day_and_in_none_of_another() {
        let day = Day::until(Timestamp::from_millis(HOUR_MILLIS * 1_000 + 1));
        for (hour, start) in day.starts().enumerate() {
            assert_eq!(day.hour_of(start), Some(hour));
            assert_eq!(day.hour_of(start.plus(Duration::from_millis(3_599_999))), Some(hour));
        }
        let before = Timestamp::from_millis(day.from().as_millis() - 1);
        assert_eq!((day.hour_of(before), day.hour_of(day.end())), (None, None));
        assert_eq!(day.hour_of(Timestamp::from_millis(i64::MIN)), None);
    }

    #[test]
    fn totals_are_of_all_hours() {
        let mut hours = [Counts::default(); HOURS];
        hours[0] = Counts {
            sign_ups: 1,
            messages: 2,
            tokens_charged: 3,
            requests: 4,
            errors: 5,
        };
        hours[HOURS - 1] = hours[0];
        let day = Day::until(Timestamp::from_millis(0));
        let figures = Figures {
            day,
            hours,
            holds_open: 0,
        };
        let totals = Counts {
            sign_ups: 2,
            messages: 4,
            tokens_charged: 6,
            requests: 8,
            errors: 10,
        };
        assert_eq!(figures.totals(), totals);
    }
}
