use super::*;
use proptest::prelude::*;
use serde_json::json;

const GOOD: &[(&str, &str)] = &[
    ("4111111111111111", "visa"),
    ("4222222222222", "visa"),
    ("5555555555554444", "mastercard"),
    ("2223003122003222", "mastercard"),
    ("378282246310005", "amex"),
    ("6011111111111117", "discover"),
    ("30569309025904", "diners"),
    ("3530111333300000", "jcb"),
    ("6200000000000005", "unionpay"),
    ("6759649826438453", "maestro"),
    ("4111 1111 1111 1111", "visa"),
    ("4111-1111-1111-1111", "visa"),
    ("3782 822463 10005", "amex"),
    ("4111\u{a0}1111\u{a0}1111\u{a0}1111", "visa"),
];

#[test]
fn card_numbers_of_every_scheme_are_found() {
    for (number, brand) in GOOD {
        let found = find_all(number);
        assert_eq!(found.len(), 1, "{number}");
        assert_eq!((found[0].1, found[0].0.clone()), (*brand, 0..number.len()));
        for text in [
            format!("pay with {number}."),
            format!("({number})"),
            format!("card:{number},12/29"),
            format!("12 {number} 123"),
            format!("line\\n{number}"),
        ] {
            assert_eq!(find(&text).len(), 1, "{text}");
            assert!(scan_bytes(text.as_bytes()), "{text}");
        }
    }
}

#[test]
fn what_only_looks_like_one_is_left_alone() {
    for text in [
        "4111111111111112",
        "41111111111111111111",
        "94111111111111111",
        "pi_4111111111111111",
        "ch4111111111111111",
        "4111111111111111x",
        "0.4111111111111111",
        "4111  1111  1111  1111",
        "1111111111111117",
        "a1b2c3d4-4111-4111-8111-411111111111",
        "1760000000000000",
        "",
    ] {
        assert!(find(text).is_empty(), "{text}");
    }
}

#[test]
fn json_is_cleaned_in_texts_numbers_and_keys_and_identifiers_are_spared() {
    let mut body = json!({
        "note": "my card 4111 1111 1111 1111 thanks",
        "n": 4111111111111111_u64,
        "GTIN": "4222222222222",
        "ids": {"orderId": 4111111111111111_u64, "nested": ["5555555555554444"]},
        "4111111111111111": {"x": 1},
    });
    let hits = redact_json(&mut body, &["gtin", "orderId"]);
    assert_eq!(body["note"], "my card [card number removed, ends 1111] thanks");
    assert_eq!(body["n"], "[card number removed, ends 1111]");
    assert_eq!(body["GTIN"], "4222222222222");
    assert_eq!(body["ids"]["orderId"], 4_111_111_111_111_111_u64);
    assert_eq!(body["[card number removed, ends 1111]"]["x"], 1);
    let places: Vec<_> = hits.iter().map(|h| (h.path.as_str(), h.brand, h.last4.as_str())).collect();
    assert_eq!(
        places,
        [
            ("note", "visa", "1111"),
            ("n", "visa", "1111"),
            ("ids.nested.0", "mastercard", "4444"),
            ("", "visa", "1111")
        ]
    );
    assert!(!format!("{hits:?}").contains("41111111"), "{hits:?}");
}

#[test]
fn the_first_look_sees_through_escapes() {
    assert!(scan_bytes(br#"{"a":"\u0034111111111111111"}"#));
    assert!(scan_bytes(br#"{"a":"\u00094111111111111111"}"#));
    assert!(!scan_bytes(br#"{"a":"\u0026 4111111111111112"}"#));
    assert!(!scan_bytes(br#"{"id":1234,"at":"2026-11-21T08:00:00.000Z"}"#));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_first_look_misses_nothing(text in "[a-c\\\\n\"\t \\-.0-9\u{a0}]{0,12}", i in 0..GOOD.len(), tail in "[ \\-0-9.x]{0,6}") {
        let mut body = json!({ "t": format!("{text}{}{tail}", GOOD[i].0) });
        let raw = body.to_string();
        if !redact_json(&mut body, &[]).is_empty() {
            prop_assert!(scan_bytes(raw.as_bytes()), "{}", raw);
        }
    }
    #[test]
    fn nothing_is_left_after_cleaning(text in "[4156 \\-]{0,60}") {
        let mut body = json!({ "t": text });
        redact_json(&mut body, &[]);
        let again = redact_json(&mut body.clone(), &[]);
        prop_assert!(again.is_empty(), "{:?} {}", again, body);
    }
}
