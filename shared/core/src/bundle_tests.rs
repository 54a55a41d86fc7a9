use super::*;
use crate::flow::OnError;
use crate::money::{Currency, Money};
use crate::time::{Millis, Timestamp};
use crate::value::{Field, Value, field};
use proptest::prelude::*;

#[path = "bundle_problem_tests.rs"]
mod problems;

static ADDRESS: Schema = Schema {
    name: "address",
    fields: &[
        field("line1", Type::Text, "street").required().personal(),
        field("city", Type::Text, "city"),
        field("country", Type::Text, "two letters").required(),
    ],
};
static LINE: Schema = Schema {
    name: "line",
    fields: &[
        field("sku", Type::Text, ""),
        field("quantity", Type::Int, ""),
        field("total", Type::Money, ""),
    ],
};
static ORDER_FIELDS: &[Field] = &[
    field("id", Type::Text, ""),
    field("number", Type::Text, ""),
    field("email", Type::Text, "").personal(),
    field("token", Type::Text, ""),
    field("status", Type::Text, ""),
    field("total", Type::Money, ""),
    field("rate", Type::Decimal, ""),
    field("count", Type::Int, ""),
    field("placed", Type::Time, ""),
    field("locale", Type::Text, ""),
    field("ship_to", Type::Record(&ADDRESS), ""),
    field("lines", Type::List(&LINE), ""),
    field("metadata", Type::Dict, ""),
];
static ORDER: Schema = Schema { name: "order", fields: ORDER_FIELDS };
static SHIPMENT: Schema =
    Schema { name: "shipment", fields: &[field("id", Type::Text, ""), field("amount", Type::Money, "")] };
static REFUND: Schema = Schema { name: "refund", fields: &[field("id", Type::Text, "")] };
static BASE: Schema = Schema { name: "view", fields: &[field("order", Type::Record(&ORDER), "")] };
static ITEM: Schema = Schema {
    name: "item",
    fields: &[
        field("code", Type::Text, "").required(),
        field("amount", Type::Int, ""),
        field("note", Type::Text, ""),
    ],
};
static PAY_FIELDS: &[Field] = &[
    field("amount", Type::Money, "what to charge").required(),
    field("description", Type::Text, ""),
    field("capture_method", Type::Text, ""),
    field("locale", Type::Text, ""),
    field("receipt", Type::Text, ""),
    field("minor", Type::Int, ""),
    field("share", Type::Decimal, ""),
    field("live", Type::Bool, ""),
    field("on", Type::Time, ""),
    field("ship_to", Type::Record(&ADDRESS), ""),
    field("metadata", Type::Dict, ""),
    field("items", Type::List(&ITEM), ""),
];
static PAY: Schema = Schema { name: "stripe.create_payment", fields: PAY_FIELDS };
static CAPTURE: Schema = Schema {
    name: "stripe.capture",
    fields: &[field("amount", Type::Money, "").required(), field("note", Type::Text, "")],
};
static STATUS: Schema =
    Schema { name: "clarity.update_order", fields: &[field("status", Type::Text, "").required()] };
static NONE: Schema = Schema { name: "stripe.ping", fields: &[] };
static ACTIONS: [ActionSpec; 4] = [
    ActionSpec { name: "stripe.create_payment", params: &PAY, money: true, doc: "" },
    ActionSpec { name: "stripe.capture", params: &CAPTURE, money: true, doc: "" },
    ActionSpec { name: "clarity.update_order", params: &STATUS, money: false, doc: "" },
    ActionSpec { name: "stripe.ping", params: &NONE, money: false, doc: "" },
];

fn vocab() -> Vocabulary {
    Vocabulary {
        actions: ACTIONS.iter().collect(),
        base: &BASE,
        objects: vec![("shipment", &SHIPMENT), ("refund", &REFUND)],
        awaits: vec![("authorized", "the payment is authorized"), ("paid", "")],
        enums: vec![
            ("order_status", &["open", "paid"]),
            ("clarity_status", &["Open", "Paid"]),
            ("color", &["red"]),
        ],
        domains: vec![("order.status", "order_status"), ("clarity.update_order.status", "clarity_status")],
    }
}

const PAY_MAPPING: &str = r#"mapping: stripe/pay
action: stripe.create_payment
fields:
  amount: order.total
  description: {concat: ["Order ", {from: order.number}]}
  capture_method: {text: manual}
  locale: {from: order.locale, default: en}
  metadata.order_id: order.id
  metadata.who: {from: order.email, transform: [mask, "truncate:20"]}
  ship_to.line1: {from: order.ship_to.line1, when: 'order.ship_to.line1 != ""'}
  ship_to.country: {from: order.ship_to.country, transform: country}
  items:
    each: order.lines
    fields:
      code: line.sku
      amount: {from: line.total, transform: minor_units}
      note: {from: order.number, when: line.quantity > 1}
"#;
const CAPTURE_MAPPING: &str = "mapping: stripe/capture\naction: stripe.capture\nfor-each: shipment\nfields:\n  amount: shipment.amount\n";
const STATUS_MAPPING: &str = "mapping: clarity/status\naction: clarity.update_order\nfields:\n  status: {from: order.status, lookup: clarity/status-out}\n";
const STATUS_LOOKUP: &str = "lookup: clarity/status-out\nfrom: order_status\nto: clarity_status\nvalues:\n  open: Open\n  paid: Paid\n";
const FLOW: &str = r#"flow: shop
about: charge and capture
steps:
  capture:
    for-each: shipment
    do: stripe.capture
    needs: [payment]
    await: authorized
    within: 7d
    with: stripe/capture
    on: {refused: continue, timeout: skip}
  payment:
    do: stripe.create_payment
    if: order.total.minor > 0 && order.token != ""
    with: stripe/pay
  status: {do: clarity.update_order, needs-any: [payment], with: clarity/status, after: order.placed, before: 24h}
"#;

fn sources(texts: &[&str]) -> Vec<Source> {
    texts
        .iter()
        .enumerate()
        .map(|(i, t)| Source { file: format!("f{i}.yaml"), text: (*t).to_owned() })
        .collect()
}
fn templates() -> Vec<Source> {
    sources(&[FLOW, PAY_MAPPING, CAPTURE_MAPPING, STATUS_MAPPING, STATUS_LOOKUP])
}
fn load(overrides: &[&str]) -> Result<Bundle, Vec<Problem>> {
    let mut overrides = sources(overrides);
    overrides.iter_mut().for_each(|s| s.file = s.file.replace('f', "own"));
    Bundle::load(&templates(), &overrides, &vocab())
}
fn good() -> Bundle {
    load(&[]).unwrap_or_else(|p| panic!("{}", p.iter().map(|p| format!("{p}\n")).collect::<String>()))
}
/// Loads documents alone; the one problem they have.
fn alone(texts: &[&str]) -> Problem {
    let problems = Bundle::load(&sources(texts), &[], &vocab()).map(|_| ()).expect_err(texts[0]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().unwrap()
}
#[track_caller]
fn is(problem: &Problem, place: (&str, usize), code: &str, hint: &str) {
    assert_eq!((problem.file.as_str(), problem.line, problem.code), (place.0, place.1, code), "{problem}");
    assert!(problem.hint.contains(hint) && (hint.is_empty() == problem.hint.is_empty()), "{problem}");
}
fn usd(minor: i64) -> Value {
    Value::Money(Money::new(minor, Currency::parse("USD").unwrap()))
}
fn view() -> Value {
    let line = |sku: &str, n, total| {
        Value::map([("sku", Value::text(sku)), ("quantity", Value::Int(n)), ("total", usd(total))])
    };
    let order = Value::map([
        ("id", Value::text("42")),
        ("number", Value::text("A-1")),
        ("email", Value::text("ada@example.com")),
        ("status", Value::text("paid")),
        ("total", usd(1050)),
        ("placed", Value::Time(Timestamp::from_unix(86_400))),
        ("ship_to", Value::map([("line1", Value::text("1 High St")), ("country", Value::text("no"))])),
        ("lines", Value::List(vec![line("a", 1, 50), line("b", 2, 1000)])),
    ]);
    Value::map([("order", order)])
}
fn without(field: &str) -> Value {
    let Value::Map(mut base) = view() else { unreachable!() };
    if let Some(Value::Map(order)) = base.get_mut("order") {
        order.remove(field);
    }
    Value::Map(base)
}
/// A mapping of `stripe.create_payment` with one more line, the fifth.
fn pay(line: &str) -> String {
    format!("mapping: m\naction: stripe.create_payment\nfields:\n  amount: order.total\n  {line}\n")
}
fn apply(line: &str, view: &Value) -> Result<Value, crate::mapping::MapError> {
    let bundle = Bundle::load(&sources(&[&pay(line), STATUS_LOOKUP]), &[], &vocab());
    let bundle = bundle.unwrap_or_else(|p| panic!("{line}: {p:?}"));
    bundle.mapping("m").unwrap().apply(view, bundle.lookups())
}

#[test]
fn a_flow_is_typed_and_in_order() {
    let bundle = good();
    let flow = bundle.flow("shop").unwrap();
    let ids: Vec<_> = flow.steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["payment", "capture", "status"]);
    let capture = flow.step("capture").unwrap();
    assert_eq!(capture.within, Some(Millis::days(7)));
    assert_eq!((capture.on_refused, capture.on_timeout), (OnError::Continue, OnError::Skip));
    assert_eq!(
        (capture.for_each.as_deref(), capture.line, capture.action.money),
        (Some("shipment"), 4, true)
    );
    let due = flow.step("status").unwrap().after.as_ref().unwrap().due(&view());
    assert_eq!(due, Some(Timestamp(0)));
    assert_eq!(bundle.hash_of("shop").unwrap().as_str().len(), 64);
}

#[test]
fn a_mapping_gives_the_parameters() {
    let bundle = good();
    let mapping = bundle.mapping("stripe/pay").unwrap();
    assert!(mapping.personal && !bundle.mapping("stripe/capture").unwrap().personal);
    let out = mapping.apply(&view(), bundle.lookups()).unwrap();
    assert_eq!(out.at("amount"), &usd(1050));
    assert_eq!(out.at("description"), &Value::text("Order A-1"));
    assert_eq!(out.at("locale"), &Value::text("en"));
    assert_eq!(out.at("metadata.who"), &Value::text("***********.com"));
    assert_eq!(out.at("ship_to.country"), &Value::text("NO"));
    let Value::List(items) = out.at("items") else { panic!() };
    assert_eq!((items[0].at("code"), items[1].at("amount")), (&Value::text("a"), &Value::Int(1000)));
    assert_eq!((items[0].get("note"), items[1].get("note")), (None, Some(&Value::text("A-1"))));
    let status = bundle.mapping("clarity/status").unwrap().apply(&view(), bundle.lookups()).unwrap();
    assert_eq!(status.at("status"), &Value::text("Paid"));
}

#[test]
fn absent_sources_leave_fields_out_and_required_ones_are_named() {
    let bundle = good();
    let mapping = bundle.mapping("stripe/pay").unwrap();
    let out = mapping.apply(&without("ship_to"), bundle.lookups()).unwrap();
    assert_eq!((out.get("ship_to"), out.get("description").is_some()), (None, true));
    assert_eq!(mapping.apply(&without("number"), bundle.lookups()).unwrap().get("description"), None);
    let error = mapping.apply(&without("total"), bundle.lookups()).unwrap_err();
    assert_eq!((error.field.as_str(), error.code), ("amount", "missing_required"));
    // A record that is there must be whole.
    let line = "ship_to: {from: order.ship_to, when: 'true'}";
    assert_eq!(apply(line, &without("ship_to")).unwrap().get("ship_to"), None);
    let mut partial = view();
    if let Value::Map(base) = &mut partial
        && let Some(Value::Map(order)) = base.get_mut("order")
    {
        order.insert("ship_to".into(), Value::map([("country", Value::text("NO"))]));
    }
    let error = apply(line, &partial).unwrap_err();
    assert_eq!((error.field.as_str(), error.code), ("ship_to.line1", "missing_required"));
}

#[test]
fn run_time_errors_name_the_field_and_not_the_content() {
    let mut lost = view();
    if let Value::Map(base) = &mut lost {
        base.insert(
            "order".into(),
            Value::map([
                ("status", Value::text("secret")),
                ("total", usd(1)),
                ("locale", Value::text("Secretland")),
                ("rate", Value::text("secret")),
                ("lines", Value::List(vec![Value::map([("sku", Value::Null)])])),
            ]),
        );
    }
    for (line, field, code) in [
        ("receipt: {from: order.status, lookup: clarity/status-out}", "receipt", "lookup_unmapped"),
        ("receipt: {from: order.locale, transform: country}", "receipt", "country_malformed"),
        ("share: order.rate", "share", "source_type"),
        ("items: {each: order.lines, fields: {code: line.sku}}", "items[0].code", "missing_required"),
    ] {
        let error = apply(line, &lost).unwrap_err();
        assert_eq!((error.field.as_str(), error.code), (field, code));
        assert!(!error.to_string().to_lowercase().contains("secret"), "{error}");
    }
}

#[test]
fn constants_and_joins_are_typed_by_their_target() {
    let one = |line: &str, at: &str| apply(line, &view()).unwrap().at(at).clone();
    assert_eq!(one("receipt: {text: NO}", "receipt"), Value::text("NO"));
    assert_eq!(one("receipt: {text: 0123}", "receipt"), Value::text("0123"));
    assert_eq!(one("minor: {text: 0123}", "minor"), Value::Int(123));
    assert_eq!(one("live: {text: true}", "live"), Value::Bool(true));
    assert_eq!(one("share: {text: 0.50}", "share"), Value::Decimal("0.50".parse().unwrap()));
    assert_eq!(one("share: {from: order.count, default: 1}", "share"), Value::Decimal(1.into()));
    assert_eq!(
        one("receipt: {join: [{from: order.number}, {from: order.locale}, x], by: ', '}", "receipt"),
        Value::text("A-1, x")
    );
    assert_eq!(one("receipt: order.total.currency", "receipt"), Value::text("USD"));
    assert_eq!(one("ship_to: order.ship_to", "ship_to.line1"), Value::text("1 High St"));
    assert_eq!(one("metadata.a.b: order.id", "metadata").get("a.b"), Some(&Value::text("42")));
    assert_eq!(
        one("receipt: {from: order.id, when: order.count > 5, default: none}", "receipt"),
        Value::text("none")
    );
}

#[test]
fn an_override_changes_one_field_and_leaves_the_rest() {
    let own = "mapping: stripe/pay\nextends: stripe/pay\nfields:\n  locale: {text: 'NO'}\n  description: ~\n";
    let bundle = load(&[own]).unwrap();
    let out = bundle.mapping("stripe/pay").unwrap().apply(&view(), bundle.lookups()).unwrap();
    assert_eq!((out.at("locale"), out.get("description")), (&Value::text("NO"), None));
    assert_eq!(out.at("capture_method"), &Value::text("manual"));
    assert_ne!(bundle.hash_of("shop"), good().hash_of("shop"));
}

#[test]
fn an_override_changes_single_keys_of_single_steps() {
    let own = "flow: shop\nextends: shop\nsteps:\n  capture: {within: 3d, on: ~}\n  status: {remove: true}\n  ping: {do: stripe.ping, needs: [payment]}\n";
    let bundle = load(&[own]).unwrap();
    let flow = bundle.flow("shop").unwrap();
    let capture = flow.step("capture").unwrap();
    assert_eq!((capture.within, capture.on_refused), (Some(Millis::days(3)), OnError::Park));
    assert_eq!(capture.awaits.as_deref(), Some("authorized"));
    assert!(flow.step("status").is_none() && flow.step("ping").is_some() && flow.step("payment").is_some());
    let lookup = "lookup: clarity/status-out\nextends: clarity/status-out\nvalues: {paid: Open}\n";
    let bundle = load(&[lookup]).unwrap();
    assert_eq!(bundle.lookup("clarity/status-out").unwrap().get("paid"), Some("Open"));
}

#[test]
fn a_document_that_extends_under_a_new_name_stands_beside_its_base() {
    let bundle = load(&["flow: shop-b\nextends: shop\nsteps: {payment: {if: ~}}\n"]).unwrap();
    assert!(bundle.flow("shop-b").unwrap().step("payment").unwrap().condition.is_none());
    assert!(bundle.flow("shop").unwrap().step("payment").unwrap().condition.is_some());
}

#[test]
fn a_stored_version_gives_the_same_flow_again() {
    let bundle = good();
    let text = bundle.canonical("shop").unwrap();
    let again = Bundle::from_canonical(text, &vocab()).unwrap();
    assert_eq!(again.canonical("shop"), Some(text));
    assert_eq!(again.hash_of("shop"), bundle.hash_of("shop"));
    let mapping = |b: &Bundle| b.mapping("stripe/pay").unwrap().apply(&view(), b.lookups()).unwrap();
    assert_eq!(mapping(&again), mapping(&bundle));
    // Other documents, comments and layout do not change the hash.
    let mut more = templates();
    more[0].text = format!("# a comment\n{}", more[0].text);
    more.push(Source { file: "x".into(), text: "lookup: other\nfrom: text\nvalues: {}\n".into() });
    more.reverse();
    assert_eq!(Bundle::load(&more, &[], &vocab()).unwrap().hash_of("shop"), bundle.hash_of("shop"));
    for broken in ["", "[]", "{}", "[1]", "[{\"flow\":1}]"] {
        assert!(Bundle::from_canonical(broken, &vocab()).is_err(), "{broken}");
    }
    let mut less = vocab();
    less.actions.retain(|a| a.name != "stripe.capture");
    assert!(Bundle::from_canonical(text, &less).unwrap_err().iter().any(|p| p.code == "unknown-action"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn broken_files_give_problems_and_never_panic(which in 0..5_usize, at in 0..600_usize, junk in "[a-z:{}\\[\\],~ \n'\"-]{0,6}") {
        let mut sources = templates();
        let text = &mut sources[which].text;
        let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.insert_str(at, &junk);
        let _ = Bundle::load(&sources, &[], &vocab());
        let _ = Bundle::load(&templates(), &sources, &vocab());
    }
}
