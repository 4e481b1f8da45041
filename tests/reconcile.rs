//! The operator's check of every balance against its ledger.

use std::{collections::HashMap, process::Stdio, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Account, Request, System};

async fn reconcile(system: &System, event: Value) -> Result<Value, Value> {
    let outcome = system.invoke_operator("ledger-reconcile", event).await;
    outcome.map_err(|error| {
        let error: Value = serde_json::from_str(&error).unwrap();
        let text = error["errorMessage"].as_str().unwrap();
        let report = text.split_once(": ").map_or(text, |(_, report)| report);
        serde_json::from_str(report).unwrap_or_else(|_| json!(text))
    })
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Moves tokens behind the system's back.
async fn set_balance(system: &System, account: &Account, balance: u64) {
    system.set(account, "balance", number(balance)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agrees_is_counted_and_left_alone() {
    let system = System::start().await;
    for index in 0..20 {
        let account = system.account(&format!("user{index}")).await;
        for _ in 0..index % 4 {
            system.chat(&account, "hello").await.expect_status(200);
        }
    }
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let adjust = Request::post(
        "/api/v1/admin/users/user3/tokens",
        &json!({"amount": -7, "reason": "a test"}),
    );
    system.send(adjust.bearer(&root.access)).await.expect_status(200);
    let before = system.scan().await;
    for segments in [1, 8, 64] {
        let found = reconcile(&system, json!({"segments": segments})).await.unwrap();
        assert_eq!((&found["users"], &found["chats"]), (&json!(21), &json!(30)), "{found}");
        assert_eq!((&found["drifted"], &found["busy"]), (&json!(0), &json!(0)), "{found}");
    }
    reconcile(&system, json!({"repair": true})).await.unwrap();
    assert_eq!(system.scan().await.len(), before.len());
    for bad in [
        json!({"repairs": true}),
        json!({"segments": -1}),
        json!([]),
        json!({"repair": "yes"}),
    ] {
        assert!(reconcile(&system, bad).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_drift_is_reported_and_changes_nothing_without_being_told_to() {
    let system = System::start().await;
    let mut accounts = Vec::new();
    for name in ["right", "toomuch", "toolittle", "lostchat", "doublecharge", "orphan"] {
        let account = system.account(name).await;
        system.chat(&account, "hello").await.expect_status(200);
        accounts.push(account);
    }
    set_balance(&system, &accounts[1], 5_000).await;
    set_balance(&system, &accounts[2], 1).await;
    let chat = system
        .items("lostchat")
        .await
        .into_iter()
        .find(|item| item["sk"].as_s().unwrap().starts_with("TURN#"));
    let chat = chat.unwrap();
    let delete = system.client.delete_item().table_name(&system.table);
    delete
        .key("pk", chat["pk"].clone())
        .key("sk", chat["sk"].clone())
        .send()
        .await
        .unwrap();
    set_balance(&system, &accounts[4], 3_800).await;
    let delete = system.client.delete_item().table_name(&system.table);
    let delete = delete
        .key("pk", AttributeValue::S("USER#orphan".into()))
        .key("sk", AttributeValue::S("USER".into()));
    delete.send().await.unwrap();

    let before = sorted(&system.scan().await);
    let report = reconcile(&system, json!({})).await.unwrap_err();
    assert_eq!(
        (&report["drifted"], &report["repaired"]),
        (&json!(5), &json!(0)),
        "{report}"
    );
    let mut found: Vec<_> = report["drifts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drift| {
            (
                drift["username"].as_str().unwrap(),
                drift["balance"].as_i64(),
                drift["expected"].as_i64(),
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("doublecharge", Some(3_800), Some(3_900)),
            ("lostchat", Some(3_900), Some(4_000)),
            ("orphan", None, None),
            ("toolittle", Some(1), Some(3_900)),
            ("toomuch", Some(5_000), Some(3_900)),
        ]
    );
    assert_eq!(sorted(&system.scan().await), before, "nothing was changed");
    // Each is in the log too, for who is woken by the alarm.
    let logs = system.logs().join("\n");
    assert_eq!(logs.matches("does not agree with its ledger").count(), 5);

    let report = reconcile(&system, json!({"repair": true})).await.unwrap_err();
    assert_eq!(
        (&report["drifted"], &report["repaired"]),
        (&json!(5), &json!(4)),
        "an orphan has no balance: {report}"
    );
    for (name, balance) in [
        ("toomuch", 3_900),
        ("toolittle", 3_900),
        ("lostchat", 4_000),
        ("doublecharge", 3_900),
    ] {
        system.check_ledger(name).await;
        let items = system.items(name).await;
        let user = items.iter().find(|item| item["sk"].as_s().unwrap() == "USER").unwrap();
        assert_eq!(user["balance"], number(balance), "{name}");
        let entries: Vec<_> = items
            .iter()
            .filter(|item| item["sk"].as_s().unwrap().starts_with("LEDGER#"))
            .collect();
        assert_eq!(entries.len(), 1, "one entry for each repair");
        assert!(entries[0]["reason"].as_s().unwrap().starts_with("Reconciliation: "));
        assert!(!entries[0].contains_key("actor"));
    }
    let trail = system.scan().await;
    let corrections = trail.iter().filter(|item| item["pk"].as_s().unwrap() == "AUDIT");
    assert_eq!(corrections.count(), 4);
    // Staff see it as what it is.
    let root = system.account("root").await;
    system.set_text(&root, "role", "staff").await;
    let ledger = system
        .send(Request::get("/api/v1/admin/users/toomuch/ledger").bearer(&root.access))
        .await;
    let ledger = ledger.expect_status(200);
    assert_eq!(
        (&ledger.body["data"][0]["kind"], &ledger.body["data"][0]["amount"]),
        (&json!("correction"), &json!(0))
    );
}

fn sorted(items: &[HashMap<String, AttributeValue>]) -> Vec<String> {
    let mut lines: Vec<_> = items
        .iter()
        .map(|item| {
            // Maps have no order of their own, and sessions are none of this.
            let flat = item.iter().filter(|(_, value)| !value.is_m());
            format!("{:?}", std::collections::BTreeMap::from_iter(flat))
        })
        .filter(|line| !line.contains("PACE#"))
        .collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_below_zero_is_found_and_repaired_and_what_cannot_be_read_stops_nothing() {
    let system = System::start().await;
    for name in ["below", "broken", "drifted", "right"] {
        let account = system.account(name).await;
        system.chat(&account, "hello").await.expect_status(200);
        match name {
            "below" => system.set(&account, "balance", AttributeValue::N("-100".into())).await,
            "broken" => system.set(&account, "created_at", AttributeValue::Bool(true)).await,
            "drifted" => set_balance(&system, &account, 1).await,
            _ => {}
        }
    }
    for segments in [1, 8] {
        let report = reconcile(&system, json!({"segments": segments})).await.unwrap_err();
        assert_eq!(
            (&report["users"], &report["unchecked"], &report["drifted"]),
            (&json!(4), &json!(1), &json!(2)),
            "{report}"
        );
        let below = report["drifts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|drift| drift["username"] == "below")
            .unwrap();
        assert_eq!((&below["balance"], &below["expected"]), (&json!(-100), &json!(3_900)));
    }
    let report = reconcile(&system, json!({"repair": true})).await.unwrap_err();
    assert_eq!((&report["repaired"], &report["unchecked"]), (&json!(2), &json!(1)));
    for name in ["below", "drifted", "right"] {
        system.check_ledger(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_beyond_the_ledger_is_written_off() {
    let system = System::start_with(&[("SIGNUP_TOKENS", "300")]).await;
    let ada = system.account("ada").await;
    for _ in 0..3 {
        system.chat(&ada, "hello").await.expect_status(200);
    }
    // As if the grant had been 100: 200 were spent that were never there.
    system.set(&ada, "signup_grant", number(100)).await;
    let repaired = reconcile(&system, json!({"repair": true})).await.unwrap();
    assert_eq!((&repaired["drifted"], &repaired["repaired"]), (&json!(1), &json!(1)));
    assert_eq!(system.balance(&ada).await, 0);
    system.check_ledger("ada").await;
    assert_eq!(reconcile(&system, json!({})).await.unwrap()["drifted"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_of_users_who_never_came_back_are_given_back_and_cut_off_deletions_finished() {
    let system = System::start().await;
    let (lost, live) = (system.account("lost").await, system.account("live").await);
    for cost in [100, 250] {
        system.leave_dead_hold(&lost, cost, -1).await;
    }
    system.leave_dead_hold(&live, 100, 60_000).await;
    let half = system.account("half").await;
    let login = json!({"username": "half", "password": half.password});
    system
        .send(Request::post("/api/login", &login))
        .await
        .expect_status(200);
    system.chat(&half, "hello").await.expect_status(200);
    system.set(&half, "deleting", AttributeValue::Bool(true)).await;
    system.set(&half, "active", AttributeValue::Bool(false)).await;
    let found = reconcile(&system, json!({})).await.unwrap();
    assert_eq!(
        (&found["holds_given_back"], &found["tokens_given_back"]),
        (&json!(2), &json!(350)),
        "{found}"
    );
    assert_eq!(found["deletions_finished"], 1);
    system.wait_for_holds("lost", 0).await;
    system.wait_for_holds("live", 1).await;
    for name in ["lost", "live"] {
        system.check_ledger(name).await;
    }
    assert!(system.items("half").await.is_empty());
    system.account("half").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_chat_meanwhile_do_not_look_wrong() {
    let system = System::start_with(&[("CHATS_PER_MINUTE", "0"), ("MESSAGE_COST_TOKENS", "1")]).await;
    system.spawn("chats-send");
    system.spawn("chats-send");
    let mut accounts = Vec::new();
    for index in 0..6 {
        accounts.push(system.account(&format!("busy{index}")).await);
    }
    let chat = async |account: &Account| {
        for turn in 0..60 {
            system.chat(account, &format!("turn {turn}")).await.expect_status(200);
        }
    };
    let check = async {
        let mut busy = 0;
        for _ in 0..15 {
            let found = reconcile(&system, json!({"segments": 3})).await.unwrap();
            busy += found["busy"].as_u64().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("users who looked wrong and had only been busy: {busy} in 15 walks");
    };
    tokio::join!(join_all(accounts.iter().map(chat)), check);
    let found = reconcile(&system, json!({})).await.unwrap();
    assert_eq!((&found["drifted"], &found["chats"]), (&json!(0), &json!(360)));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_command_line_it_prints_what_it_found_and_its_exit_status_tells() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let run = async |argument: &str| {
        let mut command = system.command_line("ledger-reconcile");
        let output = command.arg(argument).stdin(Stdio::null()).output().await.unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.success(), printed)
    };
    let (success, printed) = run("{}").await;
    assert!(success);
    assert_eq!(printed["users"], 1);
    set_balance(&system, &ada, 1).await;
    let (success, printed) = run(r#"{"repair": false}"#).await;
    assert!(!success);
    assert_eq!(printed["drifts"][0]["username"], "ada");
    assert!(run(r#"{"repair": true}"#).await.0);
    assert!(run("{}").await.0);
    assert!(!run("rubbish").await.0);
}
