//! What must agree: the endpoint table, the binaries, `template.yaml`, the watch router, the events; and the arrows between modules.
//!
//! Adding an endpoint is four steps: a constant in `shared/src/api/`, a binary in `functions/src/bin/`, a resource in `template.yaml`,
//! an event in `events/`. Each one forgotten turns one of these red, with what to add.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use local::template::{Function, Route};
use serde_json::Value;
use shared::api::{self, Entry, TABLE};

use crate::support::{About, Request, System, document, example_body, root, template, validator};

fn functions() -> Vec<Function> {
    template().functions().unwrap()
}

/// The names that everything must have: every endpoint, the fallback, and what operators invoke.
fn names() -> BTreeSet<String> {
    TABLE
        .iter()
        .map(|entry| entry.name)
        .chain([api::FALLBACK])
        .chain(api::OPERATOR.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn stems(directory: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let wanted = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_endpoint_has_a_binary_an_event_and_a_resource_of_its_name() {
    assert_eq!(
        stems("functions/src/bin", "rs"),
        names(),
        "functions/src/bin/<name>.rs against the endpoint table"
    );
    assert_eq!(
        stems("events", "json"),
        names(),
        "events/<name>.json against the endpoint table"
    );
    let built: BTreeSet<_> = functions().into_iter().map(|function| function.binary).collect();
    assert_eq!(built, names(), "template.yaml's functions against the endpoint table");
    for function in functions() {
        let camel: String = function
            .binary
            .split('-')
            .map(|word| word[..1].to_uppercase() + &word[1..])
            .collect();
        assert_eq!(function.resource, camel, "a resource is named like its binary");
    }
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("functions/Cargo.toml")).unwrap()).unwrap();
    let untested = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|bin| bin["test"].as_bool() == Some(false) && bin.get("required-features").is_none());
    let untested: BTreeSet<_> = untested.map(|bin| bin["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        untested,
        names(),
        "add [[bin]] with test = false to functions/Cargo.toml, or cargo links the binary twice"
    );
}

#[test]
fn the_template_routes_what_the_table_says_and_the_rest_to_the_fallback() {
    let wanted = |entry: &Entry| -> BTreeSet<Route> {
        let route = |path: &&str| Route {
            method: entry.method.as_str().into(),
            path: (*path).into(),
        };
        entry.paths.iter().map(route).collect()
    };
    let functions = functions();
    let routes = |name: &str| -> BTreeSet<Route> {
        functions
            .iter()
            .find(|function| function.binary == name)
            .unwrap()
            .routes
            .iter()
            .cloned()
            .collect()
    };
    for entry in TABLE {
        assert_eq!(
            routes(entry.name),
            wanted(entry),
            "the events of {} in template.yaml",
            entry.name
        );
    }
    let paths = TABLE
        .iter()
        .flat_map(|entry| entry.paths.iter().copied())
        .chain(["/{proxy+}"]);
    let any: BTreeSet<_> = paths
        .map(|path| Route {
            method: "ANY".into(),
            path: path.into(),
        })
        .collect();
    assert_eq!(
        routes(api::FALLBACK),
        any,
        "the events of {} in template.yaml",
        api::FALLBACK
    );
    for name in api::OPERATOR {
        assert!(routes(name).is_empty(), "no route leads to {name}");
    }
}

#[test]
fn the_watch_router_serves_both_spellings_of_every_path() {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let router = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"]
        .as_table()
        .unwrap();
    let mut found = BTreeMap::new();
    for (path, functions) in router {
        match functions {
            toml::Value::String(function) => drop(found.insert((path.clone(), "*".to_owned()), function.clone())),
            functions => {
                for route in functions.as_array().unwrap() {
                    let text = |member: &str| route[member].as_str().unwrap().to_owned();
                    found.insert((path.clone(), text("method")), text("function"));
                }
            }
        }
    }
    let mut wanted = BTreeMap::new();
    let mut block = format!("\"/{{*path}}\" = \"{}\"\n", api::FALLBACK);
    wanted.insert(("/{*path}".to_owned(), "*".to_owned()), api::FALLBACK.to_owned());
    let paths: BTreeSet<_> = TABLE.iter().flat_map(|entry| entry.paths.iter().copied()).collect();
    for path in paths {
        // The root has one spelling.
        let spellings = BTreeSet::from([path.to_owned(), format!("{}/", path.trim_end_matches('/'))]);
        for spelling in spellings {
            let mut routes = Vec::new();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
                let here = |entry: &&Entry| entry.method.as_str() == method && entry.paths.contains(&path);
                let function = TABLE.iter().find(here).map_or(api::FALLBACK, |entry| entry.name);
                wanted.insert((spelling.clone(), method.to_owned()), function.to_owned());
                routes.push(format!("{{ method = \"{method}\", function = \"{function}\" }}"));
            }
            block.push_str(&format!("\"{spelling}\" = [{}]\n", routes.join(", ")));
        }
    }
    assert_eq!(
        found, wanted,
        "[workspace.metadata.lambda.watch.router] in Cargo.toml should be:\n{block}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_understood_by_its_function() {
    let system = System::start().await;
    for name in names() {
        if api::OPERATOR.contains(&name.as_str()) {
            continue;
        }
        let event = fs::read_to_string(root().join("events").join(format!("{name}.json"))).unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        let reply = system.deliver(&name, event).await;
        // The placeholders for tokens are not valid; everything else about the events is.
        let expected = match name.as_str() {
            "users-register" => 201,
            "users-login" | "system-health" | "system-openapi" | "keys-list" => 200,
            name if name.starts_with("pages-") => 200,
            "system-fallback" => 404,
            _ => 401,
        };
        if name == "users-login" {
            assert!([200, 401].contains(&reply.status), "{name}: {}", reply.text);
        } else {
            assert_eq!(reply.status, expected, "{name}: {}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn success_has_the_status_that_the_table_says() {
    let system = System::start().await;
    let ada = system.account("ada").await;
    let chat = serde_json::json!({"message": "hello", "conversation_id": "new"});
    let chat = Request::post("/api/v1/chats", &chat).bearer(&ada.access);
    let chat = system.send(chat).await;
    system.set_text(&ada, "role", "admin").await;
    let bob = system.account("bob").await;
    for entry in TABLE {
        for path in entry.paths {
            let id = match entry.name {
                "api-keys-revoke" => system.api_key(&ada, &serde_json::json!({})).await.1,
                name if name.starts_with("conversations-") => {
                    chat.body["chat"]["conversation_id"].as_str().unwrap().to_owned()
                }
                _ => chat.body["chat"]["id"].as_str().unwrap().to_owned(),
            };
            let path = path.replace("{id}", &id).replace("{username}", "bob");
            let path = path.replace("{file}", pages::ASSETS[0].file);
            let method = entry.method.as_str();
            let caller = match entry.name {
                // These end the session of who calls them.
                "users-logout" => continue,
                "users-password" | "users-delete" => system.account(&format!("gone-{}", system.unique_number())).await,
                _ => ada.clone(),
            };
            let about = About {
                target: &bob.username,
                ..About::caller(&caller)
            };
            let mut body = example_body(entry, &about);
            if entry.name == "users-register" {
                let name = format!("new-{}", system.unique_number());
                body = body.map(|body| serde_json::json!({"username": name, "password": body["password"]}));
            }
            let request = body.map_or_else(
                || Request::new(method, &path),
                |body| Request::with_body(method, &path, &body),
            );
            let reply = system
                .send(request.bearer(&caller.access))
                .await
                .expect_status(entry.success);
            assert!(reply.header("x-request-id").starts_with("request-"), "{}", entry.name);
            assert_eq!(reply.header("x-content-type-options"), "nosniff", "{}", entry.name);
            if entry.success == 204 {
                assert!(reply.text.is_empty() && !reply.headers.contains_key("content-type"));
            } else {
                let content_type = match entry.name {
                    "chats-stream" => "text/event-stream; charset=utf-8",
                    "pages-assets" => pages::ASSETS[0].media_type,
                    name if name.starts_with("pages-") => "text/html; charset=utf-8",
                    _ => "application/json",
                };
                assert_eq!(reply.header("content-type"), content_type, "{}", entry.name);
            }
            let caching = match entry.name {
                "keys-list" => "public, max-age=300",
                "system-openapi" => "no-cache",
                "pages-assets" => "public, max-age=31536000, immutable",
                name if name.starts_with("pages-") => "no-cache",
                _ => "no-store",
            };
            assert_eq!(reply.header("cache-control"), caching, "{}", entry.name);
        }
    }
    let last = system.login("ada", &ada.password).await;
    let logout = Request::post("/api/v1/users/logout", &serde_json::json!({"refresh": last.refresh}));
    system.send(logout.bearer(&last.access)).await.expect_status(200);
}

#[test]
fn what_the_openapi_document_shows_is_what_it_says() {
    let mut shown = 0;
    let operations = document()["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|path| path.as_object().unwrap().values()) {
        let responses = operation["responses"].as_object().unwrap().values();
        let bodies = responses.chain([&operation["requestBody"]]);
        for media in bodies
            .map(|body| &body["content"]["application/json"])
            .filter(|media| media.get("example").is_some())
        {
            let errors: Vec<_> = validator(&media["schema"])
                .iter_errors(&media["example"])
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", operation["operationId"]);
            shown += 1;
        }
    }
    assert!(shown > TABLE.len(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_served_with_the_address_it_was_asked_for_at() {
    let system = System::start().await;
    for path in ["/openapi.json", "/openapi.json/"] {
        let reply = system.send(Request::get(path)).await.expect_status(200);
        let mut served = reply.body;
        assert_eq!(served["servers"], serde_json::json!([{"url": "/dev"}]));
        served["servers"] = document()["servers"].clone();
        assert!(served == *document(), "it is the snapshot");
        // The watcher has no stages.
        let reply = system.send_v2(Request::get(path)).await.expect_status(200);
        assert!(reply.body == *document(), "it is the snapshot");
    }
}

/// Every Rust file below a directory, with its path relative to it.
fn sources(directory: &Path, below: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), &format!("{name}/"), found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            found.push((name, text));
        }
    }
}

#[test]
fn arrows_between_modules_point_downward() {
    // Each layer may use those below it and its own.
    let layers: [&[&str]; 8] = [
        &["openapi"],
        &["lambda"],
        &["api"],
        &["admin", "conversations", "reconcile"],
        &["chats"],
        &["accounts", "api_keys", "billing", "pacing", "sessions"],
        &["auth", "metrics", "model", "store"],
        &["aws", "config", "domain", "error", "meter"],
    ];
    let level = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut files = Vec::new();
    sources(&root().join("shared/src"), "", &mut files);
    assert!(files.len() > 30);
    for (file, text) in &files {
        let module = file.split(['/', '.']).next().unwrap();
        if module == "lib" {
            continue;
        }
        let own = level(module).unwrap_or_else(|| panic!("add {module} to a layer"));
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for (_, used) in line.match_indices("crate::").map(|(at, _)| {
                line[at + 7..]
                    .split_once(|c: char| !c.is_alphanumeric() && c != '_')
                    .map_or((at, &line[at + 7..]), |(word, _)| (at, word))
            }) {
                if let Some(used_level) = level(used) {
                    assert!(used_level >= own, "{file}:{}: {module} must not use {used}", number + 1);
                }
            }
        }
        // `use crate::{…}` in one statement over several lines.
        for block in text.split("use crate::{").skip(1) {
            let block = block.split("};").next().unwrap();
            let first_words = block
                .split(['{', ',', '}'])
                .map(|part| part.trim().split("::").next().unwrap_or_default());
            for used in first_words.filter(|word| level(word).is_some()) {
                assert!(level(used).unwrap() >= own, "{file}: {module} must not use {used}");
            }
        }
        let only_in = [
            ("aws_sdk_dynamodb", "store"),
            ("aws_sdk_bedrockruntime", "model"),
            ("aws_sdk_secretsmanager", "model"),
            ("aws_sdk_cloudwatch", "metrics"),
            ("aws_config", "aws"),
            ("lambda_http", "lambda"),
            ("jsonwebtoken", "auth"),
            ("argon2::", "auth"),
            ("aws_lc_rs", "auth"),
            ("env::var", "config"),
        ];
        for (word, home) in only_in {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(word));
            assert!(!code || module == home, "{file}: {word} belongs in {home}");
        }
    }
}

#[test]
fn functions_are_small_and_know_nothing_of_http_or_dynamodb() {
    let mut files = Vec::new();
    sources(&root().join("functions/src/bin"), "", &mut files);
    for (file, text) in files {
        assert!(text.lines().count() <= 60, "{file} is longer than 60 lines");
        for word in ["aws_sdk", "lambda_http", "header", "status", "AttributeValue", "env::"] {
            assert!(!text.contains(word), "{file} knows of {word}");
        }
    }
}

#[test]
fn a_chat_function_outlives_its_model_and_a_hold_outlives_its_function() {
    let functions = template().functions().unwrap();
    let chatting: Vec<_> = functions
        .iter()
        .filter(|function| function.environment.contains_key("HOLD_LEASE_SECONDS"))
        .collect();
    for function in &chatting {
        let number = |name: &str| function.environment[name].parse::<u64>().unwrap();
        // The keys, a conversation, a hold, what dead calls held, a settlement, a release and a look at the chat, each bounded at 2 s by
        // the store.
        let table = 7 * 2;
        let streams = TABLE.iter().any(|entry| entry.name == function.binary && entry.streams);
        // What is heard as it comes waits longer for its settlement, and what is sent again for what was sent first.
        let more = [shared::chats::PATIENCE, shared::chats::MOST_WAITED].map(|time| time.as_secs());
        let more = if streams { more.iter().sum() } else { 0 };
        assert!(
            number("MODEL_TIMEOUT_MILLISECONDS") / 1_000 + table + more <= function.timeout,
            "the model's time-out and the table's fit that of {}",
            function.binary
        );
        assert!(function.timeout < number("HOLD_LEASE_SECONDS"), "{}", function.binary);
        assert!(
            streams || function.timeout <= 29,
            "a REST API waits no longer for {}",
            function.binary
        );
    }
    assert_eq!(chatting.len(), TABLE.iter().filter(|entry| entry.streams).count() + 1);
}

#[test]
fn a_route_that_streams_has_a_gateway_that_streams() {
    let text = fs::read_to_string(root().join("template.yaml")).unwrap();
    for entry in TABLE {
        for path in entry.paths {
            let route = format!("Path: \"{path}\"");
            let events = text
                .match_indices(&route)
                .map(|(at, _)| text[at..].split("Type: Api").next().unwrap());
            let streams = events
                .map(|event| event.split("\n\n").next().unwrap())
                .filter(|event| event.contains("ResponseTransferMode: RESPONSE_STREAM"))
                .count();
            assert_eq!(streams > 0, entry.streams, "{path} of {}", entry.name);
        }
    }
}

#[test]
fn every_outcome_names_a_test_that_there_is() {
    let mut files = Vec::new();
    sources(&root().join("tests"), "", &mut files);
    let tests: String = files.into_iter().map(|(_, text)| text).collect();
    let outcomes = fs::read_to_string(root().join("docs/outcomes.md")).unwrap();
    let outcomes = outcomes.split("## Seeing it").next().unwrap();
    let mut rows = 0;
    for row in outcomes
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what"))
    {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<_> = last.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test in: {row}");
        for name in names {
            assert!(tests.contains(&format!("async fn {name}(")), "there is no test {name}");
        }
        rows += 1;
    }
    assert!(rows > 40, "{rows} rows");
}
