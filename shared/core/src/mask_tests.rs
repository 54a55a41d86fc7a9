use proptest::prelude::*;

use super::*;
use crate::state::view::{BASE, OBJECTS};

const CLASSES: [Class; 8] = [
    Class::Name,
    Class::Street,
    Class::City,
    Class::PostalCode,
    Class::Email,
    Class::Phone,
    Class::Ip,
    Class::Text,
];

fn masker(byte: u8) -> Masker {
    Masker::new([byte; 32])
}

fn mask(class: Class, text: &str) -> String {
    masker(1).mask(class, text)
}

proptest! {
    #[test]
    fn the_same_input_has_one_mask_and_never_its_own(text in "\\PC{0,40}", at in 0..CLASSES.len()) {
        let class = CLASSES[at];
        let masked = mask(class, &text);
        prop_assert_eq!(&masked, &mask(class, &text));
        if text.trim().is_empty() {
            prop_assert_eq!(masked, text);
        } else {
            prop_assert!(!masked.trim().is_empty(), "{:?} of {:?} is empty", class, text);
            prop_assert_ne!(masked.to_lowercase(), text.trim().to_lowercase());
            prop_assert!(masked.is_ascii(), "{}", masked);
        }
    }

    #[test]
    fn nothing_readable_of_the_input_is_left(name in "[A-Za-z]{5,12}( [A-Za-z]{5,12}){0,3}") {
        for class in [Class::Name, Class::Street, Class::City, Class::Email, Class::Text] {
            let masked = mask(class, &name).to_lowercase();
            for word in name.split(' ') {
                prop_assert!(!masked.contains(&word.to_lowercase()), "{} of {}", masked, name);
            }
        }
    }

    #[test]
    fn another_key_gives_another_mask(text in "[a-z]{6,20}@[a-z]{3,10}\\.com") {
        for class in [Class::Name, Class::Email, Class::Street, Class::Text] {
            prop_assert_ne!(masker(1).mask(class, &text), masker(2).mask(class, &text));
        }
    }

    #[test]
    fn an_address_is_one_however_it_is_written(local in "[a-z]{1,12}", domain in "[a-z]{1,12}\\.(com|de)") {
        let address = format!("{local}@{domain}");
        let masked = mask(Class::Email, &address);
        prop_assert_eq!(&masked, &mask(Class::Email, &format!("  {} ", address.to_uppercase())));
        let (own, at) = masked.split_once('@').unwrap();
        prop_assert_eq!(at, DOMAIN);
        prop_assert!(own.len() == 17 && own.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    }

    #[test]
    fn a_postal_code_keeps_its_form(code in "[A-Z]{0,2}[0-9]{1,5}[ -]?[0-9A-Z]{0,3}") {
        let form = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_digit() { '9' } else if c.is_ascii_alphabetic() { 'A' } else { c }).collect()
        };
        prop_assert_eq!(form(&mask(Class::PostalCode, &code)), form(code.trim()));
        prop_assert_eq!(mask(Class::PostalCode, &code).to_lowercase(), mask(Class::PostalCode, &code.to_lowercase()));
    }

    #[test]
    fn a_phone_keeps_its_length_and_country(national in "[1-9][0-9]{5,10}", code in 0..6_usize) {
        let code = ["1", "7", "49", "44", "351", "852"][code];
        let number = format!("+{code}{national}");
        let masked = mask(Class::Phone, &number);
        prop_assert_eq!(masked.len(), number.len());
        prop_assert!(masked.starts_with(&format!("+{code}")), "{} of {}", masked, number);
        let rest = &masked[code.len() + 1..];
        let fiction = code == "1" && national.len() == 10 && &rest[3..8] == "55501";
        prop_assert!(fiction || rest.starts_with("00"), "{} is somebody's", masked);
    }
}

#[test]
fn parts_of_a_name_stay_parts_of_it() {
    let (first, last) = (mask(Class::Name, "Ann"), mask(Class::Name, "Canary"));
    assert_eq!(mask(Class::Name, " ann  CANARY "), format!("{first} {last}"));
    assert_ne!(first, last);
}

#[test]
fn phones_keep_the_form_they_are_written_in() {
    let spaced = mask(Class::Phone, "+1 (415) 867-5309");
    assert_eq!(spaced.len(), "+1 (415) 867-5309".len());
    assert!(spaced.starts_with("+1 (") && spaced.contains(") 555-01"), "{spaced}");
    let bare: String = spaced.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    assert_eq!(bare, mask(Class::Phone, "+14158675309"), "the same number");
    assert!(mask(Class::Phone, "030 1234567").starts_with("00"));
    assert_eq!(mask(Class::Phone, "ask Ann"), "000");
    assert!(!mask(Class::Phone, "+49 30 1234 ext. Ann").contains("Ann"));
}

#[test]
fn an_ip_address_becomes_one_of_its_version_that_is_nobodys() {
    for given in ["203.0.113.7", "198.18.0.1", "2001:4860:4860::8888", "::1"] {
        let given: std::net::IpAddr = given.parse().unwrap();
        let masked: std::net::IpAddr = mask(Class::Ip, &given.to_string()).parse().unwrap();
        assert_ne!(masked, given);
        match (given, masked) {
            (IpAddr::V4(_), IpAddr::V4(to)) => {
                assert!(to.octets()[0] == 198 && (18..20).contains(&to.octets()[1]), "{to}")
            }
            (IpAddr::V6(_), IpAddr::V6(to)) => assert_eq!(to.segments()[..2], [0x2001, 0xdb8]),
            (_, to) => panic!("{to} is of another version"),
        }
    }
    assert!(mask(Class::Ip, "203.0.113.7, 10.0.0.1").starts_with("masked-"), "what is no address");
}

#[test]
fn letters_of_any_script_are_masked_and_nothing_stays_nothing() {
    for class in CLASSES {
        for text in ["Ärger Straße", "山田 太郎", "٠١٢٣", "\u{200b}", "-", "👩‍👩‍👧"] {
            let masked = mask(class, text);
            assert!(!masked.is_empty() && masked.is_ascii() && masked != text, "{class:?} {text}: {masked}");
        }
        assert_eq!((mask(class, "").as_str(), mask(class, " ").as_str()), ("", " "));
    }
    assert_eq!(mask(Class::Kept, "DE"), "DE");
}

/// Whoever adds a field about people says how it is masked.
#[test]
fn every_personal_field_a_mapping_can_read_has_a_class() {
    fn look(schema: &Schema, seen: &mut usize) {
        for field in schema.fields.iter().filter(|f| f.personal) {
            match field.ty {
                Type::Record(inner) => look(inner, seen),
                _ => assert!(field.class.is_some(), "{}.{} has no class", schema.name, field.name),
            }
            *seen += 1;
        }
    }
    let mut seen = 0;
    for schema in BASE.fields.iter().filter_map(|f| match f.ty {
        Type::Record(schema) => Some(schema),
        _ => None,
    }) {
        look(schema, &mut seen);
    }
    for (_, schema) in OBJECTS {
        look(schema, &mut seen);
    }
    assert!(seen > 20, "{seen}");
}

fn person() -> Value {
    let text = Value::text;
    let address = Value::map([
        ("line1", text("7 Canary Row")),
        ("city", text("Canaryville")),
        ("country", text("DE")),
        ("region", text("BE")),
        ("postal_code", text("10115")),
    ]);
    let customer = Value::map([
        ("email", text("Ann@Example.com")),
        ("name", text("Ann Canary")),
        ("first_name", text("Ann")),
        ("nickname", text("Canary")),
    ]);
    let action = Value::map([("url", text("https://bank.example/3ds"))]);
    let device = Value::map([("ip_address", text("203.0.113.7")), ("session", text("visit-1"))]);
    let order = Value::map([("customer", customer), ("bill_to", address), ("device", device)]);
    Value::map([("order", order), ("action", action), ("diary", text("canary"))])
}

#[test]
fn a_person_is_masked_field_by_field_and_a_field_nobody_declared_too() {
    let masking = Masking::new(masker(1), ["local".into()].into());
    let masked = masking.masked(&"gate".into(), &person()).unwrap();
    let at = |path: &str| masked.at(path).as_text().unwrap_or_default().to_owned();
    assert_eq!(at("order.customer.email"), mask(Class::Email, "ann@example.com"));
    assert!(at("order.customer.name").starts_with(&at("order.customer.first_name")));
    assert_eq!((at("order.bill_to.country"), at("order.bill_to.region")), ("DE".into(), "BE".into()));
    assert_eq!(at("order.device.ip_address"), mask(Class::Ip, "203.0.113.7"));
    assert_eq!(at("order.device.session"), "visit-1", "the gateway has to find it");
    assert_eq!(at("action.url"), "https://bank.example/3ds", "the cardholder has to follow it");
    let text = serde_json::to_string(&masked).unwrap().to_lowercase();
    assert!(!text.contains("canary") && !text.contains("example.com") && !text.contains("10115"), "{text}");
    assert!(masking.masked(&"local".into(), &person()).is_none());
    assert!(!format!("{masking:?}").contains("[1"));
}
