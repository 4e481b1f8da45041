//! README as a stranger takes it: its run command, its session pasted into a shell, and nothing left behind.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Request, Running, readme_blocks, readme_line, root};

/// README's line that makes an admin, and what an admin then does, with bodies in methods that not every gateway expects any in.
fn make_and_use_an_admin(running: &Running) {
    let line = readme_line("cargo lambda invoke admin-bootstrap").replace("-P 9000", &format!("-P {}", running.port));
    let tools = std::fs::read_dir(root().join(".local")).into_iter().flatten().flatten();
    let tools: Vec<_> = tools.map(|entry| format!("{}/bin", entry.path().display())).collect();
    let made = running.paste(&format!("PATH=$PATH:{}; {line}", tools.join(":")));
    let made: serde_json::Value = serde_json::from_str(made.trim()).unwrap_or_else(|_| panic!("{made}"));
    let (name, password) = (made["username"].as_str().unwrap(), made["password"].as_str().unwrap());
    let script = format!(
        "B=http://127.0.0.1:9000/api/v1; J='Content-Type: application/json'; \
         T=$(curl -s $B/users/login -H \"$J\" -d '{{\"username\":\"{name}\",\"password\":\"{password}\"}}' \
             | sed 's/.*\"access\":\"\\([^\"]*\\)\".*/\\1/'); A=\"Authorization: Bearer $T\"; \
         S='-s -o /dev/null -w %{{http_code}}\\n'; \
         curl $S $B/users -H \"$J\" -d '{{\"username\":\"someone\",\"password\":\"correct horse\"}}'; \
         curl $S \"$B/admin/users?prefix=s\" -H \"$A\"; \
         curl $S $B/admin/users/someone/tokens -H \"$A\" -H \"$J\" -d '{{\"amount\":5,\"reason\":\"a gift\"}}'; \
         curl $S -X PATCH $B/admin/users/someone -H \"$A\" -H \"$J\" -d '{{\"role\":\"staff\"}}'; \
         curl $S -X DELETE $B/users/me -H \"$A\" -H \"$J\" -d '{{\"password\":\"{password}\"}}'; \
         curl -s $B/admin/figures -H \"$A\" | sed 's/.*\"totals\":{{[^}}]*\"messages\":\\([0-9]*\\).*/\\1/'"
    );
    let statuses = running.paste(&script);
    assert_eq!(
        statuses.split_whitespace().collect::<Vec<_>>(),
        // Two messages of the session, six that were heard.
        ["201", "200", "200", "200", "409", "8"]
    );
}

/// The watcher's events are of another format than the deployed gateway's, and it hands on what comes as it comes.
async fn hear_answers_as_they_are_given(running: &Running) {
    let site = running.site();
    let ada = site.account("ada").await;
    let key = site.api_key(&ada).await;
    let completion = |streams: bool| json!({"model": "echo", "messages": [{"role": "user", "content": "one two"}], "stream": streams});
    for slash in ["", "/"] {
        let door = format!("/v1/chat/completions{slash}");
        let whole = site
            .send(&Request::post(&door, &completion(false)).bearer(&key))
            .await
            .expect_status(200);
        assert_eq!(
            whole.body["choices"][0]["message"]["content"],
            "AI Response to: one two"
        );
        assert_eq!(whole.header("content-type"), "application/json");
        let own = Request::post(&format!("/api/v1/chats/stream{slash}"), &json!({"message": "one two"}));
        for (request, last) in [
            (Request::post(&door, &completion(true)).bearer(&key), json!("[DONE]")),
            (own.bearer(&ada.access), json!(false)),
        ] {
            let (events, gap, ()) = site.hear(&request, async {}).await;
            println!("{} events, first words {gap:?} before the last", events.len());
            // Four more words, 100 ms each.
            assert!(gap >= Duration::from_millis(300), "{gap:?}");
            let told = &events.last().unwrap().data;
            assert_eq!(told.get("replayed").unwrap_or(told), &last);
        }
        let refused = site
            .send(&Request::post(&door, &completion(true)).bearer("sk-nobodys"))
            .await;
        assert_eq!(
            (refused.status, refused.body["error"]["code"].as_str()),
            (401, Some("invalid_api_key"))
        );
    }
    assert_eq!(site.balance(&ada).await, 3400);
    site.books(&ada).await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn readmes_run_command_and_session_work_as_pasted() {
    let Some(running) = Running::start(&["--memory"], &[("ECHO_PACE_MILLISECONDS", "100")]) else {
        return;
    };
    let session = readme_blocks()
        .into_iter()
        .find(|block| block.contains("curl"))
        .expect("README has a session");
    let printed = running.paste(&session);
    let statuses: Vec<_> = printed.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(statuses, ["201", "200", "200", "200"], "{printed}");
    assert!(printed.contains("AI Response to: Hello AI"), "{printed}");
    assert!(printed.contains("\"token_balance\":3900"), "{printed}");
    // A second paste is a second user.
    assert!(running.paste(&session).contains("\"token_balance\":3900"));
    // What no route has is answered too, by the fallback.
    let odd = "curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1:9000/nothing; \
               curl -s -o /dev/null -w '%{http_code} ' -X PUT http://127.0.0.1:9000/api/v1/chats/; \
               curl -s -m 5 -o /dev/null -w '%{http_code}' -X TRACE http://127.0.0.1:9000/api/v1/chats";
    assert_eq!(running.paste(odd), "404 405 405");
    // A preflight, as the deployed gateway answers it and not as the watcher would by itself.
    let preflight = running.paste(
        "curl -s -i -X OPTIONS -H 'Origin: https://a.example' -H 'Access-Control-Request-Method: POST' http://127.0.0.1:9000/api/chat/",
    );
    let preflight = preflight.to_lowercase();
    assert!(
        preflight.starts_with("http/1.1 204") && preflight.contains("access-control-allow-origin: *"),
        "{preflight}"
    );
    assert!(!preflight.contains("credentials"), "{preflight}");
    hear_answers_as_they_are_given(&running).await;
    make_and_use_an_admin(&running);
    running.stop("-INT");
}

#[test]
fn accounts_and_sessions_outlive_a_restart() {
    let data = std::env::temp_dir().join(format!("ai-chat-system-smoke-{}", std::process::id()));
    std::fs::create_dir_all(&data).unwrap();
    // Tools are looked for below the data directory: share those that are installed.
    for entry in std::fs::read_dir(root().join(".local")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("cargo-lambda-") {
            let _ = std::os::unix::fs::symlink(entry.path(), data.join(entry.file_name()));
        }
    }
    let directory = data.to_str().unwrap();
    let Some(first) = Running::start(&["--data", directory, "--processes", "1"], &[]) else {
        return;
    };
    let sign_up = "J='Content-Type: application/json'; B=http://127.0.0.1:9000/api/v1; D='{\"username\":\"ada\",\"password\":\"correct horse\"}'; \
                   curl -s -o /dev/null $B/users -H \"$J\" -d \"$D\"; curl -s $B/users/login -H \"$J\" -d \"$D\"";
    let login: serde_json::Value = serde_json::from_str(&first.paste(sign_up)).unwrap();
    let access = login["access"].as_str().unwrap().to_owned();
    let chat = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:9000/api/v1/chats -H 'Content-Type: application/json' \
         -H 'Authorization: Bearer {access}' -d '{{\"message\":\"hello\"}}'"
    );
    assert_eq!(first.paste(&chat), "200");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(data.join("signing-seed")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "only the owner can read the seed");
    let balance =
        format!("curl -s http://127.0.0.1:9000/api/v1/users/token-balance -H 'Authorization: Bearer {access}'");
    // SIGTERM without the check of `stop`, which expects two processes of each function.
    Command::new("kill")
        .args(["-TERM", &first.id().to_string()])
        .status()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !first.processes().is_empty() {
        assert!(Instant::now() < deadline, "left behind after SIGTERM");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = Running::start(&["--data", directory], &[]).expect("it ran a moment ago");
    let told: serde_json::Value = serde_json::from_str(&second.paste(&balance)).unwrap();
    assert_eq!(told["token_balance"], 3900);
    second.stop("-TERM");
    std::fs::remove_dir_all(&data).unwrap();
}
