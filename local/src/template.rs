//! `template.yaml`, read for what must be the same everywhere: the table, and each function's routes, environment and permissions.
//!
//! Local runs and tests take these from the template itself, so what is tried here is what is deployed. Only the parts of
//! CloudFormation that the template uses are understood; a `!Ref` to a parameter reads as the parameter's default,
//! to the stack as the name that the README gives it.

use std::{collections::BTreeMap, path::Path};

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType,
    },
};
use yaml_rust2::{Yaml, YamlLoader};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The template.
#[derive(Debug)]
pub struct Template {
    root: Yaml,
}

/// One function of the template.
#[derive(Debug, Clone)]
pub struct Function {
    /// The name of its resource, such as `UsersLogin`.
    pub resource: String,
    /// Its binary, such as `users-login`.
    pub binary: String,
    /// Its routes. The method is upper case, `ANY` for all that no other route of the path has.
    pub routes: Vec<Route>,
    /// Its environment, parameters at their defaults.
    pub environment: BTreeMap<String, String>,
    /// How long it may run, in seconds.
    pub timeout: u64,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// One route of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Upper case, or `ANY`.
    pub method: String,
    /// With `{name}` for one segment and `{name+}` for the rest.
    pub path: String,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// Such as `dynamodb:GetItem`.
    pub action: String,
    /// As it is written, without its tags; several are separated by commas.
    pub resource: String,
    /// The condition of the template under which it is part of the policy.
    pub only_if: Option<String>,
    /// The partition keys it is limited to; `*` at the end stands for anything.
    pub leading_keys: Vec<String>,
}

impl Template {
    /// Reads the template at `path`.
    ///
    /// # Errors
    /// If it cannot be read or is not YAML.
    pub fn read(path: &Path) -> Result<Self, BoxError> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut documents = YamlLoader::load_from_str(&text)?;
        Ok(Self {
            root: documents.pop().ok_or("the template is empty")?,
        })
    }

    /// The functions, in the order of the template.
    ///
    /// # Errors
    /// If a function has no binary or a statement has no action.
    pub fn functions(&self) -> Result<Vec<Function>, BoxError> {
        let resources = self.root["Resources"]
            .as_hash()
            .ok_or("the template has no resources")?;
        let functions = resources
            .iter()
            .filter(|(_, body)| body["Type"].as_str() == Some("AWS::Serverless::Function"));
        functions
            .map(|(name, body)| self.function(name.as_str().unwrap_or_default(), body))
            .collect()
    }

    fn function(&self, resource: &str, body: &Yaml) -> Result<Function, BoxError> {
        let properties = &body["Properties"];
        let binary = &body["Metadata"]["BuildProperties"]["Binary"];
        let timeout = properties["Timeout"]
            .as_i64()
            .or(self.root["Globals"]["Function"]["Timeout"].as_i64());
        let mut environment = BTreeMap::new();
        for variables in [
            &self.root["Globals"]["Function"]["Environment"],
            &properties["Environment"],
        ] {
            for (name, value) in entries(&variables["Variables"]) {
                environment.insert(name.to_owned(), self.resolve(value));
            }
        }
        let events = entries(&properties["Events"]).filter(|(_, event)| event["Type"].as_str() == Some("Api"));
        let routes = events.map(|(_, event)| Route {
            method: event["Properties"]["Method"]
                .as_str()
                .unwrap_or_default()
                .to_uppercase(),
            path: event["Properties"]["Path"].as_str().unwrap_or_default().to_owned(),
        });
        // What no event of a function answers, the API's own body hands to one.
        let function = format!("{resource}.Alias");
        let any = entries(&self.root["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]);
        let any = any
            .filter(|(_, methods)| {
                let integration = &methods["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"];
                integration["uri"][1]["Function"].as_str() == Some(function.as_str())
            })
            .map(|(path, _)| Route {
                method: "ANY".into(),
                path: path.to_owned(),
            });
        let statements = elements(&properties["Policies"]).flat_map(|policy| elements(&policy["Statement"]));
        let permissions = statements.map(|statement| {
            // `!If [condition, statement, no value]`
            let (only_if, statement) = match statement.as_vec().map(Vec::as_slice) {
                Some([condition, statement, _]) => (condition.as_str(), statement),
                _ => (None, statement),
            };
            let action = statement["Action"]
                .as_str()
                .ok_or("a statement has not exactly one action")?;
            let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
            Ok::<_, BoxError>(Permission {
                action: action.to_owned(),
                resource: written(&statement["Resource"]),
                only_if: only_if.map(str::to_owned),
                leading_keys: elements(keys).filter_map(Yaml::as_str).map(str::to_owned).collect(),
            })
        });
        Ok(Function {
            resource: resource.to_owned(),
            binary: binary
                .as_str()
                .ok_or_else(|| format!("{resource} has no binary"))?
                .to_owned(),
            environment,
            routes: routes.chain(any).collect(),
            timeout: u64::try_from(timeout.ok_or_else(|| format!("{resource} has no timeout"))?)?,
            permissions: permissions.collect::<Result<_, _>>()?,
        })
    }

    fn resolve(&self, value: &Yaml) -> String {
        let text = match value {
            Yaml::Integer(number) => number.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        if text == "AWS::StackName" {
            return "ai-chat-system".into();
        }
        match &self.root["Parameters"][text.as_str()]["Default"] {
            Yaml::BadValue => text,
            Yaml::Integer(number) => number.to_string(),
            default => default.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Whether the table `name` has the indexes that the template says.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn describes_table(&self, client: &Client, name: &str) -> Result<bool, BoxError> {
        let described = client.describe_table().table_name(name).send().await;
        let table = described.map_err(|error| error.into_service_error())?.table;
        let found = table.as_ref().map(|table| table.global_secondary_indexes());
        let mut found: Vec<_> = found
            .into_iter()
            .flatten()
            .filter_map(|index| index.index_name())
            .collect();
        let indexes = &self.root["Resources"]["Table"]["Properties"]["GlobalSecondaryIndexes"];
        let mut wanted: Vec<_> = elements(indexes)
            .filter_map(|index| index["IndexName"].as_str())
            .collect();
        found.sort_unstable();
        wanted.sort_unstable();
        Ok(found == wanted)
    }

    /// Creates the template's table under `name`.
    ///
    /// # Errors
    /// If the template's definition is incomplete or the engine refuses it.
    pub async fn create_table(&self, client: &Client, name: &str) -> Result<(), BoxError> {
        let table = &self.root["Resources"]["Table"]["Properties"];
        let mut request = client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest);
        for attribute in elements(&table["AttributeDefinitions"]) {
            let definition = AttributeDefinition::builder()
                .attribute_name(text(&attribute["AttributeName"])?)
                .attribute_type(ScalarAttributeType::from(text(&attribute["AttributeType"])?));
            request = request.attribute_definitions(definition.build()?);
        }
        request = request.set_key_schema(Some(key_schema(&table["KeySchema"])?));
        for index in elements(&table["GlobalSecondaryIndexes"]) {
            let projection = ProjectionType::from(text(&index["Projection"]["ProjectionType"])?);
            let included = elements(&index["Projection"]["NonKeyAttributes"])
                .map(|name| Ok(text(name)?.to_owned()))
                .collect::<Result<Vec<_>, BoxError>>()?;
            let definition = GlobalSecondaryIndex::builder()
                .index_name(text(&index["IndexName"])?)
                .set_key_schema(Some(key_schema(&index["KeySchema"])?))
                .projection(
                    Projection::builder()
                        .projection_type(projection)
                        .set_non_key_attributes(Some(included).filter(|names| !names.is_empty()))
                        .build(),
                );
            request = request.global_secondary_indexes(definition.build()?);
        }
        request.send().await.map_err(|error| error.into_service_error())?;
        Ok(())
    }
}

fn key_schema(yaml: &Yaml) -> Result<Vec<KeySchemaElement>, BoxError> {
    let element = |key: &Yaml| {
        let element = KeySchemaElement::builder()
            .attribute_name(text(&key["AttributeName"])?)
            .key_type(KeyType::from(text(&key["KeyType"])?));
        Ok(element.build()?)
    };
    elements(yaml).map(element).collect()
}

fn text(yaml: &Yaml) -> Result<&str, BoxError> {
    yaml.as_str().ok_or_else(|| "the template's table is incomplete".into())
}

fn written(yaml: &Yaml) -> String {
    match (yaml.as_str(), yaml.as_vec().map(Vec::as_slice)) {
        (Some(text), _) => text.to_owned(),
        // `!If [condition, then, else]`: what it is with the defaults.
        (None, Some([condition, then, _])) if condition.as_str() == Some("HasOwnTable") => written(then),
        _ => elements(yaml).map(written).collect::<Vec<_>>().join(","),
    }
}

fn elements(yaml: &Yaml) -> impl Iterator<Item = &Yaml> {
    yaml.as_vec().map(Vec::as_slice).unwrap_or_default().iter()
}

fn entries(yaml: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    let entries = yaml.as_hash().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str()?, value)))
}
