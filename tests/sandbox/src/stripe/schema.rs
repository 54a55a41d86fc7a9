//! Checks a form against the vendor's own OpenAPI description, beside the sandbox's own table.

use std::collections::HashMap;

use serde_json::Value;
use tillway_core::http::Method;

use super::errors::ApiError;
use super::form::Node;
use super::params::nested;

/// Request schemas by operation (`POST /v1/refunds`).
#[derive(Debug, Default)]
pub(super) struct Schemas {
    bodies: HashMap<String, Value>,
    queries: HashMap<String, Vec<String>>,
    refs: HashMap<String, Value>,
}

impl Schemas {
    /// Picks the request schemas out of a parsed OpenAPI document.
    pub(super) fn from_openapi(document: &Value) -> Self {
        let mut this = Self::default();
        let members = |v: Option<&Value>| v.and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, schema) in members(document.pointer("/components/schemas")) {
            this.refs.insert(format!("#/components/schemas/{name}"), schema);
        }
        for (path, operations) in members(document.get("paths")) {
            for (method, operation) in members(Some(&operations)) {
                let key = format!("{} {path}", method.to_ascii_uppercase());
                let body = "/requestBody/content/application~1x-www-form-urlencoded/schema";
                if let Some(schema) = operation.pointer(body) {
                    this.bodies.insert(key.clone(), schema.clone());
                }
                let parameters = operation.get("parameters").and_then(Value::as_array);
                let names =
                    parameters.into_iter().flatten().filter(|p| p.get("in") == Some(&Value::from("query")));
                let names = names.filter_map(|p| p.get("name").and_then(Value::as_str).map(str::to_owned));
                this.queries.insert(key, names.collect());
            }
        }
        this
    }

    /// Whether the document knows the operation.
    #[cfg(test)]
    pub(super) fn knows(&self, operation: &str) -> bool {
        self.queries.contains_key(operation)
    }

    /// The schema of a (nested) parameter, or `None` where there is no such parameter.
    #[cfg(test)]
    pub(super) fn has_param(&self, operation: &str, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        if self.queries.get(operation).is_some_and(|names| names.iter().any(|n| n == first)) {
            return true;
        }
        let Some(body) = self.bodies.get(operation) else { return false };
        self.has_path(body, first, rest)
    }

    #[cfg(test)]
    fn has_path(&self, schema: &Value, first: &str, rest: &[&str]) -> bool {
        let schema = self.resolve(schema);
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            return options.iter().any(|o| self.has_path(o, first, rest));
        }
        let Some(found) = schema.get("properties").and_then(|p| p.get(first)) else { return false };
        rest.split_first().is_none_or(|(next, rest)| self.has_path(found, next, rest))
    }

    /// Checks the parameters of a call.
    pub(super) fn check(&self, method: Method, operation: &str, form: &Node) -> Result<(), ApiError> {
        if method != Method::Post {
            let Some(names) = self.queries.get(operation) else { return Ok(()) };
            return match form.members().iter().find(|(name, _)| !names.contains(name)) {
                Some((name, _)) => Err(unknown(name)),
                None => Ok(()),
            };
        }
        match self.bodies.get(operation) {
            Some(schema) => self.walk(schema, form, ""),
            None => Ok(()),
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| self.refs.get(r));
        target.unwrap_or(schema)
    }

    fn walk(&self, schema: &Value, node: &Node, path: &str) -> Result<(), ApiError> {
        let schema = self.resolve(schema);
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            let mut last = Ok(());
            for option in options {
                last = self.walk(option, node, path);
                if last.is_ok() {
                    return last;
                }
            }
            return last;
        }
        let refuse =
            |what: &str| Err(ApiError::invalid(format!("Invalid {what} (schema): {path}")).param(path));
        match (schema.get("type").and_then(Value::as_str), node) {
            (Some("object"), Node::Map(members)) => self.walk_object(schema, node, members, path),
            (Some("array"), Node::Map(members)) => {
                let Some(items) = schema.get("items") else { return Ok(()) };
                members.iter().try_for_each(|(name, node)| self.walk(items, node, &nested(path, name)))
            }
            (Some("object"), Node::Text(_)) => refuse("object"),
            (Some("array"), Node::Text(_)) => refuse("array"),
            (Some("string"), Node::Text(text)) => {
                let max = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
                if u64::try_from(text.chars().count()).unwrap_or(u64::MAX) > max {
                    return refuse("string");
                }
                let Some(names) = schema.get("enum").and_then(Value::as_array) else { return Ok(()) };
                if names.iter().any(|n| n.as_str() == Some(text)) { Ok(()) } else { refuse("value") }
            }
            (Some("integer"), Node::Text(text)) if text.parse::<i64>().is_err() => {
                Err(ApiError::invalid(format!("Invalid integer (schema): {path}"))
                    .code("parameter_invalid_integer")
                    .param(path))
            }
            (Some("boolean"), Node::Text(text)) if !matches!(text.as_str(), "true" | "false") => {
                refuse("boolean")
            }
            (Some("string" | "integer" | "boolean" | "number"), Node::Map(_)) => refuse("string"),
            _ => Ok(()),
        }
    }

    fn walk_object(
        &self,
        schema: &Value,
        node: &Node,
        members: &[(String, Node)],
        path: &str,
    ) -> Result<(), ApiError> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let extra = schema.get("additionalProperties");
        for (name, child) in members {
            let at = nested(path, name);
            match (properties.and_then(|p| p.get(name)), extra) {
                (Some(property), _) => self.walk(property, child, &at)?,
                (None, Some(Value::Bool(false))) => return Err(unknown(&at)),
                (None, Some(extra @ Value::Object(_))) => self.walk(extra, child, &at)?,
                _ => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if node.get(name).is_none() {
                let at = nested(path, name);
                return Err(ApiError::invalid(format!("Missing required param (schema): {at}."))
                    .code("parameter_missing")
                    .param(at));
            }
        }
        Ok(())
    }
}

fn unknown(path: &str) -> ApiError {
    ApiError::invalid(format!("Received unknown parameter (schema): {path}"))
        .code("parameter_unknown")
        .param(path)
}
