//! The figures for staff: they are what was done, and where CloudWatch does not say all of it, there are none.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use shared::domain::Timestamp;

use crate::support::{Account, CloudWatchServer, Lost, OtherCloudWatch, Reply, Request, Said, System};

const HOUR: i64 = 3_600;
const MEMBERS: [&str; 5] = ["sign_ups", "messages", "tokens_charged", "requests", "errors"];

async fn staff(system: &System) -> Account {
    let grace = system.account("grace").await;
    system.set_text(&grace, "role", "staff").await;
    grace
}

async fn figures(system: &System, caller: &Account) -> Reply {
    let request = Request::get("/api/v1/admin/figures").bearer(&caller.access);
    system.send(request).await
}

/// A system whose CloudWatch answers what it is told to.
async fn scripted() -> (System, Account, CloudWatchServer) {
    let server = CloudWatchServer::start().await;
    let system = System::start_with(&[("AWS_ENDPOINT_URL_CLOUDWATCH", &server.url)]).await;
    let grace = staff(&system).await;
    (system, grace, server)
}

/// Waits until as many requests have written their line.
async fn wait_for_lines(system: &System, requests: usize) {
    for _ in 0..200 {
        let lines = system.logs();
        let written = lines.iter().filter(|line| line.contains("\"message\":\"request\""));
        if written.count() == requests {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not {requests} lines: {:#?}", system.logs());
}

/// The five figures of an hour, or of all.
fn counts(of: &Value) -> Value {
    MEMBERS
        .iter()
        .map(|name| ((*name).to_owned(), of[name].clone()))
        .collect()
}

/// Checks the form, with the hours of the clock when it was asked for.
fn check_form(body: &Value, asked_at: Duration) {
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["from", "holds_open", "hours", "message", "status", "to", "totals"];
    assert_eq!(members, expected);
    assert_eq!(
        (&body["status"], &body["message"]),
        (&json!("success"), &json!("Figures"))
    );
    let hours = body["hours"].as_array().unwrap();
    let last = i64::try_from(asked_at.as_secs()).unwrap() / HOUR;
    // It may have struck meanwhile.
    let starts = |last: i64| (last - 23..=last).map(|hour| Timestamp::from_millis(hour * HOUR * 1_000).to_string());
    let told: Vec<_> = hours.iter().map(|hour| hour["start"].as_str().unwrap()).collect();
    assert!(
        [last, last + 1]
            .iter()
            .any(|last| starts(*last).eq(told.iter().copied())),
        "{told:?}"
    );
    assert_eq!(body["from"], told[0]);
    assert!(body["to"].as_str().unwrap() >= told[23], "{body}");
    for name in MEMBERS {
        let sum: u64 = hours.iter().map(|hour| hour[name].as_u64().unwrap()).sum();
        assert_eq!(body["totals"][name], sum, "{name}");
    }
    assert!(hours.iter().all(|hour| hour.as_object().unwrap().len() == 6));
    assert_eq!(body["totals"].as_object().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_add_up_what_was_done() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "350"), ("CHATS_PER_MINUTE", "0")]).await;
    // Two sign-ups and two logins.
    let grace = staff(&system).await;
    let ada = system.account("ada").await;
    // Two sign-ups that are none.
    for (name, password) in [("ADA", "correct horse battery"), ("bob", "short")] {
        let sign_up = json!({"username": name, "password": password});
        system
            .send(Request::post("/api/v1/users", &sign_up))
            .await
            .expect_status(400);
    }
    // Two messages.
    system.chat(&ada, "hello").await.expect_status(200);
    let stream = Request::post("/api/v1/chats/stream", &json!({"message": "hello"}));
    system.send(stream.bearer(&ada.access)).await.expect_status(200);
    // A model that fails: an error, and its hold goes back.
    system.override_variable("ECHO_FAILURE", "error");
    let completion = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let completion = Request::post("/v1/chat/completions", &completion);
    system.send(completion.bearer(&ada.access)).await.expect_status(502);
    // A message that can neither be settled nor be given back: an error, and its hold stays.
    system.lose(Lost::Request, "TransactWriteItems", 20);
    system.lose_after("UpdateItem", 1, Lost::Request, 20);
    system.chat(&ada, "hello").await.expect_error(503, "outcome_unknown");
    system.stop_losing();
    system.wait_for_holds("ada", 1).await;
    // 50 are left.
    system.chat(&ada, "hello").await.expect_status(402);
    wait_for_lines(&system, 11).await;

    let asked_at = UNIX_EPOCH.elapsed().unwrap();
    let first = figures(&system, &grace).await.expect_status(200);
    check_form(&first.body, asked_at);
    let expected = json!({"sign_ups": 2, "messages": 2, "tokens_charged": 200, "requests": 11, "errors": 2});
    assert_eq!(first.body["totals"], expected);
    assert_eq!(first.body["holds_open"], 1);
    // All of it in the running hour, or some in the one before if it has just struck.
    let hours = first.body["hours"].as_array().unwrap();
    let quiet = json!({"sign_ups": 0, "messages": 0, "tokens_charged": 0, "requests": 0, "errors": 0});
    assert!(hours[..22].iter().all(|hour| counts(hour) == quiet));
    // Looking is a request too.
    wait_for_lines(&system, 12).await;
    let second = figures(&system, &grace).await.expect_status(200);
    assert_eq!(second.body["totals"]["requests"], 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_in_its_hour_and_an_hour_without_one_has_nothing() {
    let (system, grace, server) = scripted().await;
    // Three hours: the first, one between and the running one.
    server.follow(|request, _| {
        let start = request["StartTime"].as_f64().unwrap();
        let of = |name: &str| match name {
            "holds_opened" => json!([9.0, 1.0, 2.0]),
            "holds_settled" => json!([4.0, 1.0, 1.0]),
            "holds_released" | "holds_expired" => json!([1.0, 0.0, 0.0]),
            "tokens_charged" => json!([400.0, 100.0, 5e12]),
            "requests" => json!([70.0, 3.0, 20.0]),
            _ => json!([1.0, 0.0, 2.0]),
        };
        Said::Page(CloudWatchServer::page(request, |query| {
            let times = [23, 5, 0].map(|hour| start + f64::from(hour * 3_600));
            json!({"Timestamps": times, "Values": of(query["MetricStat"]["Metric"]["MetricName"].as_str().unwrap())})
        }))
    });
    let asked_at = UNIX_EPOCH.elapsed().unwrap();
    let told = figures(&system, &grace).await.expect_status(200).body;
    check_form(&told, asked_at);
    let hours = told["hours"].as_array().unwrap();
    for (hour, expected) in hours.iter().enumerate().map(|(index, hour)| {
        let expected = match index {
            23 => json!([66, 4, 400, 70, 1]),
            5 => json!([3, 1, 100, 3, 0]),
            0 => json!([12, 1, 5_000_000_000_000_u64, 20, 2]),
            _ => json!([0, 0, 0, 0, 0]),
        };
        (hour, expected)
    }) {
        let told: Value = MEMBERS.iter().map(|name| hour[name].clone()).collect();
        assert_eq!(told, expected, "{hour}");
    }
    assert_eq!(told["holds_open"], 4);

    let asked = server.take_asked();
    assert_eq!(asked.len(), 1, "one request");
    let number = |member: &str| asked[0][member].as_f64().unwrap();
    let (start, end) = (number("StartTime"), number("EndTime"));
    let hours = (start % 3_600.0, end - start);
    assert_eq!(hours, (0.0, 86_400.0), "whole hours, or there were 25");
    let now = asked_at.as_secs_f64();
    assert!(end > now && end - now <= 3_600.0, "{end} {now}");
    let queries = asked[0]["MetricDataQueries"].as_array().unwrap();
    assert!(queries.len() <= 12, "each is paid for");
    for query in queries {
        let statistic = &query["MetricStat"];
        assert_eq!(
            (&statistic["Period"], &statistic["Stat"]),
            (&json!(3_600), &json!("Sum"))
        );
        let metric = &statistic["Metric"];
        assert_eq!(metric["Namespace"], "ai-chat-system");
        assert_eq!(metric["Dimensions"][0], json!({"Name": "stage", "Value": "dev"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_ends_than_beginnings_are_no_open_holds_and_more_refusals_than_requests_no_sign_ups() {
    let (system, grace, server) = scripted().await;
    server.follow(|request, _| {
        Said::Page(CloudWatchServer::page(request, |query| {
            let name = query["MetricStat"]["Metric"]["MetricName"].as_str().unwrap();
            let value = if ["holds_opened", "requests"].contains(&name) {
                1.0
            } else {
                2.0
            };
            json!({"Timestamps": [request["StartTime"]], "Values": [value]})
        }))
    });
    let told = figures(&system, &grace).await.expect_status(200).body;
    assert_eq!(
        (&told["holds_open"], &told["totals"]["sign_ups"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_for_staff_and_nobody_else_makes_cloudwatch_be_asked() {
    let (system, grace, server) = scripted().await;
    let ada = system.account("ada").await;
    figures(&system, &ada).await.expect_error(403, "permission_denied");
    let nobody = Request::get("/api/v1/admin/figures");
    system.send(nobody).await.expect_error(401, "not_authenticated");
    assert_eq!(server.take_asked().len(), 0, "it would be paid for");
    for role in ["staff", "admin"] {
        system.set_text(&grace, "role", role).await;
        figures(&system, &grace).await.expect_status(200);
    }
    system.set_text(&grace, "role", "user").await;
    figures(&system, &grace).await.expect_error(403, "permission_denied");
    assert_eq!(server.take_asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_metrics_says_so() {
    let system = System::start_with(&[("METRICS_NAMESPACE", "")]).await;
    let grace = staff(&system).await;
    figures(&system, &grace)
        .await
        .expect_error(404, "metrics_not_collected");
    let ada = system.account("ada").await;
    figures(&system, &ada).await.expect_error(403, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_to_the_last() {
    let (system, grace, server) = scripted().await;
    server.follow(|request, _| {
        let is_last = request["NextToken"] == "more";
        let status = if is_last { "Complete" } else { "PartialData" };
        let hour = if is_last { 1 } else { 2 };
        let mut page = CloudWatchServer::page(request, |_| {
            let time = request["StartTime"].as_f64().unwrap() + f64::from(hour * 3_600);
            json!({"Timestamps": [time], "Values": [f64::from(hour)], "StatusCode": status})
        });
        if !is_last {
            page["NextToken"] = "more".into();
        }
        Said::Page(page)
    });
    let told = figures(&system, &grace).await.expect_status(200).body;
    let messages: Vec<_> = (0..4).map(|hour| told["hours"][hour]["messages"].clone()).collect();
    assert_eq!((json!(messages), server.take_asked().len()), (json!([0, 1, 2, 0]), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloudwatch_does_not_say_is_never_taken_for_nothing() {
    let (system, grace, server) = scripted().await;
    let every =
        |result: Value| move |request: &Value, _| Said::Page(CloudWatchServer::page(request, |_| result.clone()));
    let refusal = |status, code| move |_: &Value, _| Said::Refusal(status, code);
    let first = |result: Value| {
        move |request: &Value, _| {
            Said::Page(CloudWatchServer::page(request, |query| {
                if query["Id"] == "s0" { result.clone() } else { json!({}) }
            }))
        }
    };
    let value = |value: Value| {
        move |request: &Value, _| {
            let time = &request["StartTime"];
            Said::Page(CloudWatchServer::page(
                request,
                |_| json!({"Timestamps": [time], "Values": [value]}),
            ))
        }
    };
    let at = |seconds: f64| {
        move |request: &Value, _| {
            let time = request["StartTime"].as_f64().unwrap() + seconds;
            Said::Page(CloudWatchServer::page(
                request,
                |_| json!({"Timestamps": [time], "Values": [1.0]}),
            ))
        }
    };
    type Script = Box<dyn Fn(&Value, usize) -> Said + Send + Sync>;
    let (busy, internal) = ((503, "busy"), (500, "internal"));
    // How often each is asked for is what the SDK sends again.
    let cases: Vec<(&str, Script, (u16, &str), usize)> = vec![
        ("throttled", Box::new(refusal(400, "Throttling")), busy, 3),
        (
            "throttled, in new words",
            Box::new(refusal(400, "ThrottlingException")),
            busy,
            3,
        ),
        ("out of order", Box::new(refusal(500, "InternalServiceFault")), busy, 3),
        ("unavailable", Box::new(refusal(503, "ServiceUnavailable")), busy, 3),
        ("denied", Box::new(refusal(403, "AccessDenied")), internal, 1),
        (
            "not understood",
            Box::new(refusal(400, "InvalidParameterValue")),
            internal,
            1,
        ),
        ("rubbish", Box::new(|_, _| Said::Rubbish(b"<html>")), internal, 1),
        ("empty", Box::new(|_, _| Said::Rubbish(b"")), internal, 1),
        ("no results", Box::new(|_, _| Said::Page(json!({}))), busy, 1),
        (
            "partial",
            Box::new(first(json!({"StatusCode": "PartialData"}))),
            busy,
            1,
        ),
        (
            "failed",
            Box::new(first(json!({"StatusCode": "InternalError"}))),
            busy,
            1,
        ),
        (
            "forbidden",
            Box::new(first(json!({"StatusCode": "Forbidden"}))),
            internal,
            1,
        ),
        ("no status", Box::new(first(json!({"StatusCode": null}))), internal, 1),
        ("another metric", Box::new(first(json!({"Id": "other"}))), internal, 1),
        ("one metric twice", Box::new(first(json!({"Id": "s1"}))), busy, 1),
        ("one too many", Box::new(first(json!({"Id": "s12"}))), internal, 1),
        (
            "more values than times",
            Box::new(every(json!({"Values": [1.0]}))),
            internal,
            1,
        ),
        ("the day before", Box::new(at(-1.0)), internal, 1),
        ("the day after", Box::new(at(86_400.0)), internal, 1),
        ("less than nothing", Box::new(value(json!(-1.0))), internal, 1),
        ("more than there can be", Box::new(value(json!(1e300))), internal, 1),
        (
            "always more",
            Box::new(|request, _| {
                let mut page = CloudWatchServer::page(request, |_| json!({}));
                page["NextToken"] = "more".into();
                Said::Page(page)
            }),
            busy,
            5,
        ),
    ];
    for (what, script, (status, code), times) in cases {
        server.follow(script);
        let reply = figures(&system, &grace).await;
        println!("{what}: {} {}", reply.status, reply.code());
        let reply = reply.expect_error(status, code);
        assert_eq!(reply.headers.contains_key("retry-after"), status == 503, "{what}");
        assert!(reply.body.get("hours").is_none(), "{what}");
        assert_eq!(server.take_asked().len(), times, "{what}");
    }
    // A short trouble is waited out.
    server.follow(|request, before| match before {
        0 => Said::Refusal(400, "Throttling"),
        1 => Said::Refusal(503, "ServiceUnavailable"),
        _ => Said::Page(CloudWatchServer::page(request, |_| json!({}))),
    });
    figures(&system, &grace).await.expect_status(200);
    // No secret of it, but why it failed, is in the line.
    server.follow(|_, _| Said::Refusal(403, "AccessDenied"));
    figures(&system, &grace).await.expect_error(500, "internal");
    let line = system.last_line_of("admin-figures").await;
    assert!(line.contains("GetMetricData: AccessDenied"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloudwatch_that_hangs_or_is_not_there_is_503_before_the_function_is_cut_off() {
    let (system, grace, server) = scripted().await;
    for slow in [
        // From the first, and on each next page for nearly as long as one request may take.
        Box::new(|_: &Value, _: usize| Said::Silence) as Box<dyn Fn(&Value, usize) -> Said + Send + Sync>,
        Box::new(|request: &Value, before| match before % 2 {
            0 => Said::Silence,
            _ => {
                let mut page = CloudWatchServer::page(request, |_| json!({}));
                page["NextToken"] = "more".into();
                Said::Page(page)
            }
        }),
    ] {
        server.follow(slow);
        let started = Instant::now();
        let reply = figures(&system, &grace).await.expect_error(503, "busy");
        println!("{:?}, asked {} times", started.elapsed(), server.take_asked().len());
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(reply.header("retry-after"), "1");
    }
    let system = System::start_with(&[("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:9")]).await;
    let grace = staff(&system).await;
    figures(&system, &grace).await.expect_error(503, "busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cloudwatch_understands_what_it_is_asked() {
    let Some(cloudwatch) = OtherCloudWatch::start().await else {
        return;
    };
    let system = System::start_with(&[("AWS_ENDPOINT_URL_CLOUDWATCH", &cloudwatch.url)]).await;
    let grace = staff(&system).await;
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (stage, sign_up) = ([("stage", "dev")], [("stage", "dev"), ("endpoint", "users-register")]);
    for (metric, dimensions, hours_ago, value) in [
        ("requests", &stage[..], 1, 5.0),
        ("requests", &stage, 1, 2.0),
        ("requests", &stage, 3, 1.0),
        ("requests", &stage, 30, 64.0),
        ("requests", &sign_up, 1, 3.0),
        ("requests_invalid", &sign_up, 1, 1.0),
        ("requests", &[("stage", "prod")], 1, 128.0),
        ("holds_settled", &stage, 1, 2.0),
        ("tokens_charged", &stage, 1, 200.0),
    ] {
        cloudwatch.put(metric, dimensions, now - hours_ago * 3_600, value).await;
    }
    let told = figures(&system, &grace).await.expect_status(200).body;
    check_form(&told, UNIX_EPOCH.elapsed().unwrap());
    let expected = json!({"sign_ups": 2, "messages": 2, "tokens_charged": 200, "requests": 8, "errors": 0});
    assert_eq!(told["totals"], expected);
    assert_eq!(counts(&told["hours"][20])["requests"], 1);
}
