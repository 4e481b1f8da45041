//! `cargo run -p local`: the whole system on this machine.
//!
//! DynamoDB runs inside this process, `cargo lambda watch` is the gateway, and every function of the template runs as processes of its
//! real binary behind the Lambda Runtime API. No AWS account, no Docker.

mod functions;
mod gateway;
mod seed;
mod tools;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use functions::Services;
use local::{
    cloudwatch::CloudWatch,
    engine::{self, Engine},
    template::{BoxError, Template},
};
use tokio::signal::unix::{SignalKind, signal};

/// The name of the local table.
const TABLE: &str = "ai-chat-system";

/// Runs the whole system on this machine: embedded DynamoDB, all functions, one base URL.
#[derive(Debug, Parser)]
#[command(name = "local", version)]
struct Options {
    /// The port of the base URL.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Keep nothing: the table is in memory and gone at the end.
    #[arg(long)]
    memory: bool,
    /// Where the table's file, the signing seed and what had to be installed are kept.
    #[arg(long, default_value = ".local")]
    data: PathBuf,
    /// How many processes each function has, and so how many requests it answers at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    processes: u8,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until told to stop. Whatever was started ends with it, however it ends.
async fn run(options: &Options) -> Result<(), BoxError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the workspace has moved; build it again")?;
    let data = root.join(&options.data);
    std::fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    tokio::select! {
        result = serve(options, root, &data) => result,
        result = told_to_stop() => {
            eprintln!("\nstopping");
            result
        }
    }
}

async fn told_to_stop() -> Result<(), BoxError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

async fn serve(options: &Options, root: &Path, data: &Path) -> Result<(), BoxError> {
    gateway::check_port(options.port)?;
    let template = Template::read(&root.join("template.yaml"))?;
    let cargo_lambda = tools::cargo_lambda(data).await?;
    functions::build(root).await?;

    let file = data.join("table.sqlite");
    let engine = Engine::start((!options.memory).then_some(file.as_path())).await?;
    let client = engine::client(&engine.url());
    let tables = client
        .list_tables()
        .send()
        .await
        .map_err(|error| error.into_service_error())?;
    if tables.table_names().iter().any(|name| name == TABLE) {
        if !template.describes_table(&client, TABLE).await? {
            return Err(format!(
                "the table in {} was made by another version, with other indexes; move that file away or choose another --data",
                file.display()
            )
            .into());
        }
        eprintln!("table: {}", file.display());
    } else {
        template.create_table(&client, TABLE).await?;
        let place = if options.memory {
            "memory".into()
        } else {
            file.display().to_string()
        };
        eprintln!("table: {place}, created from template.yaml");
    }
    let seed = seed::read_or_make(&data.join("signing-seed"))?;

    let mut gateway = gateway::start(&cargo_lambda, root, options.port)?;
    gateway::wait_for(&mut gateway, || gateway::listens(options.port)).await?;
    let cloudwatch = CloudWatch::default();
    let services = Services {
        dynamodb: &engine.url(),
        cloudwatch: &cloudwatch.serve().await?,
    };
    let functions = functions::start(&template, options, &services, &cloudwatch, &seed)?;
    gateway::wait_for(&mut gateway, || gateway::is_healthy(options.port)).await?;
    announce(options.port, &engine.url(), &cargo_lambda);
    tokio::select! {
        status = gateway.wait() => Err(format!("cargo lambda watch ended: {}", status?).into()),
        result = functions.supervise() => result,
    }
}

/// What a person needs now.
fn announce(port: u16, dynamodb: &str, cargo_lambda: &Path) {
    let base = format!("http://127.0.0.1:{port}");
    eprintln!(
        "\nready: {base}/api/v1/\n  pages: {base}/, {base}/admin, {base}/docs\n  DynamoDB: {dynamodb} (table {TABLE})\n\n\
         try:\n  curl -X POST {base}/api/v1/users -H 'Content-Type: application/json' \\\n    \
         -d '{{\"username\": \"ada\", \"password\": \"correct horse battery\"}}'\n\n\
         make an admin:\n  {} lambda invoke admin-bootstrap -A 127.0.0.1 -P {port} --data-ascii '{{\"username\": \"root\"}}'\n\n\
         Ctrl-C stops everything.",
        cargo_lambda.display()
    );
}
