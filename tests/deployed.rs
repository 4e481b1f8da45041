//! A stack that `sam deploy` made, through its own gateway, as `tests/deploy.py` calls it: the functions run with the roles and the variables
//! that the template gives them. Where the environment names no such stack, these are skipped.

use serde_json::json;

use crate::{
    clients,
    support::{About, Account, Example, Request, System, examples},
};

/// An account with one of everything that a request can be about.
struct Subject {
    account: Account,
    chat: String,
    conversation: String,
    api_key: String,
}

impl Subject {
    async fn new(system: &System, username: &str, role: &str) -> Self {
        let account = system.account(username).await;
        system.set_text(&account, "role", role).await;
        let question = json!({"message": "What is a ledger?", "conversation_id": "new"});
        let chat = Request::post("/api/v1/chats", &question).bearer(&account.access);
        let chat = system.send(chat).await.expect_status(200).body["chat"].clone();
        let (_, api_key) = system.api_key(&account, &json!({})).await;
        Self {
            account,
            chat: chat["id"].as_str().unwrap().into(),
            conversation: chat["conversation_id"].as_str().unwrap().into(),
            api_key,
        }
    }

    fn example(&self, index: usize) -> Option<Example> {
        let about = About {
            caller: &self.account,
            target: "target",
            chat: &self.chat,
            api_key: &self.api_key,
            conversation: &self.conversation,
        };
        examples(&about).into_iter().nth(index)
    }
}

/// Each route, as an admin may call it and as nobody may. A function whose policy lacks an action would answer 500 here.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_a_deployed_stack_answers() {
    let Some(system) = System::deployed().await else {
        return;
    };
    system.account("target").await;
    let mut subject = Subject::new(&system, "subject", "admin").await;
    let (mut answered, mut refused) = (0, 0);
    for index in 0.. {
        let Some(mut example) = subject.example(index) else {
            break;
        };
        let name = example.entry.name;
        // The emulated gateway cannot stream: tests/deploy.py invokes these functions themselves.
        if example.entry.streams {
            continue;
        }
        match name {
            "users-register" => example.body.as_mut().unwrap()["username"] = json!(format!("visitor{index}")),
            "users-delete" => {
                // No admin can.
                subject = Subject::new(&system, &format!("leaver{index}"), "user").await;
                example = subject.example(index).unwrap();
            }
            _ => {}
        }
        if example.entry.access != shared::api::AccessKind::Public {
            let reply = system.send(example.request()).await;
            assert_eq!(reply.status, 401, "{name} {}: {}", example.path, reply.text);
            refused += 1;
        }
        let reply = system.send(example.request().bearer(&subject.account.access)).await;
        assert_eq!(
            reply.status, example.entry.success,
            "{name} {}: {}",
            example.path, reply.text
        );
        answered += 1;
        // What these answer with is the end of what they were about.
        let ends = ["token-refresh", "users-logout", "users-password", "users-delete"];
        if ends.contains(&name) || name.ends_with("-delete") || name.ends_with("-revoke") {
            subject = Subject::new(&system, &format!("subject{index}"), "admin").await;
        }
    }
    println!("{answered} routes answered, {refused} refused who did not say who they are");
    system.check_ledger("target").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_clients_work_against_a_deployed_stack() {
    let Some(system) = System::deployed().await else {
        return;
    };
    clients::all_five(&system).await;
}
