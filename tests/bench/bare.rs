//! The least that a function can be: `lambda_http`, the SDK, and the DynamoDB calls named in `BARE_CALLS`, with the expressions that the
//! real functions send. No authentication, no parsing, no log. What the real functions are measured against.

#![expect(clippy::disallowed_methods, reason = "there is nothing to configure here but this")]

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{
        AttributeValue, KeysAndAttributes, Put, ReturnConsumedCapacity, ReturnValue,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use lambda_http::{Body, Error, Request, Response, run, service_fn};

type Item = HashMap<String, AttributeValue>;

struct Bare {
    client: Client,
    table: String,
    user: String,
    calls: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variable = |name: &str| std::env::var(name).map_err(|_| Error::from(format!("{name} is not set")));
    let bare = Bare {
        client: Client::new(&aws_config::load_from_env().await),
        table: variable("TABLE_NAME")?,
        user: variable("BARE_USER")?,
        calls: variable("BARE_CALLS")?
            .split(',')
            .filter(|call| !call.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    // The real functions open their connection during start-up too.
    if !bare.calls.is_empty() {
        bare.call("Keys").await?;
    }
    let bare = &bare;
    run(service_fn(move |_request: Request| async move {
        for call in &bare.calls {
            bare.call(call).await?;
        }
        let response = Response::builder()
            .header("content-type", "application/json")
            .body(Body::from("{}"));
        Ok::<_, Error>(response?)
    }))
    .await
}

const CALLER_IS_VALID: &str =
    "#active = :true AND #token_version = :token_version AND attribute_exists(#sessions.#session)";

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn session() -> AttributeValue {
    let members = [("g", 1), ("r", 1_736_166_896_789), ("e", 4_102_444_800_000)];
    AttributeValue::M(members.map(|(name, value)| (name.to_owned(), number(value))).into())
}

impl Bare {
    fn key(&self, sk: String) -> Item {
        let pk = AttributeValue::S(format!("USER#{}", self.user));
        HashMap::from([("pk".into(), pk), ("sk".into(), AttributeValue::S(sk))])
    }

    fn user_key(&self) -> Item {
        self.key("USER".into())
    }

    /// Something new for each put: the time.
    fn fresh(&self) -> Item {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let mut item = self.key(format!("BARE#{now}"));
        item.insert("text".into(), AttributeValue::S("x".repeat(200)));
        item
    }

    /// An update of the user under the condition that every call of a user has.
    fn update(&self, expression: &str) -> UpdateItemFluentBuilder {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.user_key()));
        update
            .update_expression(expression)
            .condition_expression(CALLER_IS_VALID)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#active", "active")
            .expression_attribute_names("#token_version", "token_version")
            .expression_attribute_names("#sessions", "sessions")
            .expression_attribute_names("#session", "bare")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":token_version", number(0))
    }

    async fn call(&self, call: &str) -> Result<(), Error> {
        let (client, table) = (&self.client, &self.table);
        match call {
            "GetItem" => {
                let get = client
                    .get_item()
                    .table_name(table)
                    .set_key(Some(self.user_key()))
                    .consistent_read(true)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                drop(get.send().await?);
            }
            // What a refresh writes: the session's next state, if the account and the session are what they should be.
            "Rotate" => {
                let update = self
                    .update("SET #sessions.#session = :next")
                    .expression_attribute_values(":next", session());
                drop(update.send().await?);
            }
            "Logout" => {
                let update = self
                    .update("REMOVE #sessions.#ending")
                    .expression_attribute_names("#ending", "gone");
                drop(update.send().await?);
            }
            "Login" => {
                let update = self
                    .update("SET #sessions.#opened = :next")
                    .expression_attribute_names("#opened", "opened");
                drop(update.expression_attribute_values(":next", session()).send().await?);
            }
            "Hold" => {
                let hold = HashMap::from([
                    ("c".to_owned(), number(0)),
                    ("a".to_owned(), AttributeValue::S("attempt00000".into())),
                    ("p".to_owned(), number(1_736_166_896_789)),
                    ("l".to_owned(), number(4_102_444_800_000)),
                ]);
                let update = self
                    .update("SET #balance = #balance - :cost, #holds.#hold = :hold")
                    .condition_expression(format!(
                        "{CALLER_IS_VALID} AND #balance >= :cost AND attribute_not_exists(#holds.#hold) AND size(#holds) < :most"
                    ))
                    .expression_attribute_names("#balance", "balance")
                    .expression_attribute_names("#holds", "holds")
                    .expression_attribute_names("#hold", "bare")
                    .expression_attribute_values(":cost", number(0))
                    .expression_attribute_values(":most", number(64))
                    .expression_attribute_values(":hold", AttributeValue::M(hold))
                    .return_values(ReturnValue::AllNew);
                drop(update.send().await?);
            }
            "Settle" => {
                let update = Update::builder()
                    .table_name(table)
                    .set_key(Some(self.user_key()))
                    .update_expression("REMOVE #holds.#hold")
                    .condition_expression("#holds.#hold.#attempt = :attempt")
                    .expression_attribute_names("#holds", "holds")
                    .expression_attribute_names("#hold", "bare")
                    .expression_attribute_names("#attempt", "a")
                    .expression_attribute_values(":attempt", AttributeValue::S("attempt00000".into()));
                let put = Put::builder().table_name(table).set_item(Some(self.fresh()));
                let put = put.condition_expression("attribute_not_exists(pk)");
                let transaction = client
                    .transact_write_items()
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .transact_items(TransactWriteItem::builder().update(update.build()?).build())
                    .transact_items(TransactWriteItem::builder().put(put.build()?).build());
                drop(transaction.send().await?);
            }
            "PutItem" => {
                let put = client.put_item().table_name(table).set_item(Some(self.fresh()));
                drop(
                    put.condition_expression("attribute_not_exists(pk)")
                        .return_consumed_capacity(ReturnConsumedCapacity::Total)
                        .send()
                        .await?,
                );
            }
            "BatchGetItem" => {
                let keys = KeysAndAttributes::builder()
                    .keys(self.user_key())
                    .keys(self.key("TURN#".into()));
                drop(
                    client
                        .batch_get_item()
                        .request_items(table, keys.consistent_read(true).build()?)
                        .return_consumed_capacity(ReturnConsumedCapacity::Total)
                        .send()
                        .await?,
                );
            }
            "Keys" => {
                let query = client
                    .query()
                    .table_name(table)
                    .key_condition_expression("pk = :pk")
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .consistent_read(true);
                drop(
                    query
                        .expression_attribute_values(":pk", AttributeValue::S("KEY".into()))
                        .send()
                        .await?,
                );
            }
            "Query" => {
                let query = client
                    .query()
                    .table_name(table)
                    .consistent_read(true)
                    .scan_index_forward(false)
                    .limit(52)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                let query = query.key_condition_expression("pk = :pk AND sk BETWEEN :a AND :z");
                let value = |text: &str| AttributeValue::S(text.into());
                let query = query.expression_attribute_values(":pk", value(&format!("USER#{}", self.user)));
                let query = query.expression_attribute_values(":a", value("TURN#"));
                drop(query.expression_attribute_values(":z", value("USER")).send().await?);
            }
            "Index" => {
                let query = client.query().table_name(table).index_name("users").limit(1001);
                let query = query
                    .key_condition_expression("listed = :all AND listed_as BETWEEN :first AND :last")
                    .filter_expression("#active = :active")
                    .expression_attribute_names("#active", "active")
                    .return_consumed_capacity(ReturnConsumedCapacity::Total);
                let value = |text: &str| AttributeValue::S(text.into());
                let query = query.expression_attribute_values(":all", value("ALL"));
                let query = query.expression_attribute_values(":first", value("\0"));
                let query = query.expression_attribute_values(":last", value("\u{10FFFF}"));
                drop(
                    query
                        .expression_attribute_values(":active", AttributeValue::Bool(true))
                        .send()
                        .await?,
                );
            }
            other => return Err(format!("no call is named {other}").into()),
        }
        Ok(())
    }
}
