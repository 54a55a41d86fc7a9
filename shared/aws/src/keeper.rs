//! [`SecretKeeper`] over Secrets Manager, for the command line. Each write is a new version: what was before stays
//! as the version AWSPREVIOUS until the next write.
//!
//! The stack makes the secrets, empty; nothing here makes another, for no function could read it.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use serde_json::{Map, Value};
use tillway_connectors::Secrets;
use tillway_engine::ports::SecretError;
use tillway_host::keeping::SecretKeeper;

use crate::secrets::{parse, refusal};
use crate::trouble;

/// Secrets below a prefix, e.g. `tillway/dev`.
pub struct SecretsManagerKeeper {
    client: Client,
    prefix: String,
}

impl SecretsManagerKeeper {
    /// Below that prefix.
    pub fn new(client: Client, prefix: impl Into<String>) -> Self {
        Self { client, prefix: prefix.into() }
    }

    fn id(&self, connection: &str) -> String {
        format!("{}/{connection}", self.prefix)
    }
}

/// Says what to do where the stack has no such secret.
fn absent(id: &str, error: SecretError) -> SecretError {
    match error {
        SecretError::Missing(_) => SecretError::Refused(format!(
            "there is no secret {id} in this account and region. The stack makes one for each of its connections \
             (parameters StripeConnection, CybersourceConnection and ClarityConnection): deploy it first, or look at --aws, at the \
             connection's name and at AWS_REGION"
        )),
        other => other,
    }
}

#[async_trait]
impl SecretKeeper for SecretsManagerKeeper {
    async fn read(&self, connection: &str) -> Result<Secrets, SecretError> {
        let id = self.id(connection);
        let text = match self.client.get_secret_value().secret_id(&id).send().await {
            Ok(answer) => answer.secret_string.unwrap_or_default(),
            // A secret that never had a value is answered like one that is not there.
            Err(error) if trouble::is(&error, "ResourceNotFoundException") => {
                self.versions(connection).await?;
                String::new()
            }
            Err(error) => return Err(refusal(&id, "read", trouble::describe(&error))),
        };
        if text.is_empty() { Ok(Secrets::default()) } else { parse(&id, &text) }
    }

    async fn write(&self, connection: &str, secrets: &Secrets) -> Result<(), SecretError> {
        let id = self.id(connection);
        let put = self.client.put_secret_value().secret_id(&id).secret_string(text_of(secrets));
        let sent = put.send().await;
        sent.map(|_| ()).map_err(|e| absent(&id, refusal(&id, "written", trouble::describe(&e))))
    }

    async fn versions(&self, connection: &str) -> Result<Vec<String>, SecretError> {
        let id = self.id(connection);
        let sent = self.client.describe_secret().secret_id(&id).send().await;
        let answer = sent.map_err(|e| absent(&id, refusal(&id, "read", trouble::describe(&e))))?;
        let mut versions: Vec<String> = Vec::new();
        for (version, mut stages) in answer.version_ids_to_stages.unwrap_or_default() {
            stages.sort();
            versions.push(format!("{} {version}", stages.join(", ")));
        }
        versions.sort();
        Ok(versions)
    }

    fn place(&self, connection: &str) -> String {
        self.id(connection)
    }
}

/// The object as functions read it: a text, or a list of texts where there are several.
fn text_of(secrets: &Secrets) -> String {
    let mut names = Map::new();
    for (name, values) in &secrets.0 {
        let texts: Vec<Value> = values.iter().map(|v| Value::from(v.expose())).collect();
        let value = match <[Value; 1]>::try_from(texts) {
            Ok([one]) => one,
            Err(texts) if texts.is_empty() => continue,
            Err(texts) => Value::Array(texts),
        };
        names.insert(name.clone(), value);
    }
    Value::Object(names).to_string()
}

#[cfg(test)]
mod tests {
    use tillway_connectors::Secret;

    use super::*;

    #[test]
    fn what_is_written_is_what_functions_read() {
        let of = |v: &[&str]| v.iter().map(|s| Secret::new(*s)).collect::<Vec<_>>();
        let names = [("api_key", of(&["k"])), ("hook", of(&["new", "old"]))];
        let secrets = Secrets(names.into_iter().map(|(n, v)| (n.to_owned(), v)).collect());
        let text = text_of(&secrets);
        assert_eq!(text, r#"{"api_key":"k","hook":["new","old"]}"#);
        assert_eq!(parse("x", &text).unwrap(), secrets);
        let empty = Secrets([("gone".to_owned(), Vec::new())].into());
        assert_eq!(text_of(&empty), "{}");
    }

    #[test]
    fn a_secret_that_the_stack_does_not_have_says_what_to_do() {
        let said = absent("tillway/dev/x", SecretError::Missing("x".into())).to_string();
        assert!(said.contains("tillway/dev/x") && said.contains("StripeConnection"), "{said}");
    }
}
