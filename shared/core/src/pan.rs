//! Card numbers: found, and taken out before anything is stored (DESIGN section 6).
//!
//! A card number is a run of 13 to 19 digits, single spaces and dashes inside allowed, that stands
//! alone (not within a longer run of digits, nor within a token of letters and digits such as a
//! gateway's id or a UUID), begins with the prefix of a known card scheme, has a length that scheme
//! issues, and passes the Luhn check.

use std::ops::Range;

use serde_json::{Map, Number, Value};

/// A card number that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Where it stood, dotted, e.g. `order.note` or `items.2.memo`.
    pub path: String,
    /// The card scheme.
    pub brand: &'static str,
    /// The last four digits.
    pub last4: String,
}

/// Scheme, lowest and highest prefix of equal length, shortest and longest number. First match wins.
const SCHEMES: &[(&str, u32, u32, usize, usize)] = &[
    ("visa", 4, 4, 13, 13),
    ("visa", 4, 4, 16, 16),
    ("visa", 4, 4, 19, 19),
    ("mastercard", 51, 55, 16, 16),
    ("mastercard", 2221, 2720, 16, 16),
    ("amex", 34, 34, 15, 15),
    ("amex", 37, 37, 15, 15),
    ("discover", 6011, 6011, 16, 19),
    ("discover", 644, 649, 16, 19),
    ("discover", 65, 65, 16, 19),
    ("diners", 300, 305, 14, 19),
    ("diners", 3095, 3095, 14, 19),
    ("diners", 36, 36, 14, 19),
    ("diners", 38, 39, 14, 19),
    ("jcb", 3528, 3589, 16, 19),
    ("unionpay", 62, 62, 16, 19),
    ("unionpay", 81, 81, 16, 19),
    ("maestro", 5018, 5018, 13, 19),
    ("maestro", 5020, 5020, 13, 19),
    ("maestro", 5038, 5038, 13, 19),
    ("maestro", 5893, 5893, 13, 19),
    ("maestro", 6304, 6304, 13, 19),
    ("maestro", 6759, 6759, 13, 19),
    ("maestro", 6761, 6763, 13, 19),
];

const SHORTEST: usize = 13;
const LONGEST: usize = 19;

/// The scheme of a whole number given as digits (0 to 9), where it is a card number.
fn brand_of(digits: &[u8]) -> Option<&'static str> {
    if !(SHORTEST..=LONGEST).contains(&digits.len()) || !luhn(digits) {
        return None;
    }
    let prefix = |n: usize| digits.iter().take(n).fold(0_u32, |sum, d| sum * 10 + u32::from(*d));
    SCHEMES
        .iter()
        .find(|(_, low, high, shortest, longest)| {
            let places = low.checked_ilog10().map_or(1, |p| usize::try_from(p).unwrap_or(0) + 1);
            (*low..=*high).contains(&prefix(places)) && (*shortest..=*longest).contains(&digits.len())
        })
        .map(|(name, ..)| *name)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d);
            match (i % 2, d) {
                (0, d) => d,
                (_, d) if d > 4 => d * 2 - 9,
                (_, d) => d * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A group of digits without a separator inside: its place in the text and its digits.
type Group = (Range<usize>, Vec<u8>);

/// Whether a character separates groups of one number: space and dash, and their typeset kin.
const fn separates(c: char) -> bool {
    matches!(c, ' ' | '-' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2013}')
}

/// Card numbers among groups that stand one separator apart, leftmost and longest first.
fn in_run(groups: &[Group], found: &mut Vec<(Range<usize>, &'static str, String)>) {
    let mut rest = groups;
    while let Some((first, after)) = rest.split_first() {
        let mut digits: Vec<u8> = Vec::with_capacity(LONGEST);
        let mut best = None;
        for (count, (range, group)) in rest.iter().enumerate() {
            if digits.len() + group.len() > LONGEST {
                break;
            }
            digits.extend(group);
            if let Some(brand) = brand_of(&digits) {
                let last4 = digits.iter().rev().take(4).rev().map(|d| char::from(b'0' + d)).collect();
                best = Some((count + 1, first.0.start..range.end, brand, last4));
            }
        }
        rest = match best {
            Some((taken, range, brand, last4)) => {
                found.push((range, brand, last4));
                rest.get(taken..).unwrap_or_default()
            }
            None => after,
        };
    }
}

fn find_all(text: &str) -> Vec<(Range<usize>, &'static str, String)> {
    let mut found = Vec::new();
    if text.len() < SHORTEST || text.bytes().filter(u8::is_ascii_digit).count() < SHORTEST {
        return found;
    }
    let mut run: Vec<Group> = Vec::new();
    let mut chars = text.char_indices().peekable();
    // The characters before the current one, newest first.
    let (mut last, mut before_last) = (None::<char>, None::<char>);
    while let Some((at, c)) = chars.next() {
        if !c.is_ascii_digit() {
            (before_last, last) = (last, Some(c));
            continue;
        }
        let mut digits = vec![digit(c)];
        let mut end = at + 1;
        while let Some((next, d)) = chars.next_if(|(_, d)| d.is_ascii_digit()) {
            digits.push(digit(d));
            end = next + 1;
        }
        let joined = run.last().is_some_and(|(range, _)| {
            text.get(range.end..at).is_some_and(|gap| {
                let mut gap = gap.chars();
                gap.next().is_some_and(separates) && gap.next().is_none()
            })
        });
        if !joined {
            in_run(&run, &mut found);
            run.clear();
        }
        // A letter after a backslash belongs to an escape (`\n`), not to a token. A digit and a point
        // before make a decimal number.
        let token = last.is_some_and(|c| c.is_alphanumeric() || c == '_') && before_last != Some('\\');
        let decimal = last == Some('.') && before_last.is_some_and(|c| c.is_ascii_digit());
        let runs_on = chars.peek().is_some_and(|(_, c)| c.is_alphanumeric() || *c == '_');
        let dashed = last == Some('-') || chars.peek().is_some_and(|(_, c)| *c == '-');
        if token || decimal || runs_on || dashed && in_uuid(text, at) {
            in_run(&run, &mut found);
            run.clear();
        } else {
            run.push((at..end, digits));
        }
        (before_last, last) = (None, text.get(..end).and_then(|t| t.chars().next_back()));
    }
    in_run(&run, &mut found);
    found
}

fn digit(c: char) -> u8 {
    c.to_digit(10).and_then(|d| u8::try_from(d).ok()).unwrap_or(0)
}

/// Whether the byte at `at` lies within a UUID (8-4-4-4-12 hexadecimal digits).
fn in_uuid(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let fits = |start: usize| {
        let Some(window) = bytes.get(start..start + 36) else { return false };
        let alone = |b: Option<&u8>| b.is_none_or(|b| !b.is_ascii_alphanumeric());
        window.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        }) && window.iter().any(u8::is_ascii_alphabetic)
            && alone(start.checked_sub(1).and_then(|i| bytes.get(i)))
            && alone(bytes.get(start + 36))
    };
    [0, 9, 14, 19, 24].iter().any(|back| (0..12).any(|more| at.checked_sub(back + more).is_some_and(fits)))
}

/// The byte ranges of card numbers in a text.
#[must_use]
pub fn find(text: &str) -> Vec<Range<usize>> {
    find_all(text).into_iter().map(|(range, ..)| range).collect()
}

/// A fast first look at a raw body. `false` is certain: [`redact_json`] would find nothing either.
/// `true` may be a false alarm, for it looks neither at member names nor at what stands around a run,
/// and takes an escaped digit or separator (`\u0034`) for a card number without looking further.
#[must_use]
pub fn scan_bytes(body: &[u8]) -> bool {
    let mut run: Vec<Group> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        match byte {
            // Most of a body is neither, and begins nothing.
            byte if run.is_empty() && !matches!(byte, b'0'..=b'9' | b'\\') => {
                let rest = body.get(at..).unwrap_or_default();
                at += rest.iter().position(|b| matches!(b, b'0'..=b'9' | b'\\')).unwrap_or(rest.len());
                continue;
            }
            b'0'..=b'9' => {
                let digits = body.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit());
                let end = at + digits.clone().count();
                // Most runs of digits in a body are short and stand alone.
                let goes_on = matches!(body.get(end), Some(b' ' | b'-' | b'\\' | 0xc2 | 0xe2));
                if !run.is_empty() || goes_on || end - at >= SHORTEST {
                    run.push((at..end, digits.map(|b| b - b'0').collect()));
                }
                at = end;
                continue;
            }
            b'\\' if body.get(at + 1) == Some(&b'u') => {
                let hex = body.get(at + 2..at + 6).and_then(|h| std::str::from_utf8(h).ok());
                let c = hex.and_then(|h| u32::from_str_radix(h, 16).ok()).and_then(char::from_u32);
                if c.is_some_and(|c| c.is_ascii_digit() || separates(c)) {
                    return true;
                }
                at += 5;
            }
            b'\\' => at += 1,
            _ => {}
        }
        // A single separator keeps the run going: one ASCII character, or two or three bytes of UTF-8.
        let gap = run.last().map_or(&[][..], |(r, _)| body.get(r.end..=at).unwrap_or_default());
        let open = matches!(gap, b" " | b"-" | [0xc2] | [0xc2, 0xa0] | [0xe2] | [0xe2, 0x80])
            || matches!(gap, [0xe2, 0x80, 0x90..=0x93 | 0xaf]);
        if !open && !run.is_empty() {
            in_run(&run, &mut found);
            run.clear();
        }
        if !found.is_empty() {
            return true;
        }
        at += 1;
    }
    in_run(&run, &mut found);
    !found.is_empty()
}

/// Replaces every card number in a text by `[card number removed, ends 1111]`.
fn redact_text(text: &str, path: &str, hits: &mut Vec<Hit>) -> Option<String> {
    let found = find_all(text);
    if found.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (range, brand, last4) in found {
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.push_str("[card number removed, ends ");
        out.push_str(&last4);
        out.push(']');
        from = range.end;
        hits.push(Hit { path: path.to_owned(), brand, last4 });
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Some(out)
}

/// Takes every card number out of a JSON document, in place: out of texts, numbers and member names.
/// What stands under a member named in `identifiers` (case ignored), a text, a number or a list of
/// those, is left alone; objects under it are searched.
pub fn redact_json(value: &mut Value, identifiers: &[&str]) -> Vec<Hit> {
    let mut hits = Vec::new();
    // Nearly always there is nothing: that is found without touching the document.
    if holds(value, false, identifiers) {
        redact(value, "", false, identifiers, &mut hits);
    }
    hits
}

/// Whether [`redact`] would find anything.
fn holds(value: &Value, spared: bool, identifiers: &[&str]) -> bool {
    match value {
        Value::String(text) => !spared && !find_all(text).is_empty(),
        Value::Number(number) => !spared && !find_all(&written(number)).is_empty(),
        Value::Array(items) => items.iter().any(|item| holds(item, spared, identifiers)),
        Value::Object(members) => members.iter().any(|(name, member)| {
            let spared = identifiers.iter().any(|i| i.eq_ignore_ascii_case(name));
            !find_all(name).is_empty() || holds(member, spared, identifiers)
        }),
        Value::Null | Value::Bool(_) => false,
    }
}

fn redact(value: &mut Value, path: &str, spared: bool, identifiers: &[&str], hits: &mut Vec<Hit>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::String(text) if !spared => {
            if let Some(clean) = redact_text(text, path, hits) {
                *text = clean;
            }
        }
        Value::Number(number) if !spared => {
            if let Some(clean) = redact_text(&written(number), path, hits) {
                *value = Value::String(clean);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                redact(item, &below(&i.to_string()), spared, identifiers, hits);
            }
        }
        Value::Object(members) => {
            let mut renamed = false;
            let mut clean = Map::new();
            for (key, mut member) in std::mem::take(members) {
                let mut name = match redact_text(&key, path, hits) {
                    Some(name) => {
                        renamed = true;
                        name
                    }
                    None => key,
                };
                while renamed && clean.contains_key(&name) {
                    name.push('\'');
                }
                let spared = identifiers.iter().any(|i| i.eq_ignore_ascii_case(&name));
                redact(&mut member, &below(&name), spared, identifiers, hits);
                clean.insert(name, member);
            }
            *members = clean;
        }
        _ => {}
    }
}

/// A JSON number as digits: `4111111111111111.0` names the same number as without the fraction.
fn written(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
#[path = "pan_tests.rs"]
mod tests;
