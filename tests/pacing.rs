//! How fast one may be: messages of a user, logins with a name, and what a network does without an account.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Reply, Request, System};

fn statuses(replies: &[Reply]) -> (usize, usize) {
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    (count(200) + count(201), count(429))
}

/// Checks that a refusal says when to come back, in whole seconds.
fn wait_of(reply: Reply) -> u64 {
    let reply = reply.expect_error(429, "too_many_requests");
    let wait = reply.header("retry-after").parse().unwrap();
    assert!(wait >= 1);
    wait
}

#[tokio::test(flavor = "multi_thread")]
async fn of_60_messages_at_once_as_many_pass_as_the_burst_and_then_one_an_interval() {
    // One every six seconds, so that none comes due while the 60 race.
    let pace = [
        ("CHATS_PER_MINUTE", "10"),
        ("CHAT_BURST", "5"),
        ("MESSAGE_COST_TOKENS", "1"),
    ];
    let system = System::start_with(&pace).await;
    for _ in 0..6 {
        system.spawn("chats-send");
    }
    for round in 0..5 {
        let name = format!("racer{round}");
        let racer = system.account(&name).await;
        let replies = join_all((0..60).map(|_| system.chat(&racer, "hello"))).await;
        assert_eq!(statuses(&replies), (5, 55), "round {round}");
        assert_eq!(system.balance(&racer).await, 3995, "round {round}");
        system.check_ledger(&name).await;
        let refused = replies.into_iter().find(|reply| reply.status == 429).unwrap();
        // An interval, and as much longer as the request had been waiting for its turn.
        assert!(wait_of(refused) <= 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_waits_as_told_is_let_through() {
    let pace = [("CHATS_PER_MINUTE", "60"), ("CHAT_BURST", "1")];
    let system = System::start_with(&pace).await;
    let ada = system.account("ada").await;
    system.chat(&ada, "one").await.expect_status(200);
    let wait = wait_of(system.chat(&ada, "too soon").await);
    assert_eq!(wait, 1);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    system.chat(&ada, "two").await.expect_status(200);
    assert_eq!(system.balance(&ada).await, 3800);
    system.check_ledger("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pacing_costs_an_idle_user_nothing_and_says_402_before_429() {
    let pace = [
        ("CHATS_PER_MINUTE", "6000"),
        ("CHAT_BURST", "1"),
        ("SIGNUP_TOKENS", "200"),
    ];
    let system = System::start_with(&pace).await;
    let ada = system.account("ada").await;
    system.chat(&ada, "starts the process").await.expect_status(200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    system.take_recorded();
    system.chat(&ada, "hello").await.expect_status(200);
    let operations: Vec<_> = system.take_recorded().into_iter().map(|one| one.operation).collect();
    assert_eq!(operations, ["UpdateItem", "TransactWriteItems"]);
    system
        .chat(&ada, "hello")
        .await
        .expect_error(402, "insufficient_tokens");
}

async fn log_in(system: &System, address: &str, username: &str, password: &str) -> Reply {
    let body = json!({"username": username, "password": password});
    system
        .send(Request::post("/api/v1/users/login", &body).from(address))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wrong_logins_from_one_network_never_lock_out_the_owner() {
    let system = System::start().await;
    for _ in 0..3 {
        system.spawn("users-login");
    }
    let ada = system.account("ada").await;
    let (guesser, owner) = ("203.0.113.9", "198.51.100.7");
    // One after the other, and then many at once: of these too, each counts before its hash is looked at.
    let mut tried = Vec::new();
    for index in 0..40 {
        tried.push(log_in(&system, guesser, "ADA", &format!("guess {index}")).await);
    }
    let guesses: Vec<_> = (40..100).map(|index| format!("guess {index}")).collect();
    tried.extend(join_all(guesses.iter().map(|guess| log_in(&system, guesser, "ada", guess))).await);
    let looked_at = tried.iter().filter(|reply| reply.status == 401).count();
    let slowed = tried.iter().filter(|reply| reply.status == 429).count();
    println!("100 wrong logins from one network: {looked_at} looked at, {slowed} told to wait");
    assert_eq!(looked_at + slowed, 100);
    assert!((5..=12).contains(&looked_at), "{looked_at} were looked at");
    // The wait grows, and even the right password waits there.
    loop {
        let reply = log_in(&system, guesser, "ada", "one more guess").await;
        if reply.status == 401 {
            continue;
        }
        let wait = wait_of(reply);
        if wait >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
    wait_of(log_in(&system, guesser, "ada", &ada.password).await);
    log_in(&system, owner, "ada", &ada.password).await.expect_status(200);
    log_in(&system, "2001:db8::1", "ada", &ada.password)
        .await
        .expect_status(200);
    // Another name from the guesser's network is not slowed down by it.
    system.account("bob").await;
    log_in(&system, guesser, "bob", &ada.password).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn right_logins_at_the_same_moment_do_not_slow_each_other_down() {
    let system = System::start().await;
    system.spawn("users-login");
    system.spawn("users-login");
    let ada = system.account("ada").await;
    for round in 0..15 {
        let log_in = || log_in(&system, "198.51.100.7", "ada", &ada.password);
        let (a, b, c) = tokio::join!(log_in(), log_in(), log_in());
        assert_eq!([a.status, b.status, c.status], [200; 3], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_new_passwords_are_no_wrong_ones() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..8 {
        let body = json!({"old": ada.password, "new": "short"});
        let request = Request::post("/api/v1/users/password", &body).from("198.51.100.7");
        system
            .send(request.bearer(&ada.access))
            .await
            .expect_error(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_forgets_the_failures_before_it() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..4 {
        for guess in ["wrong", "wronger", "wrongest"] {
            log_in(&system, "198.51.100.7", "ada", guess)
                .await
                .expect_error(401, "invalid_credentials");
        }
        log_in(&system, "198.51.100.7", "ada", &ada.password)
            .await
            .expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_got_hold_of_a_token_cannot_find_the_password_with_it() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let thief = "203.0.113.9";
    let mut guesses = Vec::new();
    for index in 0..12 {
        let guess = format!("guess number {index}");
        let request = if index % 2 == 0 {
            Request::post("/api/v1/users/password", &json!({"old": guess, "new": "x"}))
        } else {
            Request::with_body("DELETE", "/api/v1/users/me", &json!({"password": guess}))
        };
        guesses.push(system.send(request.from(thief).bearer(&ada.access)).await);
    }
    let looked_at = guesses.iter().filter(|reply| reply.status == 400).count();
    let slowed = guesses.iter().filter(|reply| reply.status == 429).count();
    assert_eq!((looked_at, slowed), (5, 7));
    // The owner is not slowed down, elsewhere.
    let change = json!({"old": ada.password, "new": "another horse battery"});
    let change = Request::post("/api/v1/users/password", &change).bearer(&ada.access);
    system.send(change).await.expect_status(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_nobodys_are_not_looked_up_without_end() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let login = json!({"username": "ada", "password": ada.password});
    let key = system
        .send(Request::post("/api/login", &login))
        .await
        .expect_status(200)
        .text_of("token");
    let look = |key: &str, address: &str| system.send(Request::get("/api/tokens").auth_key(key).from(address));
    look(&key, "203.0.113.9").await.expect_status(200);
    for index in 0..20 {
        let guess = format!("{index:040x}");
        look(&guess, "203.0.113.9").await.expect_error(401, "token_not_valid");
    }
    system.take_recorded();
    let wait = wait_of(look(&"f".repeat(40), "203.0.113.9").await);
    assert!(wait <= 60);
    assert!(system.take_recorded().is_empty());
    // Who is known is let in all the same, and other networks are not concerned.
    look(&key, "203.0.113.9").await.expect_status(200);
    look(&"f".repeat(40), "203.0.113.10")
        .await
        .expect_error(401, "token_not_valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_slowed_down_like_a_known_one() {
    let system = System::start().await;
    system.account("ada").await;
    let mut answers = Vec::new();
    for (name, address) in [
        ("ada", "203.0.113.1"),
        ("nobody", "203.0.113.2"),
        ("no#body", "203.0.113.3"),
    ] {
        let mut codes = Vec::new();
        for _ in 0..12 {
            let reply = log_in(&system, address, name, "not the password").await;
            codes.push((reply.status, reply.body["code"].as_str().unwrap().to_owned()));
        }
        answers.push(codes);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[0].iter().filter(|(status, _)| *status == 401).count(), 5);
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_known_and_unknown_names_take_the_same_time() {
    let system = System::start_direct(&[("LOGIN_BURST", "0")]).await;
    for index in 0..20 {
        system.account(&format!("known{index}")).await;
    }
    // By turns, so that whatever else the machine does falls on both alike.
    let mut times = [Vec::new(), Vec::new()];
    for index in 0..200 {
        for (kind, name) in [format!("known{}", index % 20), format!("unknown{}", index % 20)]
            .into_iter()
            .enumerate()
        {
            let address = format!("203.0.{}.{}", index, 1 + kind);
            let started = Instant::now();
            let reply = log_in(&system, &address, &name, "not the password").await;
            times[kind].push(started.elapsed().as_secs_f64() * 1e3);
            reply.expect_error(401, "invalid_credentials");
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index below 200"
            )]
            let index = (times.len() as f64 * part) as usize;
            times[index]
        };
        (at(0.25), at(0.5), at(0.75))
    });
    println!("200 known and 200 unknown names, milliseconds (quartiles): {known:.2?} and {unknown:.2?}");
    // Noise is what lies between the quartiles of one kind.
    let noise = (known.2 - known.0).max(unknown.2 - unknown.0);
    assert!((known.1 - unknown.1).abs() <= noise, "{known:?} {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ups_are_paced_by_network() {
    let pace = [("SIGNUPS_PER_MINUTE", "10"), ("SIGNUP_BURST", "4")];
    let system = System::start_with(&pace).await;
    let sign_up = |address: &str, name: String| {
        let body = json!({"username": name, "password": "correct horse battery"});
        system.send(Request::post("/api/v1/users", &body).from(address))
    };
    let mut replies = Vec::new();
    for index in 0..12 {
        replies.push(sign_up("203.0.113.9", format!("one{index}")).await);
    }
    // Three that the process lets through by itself, four of the burst.
    assert_eq!(statuses(&replies), (7, 5));
    assert!(wait_of(replies.pop().unwrap()) <= 6);
    // Another network, and another customer's part of IPv6, are other networks; another address of the same customer is not.
    for (address, status) in [
        ("203.0.113.10", 201),
        ("2001:db8:1:2::1", 201),
        ("2001:db8:1:300::1", 201),
    ] {
        sign_up(address, format!("other{}", system.unique_number()))
            .await
            .expect_status(status);
    }
    for index in 0..12 {
        let reply = sign_up(&format!("2001:db8:9:9::{index:x}"), format!("six{index}")).await;
        replies.push(reply);
    }
    assert_eq!(statuses(&replies[11..]), (7, 5));
    // Headers that a client can write change nothing.
    let body = json!({"username": "forged", "password": "correct horse battery"});
    let forged = Request::post("/api/v1/users", &body).from("203.0.113.9");
    let forged = forged
        .header("X-Forwarded-For", "192.0.2.1")
        .header("Forwarded", "for=192.0.2.1");
    wait_of(system.send(forged).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_and_logins_are_paced_by_network() {
    let pace = [
        ("REFRESHES_PER_MINUTE", "10"),
        ("REFRESH_BURST", "2"),
        ("LOGINS_PER_MINUTE", "10"),
        ("LOGIN_BURST", "2"),
    ];
    let system = System::start_with(&pace).await;
    let ada = system.account("ada").await;
    let mut refreshes = Vec::new();
    for _ in 0..40 {
        let request = Request::post("/api/token/refresh", &json!({"refresh": ada.refresh}));
        refreshes.push(system.send(request.from("203.0.113.9")).await);
    }
    assert_eq!(statuses(&refreshes), (32, 8));
    let mut logins = Vec::new();
    for _ in 0..20 {
        logins.push(log_in(&system, "203.0.113.9", "ada", &ada.password).await);
    }
    assert_eq!(statuses(&logins), (12, 8));
    log_in(&system, "203.0.113.10", "ada", &ada.password)
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_share_one_count() {
    let pace = [("SIGNUPS_PER_MINUTE", "10"), ("SIGNUP_BURST", "5")];
    let system = System::start_with(&pace).await;
    for _ in 0..4 {
        system.spawn("users-register");
    }
    let sign_up = async |index: usize| {
        let body = json!({"username": format!("user{index}"), "password": "correct horse battery"});
        system
            .send(Request::post("/api/v1/users", &body).from("203.0.113.9"))
            .await
    };
    let replies = join_all((0..40).map(sign_up)).await;
    let (opened, refused) = statuses(&replies);
    // Each process lets through three by itself; the five of the burst are shared.
    assert!((5..=5 + 4 * 3).contains(&opened), "{opened} opened, {refused} refused");
}
