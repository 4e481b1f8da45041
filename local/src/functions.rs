//! The functions, as processes of their real binaries.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use local::{
    cloudwatch::CloudWatch,
    engine::LOCAL_CREDENTIALS,
    template::{BoxError, Function, Template},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Options, TABLE};

/// Builds every function, showing cargo's own progress.
///
/// # Errors
/// If it does not build.
pub(crate) async fn build(root: &Path) -> Result<(), BoxError> {
    eprintln!("building the functions");
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    // The whole workspace, so that cargo chooses the same features as for the tests and builds each dependency once.
    let status = Command::new(cargo)
        .args(["build", "--workspace", "--bins"])
        .current_dir(root)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    if status.success() {
        Ok(())
    } else {
        Err("the functions do not build".into())
    }
}

/// All processes of all functions.
#[derive(Debug)]
pub(crate) struct Functions {
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    name: String,
    command: Command,
    child: Child,
    cloudwatch: CloudWatch,
}

/// Where the functions find what they speak to.
#[derive(Debug)]
pub(crate) struct Services<'a> {
    pub(crate) dynamodb: &'a str,
    pub(crate) cloudwatch: &'a str,
}

/// Starts every function of the template. What they print is printed here, and `cloudwatch` is told of it.
///
/// # Errors
/// If one cannot be started.
pub(crate) fn start(
    template: &Template,
    options: &Options,
    services: &Services<'_>,
    cloudwatch: &CloudWatch,
    seed: &str,
) -> Result<Functions, BoxError> {
    // This program was built into the directory that the functions are built into.
    let binaries = std::env::current_exe()?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let mut processes = Vec::new();
    for function in template.functions()? {
        let mut served = vec![function.binary.as_str(); usize::from(options.processes)];
        if function.binary == shared::api::FALLBACK {
            served.push(UNROUTED);
        }
        for name in served {
            let mut command = command(&function, name, &binaries, options, services, seed);
            let child = spawn(&mut command, cloudwatch).map_err(|error| format!("{}: {error}", function.binary))?;
            processes.push(Process {
                name: function.binary.clone(),
                command,
                child,
                cloudwatch: cloudwatch.clone(),
            });
        }
    }
    Ok(Functions { processes })
}

/// The name under which `cargo lambda watch` queues what its router has no function for: methods that nobody uses.
const UNROUTED: &str = "_";

fn spawn(command: &mut Command, cloudwatch: &CloudWatch) -> std::io::Result<Child> {
    let mut child = command.spawn()?;
    if let Some(output) = child.stdout.take() {
        tokio::spawn(pass_on(output, cloudwatch.clone()));
    }
    Ok(child)
}

/// Prints the lines of a function until it ends.
async fn pass_on(output: ChildStdout, cloudwatch: CloudWatch) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        cloudwatch.add(&line);
        // Whole lines, because all functions write here. That nobody reads them must not stop a function.
        let mut stdout = tokio::io::stdout();
        let _ = stdout.write_all(&line).await;
        let _ = stdout.flush().await;
        line.clear();
    }
}

fn command(
    function: &Function,
    name: &str,
    binaries: &Path,
    options: &Options,
    services: &Services<'_>,
    seed: &str,
) -> Command {
    let port = options.port;
    let mut environment: BTreeMap<String, String> = function.environment.clone();
    // What the person who runs this has set for a function's variable counts more than the template's default.
    for (variable, value) in &mut environment {
        if let Some(chosen) = option_of_caller(variable) {
            *value = chosen;
        }
    }
    environment.insert("TABLE_NAME".into(), TABLE.into());
    if environment.contains_key("SIGNING_SEED") {
        environment.insert("SIGNING_SEED".into(), seed.into());
    }
    let set = |variable: &str| environment.get(variable).map(String::as_str).unwrap_or_default();
    let asks_aws = set("MODEL_PROVIDER") == "bedrock" || !set("OPENAI_API_KEY_SECRET").is_empty();
    let mut command = Command::new(binaries.join(&function.binary));
    command.envs(environment);
    // The table takes any credentials; who asks more of AWS needs those of the person who runs this.
    if !asks_aws {
        command
            .envs(LOCAL_CREDENTIALS)
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN");
    }
    command
        .env("AWS_ENDPOINT_URL_DYNAMODB", services.dynamodb)
        .env("AWS_ENDPOINT_URL_CLOUDWATCH", services.cloudwatch)
        .env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{port}/.rt/{name}"))
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Ctrl-C reaches the terminal's whole group; only this program's end should end what it started.
        .process_group(0)
        .kill_on_drop(true);
    command
}

#[expect(clippy::disallowed_methods, reason = "this is the local runner's configuration")]
fn option_of_caller(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

impl Functions {
    /// Starts processes again that end, until one ends again and again.
    ///
    /// # Errors
    /// If one does not stay up.
    pub(crate) async fn supervise(self) -> Result<(), BoxError> {
        let mut supervisors = JoinSet::new();
        for process in self.processes {
            supervisors.spawn(process.supervise());
        }
        match supervisors.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }
}

impl Process {
    async fn supervise(mut self) -> Result<(), BoxError> {
        let mut quick_ends = 0;
        loop {
            let started = Instant::now();
            let status = self.child.wait().await?;
            // The gateway may still be starting: then the first poll finds nobody, and the process ends.
            quick_ends = if started.elapsed() < Duration::from_secs(5) {
                quick_ends + 1
            } else {
                1
            };
            if quick_ends > 20 {
                return Err(format!("{} does not stay up: {status}", self.name).into());
            }
            if quick_ends > 3 {
                eprintln!("{} ended ({status}); starting it again", self.name);
            }
            sleep(Duration::from_millis(250)).await;
            self.child = spawn(&mut self.command, &self.cloudwatch)?;
        }
    }
}
