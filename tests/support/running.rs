//! The system as README starts it: its run command, pasted into a shell, with the gateway that it brings.
//!
//! Needs Python (for cargo-lambda, if it is not there yet), curl and bash. Where they or the network are missing it says so and starts
//! nothing, but not where `CI` is set. What is left behind is looked for in `/proc`, so on Linux only.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use local::engine;

use super::{Site, free_port, root};

/// The code blocks of README.
pub fn readme_blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme
        .split("```bash\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// The line of README's code that begins so.
pub fn readme_line(beginning: &str) -> String {
    let blocks = readme_blocks();
    let mut lines = blocks.iter().flat_map(|block| block.lines());
    let line = lines.find(|line| line.starts_with(beginning));
    line.unwrap_or_else(|| panic!("README has no {beginning}")).to_owned()
}

/// Says why a test proves nothing here, past the test harness, which swallows what passing tests print.
fn skip(why: &str) {
    assert!(std::env::var("CI").is_err(), "in CI nothing may be skipped: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED a smoke test: {why}");
}

pub struct Running {
    child: Child,
    pub port: u16,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// README's run command with a port of this test's own and data of its own, or `None` where it cannot run.
    pub fn start(extra: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        let line = readme_line("cargo run");
        Self::start_as(&line, extra, environment)
    }

    /// The same with a line that ends with the run command.
    pub fn start_as(line: &str, extra: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
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
        let port = free_port();
        // The cargo that runs this test.
        let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
        let path = format!("{cargo}:{}", std::env::var("PATH").unwrap_or_default());
        let mut child = Command::new("bash")
            .args(["-c", &format!("{line} -- --port {port} {}", extra.join(" "))])
            .env("PATH", path)
            .envs(environment.iter().copied())
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

    /// The process that was started.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn says(&self, text: &str) -> bool {
        self.printed.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Pastes a script into a shell, against this run's port; returns what it printed.
    pub fn paste(&self, script: &str) -> String {
        let script = script.replace("127.0.0.1:9000", &format!("127.0.0.1:{}", self.port));
        let output = Command::new("bash")
            .args(["-c", &script])
            .output()
            .expect("bash is there");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It as its clients see it.
    pub fn site(&self) -> Site {
        let printed = self.printed.lock().unwrap();
        let line = printed.iter().find_map(|line| line.trim().strip_prefix("DynamoDB: "));
        let (endpoint, table) = line
            .and_then(|line| line.split_once(" (table "))
            .expect("it says where the table is");
        let url = format!("http://127.0.0.1:{}", self.port);
        Site::new(url, engine::client(endpoint), table.trim_end_matches(')'))
    }

    /// The processes of this run, by the port in their environment or arguments.
    pub fn processes(&self) -> Vec<String> {
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
    pub fn stop(mut self, signal: &str) {
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
        // It may have ended.
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .stderr(Stdio::null())
            .status();
        drop(kill);
    }
}
