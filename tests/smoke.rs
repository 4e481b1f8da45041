//! README as a stranger takes it: its run command, its session pasted into a shell, and nothing left behind.
//!
//! Needs Python (for cargo-lambda, if it is not there yet), curl and bash. Where they or the network are missing it says so and passes,
//! but not where `CI` is set. What is left behind is looked for in `/proc`, so on Linux only.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::root;

/// The code blocks of README.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme
        .split("```bash\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Says why a test proves nothing here, past the test harness, which swallows what passing tests print.
fn skip(why: &str) {
    assert!(std::env::var("CI").is_err(), "in CI nothing may be skipped: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED a smoke test: {why}");
}

struct Running {
    child: Child,
    port: u16,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// README's run command with a port of this test's own and data of its own, or `None` where it cannot run.
    fn start(extra: &[&str]) -> Option<Self> {
        for tool in ["bash", "curl"] {
            if !Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
            {
                skip(&format!("{tool} is missing"));
                return None;
            }
        }
        let command = blocks()
            .into_iter()
            .find(|block| block.starts_with("cargo run"))
            .expect("README has a run command");
        let mut words = command.split_whitespace();
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(words.next(), Some("cargo"));
        let mut child = Command::new(env!("CARGO"))
            .args(words)
            .args(["--", "--port", &port.to_string()])
            .args(extra)
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (keep, stderr) = (Arc::clone(&printed), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                keep.lock().unwrap().push(line);
            }
        });
        let mut running = Self { child, port, printed };
        let deadline = Instant::now() + Duration::from_secs(900);
        loop {
            if running.says("ready: ") {
                return Some(running);
            }
            if let Some(status) = running.child.try_wait().unwrap() {
                std::thread::sleep(Duration::from_millis(200));
                let printed = running.printed.lock().unwrap().join("\n");
                assert!(
                    printed.contains("could not be installed"),
                    "the run command ended with {status}:
{printed}"
                );
                skip(&printed);
                return None;
            }
            assert!(
                Instant::now() < deadline,
                "not ready after 15 minutes: {:#?}",
                running.printed.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn says(&self, text: &str) -> bool {
        self.printed.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Pastes a script into a shell, against this run's port; returns what it printed.
    fn paste(&self, script: &str) -> String {
        let script = script.replace("127.0.0.1:9000", &format!("127.0.0.1:{}", self.port));
        let output = Command::new("bash")
            .args(["-c", &script])
            .output()
            .expect("bash is there");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// README's line that makes an admin, and what an admin then does, with bodies in methods that not every gateway expects any in.
    fn make_and_use_an_admin(&self) {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        let line = readme
            .lines()
            .find(|line| line.starts_with("cargo lambda invoke admin-bootstrap"));
        let line = line
            .expect("README makes an admin")
            .replace("-P 9000", &format!("-P {}", self.port));
        let tools = std::fs::read_dir(root().join(".local")).into_iter().flatten().flatten();
        let tools: Vec<_> = tools.map(|entry| format!("{}/bin", entry.path().display())).collect();
        let made = self.paste(&format!("PATH=$PATH:{}; {line}", tools.join(":")));
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
             curl $S -X DELETE $B/users/me -H \"$A\" -H \"$J\" -d '{{\"password\":\"{password}\"}}'"
        );
        let statuses = self.paste(&script);
        assert_eq!(
            statuses.split_whitespace().collect::<Vec<_>>(),
            ["201", "200", "200", "200", "409"]
        );
    }

    /// The processes of this run, by the port in their environment or arguments.
    fn processes(&self) -> Vec<String> {
        let port = format!("127.0.0.1:{}/.rt", self.port);
        let argument = format!("--invoke-port\0{}\0", self.port);
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = processes.filter(|process| {
            let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
            let contains =
                |bytes: Vec<u8>, text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            contains(read("environ"), &port) || contains(read("cmdline"), &argument)
        });
        ours.map(|process| process.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Sends a signal and checks that everything ends.
    fn stop(mut self, signal: &str) {
        assert!(
            !cfg!(target_os = "linux") || self.processes().len() > 20,
            "the gateway and two processes of each function are running"
        );
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{signal} did not end it");
            std::thread::sleep(Duration::from_millis(20));
        }
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "left behind after {signal}: {:?}",
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
    }
}

#[test]
fn readmes_run_command_and_session_work_as_pasted() {
    let Some(running) = Running::start(&["--memory"]) else {
        return;
    };
    let session = blocks()
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
    running.make_and_use_an_admin();
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
    let Some(first) = Running::start(&["--data", directory, "--processes", "1"]) else {
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
        .args(["-TERM", &first.child.id().to_string()])
        .status()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !first.processes().is_empty() {
        assert!(Instant::now() < deadline, "left behind after SIGTERM");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = Running::start(&["--data", directory]).expect("it ran a moment ago");
    let told: serde_json::Value = serde_json::from_str(&second.paste(&balance)).unwrap();
    assert_eq!(told["token_balance"], 3900);
    second.stop("-TERM");
    std::fs::remove_dir_all(&data).unwrap();
}
