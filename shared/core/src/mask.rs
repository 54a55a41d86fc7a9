//! Masking of people's data outside production: names, streets, cities, postal codes, e-mail, phone and IP addresses.
//!
//! The same input under the same key gives the same mask, so that what belongs together still does: a customer is found
//! again by e-mail, a given name is that of the full name. It is keyed (HMAC-SHA256), so that nobody can try names until
//! one fits. What a mask looks like is told by the field's class; country and region stay, for routing, tax and address
//! checks need them.
//!
//! It is done where a flow's mapping reads people's data ([`crate::decide`]) and not where an action takes it: so it
//! holds for whatever a mapping makes of it, a description put together by `concat` included. Conditions are asked over
//! the data as it is: a flow goes the same way as in production.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::ConnectionName;
use crate::state::view;
use crate::value::{Schema, Type, Value};

/// What kind of personal text a field holds, by which it is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Of a person or a company: each word becomes a made-up one, so that parts of a name stay parts of it.
    Name,
    /// Street and number, or a second line.
    Street,
    /// City.
    City,
    /// Letters stay letters and digits digits.
    PostalCode,
    /// An address at `masked.example`, which no mail reaches.
    Email,
    /// As many digits under the same country code, in a range that is nobody's.
    Phone,
    /// An address of RFC 2544 or RFC 3849, which is nobody's.
    Ip,
    /// Whatever people write.
    Text,
    /// Stays: countries, regions, and the link a cardholder has to follow.
    Kept,
}

/// Domain of masked addresses: reserved by RFC 2606.
pub const DOMAIN: &str = "masked.example";

const CONSONANTS: &[u8; 16] = b"bdfghklmnprstvwz";
const VOWELS: &[u8; 4] = b"aeou";

/// Country codes of two digits (ITU-T E.164); 1 and 7 have one, all others three.
const TWO: [&str; 42] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
    "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
    "82", "84", "86", "90", "91", "92", "93", "94",
];

/// Tries until a mask differs from what it masks; one of few digits may come out the same.
const TRIES: u32 = 64;

/// A key to mask under. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Masker([u8; 32]);

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[masker]")
    }
}

/// Bytes drawn from the key and the input; more of them as they are used up.
struct Drawn<'a> {
    key: &'a [u8; 32],
    label: &'static str,
    input: &'a str,
    attempt: u32,
    block: u32,
    left: Vec<u8>,
}

impl Drawn<'_> {
    fn byte(&mut self) -> u8 {
        if self.left.is_empty() {
            // HMAC takes keys of any length; the error arm cannot be reached.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key) else { return 0 };
            mac.update(self.label.as_bytes());
            mac.update(&[0]);
            mac.update(&self.attempt.to_be_bytes());
            mac.update(&self.block.to_be_bytes());
            mac.update(self.input.as_bytes());
            self.left = mac.finalize().into_bytes().to_vec();
            self.block = self.block.saturating_add(1);
        }
        self.left.pop().unwrap_or(0)
    }
    fn pick(&mut self, from: &[u8]) -> char {
        let most = from.len().max(1);
        char::from(from.get(usize::from(self.byte()) % most).copied().unwrap_or(b'a'))
    }
    fn digit(&mut self) -> char {
        self.pick(b"0123456789")
    }
    fn word(&mut self) -> String {
        let mut word = String::new();
        for at in 0..4 {
            let consonant = self.pick(CONSONANTS);
            word.push(if at == 0 { consonant.to_ascii_uppercase() } else { consonant });
            word.push(self.pick(VOWELS));
        }
        word
    }
    fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.byte())).collect()
    }
}

impl Masker {
    /// A masker under a key of its own purpose.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The mask of a text. Nothing stays nothing.
    #[must_use]
    pub fn mask(&self, class: Class, text: &str) -> String {
        if class == Class::Kept || text.trim().is_empty() {
            return text.to_owned();
        }
        if class == Class::Name {
            let words: Vec<String> = text.split_whitespace().map(|word| self.once(class, word)).collect();
            return words.join(" ");
        }
        self.once(class, text)
    }

    fn once(&self, class: Class, text: &str) -> String {
        let input = normal(class, text);
        let mut masked = String::new();
        for attempt in 0..TRIES {
            let label = label(class);
            let drawn = Drawn { key: &self.0, label, input: &input, attempt, block: 0, left: Vec::new() };
            masked = shaped(class, text, drawn);
            if normal(class, &masked) != input {
                break;
            }
        }
        masked
    }

    /// Masks what is personal in a record, by the classes its schema declares; what it does not declare is masked as
    /// text.
    #[must_use]
    pub fn record(&self, value: &Value, schema: &Schema) -> Value {
        let Value::Map(members) = value else { return self.all(value) };
        let one = |(name, value): (&String, &Value)| {
            let field = schema.field(name);
            let masked = match (value, field.map(|f| f.ty), field.and_then(|f| f.class)) {
                (Value::Text(text), _, Some(class)) => Value::Text(self.mask(class, text)),
                (_, Some(Type::Record(inner)), _) => self.record(value, inner),
                _ => self.all(value),
            };
            (name.clone(), masked)
        };
        Value::Map(members.iter().map(one).collect())
    }

    /// Every text in a value as free text.
    fn all(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.mask(Class::Text, text)),
            Value::List(items) => Value::List(items.iter().map(|item| self.all(item)).collect()),
            Value::Map(members) => {
                let masked: BTreeMap<String, Value> =
                    members.iter().map(|(name, value)| (name.clone(), self.all(value))).collect();
                Value::Map(masked)
            }
            other => other.clone(),
        }
    }
}

/// What counts of an input: case and blanks do not.
fn normal(class: Class, text: &str) -> String {
    let text = text.trim().to_lowercase();
    match class {
        Class::Phone => text.chars().filter(|c| c.is_numeric() || *c == '+').collect(),
        Class::PostalCode => text.chars().filter(|c| !c.is_whitespace()).collect(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

const fn label(class: Class) -> &'static str {
    match class {
        Class::Name => "name",
        Class::Street => "street",
        Class::City => "city",
        Class::PostalCode => "postal code",
        Class::Email => "e-mail",
        Class::Phone => "phone",
        Class::Ip => "ip",
        Class::Text | Class::Kept => "text",
    }
}

fn shaped(class: Class, text: &str, mut drawn: Drawn<'_>) -> String {
    match class {
        Class::Name | Class::City => drawn.word(),
        Class::Street => {
            let (a, b) = (drawn.pick(b"123456789"), drawn.digit());
            format!("{a}{b} {} Way", drawn.word())
        }
        Class::PostalCode => postal_code(text, drawn),
        Class::Email => format!("x{}@{DOMAIN}", drawn.hex(8)),
        Class::Phone => phone(text, drawn),
        Class::Ip => ip(text, drawn),
        Class::Text | Class::Kept => format!("masked-{}", drawn.hex(6)),
    }
}

/// An address stays one of its version, so that whoever takes addresses alone takes the mask; anything else is free text.
fn ip(text: &str, mut drawn: Drawn<'_>) -> String {
    match text.trim().parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => {
            format!("198.{}.{}.{}", 18 + drawn.byte() % 2, drawn.byte(), drawn.byte())
        }
        Ok(IpAddr::V6(_)) => format!("2001:db8:{}:{}::1", drawn.hex(2), drawn.hex(2)),
        Err(_) => shaped(Class::Text, text, drawn),
    }
}

fn postal_code(text: &str, mut drawn: Drawn<'_>) -> String {
    let masked: String = text
        .trim()
        .chars()
        .map(|c| match c {
            c if c.is_numeric() => drawn.digit(),
            c if c.is_alphabetic() => {
                let letter = drawn.pick(b"ABCDEFGHJKLMNPRSTUVWXYZ");
                if c.is_lowercase() { letter.to_ascii_lowercase() } else { letter }
            }
            c if c.is_ascii() => c,
            _ => '-',
        })
        .collect();
    if masked.contains(|c: char| c.is_ascii_alphanumeric()) { masked } else { drawn.digit().to_string() }
}

/// The digits of a country code at the front of an international number.
fn country_code(digits: &str) -> usize {
    match (digits.get(..1), digits.get(..2)) {
        (Some("1" | "7"), _) => 1,
        (_, Some(two)) if TWO.contains(&two) || matches!(two, "95" | "98") => 2,
        _ => 3,
    }
}

/// Keeps the form and the country code. In North America numbers 555-0100 to 555-0199 are kept for fiction; elsewhere no
/// number behind a country code begins with 00.
fn phone(text: &str, mut drawn: Drawn<'_>) -> String {
    let text = text.trim();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let international = text.starts_with('+');
    let kept = if international { country_code(&digits).min(digits.len()) } else { 0 };
    let rest = digits.len().saturating_sub(kept);
    let mut own: String = match (digits.get(..kept), rest) {
        (Some("1"), 10) => {
            let area = drawn.pick(b"23456789");
            let (b, c, d, e) = (drawn.pick(b"02345678"), drawn.digit(), drawn.digit(), drawn.digit());
            format!("{area}{b}{c}55501{d}{e}")
        }
        _ => {
            let zeros = rest.saturating_sub(1).min(2);
            let drawn: String = (zeros..rest).map(|_| drawn.digit()).collect();
            format!("{}{drawn}", "0".repeat(zeros))
        }
    };
    if digits.is_empty() {
        return "000".to_owned();
    }
    own.insert_str(0, digits.get(..kept).unwrap_or_default());
    let mut own = own.chars();
    let form = |c: char| match c {
        c if c.is_ascii_digit() => own.next(),
        '+' | ' ' | '-' | '(' | ')' | '.' | '/' => Some(c),
        // An extension, a letter, a word: nothing of it is kept.
        _ => None,
    };
    text.chars().filter_map(form).collect()
}

/// What is masked, for whom.
#[derive(Debug, Clone)]
pub struct Masking {
    masker: Masker,
    spared: BTreeSet<ConnectionName>,
}

impl Masking {
    /// `spared`: connections to sandboxes on this very machine, to which nothing leaves.
    #[must_use]
    pub const fn new(masker: Masker, spared: BTreeSet<ConnectionName>) -> Self {
        Self { masker, spared }
    }

    /// People's data as a connection may have it; `None`: as it is.
    #[must_use]
    pub fn masked(&self, connection: &ConnectionName, personal: &Value) -> Option<Value> {
        if self.spared.contains(connection) {
            return None;
        }
        let Value::Map(parts) = personal else { return Some(self.masker.all(personal)) };
        let one = |(name, part): (&String, &Value)| {
            let masked = match view::personal_part(name) {
                Some(schema) => self.masker.record(part, schema),
                None => self.masker.all(part),
            };
            (name.clone(), masked)
        };
        Some(Value::Map(parts.iter().map(one).collect()))
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
