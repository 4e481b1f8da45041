//! What the lines of all functions told CloudWatch, read back from it. This is the only code that speaks to CloudWatch: what is told goes there
//! with the lines, see `lambda/line.rs`.

use std::time::Duration;

use aws_sdk_cloudwatch::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    operation::get_metric_data::GetMetricDataOutput,
    primitives::DateTime,
    types::{Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, StatusCode},
};
use tokio::time::timeout;

use crate::{
    aws,
    config::LogConfig,
    domain::{Counts, Day, Figures, HOURS, Timestamp},
    error::Error,
};

/// What CloudWatch's answer may take with all its pages. With the look at the caller's account, at most 2 s, it fits the function's 10 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// A page has room for 100 800 data points, and there are 288. More than a few pages are no answer; each is paid for.
const MOST_PAGES: usize = 5;

/// The endpoint that people sign up at.
const SIGN_UP: Option<&str> = Some("users-register");

/// What is asked for: metrics of the stage, or of one endpoint. Each is paid for, and none is kept for this alone.
const SERIES: [(&str, Option<&str>); 12] = [
    ("holds_opened", None),
    ("holds_settled", None),
    ("holds_released", None),
    ("holds_expired", None),
    ("tokens_charged", None),
    ("requests", None),
    ("requests_failed", None),
    ("requests", SIGN_UP),
    ("requests_invalid", SIGN_UP),
    ("requests_refused", SIGN_UP),
    ("requests_paced", SIGN_UP),
    ("requests_failed", SIGN_UP),
];

/// A metric's sum in each hour of a day.
type Hourly = [u64; HOURS];

/// The metrics of this deployment.
#[derive(Debug)]
pub struct Metrics {
    client: Client,
    namespace: String,
    stage: String,
}

impl Metrics {
    /// The metrics that lines with this configuration carry, if they carry any: credentials, region and endpoint come from the standard AWS
    /// environment variables.
    pub fn connect(config: LogConfig) -> Option<Self> {
        let namespace = config.metrics_namespace?;
        // It adds up what it is asked for, and that can take a second.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_attempt_timeout(Duration::from_millis(2_500))
            .operation_timeout(Duration::from_secs(5))
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_millis(200));
        let client_config = Builder::from(aws::config())
            .timeout_config(timeouts)
            .retry_config(retries);
        Some(Self {
            client: Client::from_conf(client_config.build()),
            namespace,
            stage: config.stage,
        })
    }

    /// What the deployment did in a day. Lines are counted a minute or two after they are written.
    ///
    /// # Errors
    /// [`Error::Busy`] if CloudWatch does not say all of it now.
    pub async fn figures(&self, day: Day) -> Result<Figures, Error> {
        let read = timeout(PATIENCE, self.read(day)).await;
        let sums = read.map_err(|_| Error::Busy("GetMetricData: its pages took too long".into()))??;
        Ok(figures(day, &sums))
    }

    async fn read(&self, day: Day) -> Result<[Hourly; SERIES.len()], Error> {
        let mut read = Read::new(day);
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let request = self
                .client
                .get_metric_data()
                .set_metric_data_queries(Some(self.queries()))
                .start_time(DateTime::from_millis(day.from().as_millis()))
                .end_time(DateTime::from_millis(day.end().as_millis()))
                .set_next_token(next);
            let page = request.send().await;
            let page = page.map_err(|error| aws::failure("GetMetricData", &error, &BUSY))?;
            next = read.add(page)?;
            if next.is_none() {
                return read.finish();
            }
        }
        Err(Error::Busy("GetMetricData: there are always more pages".into()))
    }

    fn queries(&self) -> Vec<MetricDataQuery> {
        let query = |(index, (name, endpoint)): (usize, (&str, Option<&str>))| {
            let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
            let metric = Metric::builder()
                .namespace(&self.namespace)
                .metric_name(name)
                .dimensions(dimension("stage", &self.stage));
            let metric = match endpoint {
                None => metric,
                Some(endpoint) => metric.dimensions(dimension("endpoint", endpoint)),
            };
            let statistic = MetricStat::builder().metric(metric.build()).period(3_600).stat("Sum");
            let query = MetricDataQuery::builder().id(format!("{ID}{index}"));
            query.metric_stat(statistic.build()).build()
        };
        SERIES.into_iter().enumerate().map(query).collect()
    }
}

/// An id begins with a letter.
const ID: &str = "s";

/// The codes of its refusals that ask for patience, besides those that are its own failures.
const BUSY: [&str; 4] = [
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceeded",
];

/// What pages have told so far.
struct Read {
    day: Day,
    sums: [Hourly; SERIES.len()],
    complete: [bool; SERIES.len()],
}

impl Read {
    fn new(day: Day) -> Self {
        Self {
            day,
            sums: [[0; HOURS]; SERIES.len()],
            complete: [false; SERIES.len()],
        }
    }

    /// Adds a page, and says what to ask for the next with.
    fn add(&mut self, page: GetMetricDataOutput) -> Result<Option<String>, Error> {
        for result in page.metric_data_results.iter().flatten() {
            self.add_series(result)?;
        }
        Ok(page.next_token)
    }

    fn add_series(&mut self, result: &MetricDataResult) -> Result<(), Error> {
        let unclear = |what: &str| Error::internal(format!("GetMetricData: {what}"));
        let index = result.id().and_then(|id| id.strip_prefix(ID)?.parse::<usize>().ok());
        let series = index.and_then(|index| Some((self.sums.get_mut(index)?, self.complete.get_mut(index)?)));
        let (sums, complete) = series.ok_or_else(|| unclear("a metric that nobody asked for"))?;
        if result.timestamps().len() != result.values().len() {
            return Err(unclear("not as many values as times"));
        }
        for (time, value) in result.timestamps().iter().zip(result.values()) {
            let time = Timestamp::from_millis(time.secs().saturating_mul(1_000));
            let hour = self.day.hour_of(time).and_then(|hour| sums.get_mut(hour));
            let sum = hour.ok_or_else(|| unclear("a value of another day"))?;
            let value = whole(*value).ok_or_else(|| unclear("a sum that is no count"))?;
            *sum = sum.saturating_add(value);
        }
        match result.status_code() {
            Some(StatusCode::Complete) => *complete = true,
            // There is more of it on another page, or there is not.
            Some(StatusCode::PartialData) => *complete = false,
            Some(StatusCode::InternalError) => return Err(Error::Busy("GetMetricData: InternalError".into())),
            other => return Err(unclear(other.map_or("no status", StatusCode::as_str))),
        }
        Ok(())
    }

    /// All sums, if they are. What nobody told is not taken for nothing.
    fn finish(self) -> Result<[Hourly; SERIES.len()], Error> {
        if self.complete == [true; SERIES.len()] {
            Ok(self.sums)
        } else {
            Err(Error::Busy("GetMetricData: not all of the data".into()))
        }
    }
}

/// A sum of counts, which CloudWatch tells as a floating-point number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is neither negative nor beyond what such a number can count"
)]
fn whole(value: f64) -> Option<u64> {
    const MOST: f64 = 9_007_199_254_740_992.0;
    (0.0..=MOST).contains(&value).then(|| value.round() as u64)
}

fn figures(day: Day, sums: &[Hourly; SERIES.len()]) -> Figures {
    let [
        opened,
        settled,
        released,
        expired,
        charged,
        requests,
        failed,
        sign_ups,
        not_signed_up @ ..,
    ] = sums;
    let counts = |hour: usize| Counts {
        // A line tells of a request and of its failure together, so neither comes without the other.
        sign_ups: sign_ups[hour].saturating_sub(not_signed_up.iter().map(|sums| sums[hour]).sum()),
        messages: settled[hour],
        tokens_charged: charged[hour],
        requests: requests[hour],
        errors: failed[hour],
    };
    let all = |sums: &Hourly| sums.iter().fold(0_u64, |all, sum| all.saturating_add(*sum));
    let ended = [settled, released, expired].map(all);
    Figures {
        day,
        hours: std::array::from_fn(counts),
        // Holds that were placed before the day have ended in it.
        holds_open: ended.into_iter().fold(all(opened), u64::saturating_sub),
    }
}
