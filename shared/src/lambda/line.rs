//! The one log line of a request. It says what happened and to which route, never who or what was sent.
//!
//! In a deployment it carries its own metrics: CloudWatch takes them from the line
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>), so that no request
//! waits for a call that reports them. What is counted in money or load is told by stage; what tells endpoints apart also by endpoint. What did
//! not happen is not told: a metric without data costs nothing.

use std::io::Write;

use serde::{Serialize, Serializer, ser::SerializeMap};
use tracing_subscriber::{filter::LevelFilter, fmt::writer::BoxMakeWriter};

use super::{clock, reply};
use crate::{
    config::{LogConfig, RuntimeConfig},
    domain::Timestamp,
    error::Error,
    meter::Tally,
};

/// Where the lines of a function go, and what all of them say.
#[derive(Debug)]
pub(super) struct Log {
    config: LogConfig,
    /// On the command line an operator's function prints its output there, and nothing else.
    to_stdout: bool,
}

/// What is to be told of a request.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) endpoint: &'a str,
    /// Of what came through a gateway.
    pub(super) asked: Option<Asked<'a>>,
    pub(super) request_id: &'a str,
    pub(super) tally: Tally,
    pub(super) started: Timestamp,
}

/// What a client asked for and with which status it was answered.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: u16,
}

impl Log {
    /// Makes everything that is logged a line of JSON.
    pub(super) fn start() -> Self {
        let to_stdout = RuntimeConfig::is_in_lambda();
        let writer = if to_stdout {
            BoxMakeWriter::new(std::io::stdout)
        } else {
            BoxMakeWriter::new(std::io::stderr)
        };
        tracing_subscriber::fmt()
            .with_writer(writer)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_max_level(LevelFilter::INFO)
            .init();
        Self {
            config: LogConfig::from_env(),
            to_stdout,
        }
    }

    /// Writes the line of a request that ends now.
    pub(super) fn write(&self, line: &Line<'_>, error: Option<&Error>) {
        // Nothing of it can fail to be written as JSON.
        let mut text = serde_json::to_vec(&self.entry(line, error, clock())).unwrap_or_default();
        text.push(b'\n');
        // A log that takes nothing must not keep requests from being answered.
        let _ = if self.to_stdout {
            std::io::stdout().lock().write_all(&text)
        } else {
            std::io::stderr().lock().write_all(&text)
        };
    }

    fn entry<'a>(&'a self, line: &'a Line<'_>, error: Option<&'a Error>, now: Timestamp) -> Entry<'a> {
        let tally = &line.tally;
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let duration = milliseconds(now.since(line.started));
        let provider = milliseconds(tally.provider_time);
        let mut by_endpoint = vec![Metric::count("requests", 1_u32), Metric::time("duration_ms", duration)];
        by_endpoint.extend(error.map(|error| Metric::count(outcome_of(error), 1_u32)));
        let mut by_stage = vec![
            // What is the system's own doing: without what the model took.
            Metric::time("own_ms", duration.saturating_sub(provider)),
            Metric::count("dynamodb_calls", tally.calls),
            Metric::units("dynamodb_read_units", tally.read_units),
            Metric::units("dynamodb_write_units", tally.write_units),
        ];
        let counts = [
            Metric::count("holds_opened", tally.holds_opened),
            Metric::count("holds_settled", tally.holds_settled),
            Metric::count("holds_released", tally.holds_released),
            Metric::count("holds_expired", tally.holds_expired),
            Metric::count("tokens_charged", tally.tokens_charged),
            Metric::count("provider_calls", tally.provider_calls),
        ];
        by_stage.extend(counts.into_iter().filter(|metric| metric.value != Number::Whole(0)));
        if tally.provider_calls > 0 {
            // Also where there is none: the average is the share that fails.
            by_stage.push(Metric::count("provider_errors", tally.provider_errors));
            by_stage.push(Metric::time("provider_ms", provider));
        }
        Entry {
            log: &self.config,
            line,
            error,
            now,
            by_endpoint,
            by_stage,
        }
    }
}

/// The class of an outcome, as a metric: what to do about it differs.
fn outcome_of(error: &Error) -> &'static str {
    match (error, reply::status(error)) {
        (Error::InsufficientTokens | Error::ApiKeyCapReached, _) => "requests_unpaid",
        (_, 401 | 403) => "requests_refused",
        (_, 429) => "requests_paced",
        (_, 500..) => "requests_failed",
        _ => "requests_invalid",
    }
}

/// What went wrong below an error that tells clients nothing of it.
fn source_of(error: &Error) -> Option<String> {
    match error {
        Error::Internal(source) | Error::Busy(source) => Some(source.to_string()),
        _ => None,
    }
}

/// A figure with a name, in the line and for CloudWatch.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    unit: &'static str,
    value: Number,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Part(f64),
}

impl Metric {
    fn count(name: &'static str, number: impl Into<u64>) -> Self {
        let (unit, value) = ("Count", Number::Whole(number.into()));
        Self { name, unit, value }
    }

    fn time(name: &'static str, milliseconds: u64) -> Self {
        let (unit, value) = ("Milliseconds", Number::Whole(milliseconds));
        Self { name, unit, value }
    }

    fn units(name: &'static str, number: f64) -> Self {
        let (unit, value) = ("Count", Number::Part(number));
        Self { name, unit, value }
    }
}

/// How a metric is announced.
impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("Name", self.name)?;
        map.serialize_entry("Unit", self.unit)?;
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: i64,
    cloud_watch_metrics: [Directive<'a>; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: &'static [&'static [&'static str]],
    metrics: &'a [Metric],
}

/// A line as it is written: its members in the order in which one reads them, what is for machines last.
struct Entry<'a> {
    log: &'a LogConfig,
    line: &'a Line<'a>,
    error: Option<&'a Error>,
    now: Timestamp,
    by_endpoint: Vec<Metric>,
    by_stage: Vec<Metric>,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &format_args!("{}", self.now))?;
        map.serialize_entry("level", "INFO")?;
        map.serialize_entry("message", "request")?;
        map.serialize_entry("request_id", self.line.request_id)?;
        map.serialize_entry("stage", &self.log.stage)?;
        map.serialize_entry("endpoint", self.line.endpoint)?;
        if let Some(version) = &self.log.version {
            map.serialize_entry("version", version)?;
        }
        if let Some(asked) = &self.line.asked {
            map.serialize_entry("method", asked.method)?;
            map.serialize_entry("route", asked.route)?;
            map.serialize_entry("status", &asked.status)?;
        }
        map.serialize_entry("code", self.error.map_or("ok", Error::code))?;
        if let Some(source) = self.error.and_then(source_of) {
            map.serialize_entry("error", &source)?;
        }
        for metric in self.by_endpoint.iter().chain(&self.by_stage) {
            map.serialize_entry(metric.name, &metric.value)?;
        }
        if let Some(namespace) = &self.log.metrics_namespace {
            let metadata = Metadata {
                timestamp: self.now.as_millis(),
                cloud_watch_metrics: [
                    Directive {
                        namespace,
                        dimensions: &[&["stage", "endpoint"], &["stage"]],
                        metrics: &self.by_endpoint,
                    },
                    Directive {
                        namespace,
                        dimensions: &[&["stage"]],
                        metrics: &self.by_stage,
                    },
                ],
            };
            map.serialize_entry("_aws", &metadata)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn line(tally: Tally) -> Line<'static> {
        Line {
            endpoint: "chats-send",
            asked: Some(Asked {
                method: "POST",
                route: "/api/v1/chats",
                status: 200,
            }),
            request_id: "r-1",
            tally,
            started: Timestamp::from_millis(1_000),
        }
    }

    fn written(namespace: Option<&str>, line: &Line<'_>, error: Option<&Error>) -> Value {
        let log = Log {
            config: LogConfig {
                metrics_namespace: namespace.map(str::to_owned),
                stage: "dev".into(),
                version: None,
            },
            to_stdout: true,
        };
        let entry = log.entry(line, error, Timestamp::from_millis(1_250));
        serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap()
    }

    #[test]
    fn a_line_announces_each_figure_that_it_has() {
        let tally = Tally {
            calls: 2,
            write_units: 5.0,
            holds_opened: 1,
            holds_settled: 1,
            tokens_charged: 100,
            provider_calls: 1,
            provider_time: Duration::from_millis(200),
            ..Tally::default()
        };
        let line = written(Some("chat"), &line(tally), None);
        assert_eq!(
            (&line["duration_ms"], &line["own_ms"], &line["provider_ms"]),
            (&json!(250), &json!(50), &json!(200))
        );
        let metadata = &line["_aws"];
        assert_eq!(metadata["Timestamp"], 1_250);
        let announced: Vec<_> = metadata["CloudWatchMetrics"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|directive| directive["Metrics"].as_array().unwrap())
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert_eq!(
            announced,
            [
                "requests",
                "duration_ms",
                "own_ms",
                "dynamodb_calls",
                "dynamodb_read_units",
                "dynamodb_write_units",
                "holds_opened",
                "holds_settled",
                "tokens_charged",
                "provider_calls",
                "provider_errors",
                "provider_ms",
            ]
        );
        assert!(announced.iter().all(|name| line[*name].is_number()));
    }

    #[test]
    fn a_line_without_a_namespace_announces_nothing() {
        let line = written(None, &line(Tally::default()), None);
        assert_eq!(line.get("_aws"), None);
        assert_eq!((&line["requests"], &line["code"]), (&json!(1), &json!("ok")));
    }

    #[test]
    fn an_outcome_is_of_the_class_that_says_who_should_do_something() {
        for (error, class) in [
            (Error::InsufficientTokens, "requests_unpaid"),
            (Error::InvalidCredentials, "requests_refused"),
            (Error::PermissionDenied, "requests_refused"),
            (Error::Paced(Duration::from_secs(1)), "requests_paced"),
            (Error::NoSuchPath, "requests_invalid"),
            (Error::ModelTimedOut, "requests_failed"),
            (Error::internal("why"), "requests_failed"),
            (Error::Drift(String::new()), "requests_failed"),
        ] {
            let line = written(Some("chat"), &line(Tally::default()), Some(&error));
            assert_eq!(line[class], 1, "{class}");
            assert_eq!(line["code"], error.code());
        }
    }
}
