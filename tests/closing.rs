//! Another password, and the end of an account.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Account, Lost, Reply, Request, System};

async fn change_password(system: &System, account: &Account, old: &str, new: &str) -> Reply {
    let body = json!({"old": old, "new": new});
    let request = Request::post("/api/v1/users/password", &body);
    system.send(request.bearer(&account.access)).await
}

async fn delete(system: &System, account: &Account) -> Reply {
    let body = json!({"password": account.password});
    let request = Request::with_body("DELETE", "/api/v1/users/me/", &body);
    system.send(request.bearer(&account.access)).await
}

/// What belongs to users. Published keys are nobody's, and counts of failed logins, by a hash of the name, expire by themselves.
async fn everything(system: &System) -> Vec<HashMap<String, AttributeValue>> {
    let mut items = system.scan().await;
    items.retain(|item| {
        let pk = item["pk"].as_s().unwrap();
        pk != "KEY" && !pk.starts_with("PACE#")
    });
    items
}

/// Gives a user a history as long as `count`, written straight to the table.
async fn leave_chats(system: &System, username: &str, count: usize) {
    let requests: Vec<_> = (0..count)
        .map(|index| {
            let text = |text: String| AttributeValue::S(text);
            let item = HashMap::from([
                ("pk".into(), text(format!("USER#{username}"))),
                ("sk".into(), text(format!("TURN#01JGXQ00000000000000{index:06}"))),
                ("message".into(), text("hello".into())),
            ]);
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for batch in requests.chunks(25) {
        let write = system
            .client
            .batch_write_item()
            .request_items(&system.table, batch.to_vec());
        write.send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_session_and_key() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let elsewhere = system.login("ada", &ada.password).await;
    let refused = change_password(&system, &ada, "not the password", "another horse battery").await;
    refused.expect_error(400, "wrong_password");
    for bad in ["short", "password123", "8675309867530986", ""] {
        let refused = change_password(&system, &ada, &ada.password, bad)
            .await
            .expect_error(400, "invalid");
        assert_eq!(refused.body["member"], "new");
    }
    assert_eq!(system.balance(&ada).await, 4000, "nothing has ended yet");

    let changed = change_password(&system, &ada, &ada.password, "another horse battery").await;
    assert!(changed.expect_status(204).text.is_empty());
    for session in [&ada, &elsewhere] {
        let look = Request::get("/api/v1/users/me").bearer(&session.access);
        system.send(look).await.expect_error(401, "token_not_valid");
        let refresh = json!({"refresh": session.refresh});
        for path in ["/api/v1/token/refresh", "/api/token/refresh"] {
            let reply = system.send(Request::post(path, &refresh)).await;
            reply.expect_error(401, "token_not_valid");
        }
    }
    let old = json!({"username": "ada", "password": ada.password});
    let login = system.send(Request::post("/api/v1/users/login", &old)).await;
    login.expect_error(401, "invalid_credentials");
    let again = system.login("ada", "another horse battery").await;
    assert_eq!(system.balance(&again).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_new_passwords_at_once_one_is_set() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    for _ in 0..4 {
        system.spawn("users-password");
    }
    let (system, ada) = (&system, &ada);
    let change =
        async |index: usize| change_password(system, ada, &ada.password, &format!("new password {index}")).await;
    let replies = join_all((0..8).map(change)).await;
    let set: Vec<_> = (0..8).filter(|index| replies[*index].status == 204).collect();
    assert_eq!(
        set.len(),
        1,
        "{:?}",
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    );
    assert!(replies.iter().all(|reply| [204, 400, 401].contains(&reply.status)));
    system.login("ada", &format!("new password {}", set[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_whose_reply_is_lost_is_set_once() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.lose(Lost::Reply, "TransactWriteItems", 1);
    let changed = change_password(&system, &ada, &ada.password, "another horse battery").await;
    changed.expect_status(204);
    system.login("ada", "another horse battery").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_with_everything_of_it() {
    let system = System::start().await;
    let sign_up = json!({"username": "Ada", "password": "correct horse battery"});
    let registered = system
        .send(Request::post("/api/register", &sign_up))
        .await
        .expect_status(201);
    let key = registered.text_of("token");
    let ada = system.login("ada", "correct horse battery").await;
    for message in ["one", "two", "three"] {
        system.chat(&ada, message).await.expect_status(200);
    }
    let bob = system.account("bob").await;
    system.chat(&bob, "hello").await.expect_status(200);

    let wrong = Account {
        password: "not the password".into(),
        ..ada.clone()
    };
    delete(&system, &wrong).await.expect_error(400, "wrong_password");
    assert_eq!(system.balance(&ada).await, 3700);
    delete(&system, &ada).await.expect_status(204);

    for request in [
        Request::get("/api/v1/users/me").bearer(&ada.access),
        Request::get("/api/v1/users/me").auth_key(&key),
    ] {
        system.send(request).await.expect_error(401, "token_not_valid");
    }
    delete(&system, &ada).await.expect_error(401, "token_not_valid");
    let login = json!({"username": "ada", "password": ada.password});
    let login = system.send(Request::post("/api/v1/users/login", &login)).await;
    login.expect_error(401, "invalid_credentials");
    let left = everything(&system).await;
    assert!(
        left.iter().all(|item| item["pk"].as_s().unwrap() == "USER#bob"),
        "{left:?}"
    );
    let list = system.send(Request::get("/api/v1/users/all").bearer(&bob.access)).await;
    assert_eq!(list.expect_status(200).body["data"], json!([{"username": "bob"}]));

    // The name is free again, and what was signed for its first owner opens nothing.
    let second = system.account("ada").await;
    system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_error(401, "token_not_valid");
    assert_eq!(system.balance(&second).await, 4000);
    let history = system.send(Request::get("/api/v1/chats").bearer(&second.access)).await;
    assert_eq!(history.expect_status(200).body["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_cut_off_half_way_is_finished_by_the_next_and_keeps_the_name_until_then() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    leave_chats(&system, "ada", 1_000).await;
    // The first batches are deleted, then the table takes no more.
    system.lose_after("BatchWriteItem", 9, Lost::Throttled, 100);
    let cut_off = delete(&system, &ada).await;
    assert_eq!(cut_off.status, 503, "{}", cut_off.text);
    system.stop_losing();
    let left = system.items("ada").await.len();
    assert!((2..1_001).contains(&left), "{left} items are left");

    // Everything that the account could do has ended, and nobody can take its name or bring it back.
    system
        .send(Request::get("/api/v1/users/me").bearer(&ada.access))
        .await
        .expect_error(401, "user_inactive");
    let refresh = Request::post("/api/v1/token/refresh", &json!({"refresh": ada.refresh}));
    system.send(refresh).await.expect_error(401, "user_inactive");
    system.chat(&ada, "hello").await.expect_error(401, "user_inactive");
    for path in ["/api/v1/users", "/api/register"] {
        let body = json!({"username": "ADA", "password": "another horse battery"});
        system
            .send(Request::post(path, &body))
            .await
            .expect_error(400, "username_taken");
    }
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    let revive = Request::with_body("PATCH", "/api/v1/admin/users/ada", &json!({"active": true}));
    system
        .send(revive.bearer(&root.access))
        .await
        .expect_error(404, "user_not_found");
    let list = system
        .send(Request::get("/api/v1/users/all").bearer(&root.access))
        .await;
    assert_eq!(list.expect_status(200).body["data"], json!([{"username": "root"}]));

    delete(&system, &ada).await.expect_status(204);
    assert!(system.items("ada").await.is_empty());
    system.account("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_killed_during_a_deletion_leaves_it_to_the_next() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    leave_chats(&system, "ada", 5_000).await;
    let body = json!({"password": ada.password});
    let event = Request::with_body("DELETE", "/api/v1/users/me", &body)
        .bearer(&ada.access)
        .rest_event();
    let kill = async {
        loop {
            let left = system.items("ada").await.len();
            if left < 5_001 {
                system.kill("users-delete").await;
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let (answer, ()) = tokio::join!(system.invoke("users-delete", event), kill);
    let left = system.items("ada").await.len();
    assert!(answer.is_none() && left > 1, "killed with {left} items left");
    delete(&system, &ada).await.expect_status(204);
    assert!(everything(&system).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_flight_when_its_account_is_deleted_leaves_nothing_behind() {
    let system = System::start_with(&[("ECHO_DELAY_MILLISECONDS", "3000")]).await;
    let ada = system.account("ada").await;
    let end = async {
        system.wait_for_holds("ada", 1).await;
        delete(&system, &ada).await.expect_status(204);
    };
    let (answered, ()) = tokio::join!(system.chat(&ada, "never stored"), end);
    answered.expect_error(503, "hold_lost");
    assert!(everything(&system).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn four_deletions_at_once_and_a_sign_up_for_the_name_do_not_meet() {
    let system = System::start().await;
    for _ in 0..3 {
        system.spawn("users-delete");
    }
    for round in 0..5 {
        let ada = system.account("ada").await;
        leave_chats(&system, "ada", 200).await;
        let sign_up = async {
            let body = json!({"username": "ada", "password": "another horse battery"});
            loop {
                let reply = system.send(Request::post("/api/v1/users", &body)).await;
                if reply.status == 201 {
                    return;
                }
                reply.expect_error(400, "username_taken");
            }
        };
        let (a, b, c, d, ()) = tokio::join!(
            delete(&system, &ada),
            delete(&system, &ada),
            delete(&system, &ada),
            delete(&system, &ada),
            sign_up
        );
        let replies = [a, b, c, d];
        assert!(
            replies.iter().all(|reply| [204, 401].contains(&reply.status)),
            "round {round}: {replies:?}"
        );
        assert!(replies.iter().any(|reply| reply.status == 204), "round {round}");
        let second = system.login("ada", "another horse battery").await;
        assert_eq!(system.balance(&second).await, 4000, "round {round}");
        assert_eq!(system.items("ada").await.len(), 1, "round {round}");
        let second = Account {
            password: "another horse battery".into(),
            ..second
        };
        delete(&system, &second).await.expect_status(204);
    }
}

/// The slower of two deletions finds what the next owner of the name has, and touches nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_overtaken_touches_nothing_of_the_next_owner() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    system.chat(&ada, "the first owner's").await.expect_status(200);
    // The first of two deletions is held up right before it looks for what is left; by then the second has finished and the name is taken.
    let (client, table) = (system.client.clone(), system.table.clone());
    let held_up = async move {
        let pk = AttributeValue::S("USER#ada".into());
        let chats = client.query().table_name(&table).key_condition_expression("pk = :pk");
        let items = chats.expression_attribute_values(":pk", pk).send().await.unwrap();
        for item in items.items() {
            let delete = client.delete_item().table_name(&table);
            delete
                .key("pk", item["pk"].clone())
                .key("sk", item["sk"].clone())
                .send()
                .await
                .unwrap();
        }
        let account = items
            .items()
            .iter()
            .find(|item| item["sk"].as_s().unwrap() == "USER")
            .unwrap();
        let chat = items
            .items()
            .iter()
            .find(|item| item["sk"].as_s().unwrap().starts_with("TURN#"))
            .unwrap();
        let mut account = account.clone();
        account.insert("id".into(), AttributeValue::S("01JGXQ00000000000000000NEW".into()));
        account.insert("active".into(), AttributeValue::Bool(true));
        account.remove("deleting");
        for item in [account, chat.clone()] {
            client
                .put_item()
                .table_name(&table)
                .set_item(Some(item))
                .send()
                .await
                .unwrap();
        }
    };
    // The function has read the published keys before.
    delete(
        &system,
        &Account {
            password: "not the password".into(),
            ..ada.clone()
        },
    )
    .await
    .expect_error(400, "wrong_password");
    system.before("Query", held_up);
    delete(&system, &ada).await.expect_status(204);
    assert_eq!(
        system.items("ada").await.len(),
        2,
        "the next owner has their account and their chat"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_cannot_delete_their_account() {
    let system = System::start().await;
    let root = system.account("root").await;
    system.set_text(&root, "role", "admin").await;
    delete(&system, &root).await.expect_error(409, "admin_account");
    assert_eq!(system.balance(&root).await, 4000);
}
