//! What an operator sees: the metrics that log lines carry, and the alarms and the dashboard that show them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Request, System, root};

/// What lines told together: each metric with the dimensions that it has, and its sum.
#[derive(Debug, Default)]
struct Told {
    sums: BTreeMap<String, f64>,
    by_stage: BTreeSet<String>,
    by_endpoint: BTreeSet<String>,
}

/// Reads a line as CloudWatch does, by the rules of its Embedded Metric Format; what breaks one of them is lost there without a word.
fn read(told: &mut Told, line: &str) {
    assert!(line.len() < 256 * 1024 && !line.contains('\n'));
    let line: Value = serde_json::from_str(line).unwrap();
    let metadata = line["_aws"].as_object().unwrap();
    let members: BTreeSet<_> = metadata.keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["CloudWatchMetrics", "Timestamp"]));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let told_at = u128::from(metadata["Timestamp"].as_u64().unwrap());
    assert!(told_at <= now && now - told_at < 600_000, "in milliseconds since 1970");
    for directive in metadata["CloudWatchMetrics"].as_array().unwrap() {
        let members: BTreeSet<_> = directive.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["Dimensions", "Metrics", "Namespace"]));
        let namespace = directive["Namespace"].as_str().unwrap();
        assert_eq!(namespace, "ai-chat-system", "the name of the stack");
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        let mut dimensions = Vec::new();
        for set in sets {
            let set: Vec<_> = set
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            assert!(set.len() <= 2, "each combination is a metric that is paid for");
            for name in &set {
                let value = line[*name].as_str().unwrap();
                assert!(
                    (1..=1024).contains(&value.len()) && value.is_ascii(),
                    "{name} is {value}"
                );
            }
            dimensions.push(set);
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        let mut names = BTreeSet::new();
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            let unit = metric["Unit"].as_str().unwrap();
            assert!(["Count", "Milliseconds"].contains(&unit) && metric.as_object().unwrap().len() == 2);
            assert_eq!(name.ends_with("_ms"), unit == "Milliseconds", "{name} in {unit}");
            assert!(names.insert(name), "{name} is told twice");
            let value = line[name].as_f64().unwrap_or_else(|| panic!("{name} is no number"));
            assert!(value.is_finite() && value >= 0.0);
            *told.sums.entry(name.to_owned()).or_default() += value;
            for set in &dimensions {
                match set[..] {
                    ["stage"] => told.by_stage.insert(name.to_owned()),
                    ["stage", "endpoint"] => told.by_endpoint.insert(name.to_owned()),
                    _ => panic!("{name} is told by {set:?}"),
                };
            }
        }
    }
}

/// What the lines of a system tell, once there are as many as there were requests.
async fn told(told: &mut Told, system: &System, requests: usize) {
    let mut lines = Vec::new();
    for _ in 0..100 {
        lines = system.logs();
        lines.retain(|line| line.contains("\"message\":\"request\""));
        if lines.len() >= requests {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(lines.len(), requests, "one line for one request: {lines:#?}");
    for line in &lines {
        read(told, line);
    }
}

/// Does everything that has a metric, and tells what the lines told of it.
async fn everything() -> Told {
    let mut all = Told::default();
    let system = System::start_with(&[
        ("SIGNUP_TOKENS", "450"),
        ("CHATS_PER_MINUTE", "60"),
        ("CHAT_BURST", "100"),
    ])
    .await;
    // A sign-up and a login.
    let ada = system.account("ada").await;
    let chat = Request::post("/api/v1/chats", &json!({"message": "hello"}));
    system.send(chat.clone().bearer(&ada.access)).await.expect_status(200);
    let stream = chat.to("/api/v1/chats/stream");
    system.send(stream.clone().bearer(&ada.access)).await.expect_status(200);
    // The same again is no second charge: what was held goes back.
    let keyed = chat.clone().header("Idempotency-Key", "k");
    for _ in 0..2 {
        system.send(keyed.clone().bearer(&ada.access)).await.expect_status(200);
    }
    let completion = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let completion = Request::post("/v1/chat/completions", &completion).bearer(&ada.access);
    system.send(completion).await.expect_status(200);
    // 50 are left.
    system.send(chat.clone().bearer(&ada.access)).await.expect_status(402);
    system.leave_dead_hold(&ada, 20, -1).await;
    system.leave_dead_hold(&ada, 20, -1).await;
    let balance = Request::get("/api/v1/users/token-balance");
    system.send(balance.bearer(&ada.access)).await.expect_status(200);
    system.send(chat.clone().bearer("rubbish")).await.expect_status(401);
    system.send(Request::get("/nothing")).await.expect_status(404);
    system.invoke_operator("ledger-reconcile", json!({})).await.unwrap();
    told(&mut all, &system, 12).await;

    let failing = System::start_with(&[
        ("ECHO_FAILURE", "error"),
        ("CHATS_PER_MINUTE", "1"),
        ("CHAT_BURST", "1"),
    ])
    .await;
    let bob = failing.account("bob").await;
    for request in [&chat, &stream] {
        let status = failing.send(request.clone().bearer(&bob.access)).await.status;
        assert!([429, 502].contains(&status), "{status}");
    }
    told(&mut all, &failing, 4).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_did_can_be_read_from_their_lines() {
    let all = everything().await;
    let sum = |name: &str| all.sums.get(name).copied().unwrap_or_default();
    for (name, expected) in [
        ("requests", 16.0),
        ("requests_unpaid", 1.0),
        ("requests_refused", 1.0),
        ("requests_invalid", 1.0),
        ("requests_paced", 1.0),
        ("requests_failed", 1.0),
        ("holds_opened", 6.0),
        ("holds_settled", 4.0),
        ("holds_released", 2.0),
        ("holds_expired", 2.0),
        ("tokens_charged", 400.0),
    ] {
        assert!(
            (sum(name) - expected).abs() < f64::EPSILON,
            "{name}: {}, not {expected}",
            sum(name)
        );
    }
    assert!(
        sum("provider_calls") >= 5.0 && sum("provider_errors") >= 1.0,
        "{:?}",
        all.sums
    );
    assert!(sum("dynamodb_calls") > 20.0, "{:?}", all.sums);
    let by_endpoint: BTreeSet<_> = all.by_endpoint.iter().map(String::as_str).collect();
    let wanted = BTreeSet::from([
        "duration_ms",
        "requests",
        "requests_failed",
        "requests_invalid",
        "requests_paced",
        "requests_refused",
        "requests_unpaid",
    ]);
    assert_eq!(
        by_endpoint, wanted,
        "each is a metric for each endpoint, to be paid for"
    );
    assert!(all.by_endpoint.is_subset(&all.by_stage));
}

/// The text of each resource of the template that is of this type, by its name.
fn resources(of_type: &str) -> BTreeMap<String, String> {
    let template = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let resources = template.split("\nResources:\n").nth(1).unwrap();
    let resources = resources.split("\nOutputs:\n").next().unwrap();
    let mut found = BTreeMap::new();
    for resource in resources.split("\n\n") {
        // What stands before it is said of it.
        let mut lines = resource
            .lines()
            .skip_while(|line| line.trim_start().starts_with('#') || line.is_empty());
        let name = lines.next().unwrap_or_default().trim().trim_end_matches(':').to_owned();
        if lines
            .next()
            .is_some_and(|line| line.trim() == format!("Type: {of_type}"))
        {
            found.insert(name, resource.to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_and_the_dashboard_show_what_lines_tell() {
    let all = everything().await;
    let mut watched = 0;
    for (name, alarm) in resources("AWS::CloudWatch::Alarm") {
        if alarm.contains("Namespace: !Ref AWS::StackName") {
            let metric = alarm.split("MetricName: ").nth(1).unwrap().lines().next().unwrap();
            assert!(all.by_stage.contains(metric), "{name}: no line tells {metric} by stage");
            assert!(
                alarm.contains("Dimensions: [{Name: stage, Value: !Ref Stage}]"),
                "{name}"
            );
            watched += 1;
        }
    }
    assert!(watched >= 3, "{watched} alarms watch lines");
    let dashboard = &resources("AWS::CloudWatch::Dashboard")["Dashboard"];
    let body = dashboard.split_once("- |").unwrap().1;
    let body = body.rsplit_once("- {TableInUse").unwrap().0;
    let body: Value = serde_json::from_str(body).unwrap();
    let mut shown = BTreeSet::new();
    for widget in body["widgets"].as_array().unwrap() {
        let mut namespace = String::new();
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            if let Some(expression) = metric[0]["expression"].as_str() {
                let name = expression
                    .split("MetricName=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap();
                assert!(
                    expression.contains("${AWS::StackName}\",stage,endpoint"),
                    "{expression}"
                );
                assert!(all.by_endpoint.contains(name), "no line tells {name} by endpoint");
                continue;
            }
            // A full stop repeats what stands above.
            let first = metric[0].as_str().unwrap();
            if first != "." {
                namespace = first.to_owned();
            }
            if namespace == "${AWS::StackName}" {
                let name = metric[1].as_str().unwrap();
                assert!(all.by_stage.contains(name), "no line tells {name} by stage");
                shown.insert(name.to_owned());
            }
        }
    }
    let unseen: Vec<_> = all
        .by_stage
        .difference(&shown)
        .filter(|name| *name != "duration_ms")
        .collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");
}

#[test]
fn every_alarm_has_its_paragraph_in_the_runbook_and_every_paragraph_its_alarm() {
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let sections = runbook.split("\n## ").skip(1);
    let mut explained = BTreeSet::new();
    for section in sections {
        let name = section.lines().next().unwrap().trim().to_owned();
        for part in ["**Means.** ", "**Look.** ", "**Do.** "] {
            let text = section.split(part).nth(1).unwrap_or_default();
            assert!(text.len() > 60, "{name} in docs/runbook.md says nothing under {part}");
        }
        explained.insert(name);
    }
    let alarms: BTreeSet<_> = resources("AWS::CloudWatch::Alarm").into_keys().collect();
    assert!(alarms.len() > 5);
    assert_eq!(
        explained, alarms,
        "headings of docs/runbook.md against the alarms of template.yaml"
    );
}

#[test]
fn every_function_gets_a_version_with_every_release() {
    let functions = resources("AWS::Serverless::Function");
    assert!(functions.len() > 20);
    for (name, function) in functions {
        assert!(
            function
                .lines()
                .any(|line| line == "      VersionDescription: !Ref Release"),
            "add to the properties of {name} in template.yaml: VersionDescription: !Ref Release"
        );
    }
}
