//! Writes JSON straight into a text: building a tree of values for each of some thousand events a second
//! would cost more than everything else here.

/// An object being written. Call [`Obj::end`] last.
pub(super) struct Obj<'a> {
    out: &'a mut String,
    more: bool,
}

impl<'a> Obj<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, more: false }
    }
    fn key(&mut self, name: &str) {
        if self.more {
            self.out.push(',');
        }
        self.more = true;
        text(self.out, name);
        self.out.push(':');
    }
    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.key(name);
        text(self.out, value);
        self
    }
    pub(super) fn opt(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.raw(name, "null"),
        }
    }
    pub(super) fn int(&mut self, name: &str, value: i64) -> &mut Self {
        self.key(name);
        self.out.push_str(&value.to_string());
        self
    }
    pub(super) fn opt_int(&mut self, name: &str, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.int(name, value),
            None => self.raw(name, "null"),
        }
    }
    pub(super) fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }
    /// A member whose value is JSON already.
    pub(super) fn raw(&mut self, name: &str, value: &str) -> &mut Self {
        self.key(name);
        self.out.push_str(value);
        self
    }
    /// Whole members that never change, as JSON without the braces.
    pub(super) fn fixed(&mut self, members: &str) -> &mut Self {
        if self.more {
            self.out.push(',');
        }
        self.more = true;
        self.out.push_str(members);
        self
    }
    /// A member whose value is written by `write`.
    pub(super) fn with(&mut self, name: &str, write: impl FnOnce(&mut String)) -> &mut Self {
        self.key(name);
        write(self.out);
        self
    }
    pub(super) fn end(self) {
        self.out.push('}');
    }
}

/// Writes a JSON string.
pub(super) fn text(out: &mut String, value: &str) {
    out.push('"');
    if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push_str(value);
    } else {
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
    }
    out.push('"');
}

/// Writes an array with `write` for each item.
pub(super) fn array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut out = String::new();
        let mut obj = Obj::new(&mut out);
        obj.text("a", "q\"\\\n\u{1}é").opt("b", None).int("c", -5).flag("d", true).fixed("\"e\":[]");
        obj.with("f", |o| array(o, ["x", "y"], text));
        obj.end();
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": "q\"\\\n\u{1}é", "b": null, "c": -5, "d": true, "e": [], "f": ["x", "y"]})
        );
    }
}
