//! JSON from outside, to be looked at: read once into one flat list of parts, over the text as it came.
//!
//! A tree of owned values takes two allocations for each member, and of a provider's hundred members a dozen
//! are ever asked for. Here a document is one text and one list, whatever is in it; a part of it is a place in
//! that list, and cloning is counting. What is to be changed or built is a `serde_json::Value` still.
//!
//! It accepts what `serde_json` reads as a value and nothing else, down to the depth of nesting. Of a member
//! that stands twice the last one counts.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

/// Where a text stands.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Null,
    Bool(bool),
    Int(i64),
    Large(u64),
    Fraction(f64),
    Text(Span),
    List,
    Map,
}

/// A value, its name where it is a member, and how many parts it is with all that is in it.
#[derive(Debug, Clone, Copy)]
struct Part {
    name: Span,
    what: What,
    size: u32,
}

struct Tape {
    /// As it came; what stood there escaped follows, read.
    text: String,
    parts: Vec<Part>,
}

/// A document, or a part of one. Cheap to clone.
#[derive(Clone)]
pub struct Doc {
    tape: Arc<Tape>,
    from: usize,
    to: usize,
}

/// A look at a document or a part of it.
#[derive(Clone, Copy)]
pub struct Json<'d> {
    tape: &'d Arc<Tape>,
    from: usize,
    to: usize,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind<'d> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64`.
    Large(u64),
    /// Any other number.
    Fraction(f64),
    /// A text.
    Text(&'d str),
    /// A list: see [`Json::items`].
    List,
    /// An object: see [`Json::members`].
    Map,
}

/// A member of an object that is put together.
#[derive(Clone, Copy)]
pub enum Member<'a> {
    /// A text.
    Text(&'a str),
    /// A part of another document.
    Part(Json<'a>),
}

impl Doc {
    /// Reads a text.
    ///
    /// # Errors
    /// The parser's.
    pub fn parse(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        let mut text = text.into();
        let mut builder = Builder {
            base: text.as_ptr().addr(),
            len: text.len(),
            more: String::new(),
            // Rather one list too large than several grown: a member of a provider's takes about this much.
            parts: Vec::with_capacity(text.len() / 16 + 1),
        };
        let mut reader = serde_json::Deserializer::from_str(&text);
        Slot { builder: &mut builder, name: Span::default() }.deserialize(&mut reader)?;
        reader.end()?;
        text.push_str(&builder.more);
        Ok(Self::of(text, builder.parts))
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// The parser's; also for what is no UTF-8.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, serde_json::Error> {
        Self::parse(String::from_utf8(bytes).map_err(serde_json::Error::custom)?)
    }

    fn of(text: String, parts: Vec<Part>) -> Self {
        let to = parts.len();
        Self { tape: Arc::new(Tape { text, parts }), from: 0, to }
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        NULL.clone()
    }

    /// Puts an object together.
    #[must_use]
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Member<'a>)>) -> Self {
        let mut builder = Builder { base: 0, len: 0, more: String::new(), parts: Vec::new() };
        builder.parts.push(Part { name: Span::default(), what: What::Map, size: 0 });
        for (name, member) in members {
            let name = builder.copy(name);
            match member {
                Member::Text(text) => {
                    let what = What::Text(builder.copy(text));
                    builder.parts.push(Part { name, what, size: 1 });
                }
                Member::Part(part) => builder.copy_part(name, part),
            }
        }
        builder.close(0);
        Self::of(builder.more, builder.parts)
    }

    /// A look at it.
    #[must_use]
    pub const fn json(&self) -> Json<'_> {
        Json { tape: &self.tape, from: self.from, to: self.to }
    }
}

static NULL: LazyLock<Doc> =
    LazyLock::new(|| Doc::of(String::new(), vec![Part { name: Span::default(), what: What::Null, size: 1 }]));

impl From<&serde_json::Value> for Doc {
    fn from(value: &serde_json::Value) -> Self {
        // What was read as a value is read again; one that was built deeper than any reader goes reads as null.
        Self::parse(value.to_string()).unwrap_or_else(|_| Self::null())
    }
}

/// `Debug` never shows contents: they may be personal.
impl fmt::Debug for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON of {} parts", self.to.saturating_sub(self.from))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON of {} parts", self.to.saturating_sub(self.from))
    }
}

impl PartialEq for Doc {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl<'d> Json<'d> {
    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        NULL.json()
    }

    fn text_at(self, span: Span) -> &'d str {
        let from = usize::try_from(span.start).unwrap_or(usize::MAX);
        let len = usize::try_from(span.len).unwrap_or(0);
        self.tape.text.get(from..from.saturating_add(len)).unwrap_or_default()
    }

    fn part(self) -> Option<&'d Part> {
        self.tape.parts.get(self.from)
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind<'d> {
        match self.part().map_or(What::Null, |part| part.what) {
            What::Null => Kind::Null,
            What::Bool(b) => Kind::Bool(b),
            What::Int(n) => Kind::Int(n),
            What::Large(n) => Kind::Large(n),
            What::Fraction(n) => Kind::Fraction(n),
            What::Text(span) => Kind::Text(self.text_at(span)),
            What::List => Kind::List,
            What::Map => Kind::Map,
        }
    }

    /// Keeps this part, and with it the document it is of.
    #[must_use]
    pub fn to_doc(self) -> Doc {
        Doc { tape: self.tape.clone(), from: self.from, to: self.to }
    }

    fn below(self, what: fn(&What) -> bool) -> Below<'d> {
        let open = self.part().is_some_and(|part| what(&part.what));
        Below { tape: self.tape, at: self.from.saturating_add(1), to: if open { self.to } else { 0 } }
    }

    /// The items of a list; none of anything else.
    pub fn items(self) -> impl Iterator<Item = Self> {
        self.below(|what| matches!(what, What::List))
    }

    /// The members of an object; none of anything else.
    pub fn members(self) -> impl Iterator<Item = (&'d str, Self)> {
        let members = self.below(|what| matches!(what, What::Map));
        members.map(|member| (member.part().map_or("", |part| member.text_at(part.name)), member))
    }

    /// A member of an object.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        let Below { tape, mut at, to } = self.below(|what| matches!(what, What::Map));
        let len = u32::try_from(name.len()).ok()?;
        let mut found = None;
        while at < to {
            let part = tape.parts.get(at)?;
            let end = at.saturating_add(usize::try_from(part.size.max(1)).unwrap_or(usize::MAX));
            if part.name.len == len && self.text_at(part.name) == name {
                found = Some(Self { tape, from: at, to: end.min(to) });
            }
            at = end;
        }
        found
    }

    /// Follows member names: `["data", "object"]`.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |part, name| part.get(name))
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(self) -> Option<&'d str> {
        match self.kind() {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, where it is one that fits.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        match self.kind() {
            Kind::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The whole number from zero on, where it is one.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        match self.kind() {
            Kind::Int(n) => u64::try_from(n).ok(),
            Kind::Large(n) => Some(n),
            _ => None,
        }
    }

    /// Yes or no, where it is that.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.kind() {
            Kind::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Map
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(self) -> bool {
        self.kind() == Kind::List
    }
}

struct Below<'d> {
    tape: &'d Arc<Tape>,
    at: usize,
    to: usize,
}

impl<'d> Iterator for Below<'d> {
    type Item = Json<'d>;

    fn next(&mut self) -> Option<Json<'d>> {
        if self.at >= self.to {
            return None;
        }
        let size = usize::try_from(self.tape.parts.get(self.at)?.size).unwrap_or(usize::MAX);
        let (from, to) = (self.at, self.at.saturating_add(size.max(1)).min(self.to));
        self.at = to;
        Some(Json { tape: self.tape, from, to })
    }
}

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::List, Kind::List) => self.items().eq(other.items()),
            (Kind::Map, Kind::Map) => {
                let holds = |a: &Self, b: &Self| a.members().all(|(name, _)| a.get(name) == b.get(name));
                holds(self, other) && other.members().all(|(name, _)| self.get(name).is_some())
            }
            (a, b) => a == b,
        }
    }
}

impl PartialEq<serde_json::Value> for Json<'_> {
    fn eq(&self, other: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (self.kind(), other) {
            (Kind::Null, Value::Null) => true,
            (Kind::Bool(a), Value::Bool(b)) => a == *b,
            (Kind::Int(a), Value::Number(b)) => b.as_i64() == Some(a),
            (Kind::Large(a), Value::Number(b)) => b.as_u64() == Some(a),
            (Kind::Fraction(a), Value::Number(b)) => b.is_f64() && b.as_f64() == Some(a),
            (Kind::Text(a), Value::String(b)) => a == b,
            (Kind::List, Value::Array(b)) => {
                let mut b = b.iter();
                self.items().all(|a| b.next().is_some_and(|b| a == *b)) && b.next().is_none()
            }
            (Kind::Map, Value::Object(b)) => {
                let known = |(name, value): (&String, &Value)| self.get(name).is_some_and(|a| a == *value);
                b.iter().all(known) && self.members().all(|(name, _)| b.contains_key(name))
            }
            _ => false,
        }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.kind() {
            Kind::Null => s.serialize_unit(),
            Kind::Bool(b) => s.serialize_bool(b),
            Kind::Int(n) => s.serialize_i64(n),
            Kind::Large(n) => s.serialize_u64(n),
            Kind::Fraction(n) => s.serialize_f64(n),
            Kind::Text(text) => s.serialize_str(text),
            Kind::List => {
                let mut list = s.serialize_seq(None)?;
                self.items().try_for_each(|item| list.serialize_element(&item))?;
                list.end()
            }
            Kind::Map => {
                let mut map = s.serialize_map(None)?;
                self.members().try_for_each(|(name, member)| map.serialize_entry(name, &member))?;
                map.end()
            }
        }
    }
}

/// As JSON without blanks.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

struct Builder {
    /// Where the text stands in memory, so that a piece of it is told by its place.
    base: usize,
    len: usize,
    more: String,
    parts: Vec<Part>,
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Builder {
    /// A piece of the text itself.
    fn find(&mut self, piece: &str) -> Span {
        match piece.as_ptr().addr().checked_sub(self.base) {
            Some(start) if start.saturating_add(piece.len()) <= self.len => {
                Span { start: narrow(start), len: narrow(piece.len()) }
            }
            _ => self.copy(piece),
        }
    }

    /// A text that stands nowhere yet.
    fn copy(&mut self, text: &str) -> Span {
        let start = self.len.saturating_add(self.more.len());
        self.more.push_str(text);
        Span { start: narrow(start), len: narrow(text.len()) }
    }

    fn copy_part(&mut self, name: Span, part: Json<'_>) {
        let parts = part.tape.parts.get(part.from..part.to).unwrap_or_default();
        for (n, one) in parts.iter().enumerate() {
            let name = if n == 0 { name } else { self.copy(part.text_at(one.name)) };
            let what = match one.what {
                What::Text(span) => What::Text(self.copy(part.text_at(span))),
                other => other,
            };
            self.parts.push(Part { name, what, size: one.size });
        }
    }

    /// Everything since `at` is in it.
    fn close(&mut self, at: usize) {
        let size = narrow(self.parts.len().saturating_sub(at));
        if let Some(part) = self.parts.get_mut(at) {
            part.size = size;
        }
    }
}

/// The place of the next part.
struct Slot<'b> {
    builder: &'b mut Builder,
    name: Span,
}

impl Slot<'_> {
    fn put(self, what: What) {
        self.builder.parts.push(Part { name: self.name, what, size: 1 });
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if u32::try_from(self.builder.len.saturating_add(self.builder.more.len())).is_err() {
            return Err(D::Error::custom("too large a document"));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(What::Null);
        Ok(())
    }
    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        self.put(What::Bool(b));
        Ok(())
    }
    fn visit_i64<E>(self, n: i64) -> Result<(), E> {
        self.put(What::Int(n));
        Ok(())
    }
    fn visit_u64<E>(self, n: u64) -> Result<(), E> {
        self.put(i64::try_from(n).map_or(What::Large(n), What::Int));
        Ok(())
    }
    fn visit_f64<E>(self, n: f64) -> Result<(), E> {
        self.put(What::Fraction(n));
        Ok(())
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        let span = self.builder.find(text);
        self.put(What::Text(span));
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let span = self.builder.copy(text);
        self.put(What::Text(span));
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (at, Self { builder, name }) = (self.builder.parts.len(), self);
        builder.parts.push(Part { name, what: What::List, size: 1 });
        while list.next_element_seed(Slot { builder: &mut *builder, name: Span::default() })?.is_some() {}
        builder.close(at);
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (at, Self { builder, name }) = (self.builder.parts.len(), self);
        builder.parts.push(Part { name, what: What::Map, size: 1 });
        while let Some(name) = map.next_key_seed(Name(&mut *builder))? {
            map.next_value_seed(Slot { builder: &mut *builder, name })?;
        }
        builder.close(at);
        Ok(())
    }
}

/// The name of a member.
struct Name<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Span;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Span, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Span;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Span, E> {
        Ok(self.0.find(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<Span, E> {
        Ok(self.0.copy(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What `serde_json` reads, and so shall we.
    const TEXTS: [&str; 14] = [
        r#"{"a": 1, "b": [true, false, null, -2, 1.5, 18446744073709551615], "c": {"d": "e"}}"#,
        r#"{"a\n\u00e9": "\ud83d\ude00 x", "plain": "é", "": ""}"#,
        "[]",
        "{}",
        "\"text\"",
        " 7 ",
        "null",
        "[[[[]]], {\"a\": {}}]",
        "1e400",
        "\"\\ud800\"",
        "{\"a\": 1,}",
        "[1] 2",
        "",
        "{\"a\"}",
    ];

    #[test]
    fn it_reads_what_serde_json_reads_and_writes_the_same() {
        for text in TEXTS {
            match (serde_json::from_str::<Value>(text), Doc::parse(text)) {
                (Ok(value), Ok(doc)) => {
                    assert_eq!(doc.json().to_string(), value.to_string(), "{text}");
                    assert!(doc.json() == value, "{text}");
                    assert_eq!(doc, Doc::from(&value), "{text}");
                }
                (Err(_), Err(_)) => {}
                (value, doc) => panic!("{text}: {value:?} {doc:?}"),
            }
        }
        assert!(Doc::from_bytes(b"\"\xff\"".to_vec()).is_err());
        for depth in [127, 128, 5000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(Doc::parse(deep.as_str()).is_ok(), serde_json::from_str::<Value>(&deep).is_ok());
        }
    }

    #[test]
    fn members_are_found_by_name_and_the_last_of_two_counts() {
        let doc = Doc::parse(r#"{"a": 1, "b": {"a": "x", "c": [1, "z"]}, "a": 2, "\u0062b": 3}"#).unwrap();
        let root = doc.json();
        assert_eq!(root.get("a").and_then(Json::as_i64), Some(2));
        assert_eq!(root.at(&["b", "a"]).and_then(Json::as_str), Some("x"));
        assert_eq!(root.get("bb").and_then(Json::as_u64), Some(3));
        assert_eq!((root.get("c"), root.at(&["a", "b"])), (None, None));
        let items: Vec<String> = root.at(&["b", "c"]).unwrap().items().map(|i| i.to_string()).collect();
        assert_eq!(items, ["1", "\"z\""]);
        assert_eq!(root.get("b").unwrap().items().count(), 0);
        assert!(root.get("b").unwrap() == json!({"c": [1, "z"], "a": "x"}));
        assert!(root.get("b").unwrap() != json!({"c": [1, "z", 2], "a": "x"}));
        assert!(root.get("b").unwrap() != json!({"a": "x"}));
        assert_eq!(Json::null().to_string(), "null");
    }

    #[test]
    fn a_part_is_kept_and_put_together_with_others() {
        let part = {
            let doc = Doc::parse(r#"{"a": [{"b\t": "c"}, 2]}"#).unwrap();
            doc.json().get("a").and_then(|a| a.items().next()).unwrap().to_doc()
        };
        assert_eq!(part.json().to_string(), r#"{"b\t":"c"}"#);
        let whole = Doc::object([("type", Member::Text("x")), ("data", Member::Part(part.json()))]);
        assert_eq!(whole.json().to_string(), r#"{"type":"x","data":{"b\t":"c"}}"#);
        assert_eq!(whole.json().at(&["data", "b\t"]).and_then(Json::as_str), Some("c"));
        assert!(!format!("{whole:?}").contains('c'));
    }
}
