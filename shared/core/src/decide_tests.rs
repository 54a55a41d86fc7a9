//! The rules at the top of `decide.rs`, each with a flow that shows it.

use std::collections::BTreeMap;

use super::{Decision, Input, Needs, Plan, decide};
use crate::bundle::{Bundle, Source, Vocabulary};
use crate::facts::{CommandEnd, Fact, OrderStatus, StepState, Unparked};
use crate::ids::{ConnectionName, OrderKey, PersonId};
use crate::mask::{Class, Masker, Masking};
use crate::money::{Currency, Money};
use crate::state::{OrderState, view};
use crate::time::{Millis, Timestamp};
use crate::value::{ActionSpec, Schema, Type, Value, field};

static NONE: Schema = Schema { name: "none", fields: &[] };
static MAIL: Schema =
    Schema { name: "mail", fields: &[field("to", Type::Text, "address").required().personal()] };
static PARK: Schema = Schema {
    name: "park",
    fields: &[field("code", Type::Text, "code").required(), field("what", Type::Text, "what").required()],
};
const fn spec(name: &'static str, params: &'static Schema, money: bool) -> ActionSpec {
    ActionSpec { name, params, money, doc: "" }
}
static BACK: Schema = Schema {
    name: "back",
    fields: &[
        field("payment", Type::Text, "payment").required(),
        field("amount", Type::Money, "amount").required(),
    ],
};
static ACTIONS: [ActionSpec; 7] = [
    spec("g.back", &BACK, true),
    spec("g.pay", &NONE, true),
    spec("g.take", &NONE, true),
    spec("g.person", &NONE, false),
    spec("s.tell", &NONE, false),
    spec("s.mail", &MAIL, false),
    spec("tillway.park", &PARK, false),
];

struct Bench {
    bundle: Bundle,
    options: BTreeMap<String, String>,
    systems: BTreeMap<String, ConnectionName>,
    masking: Option<Masking>,
}

impl Bench {
    fn new(steps: &str) -> Self {
        let flow = format!("flow: f\nsteps:\n{steps}");
        let mail = "mapping: m/mail\naction: s.mail\nfields:\n  to: order.customer.email\n";
        let back = "mapping: m/back\naction: g.back\nfor-each: refund_request\nfields:\n  payment: payment.id\n  \
                    amount: refund_request.amount\n";
        let sources =
            [flow.as_str(), mail, back].map(|text| Source { file: "t.yaml".into(), text: text.into() });
        let vocabulary = Vocabulary {
            actions: ACTIONS.iter().collect(),
            base: &view::BASE,
            objects: view::OBJECTS.to_vec(),
            awaits: view::AWAITS.to_vec(),
            enums: Vec::new(),
            domains: Vec::new(),
        };
        let bundle = Bundle::load(&sources, &[], &vocabulary).unwrap_or_else(|p| panic!("{}", p[0]));
        let mut options = BTreeMap::new();
        for (name, allowed, _) in view::PAIR_OPTIONS {
            options.insert((*name).to_owned(), allowed.first().copied().unwrap_or_default().to_owned());
        }
        let systems = ["g", "s", "tillway"].map(|s| (s.to_owned(), ConnectionName::new(format!("{s}-main"))));
        Self { bundle, options, systems: systems.into(), masking: None }
    }

    fn go(
        &self,
        state: &OrderState,
        facts: Vec<Fact>,
        at: i64,
        personal: Option<&Value>,
    ) -> Result<Decision, Needs> {
        let plan = Plan {
            flow: self.bundle.flow("f").unwrap(),
            bundle: &self.bundle,
            options: &self.options,
            systems: &self.systems,
            per_person: &|action| action == "g.person",
            personal,
            masking: self.masking.as_ref(),
            erased: false,
            routes: None,
        };
        let input = Input { connection: "g-main".into(), facts, answer: ("answer".into(), None) };
        decide(state, &input, &plan, Timestamp(at))
    }
}

fn fresh(order: &str) -> OrderState {
    OrderState::new(OrderKey::new(order), Timestamp(0))
}
fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}
fn captured(charge: &str) -> Fact {
    Fact::Captured { payment: "p".into(), charge: charge.into(), total: usd(100) }
}
fn ended(decision: &Decision, n: usize, end: CommandEnd) -> Fact {
    let c = &decision.commands[n];
    Fact::CommandEnded { command: c.id.clone(), step: c.step.clone(), end }
}
fn steps(decision: &Decision) -> Vec<&str> {
    decision.commands.iter().map(|c| c.step.as_str()).collect()
}

#[test]
fn a_step_waits_for_what_it_needs_and_a_skipped_need_skips_it() {
    let bench = Bench::new(
        "  a: {do: s.tell}\n  b: {do: s.tell, needs: [a]}\n  c: {do: s.tell, if: order.known}\n  d: {do: s.tell, needs: [c]}\n  \
         e: {do: s.tell, needs: [c], if: \"!order.known\"}\n",
    );
    let first = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    assert_eq!(steps(&first), ["a", "e"]);
    assert!(matches!(first.state.steps["d"], StepState::Skipped { .. }), "a skipped need skips it");
    let second = bench.go(&first.state, vec![ended(&first, 0, CommandEnd::Done)], 2, None).unwrap();
    assert_eq!(steps(&second), ["b"]);
}

#[test]
fn two_events_of_one_fact_make_one_command_and_its_id_names_the_intent() {
    let bench = Bench::new("  take: {for-each: capture, do: s.tell}\n");
    let first = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    let again = bench.go(&first.state, vec![captured("c")], 2, None).unwrap();
    assert_eq!((steps(&first).len(), steps(&again).len()), (1, 0));
    assert_eq!(again.facts, [Fact::NothingNew]);
    let elsewhere = bench.go(&fresh("s/2"), vec![captured("c")], 1, None).unwrap();
    assert_ne!(elsewhere.commands[0].id, first.commands[0].id);
    let same = bench.go(&fresh("s/1"), vec![captured("c")], 99, None).unwrap();
    assert_eq!(same.commands[0].id, first.commands[0].id);
}

#[test]
fn money_commands_of_one_order_never_overlap_and_wait_behind_a_parked_one() {
    let bench = Bench::new("  take: {for-each: capture, do: g.take}\n");
    let first = bench.go(&fresh("s/1"), vec![captured("c1"), captured("c2")], 1, None).unwrap();
    assert_eq!(first.commands.len(), 1);
    let refused = CommandEnd::Refused { code: "no".into() };
    let second = bench.go(&first.state, vec![ended(&first, 0, refused)], 2, None).unwrap();
    assert!(second.commands.is_empty(), "the refused one is parked and holds money back");
    let item = second.state.parked.values().next().unwrap();
    assert!(item.blocks_money && item.code == "no", "{item:?}");
    let dropped = Fact::Unparked {
        id: item.id.clone(),
        how: Unparked::Dropped { by: "me".into(), reason: "x".into() },
    };
    let third = bench.go(&second.state, vec![dropped], 3, None).unwrap();
    assert_eq!(third.commands.len(), 1, "then the next one goes");
}

#[test]
fn a_refused_step_run_again_is_a_new_intent_and_an_unknown_one_is_the_same_command() {
    let bench = Bench::new("  pay: {do: g.pay}\n");
    let first = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    let replay = |state: &OrderState| {
        let id = state.parked.keys().next().unwrap().clone();
        Fact::Unparked { id, how: Unparked::Replayed { by: "me".into() } }
    };
    let refused = bench
        .go(&first.state, vec![ended(&first, 0, CommandEnd::Refused { code: "no".into() })], 2, None)
        .unwrap();
    let anew = bench.go(&refused.state, vec![replay(&refused.state)], 3, None).unwrap();
    assert_eq!(anew.commands.len(), 1);
    assert_ne!(anew.commands[0].id, first.commands[0].id);

    let unknown = CommandEnd::Parked { code: "outcome_unknown".into() };
    let parked = bench.go(&first.state, vec![ended(&first, 0, unknown)], 2, None).unwrap();
    let looked = bench.go(&parked.state, vec![replay(&parked.state)], 3, None).unwrap();
    assert!(looked.commands.is_empty(), "nothing is sent a second time");
    assert_eq!(looked.state.steps["pay"], StepState::Issued { command: first.commands[0].id.clone() });

    // What never left is asked for anew: by then the order, the mapping or the configuration was mended.
    let unsent = CommandEnd::Unsent { code: "amount_forbidden".into() };
    let parked = bench.go(&first.state, vec![ended(&first, 0, unsent)], 2, None).unwrap();
    assert_eq!(parked.state.parked.len(), 1);
    let anew = bench.go(&parked.state, vec![replay(&parked.state)], 3, None).unwrap();
    assert_eq!(anew.commands.len(), 1);
    assert_ne!(anew.commands[0].id, first.commands[0].id);
}

#[test]
fn an_await_runs_out_as_the_step_says() {
    for (class, commands, parked) in [("continue", 1, 0), ("skip", 0, 0), ("park", 0, 1)] {
        let bench = Bench::new(&format!(
            "  a: {{do: s.tell, await: order, within: 10m, on: {{timeout: {class}}}}}\n"
        ));
        let first = bench.go(&fresh("s/1"), vec![captured("c")], 0, None).unwrap();
        assert!(first.commands.is_empty());
        assert_eq!(first.wake_at, Some(Timestamp(0) + Millis::mins(10)));
        let later = bench.go(&first.state, Vec::new(), Millis::mins(10).0, None).unwrap();
        assert_eq!((later.commands.len(), later.state.parked.len()), (commands, parked), "{class}");
    }
}

#[test]
fn a_serial_step_runs_one_at_a_time_and_only_for_the_newest_status() {
    let bench = Bench::new("  status: {for-each: status_change, serial: true, do: s.tell}\n");
    let first = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    assert_eq!((steps(&first), first.state.status), (vec!["status/1"], OrderStatus::Paid));
    let refund = |id: &str, minor| Fact::Refund {
        refund: id.into(),
        payment: "p".into(),
        amount: usd(minor),
        status: crate::facts::RefundStatus::Succeeded,
        moved: true,
        returned: false,
        request: None,
        of: None,
        undoes: None,
        resent: false,
    };
    let second = bench.go(&first.state, vec![refund("r1", 10)], 2, None).unwrap();
    let third = bench.go(&second.state, vec![refund("r2", 90)], 3, None).unwrap();
    assert!(second.commands.is_empty() && third.commands.is_empty());
    let fourth = bench.go(&third.state, vec![ended(&first, 0, CommandEnd::Done)], 4, None).unwrap();
    assert_eq!((steps(&fourth), fourth.state.status), (vec!["status/3"], OrderStatus::Refunded));
}

#[test]
fn a_timer_before_a_time_wakes_the_order_then() {
    let bench = Bench::new(
        "  e: {for-each: authorization, after: authorization.expires_at, before: 24h, do: s.tell}\n",
    );
    let expires = Timestamp(0) + Millis::days(7);
    let held = Fact::Authorized {
        payment: "p".into(),
        charge: "c".into(),
        amount: usd(5),
        expires_at: Some(expires),
    };
    let first = bench.go(&fresh("s/1"), vec![held], 1, None).unwrap();
    assert_eq!((first.commands.len(), first.wake_at), (0, Some(expires - Millis::hours(24))));
    let then = bench.go(&first.state, Vec::new(), (expires - Millis::hours(24)).0, None).unwrap();
    assert_eq!(then.commands.len(), 1);
}

#[test]
fn a_system_that_is_not_configured_skips_its_steps() {
    let mut bench = Bench::new("  a: {do: s.tell}\n  b: {do: g.pay, needs: [a]}\n");
    bench.systems.remove("s");
    let done = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    assert!(
        matches!(&done.state.steps["a"], StepState::Skipped { why } if why.contains("no s is configured"))
    );
    assert!(done.commands.is_empty());
}

#[test]
fn personal_data_is_asked_for_only_by_the_step_that_needs_it_and_a_missing_field_parks() {
    let bench = Bench::new("  m: {do: s.mail, with: m/mail}\n");
    assert!(bench.go(&fresh("s/1"), vec![captured("c")], 1, None).is_err());
    let customer = Value::map([("email", Value::text("a@example.com"))]);
    let known = Value::map([("order", Value::map([("customer", customer)]))]);
    let sent = bench.go(&fresh("s/1"), vec![captured("c")], 1, Some(&known)).unwrap();
    assert!(sent.commands[0].personal);
    let parked = bench.go(&fresh("s/1"), vec![captured("c")], 1, Some(&Value::Map(BTreeMap::new()))).unwrap();
    let item = parked.state.parked.values().next().unwrap();
    assert_eq!((item.code.as_str(), item.field.as_deref()), ("missing_required", Some("to")));
}

#[test]
fn a_mapping_reads_masked_data_and_a_condition_the_data_itself() {
    let mut bench =
        Bench::new("  m: {do: s.mail, with: m/mail, if: 'order.customer.email == \"a@example.com\"'}\n");
    let customer = Value::map([("email", Value::text("a@example.com"))]);
    let known = Value::map([("order", Value::map([("customer", customer)]))]);
    let to = |bench: &Bench| {
        let sent = bench.go(&fresh("s/1"), vec![captured("c")], 1, Some(&known)).unwrap();
        (sent.commands[0].id.clone(), sent.commands[0].params.at("to").as_text().unwrap().to_owned())
    };
    let (plain, address) = to(&bench);
    assert_eq!(address, "a@example.com");
    let masker = Masker::new([7; 32]);
    bench.masking = Some(Masking::new(masker.clone(), Default::default()));
    // The same intent, for another reader.
    assert_eq!(to(&bench), (plain.clone(), masker.mask(Class::Email, "a@example.com")));
    bench.masking = Some(Masking::new(masker, ["s-main".into()].into()));
    assert_eq!(to(&bench), (plain, "a@example.com".to_owned()), "to this very machine it goes as it is");
}

#[test]
fn a_condition_on_personal_data_is_decided_with_the_data_at_hand() {
    let bench = Bench::new("  t: {do: s.tell, if: 'order.customer.email != \"\"'}\n  u: {do: s.tell}\n");
    // Sealed it would read like nothing, and the step be skipped for good.
    assert!(bench.go(&fresh("s/1"), vec![captured("c")], 1, None).is_err());
    let customer = Value::map([("email", Value::text("a@example.com"))]);
    let known = Value::map([("order", Value::map([("customer", customer)]))]);
    let told = bench.go(&fresh("s/1"), vec![captured("c")], 1, Some(&known)).unwrap();
    assert_eq!(steps(&told), ["t", "u"]);
    let none = bench.go(&fresh("s/1"), vec![captured("c")], 1, Some(&Value::Map(BTreeMap::new()))).unwrap();
    assert_eq!(steps(&none), ["u"]);
    // Once it is decided, nobody's data is asked for any more.
    let later = bench.go(&told.state, vec![captured("d")], 2, None).unwrap();
    assert!(later.commands.is_empty());
}

#[test]
fn a_command_for_a_person_has_one_id_for_all_their_orders() {
    let bench = Bench::new("  c: {do: g.person}\n");
    let id = |order: &str, person: &str| {
        let facts = vec![Fact::Person { person: PersonId::new(person) }, captured("c")];
        bench.go(&fresh(order), facts, 1, Some(&Value::Map(BTreeMap::new()))).unwrap().commands[0].id.clone()
    };
    assert_eq!(id("s/1", "x"), id("s/2", "x"));
    assert_ne!(id("s/1", "x"), id("s/1", "y"));
}

#[test]
fn contradicting_facts_go_to_a_person_and_hold_money_back() {
    let bench = Bench::new("  take: {for-each: capture, do: g.take}\n");
    let held = Fact::Authorized { payment: "p".into(), charge: "c".into(), amount: usd(5), expires_at: None };
    let decision = bench.go(&fresh("s/1"), vec![held, captured("c")], 1, None).unwrap();
    assert!(decision.commands.is_empty());
    assert_eq!(decision.state.parked.values().next().unwrap().code, "captured_above_authorized");
}

#[test]
fn the_same_arguments_give_the_same_decision() {
    let bench = Bench::new("  a: {for-each: capture, do: s.tell}\n  b: {do: g.pay}\n");
    let (x, y) = (
        bench.go(&fresh("s/1"), vec![captured("c")], 7, None).unwrap(),
        bench.go(&fresh("s/1"), vec![captured("c")], 7, None).unwrap(),
    );
    assert_eq!((x.facts, x.state, x.entries, x.why), (y.facts, y.state, y.entries, y.why));
    assert!(x.commands == y.commands);
}

#[test]
fn what_must_hold_and_does_not_parks_the_step_until_it_is_run_again() {
    let bench = Bench::new("  a: {do: g.pay, if: payment.live, must: order.known}\n");
    let first = bench.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    assert!(first.commands.is_empty());
    let (id, item) = first.state.parked.iter().next().unwrap();
    assert!(
        item.code == "must_not_run" && item.blocks_money && item.what.contains("order.known"),
        "{item:?}"
    );
    let order = crate::facts::OrderSnapshot {
        order_id: "1".into(),
        number: "1".into(),
        version: 1,
        placed_at: None,
        status: OrderStatus::PendingPayment,
        total: usd(100),
        tax: 0,
        shipping: 0,
        lines: Vec::new(),
        shipments: Vec::new(),
        token: None,
        payment: None,
        gateway: None,
        guest: true,
        customer_ref: None,
        gateway_customer: None,
        test: false,
    };
    let again = Fact::Unparked { id: id.clone(), how: Unparked::Replayed { by: "me".into() } };
    let then = bench.go(&first.state, vec![Fact::Order(Box::new(order)), again], 2, None).unwrap();
    assert_eq!(steps(&then), ["a"]);
    let skipped = Bench::new("  a: {do: g.pay, if: order.known, must: payment.live}\n");
    let none = skipped.go(&fresh("s/1"), vec![captured("c")], 1, None).unwrap();
    assert!(none.state.parked.is_empty(), "what is skipped need not hold");
}

#[test]
fn an_attempt_refused_with_its_decline_is_not_parked_and_any_other_refusal_is() {
    let bench =
        Bench::new("  pay: {for-each: attempt, do: g.pay}\n  take: {for-each: capture, do: g.take}\n");
    let mut state = fresh("s/1");
    state.tokens.push("t".into());
    let first = bench.go(&state, Vec::new(), 1, None).unwrap();
    let failed = Fact::AttemptFailed {
        payment: "p".into(),
        attempt: "x".into(),
        code: "c".into(),
        shopper_reason: "c".into(),
        soft: false,
    };
    let dead = Fact::PaymentCancelled { payment: "p".into(), reason: "r".into() };
    let end = || ended(&first, 0, CommandEnd::Refused { code: "no".into() });
    for (with, parked) in
        [(Some(failed.clone()), 0), (Some(dead.clone()), 0), (Some(captured("c")), 0), (None, 1)]
    {
        let facts = with.into_iter().chain([end()]).collect();
        let refused = bench.go(&first.state, facts, 2, None).unwrap();
        assert_eq!(refused.state.parked.len(), parked);
        assert_eq!(refused.state.steps["pay/t"], StepState::Refused { code: "no".into() });
    }
    // A capture is no attempt: whatever comes with its refusal, a person has to know.
    let taking = bench.go(&fresh("s/2"), vec![captured("c")], 1, None).unwrap();
    let end = ended(&taking, 0, CommandEnd::Refused { code: "no".into() });
    let refused = bench.go(&taking.state, vec![dead, failed, end], 2, None).unwrap();
    assert_eq!(refused.state.parked.len(), 1);
}

#[test]
fn an_amount_in_another_currency_than_its_payment_is_never_sent() {
    let bench = Bench::new("  back: {for-each: refund_request, do: g.back, with: m/back}\n");
    let ask = |amount| Fact::RefundRequested { id: "R".into(), amount, reason: "x".into() };
    let same = bench.go(&fresh("s/1"), vec![captured("c"), ask(usd(5))], 1, None).unwrap();
    assert_eq!(steps(&same), ["back/R"]);
    let euros = Money::new(5, Currency::parse("EUR").unwrap());
    let other = bench.go(&fresh("s/1"), vec![captured("c"), ask(euros)], 1, None).unwrap();
    assert!(other.commands.is_empty());
    let item = other.state.parked.values().next().unwrap();
    assert_eq!((item.code.as_str(), item.field.as_deref()), ("currency_differs", Some("amount")));
    assert!(item.blocks_money);
}

#[test]
fn an_imbalance_wakes_the_order_later_and_is_gone_when_it_is() {
    let bench = Bench::new("  a: {for-each: short, after: short.since, later: 10m, do: s.tell}\n");
    let total = |minor, version| {
        let order = serde_json::json!({"order_id": "1", "number": "1", "version": version, "placed_at": null,
            "status": "pending_payment", "total": usd(minor), "tax": 0, "shipping": 0, "lines": [],
            "shipments": [], "token": null, "payment": null, "guest": true, "customer_ref": null,
            "gateway_customer": null, "test": false});
        Fact::Order(Box::new(serde_json::from_value(order).unwrap()))
    };
    let first = bench.go(&fresh("s/1"), vec![total(150, 1), captured("c")], 5, None).unwrap();
    assert_eq!((first.commands.len(), first.wake_at), (0, Some(Timestamp(5) + Millis::mins(10))));
    let then = bench.go(&first.state, Vec::new(), 5 + Millis::mins(10).0, None).unwrap();
    assert_eq!(steps(&then), ["a/0"]);
    let mended = bench.go(&first.state, vec![total(100, 2)], 9, None).unwrap();
    assert_eq!((mended.commands.len(), mended.wake_at), (0, None));
    assert!(mended.state.imbalance.is_none());
}
