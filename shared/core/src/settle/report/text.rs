//! What is written by others, made fit to be shown: ids, references and names come out of reports, and a report
//! is a file that anybody may have had a hand in.

use crate::pan;

/// Longest text shown of one field.
const LONGEST: usize = 96;

/// A text from outside on one line: without control characters and marks that turn the direction of writing,
/// bounded, and without what looks like a card number or an e-mail address, wherever it was put.
#[must_use]
pub fn shown(text: &str) -> String {
    bounded(text, LONGEST)
}

/// The same of a sentence.
pub(super) fn sentence(text: &str) -> String {
    bounded(text, LONGEST.saturating_mul(4))
}

fn bounded(text: &str, longest: usize) -> String {
    // What is to be left out is looked for in more than is shown: half an address is shown as no address.
    let mut plain: String = text
        .chars()
        .take(longest.saturating_mul(4))
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    for range in pan::find(&plain).into_iter().rev() {
        plain.replace_range(range, "[card number]");
    }
    if plain.contains('@') {
        plain = plain.split(' ').map(without_address).collect::<Vec<_>>().join(" ");
    }
    if plain.chars().count() > longest {
        plain = plain.chars().take(longest.saturating_sub(1)).chain(['…']).collect();
    }
    plain
}

/// A word, unless an address stands in it. A customer's key (`customer@shop/7`) is none: nothing after the sign has a
/// point.
fn without_address(word: &str) -> &str {
    let address = word.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.trim_end_matches(|c: char| !c.is_alphanumeric()).contains('.')
    });
    if address { "[e-mail]" } else { word }
}

/// Text for HTML, in an element or in a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A part of a URL's path or query.
#[must_use]
pub fn in_url(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// An argument for a shell, to be copied: an id from a file must not run anything.
#[must_use]
pub fn argument(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text.to_owned();
    }
    let quoted = text.replace('\'', r"'\''");
    if text.starts_with('-') { format!("-- '{quoted}'") } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_bounded_line_without_people() {
        assert_eq!(shown("A-1001"), "A-1001");
        assert_eq!(shown("a\r\nb\tc\u{202e}d\u{200b}"), "a  b cd");
        assert_eq!(shown("order of jenny@example.com, two"), "order of [e-mail] two");
        assert_eq!(shown("customer@shop/7"), "customer@shop/7");
        assert_eq!(shown("4242 4242 4242 4242 again"), "[card number] again");
        assert_eq!(shown(&"x".repeat(300)).chars().count(), 96);
        let late = format!("{} jenny.doe@example.com", "x".repeat(85));
        assert!(!shown(&late).contains("jenny"), "{}", shown(&late));
        let card = format!("{} 4242424242424242", "x".repeat(82));
        assert!(!shown(&card).contains("4242"), "{}", shown(&card));
        assert!(shown(&"x".repeat(300)).ends_with('…'));
    }

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(escaped(r#"<script>"&'"#), "&lt;script&gt;&quot;&amp;&#39;");
        assert_eq!(in_url("shop/A 1?&"), "shop%2FA%201%3F%26");
        assert_eq!(argument("shop/A-1"), "shop/A-1");
        assert_eq!(argument("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(argument("x'$(y)"), r"'x'\''$(y)'");
        assert_eq!(argument("--data"), "-- '--data'");
        assert_eq!(argument(""), "''");
    }
}
