//! CloudWatch, as far as figures need it: it adds up the metrics that log lines carry, as CloudWatch does with those of a deployment, and
//! answers `GetMetricData` for their hourly sums, in the protocol of its SDK
//! (<https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>). Nothing is kept when it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use minicbor::{
    Decoder, Encoder,
    data::{IanaTag, Type},
    decode, encode,
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::template::BoxError;

/// Where its SDK sends `GetMetricData`.
pub const OPERATION: &str = "/service/GraniteServiceVersion20100801/operation/GetMetricData";

const HOUR: i64 = 3_600;

/// What lines told so far.
#[derive(Debug, Clone, Default)]
pub struct CloudWatch {
    sums: Arc<Mutex<BTreeMap<Series, BTreeMap<i64, f64>>>>,
}

/// What tells a metric from another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    namespace: String,
    name: String,
    dimensions: BTreeMap<String, String>,
}

impl CloudWatch {
    /// Adds the metrics of a line
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>), if it is one
    /// that has some.
    pub fn add(&self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            return;
        };
        let Some(told_at) = line["_aws"]["Timestamp"].as_i64() else {
            return;
        };
        let hour = told_at.div_euclid(HOUR * 1_000) * HOUR;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        for directive in elements(&line["_aws"]["CloudWatchMetrics"]) {
            for (names, metric) in elements(&directive["Dimensions"])
                .flat_map(|names| elements(&directive["Metrics"]).map(move |metric| (names, metric)))
            {
                let name = text(&metric["Name"]);
                let dimensions = elements(names).map(|name| (text(name), text(&line[text(name)])));
                let series = Series {
                    namespace: text(&directive["Namespace"]),
                    dimensions: dimensions.collect(),
                    name,
                };
                if let Some(value) = line[&series.name].as_f64() {
                    *sums.entry(series).or_default().entry(hour).or_default() += value;
                }
            }
        }
    }

    /// Starts to answer on a free port of the loopback interface. Returns what `AWS_ENDPOINT_URL_CLOUDWATCH` must be.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn serve(&self) -> Result<String, BoxError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route(OPERATION, post(respond)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    /// The answer to a request: hourly sums. An hour of which no line told anything has none.
    ///
    /// # Errors
    /// Says what is asked for that is not here.
    pub fn answer(&self, request: &Value) -> Result<Value, &'static str> {
        let time = |member: &str| request[member].as_f64().ok_or("it is for no time");
        let (start, end) = (time("StartTime")?, time("EndTime")?);
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut results = Vec::new();
        for query in elements(&request["MetricDataQueries"]) {
            let (statistic, metric) = (&query["MetricStat"], &query["MetricStat"]["Metric"]);
            if (&statistic["Stat"], &statistic["Period"]) != (&json!("Sum"), &json!(HOUR)) {
                return Err("only hourly sums are here");
            }
            let dimensions = elements(&metric["Dimensions"]).map(|one| (text(&one["Name"]), text(&one["Value"])));
            let series = Series {
                namespace: text(&metric["Namespace"]),
                name: text(&metric["MetricName"]),
                dimensions: dimensions.collect(),
            };
            let hours = sums.get(&series).into_iter().flatten().rev();
            let hours = hours.filter(|(hour, _)| (start..end).contains(&(**hour as f64)));
            let (times, values): (Vec<i64>, Vec<f64>) = hours.unzip();
            results.push(json!({
                "Id": query["Id"], "Label": series.name, "Timestamps": times, "Values": values, "StatusCode": "Complete",
            }));
        }
        Ok(json!({"MetricDataResults": results, "Messages": []}))
    }
}

async fn respond(State(cloudwatch): State<CloudWatch>, body: Bytes) -> Response {
    let request = read(&body).map_err(|_| "it is not CBOR");
    match request.and_then(|request| cloudwatch.answer(&request)) {
        Ok(answer) => reply(StatusCode::OK, &answer),
        Err(problem) => {
            let refusal =
                json!({"__type": "com.amazonaws.cloudwatch#InvalidParameterValueException", "message": problem});
            reply(StatusCode::BAD_REQUEST, &refusal)
        }
    }
}

/// A reply in the SDK's protocol.
pub fn reply(status: StatusCode, body: &Value) -> Response {
    let headers = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")];
    (status, headers, write(body)).into_response()
}

/// The value that is written in CBOR, as far as JSON has such a value; times are numbers of seconds.
///
/// # Errors
/// If it is not CBOR, or has what JSON has not.
pub fn read(bytes: &[u8]) -> Result<Value, decode::Error> {
    value(&mut Decoder::new(bytes))
}

fn value(decoder: &mut Decoder<'_>) -> Result<Value, decode::Error> {
    Ok(match decoder.datatype()? {
        Type::Tag => {
            decoder.tag()?;
            value(decoder)?
        }
        Type::Bool => decoder.bool()?.into(),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        Type::F16 | Type::F32 | Type::F64 => decoder.f64()?.into(),
        Type::String => decoder.str()?.into(),
        Type::StringIndef => decoder.str_iter()?.collect::<Result<String, _>>()?.into(),
        Type::Array | Type::ArrayIndef => {
            let mut elements = Vec::new();
            let mut left = decoder.array()?;
            while more(decoder, &mut left)? {
                elements.push(value(decoder)?);
            }
            elements.into()
        }
        Type::Map | Type::MapIndef => {
            let mut members = Map::new();
            let mut left = decoder.map()?;
            while more(decoder, &mut left)? {
                members.insert(decoder.str()?.to_owned(), value(decoder)?);
            }
            members.into()
        }
        _ => decoder.i64()?.into(),
    })
}

/// Whether there is more of an array or a map: it says how much there is, or where it ends.
fn more(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, decode::Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// A value of JSON in CBOR. What stands under `Timestamps` is written as times.
pub fn write(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    // A `Vec` takes everything.
    let _ = put(&mut encoder, value, false);
    encoder.into_writer()
}

fn put<W: encode::Write>(
    encoder: &mut Encoder<W>,
    value: &Value,
    is_time: bool,
) -> Result<(), encode::Error<W::Error>> {
    match value {
        Value::Null => encoder.null()?.ok(),
        Value::Bool(bool) => encoder.bool(*bool)?.ok(),
        Value::Number(number) => {
            if is_time {
                encoder.tag(IanaTag::Timestamp)?;
            }
            match number.as_i64() {
                Some(whole) => encoder.i64(whole)?.ok(),
                None => encoder.f64(number.as_f64().unwrap_or(f64::NAN))?.ok(),
            }
        }
        Value::String(text) => encoder.str(text)?.ok(),
        Value::Array(elements) => {
            encoder.begin_array()?;
            for element in elements {
                put(encoder, element, is_time)?;
            }
            encoder.end()?.ok()
        }
        Value::Object(members) => {
            encoder.begin_map()?;
            for (name, member) in members {
                encoder.str(name)?;
                put(encoder, member, name == "Timestamps")?;
            }
            encoder.end()?.ok()
        }
    }
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of an hour of 1970, as functions write them.
    fn line(hour: i64, endpoint: &str, requests: u64) -> String {
        let directive = json!({
            "Namespace": "chat", "Dimensions": [["stage", "endpoint"], ["stage"]],
            "Metrics": [{"Name": "requests", "Unit": "Count"}, {"Name": "missing", "Unit": "Count"}],
        });
        let metadata = json!({"Timestamp": hour * 3_600_000 + 1, "CloudWatchMetrics": [directive]});
        json!({"stage": "dev", "endpoint": endpoint, "requests": requests, "_aws": metadata}).to_string()
    }

    fn asked(dimensions: &Value) -> Value {
        let metric = json!({"Namespace": "chat", "MetricName": "requests", "Dimensions": dimensions});
        let statistic = json!({"Metric": metric, "Period": 3600, "Stat": "Sum"});
        json!({"StartTime": 3_600.0, "EndTime": 4 * 3_600, "MetricDataQueries": [{"Id": "s0", "MetricStat": statistic}]})
    }

    #[test]
    fn lines_are_added_up_by_hour_and_by_each_set_of_dimensions() {
        let cloudwatch = CloudWatch::default();
        for (hour, endpoint, requests) in [
            (0, "a", 7),
            (1, "a", 1),
            (1, "a", 2),
            (1, "b", 4),
            (3, "a", 8),
            (4, "a", 16),
        ] {
            cloudwatch.add(line(hour, endpoint, requests).as_bytes());
        }
        for other in [
            "",
            "no JSON",
            "{}",
            "[]",
            r#"{"requests": 9}"#,
            r#"{"_aws": {"Timestamp": 3600000}}"#,
        ] {
            cloudwatch.add(other.as_bytes());
        }
        let told = |dimensions: &Value| {
            let mut answer = cloudwatch.answer(&asked(dimensions)).unwrap();
            let result = &mut answer["MetricDataResults"][0];
            assert_eq!(
                (&result["Id"], &result["StatusCode"]),
                (&json!("s0"), &json!("Complete"))
            );
            (result["Timestamps"].take(), result["Values"].take())
        };
        let (stage, endpoint) = (
            json!({"Name": "stage", "Value": "dev"}),
            json!({"Name": "endpoint", "Value": "a"}),
        );
        assert_eq!(told(&json!([stage])), (json!([10_800, 3_600]), json!([8.0, 7.0])));
        assert_eq!(
            told(&json!([endpoint, stage])),
            (json!([10_800, 3_600]), json!([8.0, 3.0]))
        );
        assert_eq!(told(&json!([endpoint])), (json!([]), json!([])));
    }

    #[test]
    fn what_is_no_hourly_sum_is_refused() {
        let cloudwatch = CloudWatch::default();
        for (path, value) in [
            ("/StartTime", json!(null)),
            ("/MetricDataQueries/0/MetricStat/Stat", json!("Average")),
            ("/MetricDataQueries/0/MetricStat/Period", json!(60)),
        ] {
            let mut request = asked(&json!([]));
            *request.pointer_mut(path).unwrap() = value;
            assert!(cloudwatch.answer(&request).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_times_are_times() {
        let value = json!({"a": [null, true, -1, 1.5, "text"], "Timestamps": [3600], "b": {}});
        let bytes = write(&value);
        assert_eq!(read(&bytes).unwrap(), value);
        // The tag of a time of the epoch, then 3600 (RFC 8949, section 3.4.2).
        assert!(bytes.windows(4).any(|part| part == [0xc1, 0x19, 0x0e, 0x10]));
        // Of known length, as others write them.
        assert_eq!(
            read(&[0xa1, 0x61, b'a', 0x82, 0x01, 0x20]).unwrap(),
            json!({"a": [1, -1]})
        );
        for wrong in [&b""[..], &[0xa1], &[0x9f, 0x01], &[0x61, 0xff]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
