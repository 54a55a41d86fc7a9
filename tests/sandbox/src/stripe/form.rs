//! Form-encoded bodies and query strings with brackets (`a[b][0]=v`) as a tree.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::errors::ApiError;

/// A parameter: a text, or named parts. A list is a map whose names are `0`, `1`, ….
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Map(Vec<(String, Node)>),
}

const MAX_PAIRS: usize = 1000;
const MAX_DEPTH: usize = 6;

impl Node {
    pub(super) const fn empty() -> Self {
        Self::Map(Vec::new())
    }
    /// A flat form, for callers inside the crate.
    pub(super) fn of(pairs: &[(&str, &str)]) -> Result<Self, ApiError> {
        let mut root = Self::empty();
        for (key, value) in pairs {
            insert(&mut root, key, (*value).to_owned())?;
        }
        Ok(root)
    }
    pub(super) fn members(&self) -> &[(String, Node)] {
        match self {
            Self::Map(members) => members,
            Self::Text(_) => &[],
        }
    }
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.members().iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }
    /// The text, also where it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Self::Text(text) => Some(text),
            Self::Map(_) => None,
        }
    }
    /// The text where it is not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|t| !t.is_empty())
    }
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name)?.parse().ok()
    }
    /// The texts of a list.
    pub(super) fn items(&self, name: &str) -> Vec<&str> {
        let members = self.get(name).map_or(&[][..], Node::members);
        members
            .iter()
            .filter_map(|(_, v)| if let Self::Text(t) = v { Some(t.as_str()) } else { None })
            .collect()
    }
}

/// Decodes a body or query string.
pub(super) fn decode(raw: &str) -> Result<Node, ApiError> {
    let mut root = Node::empty();
    for (count, pair) in raw.split('&').filter(|p| !p.is_empty()).enumerate() {
        if count >= MAX_PAIRS {
            return Err(ApiError::invalid("Too many parameters"));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        insert(&mut root, &unescape(key)?, unescape(value)?)?;
    }
    Ok(root)
}

fn insert(root: &mut Node, key: &str, value: String) -> Result<(), ApiError> {
    let malformed = || ApiError::invalid(format!("Malformed parameter name: {key}")).param(key);
    let (head, rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    if head.is_empty() {
        return Err(malformed());
    }
    let mut path = vec![head];
    let mut rest = rest;
    while !rest.is_empty() {
        let (part, more) = rest.strip_prefix('[').and_then(|r| r.split_once(']')).ok_or_else(malformed)?;
        path.push(part);
        rest = more;
    }
    if path.len() > MAX_DEPTH {
        return Err(malformed());
    }
    let last = path.pop().ok_or_else(malformed)?;
    let mut node = root;
    for part in path {
        node = child(node, part, Node::empty).ok_or_else(malformed)?;
    }
    let Node::Map(members) = node else { return Err(malformed()) };
    let name = if last.is_empty() { members.len().to_string() } else { last.to_owned() };
    // The real server takes the last of several equal names; a client that sends two has a defect.
    if members.iter().any(|(n, _)| *n == name) {
        return Err(ApiError::invalid(format!("Parameter given twice: {key}")).param(key));
    }
    members.push((name, Node::Text(value)));
    Ok(())
}

fn child<'a>(node: &'a mut Node, name: &str, make: fn() -> Node) -> Option<&'a mut Node> {
    let Node::Map(members) = node else { return None };
    if !members.iter().any(|(n, _)| n == name) {
        members.push((name.to_owned(), make()));
    }
    members.iter_mut().find(|(n, _)| n == name).map(|(_, v)| v)
}

fn unescape(text: &str) -> Result<String, ApiError> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Ok(text.to_owned());
    }
    let bad = || ApiError::invalid("Malformed form encoding");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex_digit(bytes.next()), hex_digit(bytes.next()));
                high.zip(low).map(|(h, l)| h * 16 + l).ok_or_else(bad)?
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| bad())
}

fn hex_digit(b: Option<u8>) -> Option<u8> {
    match b? {
        b @ b'0'..=b'9' => Some(b - b'0'),
        b @ b'a'..=b'f' => Some(b - b'a' + 10),
        b @ b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

/// Fingerprint of a call for the idempotency check; the order of parameters does not count.
pub(super) fn fingerprint(path: &str, form: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    feed(form, &mut hasher);
    hasher.finish()
}

fn feed(node: &Node, hasher: &mut DefaultHasher) {
    match node {
        Node::Text(text) => text.hash(hasher),
        Node::Map(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, value) in sorted {
                name.hash(hasher);
                feed(value, hasher);
            }
            u8::MAX.hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_escapes_and_plus_signs_are_read() {
        let form = decode(
            "amount=1099&metadata%5Bnote%5D=a+%26+b%3Dc%2F%C3%A9&shipping[address][line1]=1+Main+St\
             &types[]=a&types[]=b&expand%5B0%5D=latest_charge",
        )
        .unwrap();
        assert_eq!(form.int("amount"), Some(1099));
        assert_eq!(form.get("metadata").unwrap().text("note"), Some("a & b=c/é"));
        assert_eq!(form.get("shipping").unwrap().get("address").unwrap().text("line1"), Some("1 Main St"));
        assert_eq!(form.items("types"), ["a", "b"]);
        assert_eq!(form.items("expand"), ["latest_charge"]);
    }

    #[test]
    fn malformed_forms_are_refused() {
        for bad in
            ["a[b=1", "[a]=1", "a=%4", "a=%zz", "a=%ff", "a=1&a=2", "a=1&a[b]=2", "a[b][c][d][e][f][g]=1"]
        {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_of_parameters_does_not_change_the_fingerprint() {
        let print = |raw: &str| fingerprint("/v1/x", &decode(raw).unwrap());
        assert_eq!(print("a=1&b[c]=2&b[d]=3"), print("b[d]=3&a=1&b[c]=2"));
        assert_ne!(print("a=1&b=2"), print("a=2&b=1"));
        assert_ne!(print("a=1"), fingerprint("/v1/y", &decode("a=1").unwrap()));
    }
}
