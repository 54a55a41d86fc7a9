//! `application/x-www-form-urlencoded` as Stripe reads it: nested maps as `a[b]=v`, arrays always indexed
//! (`a[0]=v`), nulls left out, an empty text kept (it unsets). Checked against the official encoder's
//! vectors (`spec/stripe/form-encoding-vectors.json`).

use serde_json::Value;

/// Goes through nested parameters as names and values, in the order they were given.
fn each(params: &Value, pair: &mut impl FnMut(&str, &str)) {
    let Value::Object(members) = params else { return };
    let mut path = String::new();
    for (name, value) in members {
        path.clear();
        path.push_str(name);
        below(&mut path, value, pair);
    }
}

fn below(path: &mut String, value: &Value, pair: &mut impl FnMut(&str, &str)) {
    let mut inner = |path: &mut String, key: &str, item: &Value| {
        let outer = path.len();
        path.push('[');
        path.push_str(key);
        path.push(']');
        below(path, item, pair);
        path.truncate(outer);
    };
    match value {
        Value::Null => {}
        Value::Bool(true) => pair(path, "true"),
        Value::Bool(false) => pair(path, "false"),
        Value::Number(n) => pair(path, &n.to_string()),
        Value::String(s) => pair(path, s),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| inner(path, &at.to_string(), item));
        }
        Value::Object(members) => members.iter().for_each(|(key, item)| inner(path, key, item)),
    }
}

/// Encodes nested parameters for a body or a query.
#[must_use]
pub(super) fn encode(params: &Value) -> String {
    let mut out = String::new();
    each(params, &mut |name, value| {
        if !out.is_empty() {
            out.push('&');
        }
        escape(name, &mut out);
        out.push('=');
        escape(value, &mut out);
    });
    out
}

fn escape(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| char::from(HEX.get(usize::from(n)).copied().unwrap_or(b'0'));
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(digit(byte >> 4));
                out.push(digit(byte & 15));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::spec;
    use super::*;

    fn pairs(params: &Value) -> Vec<(String, String)> {
        let mut out = Vec::new();
        each(params, &mut |name, value| out.push((name.to_owned(), value.to_owned())));
        out
    }

    #[test]
    fn the_official_encoders_vectors_hold() {
        let Some(vectors) = spec("form-encoding-vectors.json") else { return };
        let vectors = vectors.as_object().unwrap();
        assert_eq!(vectors.len(), 6);
        for (name, vector) in vectors {
            let expected: Vec<(String, String)> = serde_json::from_value(vector["pairs"].clone()).unwrap();
            assert_eq!(pairs(&vector["params"]), expected, "{name}");
            assert_eq!(encode(&vector["params"]), vector["urlencoded_strict"].as_str().unwrap(), "{name}");
        }
    }

    #[test]
    fn nulls_are_left_out_and_empty_texts_unset() {
        assert_eq!(
            encode(&json!({"a": null, "b": "", "c": [], "d": {"e": null, "f": [true]}})),
            "b=&d%5Bf%5D%5B0%5D=true"
        );
        assert_eq!(encode(&json!("no map")), "");
    }
}
