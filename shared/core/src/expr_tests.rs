use super::*;
use crate::money::{Currency, Money};
use crate::time::Timestamp;
use crate::value::{Field, Schema, field};
use proptest::prelude::*;

static LINE: Schema = Schema {
    name: "line",
    fields: &[
        field("sku", Type::Text, ""),
        field("quantity", Type::Int, ""),
        field("price", Type::Decimal, ""),
        field("price2", Type::Int, ""),
        field("total", Type::Money, ""),
    ],
};
static ORDER_FIELDS: &[Field] = &[
    field("number", Type::Text, ""),
    field("token", Type::Text, "").personal(),
    field("status", Type::Text, ""),
    field("count", Type::Int, ""),
    field("test", Type::Bool, ""),
    field("total", Type::Money, ""),
    field("rate", Type::Decimal, ""),
    field("placed", Type::Time, ""),
    field("lines", Type::List(&LINE), ""),
    field("metadata", Type::Dict, ""),
];
static ORDER: Schema = Schema { name: "order", fields: ORDER_FIELDS };
static PAYMENT: Schema = Schema { name: "payment", fields: &[field("id", Type::Text, "")] };
static BASE: Schema = Schema {
    name: "base",
    fields: &[field("order", Type::Record(&ORDER), ""), field("payment", Type::Record(&PAYMENT), "")],
};

fn scope() -> Scope {
    Scope::of(&BASE).domains([("order.status", ("order_status", &["open", "paid"][..]))])
}
fn compile(text: &str) -> Result<Expr, Vec<Problem>> {
    Expr::compile(text, &scope(), &At::new("f.yaml", 7, 3))
}
fn view() -> Value {
    let line = |sku: &str, n| {
        Value::map([
            ("sku", Value::text(sku)),
            ("quantity", Value::Int(n)),
            ("price", Value::Decimal(1.into())),
        ])
    };
    let order = Value::map([
        ("number", Value::text("A-1")),
        ("token", Value::text("tok_1")),
        ("status", Value::text("paid")),
        ("count", Value::Int(2)),
        ("test", Value::Bool(false)),
        ("total", Value::Money(Money::new(1050, Currency::parse("USD").unwrap()))),
        ("placed", Value::Time(Timestamp(5000))),
        ("lines", Value::List(vec![line("a", 1), line("b", 3)])),
        ("metadata", Value::Map([("a-b".to_owned(), Value::text("x"))].into())),
    ]);
    Value::map([("order", order)])
}
fn eval(text: &str) -> bool {
    compile(text).unwrap_or_else(|p| panic!("{text}: {p:?}")).eval(&view()).unwrap()
}
fn fails(text: &str) -> Problem {
    let problems = compile(text).expect_err(text);
    assert_eq!((problems[0].file.as_str(), problems[0].line, problems[0].column), ("f.yaml", 7, 3));
    problems.into_iter().next().unwrap()
}

#[test]
fn conditions_that_hold() {
    for text in [
        "order.total.minor > 1000 && order.total.currency == \"USD\"",
        "order.status in ['open', \"paid\"]",
        "order.token.startsWith('tok_') && !order.test",
        "order.lines.exists(x, x.sku == 'b' && x.quantity > 2)",
        "order.lines.all(x, x.total.minor == 0)",
        "order.lines.exists(x, x.price2 == 0) && order.lines.all(x, x.sku != '')",
        "size(order.lines) == 2 && order.lines.size() == order.count",
        "order.metadata[\"a-b\"] == 'x' && order.metadata.missing == '' && 'a-b' in order.metadata",
        "order.placed >= 5000 && order.placed - 1 < 5000",
        "order.count * 3 - 6 == 0 && order.count % 2 == 0 && -order.count < 0",
        "(order.test ? 1 : 2) == 2",
        "has(order.token) && !has(payment.id)",
        "order.total == order.total",
        "order.number.contains('-') || order.number.endsWith('9')",
    ] {
        assert!(eval(text), "{text}");
    }
}

#[test]
fn what_is_absent_is_the_zero_of_its_type() {
    for text in ["payment.id == \"\"", "size(payment.id) == 0"] {
        assert!(eval(text), "{text}");
    }
    let nothing = Value::Null;
    for text in [
        "order.total.minor == 0 && order.total.currency == ''",
        "order.count == 0 && !order.test && order.placed == 0",
        "order.lines.all(x, false) && !order.lines.exists(x, true) && size(order.metadata) == 0",
        "order.total == order.total",
    ] {
        assert!(compile(text).unwrap().eval(&nothing).unwrap(), "{text}");
    }
}

#[test]
fn misspelt_names_are_found_even_where_cel_would_swallow_them() {
    for (text, hint) in [
        ("order.test && order.tokn != \"\"", "did you mean `token`?"),
        ("false && ordre.token == \"\"", "did you mean `order`?"),
        ("order.lines.exists(x, x.skuu == 'a')", "did you mean `sku`?"),
        ("order.total.mino > 0", "did you mean `minor`?"),
        ("has(order.tokens)", "did you mean `token`?"),
        ("order.lines.sku == 'a'", "use `each` in a mapping, or `.exists(x, …)` in a condition"),
    ] {
        let problem = fails(text);
        assert_eq!((problem.code, problem.hint.as_str()), ("unknown-field", hint), "{text}");
    }
    let problem = fails("order.status == 'payed'");
    assert_eq!((problem.code, problem.hint.as_str()), ("unknown-member", "did you mean `paid`?"));
}

#[test]
fn clashes_of_type_are_found() {
    for (text, part) in [
        ("order.number > 5", "text is compared with int"),
        ("order.number == 5", "text is compared with int"),
        ("order.total > 5", "no order across"),
        ("order.total == 5", "money is compared with int"),
        ("order.count && true", "`&&` joins bools, not int"),
        ("order.number + 'x' == 'y'", "arithmetic needs int, not text"),
        ("order.number", "text and not bool"),
        ("order.count", "int and not bool"),
        ("!order.count", "`!` needs bool"),
        ("order == payment", "is a record"),
        ("order.rate > 1", "is a decimal"),
        ("order.count > 1.5", "fraction"),
        ("order.count > 1u", "unsigned"),
        ("order.token != null", "null"),
        ("order.count / order.count == 1", "could fail"),
        ("order.count % 0 == 1", "could fail"),
        ("order.lines[0].sku == 'a'", "no literal text"),
        ("order.lines.exists(order, true)", "already means"),
        ("order.lines.exists(x, x.quantity)", "needs bool"),
        ("[1, 'a'] == order.lines", "mixed"),
        ("order.count in ['a']", "int is compared with"),
    ] {
        let problem = fails(text);
        assert!(problem.what.contains(part), "{text}: {problem}");
    }
}

#[test]
fn only_a_few_functions_are_there() {
    for text in [
        "order.number.matches('a+')",
        "order.lines.map(x, x.sku) == []",
        "order.lines.exists_one(x, x.sku == 'a')",
        "order.lines.filter(x, true) == []",
        "startWith(order.number, 'a')",
        "int(order.number) > 1",
        "type(order.number) == string",
        "optional.of(1).hasValue()",
    ] {
        assert!(["unknown-function", "unknown-field"].contains(&fails(text).code), "{text}");
    }
    assert_eq!(fails("order.number.startWith('a')").hint, "did you mean `startsWith`?");
}

#[test]
fn size_and_nesting_are_bounded_before_parsing() {
    for text in [
        "",
        "  ",
        &"x".repeat(3000),
        &format!("{}true{}", "(".repeat(900), ")".repeat(900)),
        &"!".repeat(1900),
        &"-".repeat(1900),
        &format!("a{}", ".b".repeat(900)),
        &format!("1{}", "+1".repeat(900)),
        &format!("{}true", "true?".repeat(300)),
        &format!("{}1", "true?1:".repeat(250)),
        "order.number == \"a\\\"(\"",
        "order.number == '''(((('''",
        "true // (",
    ] {
        assert_eq!(fails(text).code, "condition-syntax", "{text:.20}");
    }
    let nested = |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile(&nested(MAX_NESTING)).is_ok());
    assert!(fails(&nested(MAX_NESTING + 1)).what.contains("nested deeper"));
    for text in ["order.", "order..x", "1 +", "order.number = 1", "a b", "{", "order.number === 'x'"] {
        assert_eq!(fails(text).code, "condition-syntax", "{text}");
    }
}

#[test]
fn the_widest_accepted_conditions_do_not_overflow_a_small_stack() {
    for text in [
        format!("{}true", "!".repeat(190)),
        format!("{} 1 == 1", "- ".repeat(190)),
        format!("1{} == 1", "+1".repeat(190)),
        format!("order{} == ''", ".b".repeat(190)),
        format!("{}true", "true?true:".repeat(60)),
        format!("true{}", "&&true".repeat(95)),
        format!("{}true{}", "(".repeat(16), ")".repeat(16)),
        format!("{}1{} == []", "[".repeat(16), "]".repeat(16)),
    ] {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        thread.spawn(move || compile(&text).map(|e| e.eval(&view()))).unwrap().join().unwrap().ok();
    }
}

#[test]
fn a_failed_evaluation_is_an_error_and_never_false() {
    let expr = compile("order.test && order.count + 1 > 0").unwrap();
    let wrong = Value::map([("order", Value::map([("count", Value::text("secret"))]))]);
    let error = expr.eval(&wrong).unwrap_err();
    assert_eq!(error.code, "condition_type");
    assert!(!error.to_string().contains("secret"), "{error}");
    let big = Value::map([("order", Value::map([("count", Value::Int(i64::MAX))]))]);
    let error = compile("order.count + 1 > 0").unwrap().eval(&big).unwrap_err();
    assert_eq!(error.code, "condition_overflow");
}

#[test]
fn conditions_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&compile("order.test").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
        let _ = compile(&text);
    }
    #[test]
    fn arbitrary_conditions_never_panic(parts in proptest::collection::vec(prop_oneof![
        Just("order"), Just(".total"), Just(".lines"), Just(".exists(x,"), Just("x"), Just(".sku"), Just("("),
        Just(")"), Just(" == "), Just(" && "), Just(" ? "), Just(" : "), Just("'a'"), Just("1"), Just(".count"),
        Just("["), Just("]"), Just("{"), Just("}"), Just("has("), Just(","), Just("!"), Just("-"), Just(" in "),
    ], 0..14)) {
        if let Ok(expr) = compile(&parts.concat()) {
            let _ = expr.eval(&view());
        }
    }
}
