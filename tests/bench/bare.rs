//! The least that a function can be: `lambda_http`, the SDK, and the DynamoDB calls named in `BARE_CALLS`. What the real functions are
//! measured against.

#![expect(clippy::disallowed_methods, reason = "there is nothing to configure here but this")]

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeysAndAttributes, Put, ReturnValue, TransactWriteItem, Update},
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

    async fn call(&self, call: &str) -> Result<(), Error> {
        let (client, table) = (&self.client, &self.table);
        match call {
            "GetItem" => {
                let get = client
                    .get_item()
                    .table_name(table)
                    .set_key(Some(self.user_key()))
                    .consistent_read(true);
                drop(get.send().await?);
            }
            "UpdateItem" => {
                let update = client.update_item().table_name(table).set_key(Some(self.user_key()));
                let update = update
                    .update_expression("SET bare = :one")
                    .return_values(ReturnValue::AllNew);
                drop(
                    update
                        .expression_attribute_values(":one", AttributeValue::N("1".into()))
                        .send()
                        .await?,
                );
            }
            "PutItem" => drop(
                client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(self.fresh()))
                    .send()
                    .await?,
            ),
            "TransactWriteItems" => {
                let update = Update::builder().table_name(table).set_key(Some(self.user_key()));
                let update = update.update_expression("SET bare = :one");
                let update = update
                    .expression_attribute_values(":one", AttributeValue::N("1".into()))
                    .build()?;
                let put = Put::builder().table_name(table).set_item(Some(self.fresh())).build()?;
                let transaction = client
                    .transact_write_items()
                    .transact_items(TransactWriteItem::builder().update(update).build())
                    .transact_items(TransactWriteItem::builder().put(put).build());
                drop(transaction.send().await?);
            }
            "BatchGetItem" => {
                let keys = KeysAndAttributes::builder()
                    .keys(self.user_key())
                    .keys(self.key("TURN#".into()));
                drop(
                    client
                        .batch_get_item()
                        .request_items(table, keys.consistent_read(true).build()?)
                        .send()
                        .await?,
                );
            }
            "Keys" => {
                let query = client
                    .query()
                    .table_name(table)
                    .key_condition_expression("pk = :pk")
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
                    .limit(52);
                let query = query.key_condition_expression("pk = :pk AND sk BETWEEN :a AND :z");
                let value = |text: &str| AttributeValue::S(text.into());
                let query = query.expression_attribute_values(":pk", value(&format!("USER#{}", self.user)));
                let query = query.expression_attribute_values(":a", value("TURN#"));
                drop(query.expression_attribute_values(":z", value("USER")).send().await?);
            }
            "Index" => {
                let query = client.query().table_name(table).index_name("active-users").limit(1001);
                let query = query.key_condition_expression("listed = :active");
                drop(
                    query
                        .expression_attribute_values(":active", AttributeValue::S("ACTIVE".into()))
                        .send()
                        .await?,
                );
            }
            other => return Err(format!("no call is named {other}").into()),
        }
        Ok(())
    }
}
