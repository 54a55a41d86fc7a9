//! Routing within decisions: what is chosen and recorded, what follows a decline, and what never does.

use std::collections::BTreeMap;

use crate::bundle::{Bundle, Source, Vocabulary};
use crate::check::At;
use crate::decide::{Decision, Input, Needs, Plan, Routes, decide};
use crate::expr::Expr;
use crate::facts::{CommandEnd, Fact, OrderSnapshot, OrderStatus, RouteEnd, StepState};
use crate::ids::{ConnectionName, OrderKey};
use crate::money::{Currency, Money};
use crate::routing::{How, Part, Routing, Rule, Segment, Table};
use crate::state::{OrderState, view};
use crate::time::Timestamp;
use crate::value::{ActionSpec, Schema, Type, Value, field};

static PAY: Schema = Schema {
    name: "pay",
    fields: &[
        field("token", Type::Text, "token").required(),
        field("amount", Type::Money, "amount").required(),
        field("route", Type::Text, "route"),
    ],
};
static TAKE: Schema = Schema {
    name: "take",
    fields: &[field("payment", Type::Text, "payment").required(), field("route", Type::Text, "route")],
};
static NONE: Schema = Schema { name: "none", fields: &[] };
const fn spec(name: &'static str, params: &'static Schema, money: bool) -> ActionSpec {
    ActionSpec { name, params, money, doc: "" }
}
static ACTIONS: [ActionSpec; 3] =
    [spec("g.pay", &PAY, true), spec("g.take", &TAKE, true), spec("s.tell", &NONE, false)];

fn vocabulary() -> Vocabulary {
    Vocabulary {
        actions: ACTIONS.iter().collect(),
        base: &view::BASE,
        objects: view::OBJECTS.to_vec(),
        awaits: view::AWAITS.to_vec(),
        enums: Vec::new(),
        domains: Vec::new(),
    }
}

/// An order on its way, with everything that was recorded of it.
struct Order {
    bundle: Bundle,
    options: BTreeMap<String, String>,
    routing: Routing,
    counts: Table,
    state: OrderState,
    log: Vec<(Timestamp, Fact)>,
    last: Vec<super::super::Command>,
    now: i64,
}

fn gate() -> ConnectionName {
    ConnectionName::new("gate")
}
fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::parse("USD").unwrap())
}
fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|n| (*n).to_owned()).collect()
}

impl Order {
    fn new(change: impl FnOnce(&mut Routing)) -> Self {
        let flow = "flow: f\nsteps:\n  pay:\n    for-each: attempt\n    if: \"!payment.live\"\n    do: g.pay\n    with: m/pay\n  \
                    take: { for-each: authorization, do: g.take, with: m/take }\n  \
                    tell: { for-each: decline, do: s.tell, if: \"!decline.again\" }\n";
        let pay = "mapping: m/pay\naction: g.pay\nfor-each: attempt\nfields:\n  token: attempt.token\n  amount: order.total\n";
        let take = "mapping: m/take\naction: g.take\nfor-each: authorization\nfields:\n  payment: authorization.payment\n";
        let sources = [flow, pay, take].map(|t| Source { file: "t.yaml".into(), text: t.into() });
        let bundle = Bundle::load(&sources, &[], &vocabulary()).unwrap_or_else(|p| panic!("{}", p[0]));
        let mut routing = Routing::over(names(&["a", "b", "c"]));
        routing.retry = true;
        change(&mut routing);
        let options = view::PAIR_OPTIONS.iter();
        let options =
            options.map(|(n, all, _)| ((*n).to_owned(), all.first().copied().unwrap_or("").to_owned()));
        Self {
            bundle,
            options: options.collect(),
            routing,
            counts: Table::default(),
            state: OrderState::new(OrderKey::new("shop/A-1"), Timestamp(1001)),
            log: Vec::new(),
            last: Vec::new(),
            now: 1,
        }
    }
    fn decide(&self, facts: &[Fact], counts: Option<&Table>) -> Result<Decision, Needs> {
        let systems = [("g".to_owned(), gate()), ("s".to_owned(), ConnectionName::new("shop"))].into();
        let routes = Routes {
            routing: &self.routing,
            counts,
            fault: &|code| code == "NOT_SET_UP",
            unfit: &|code| code == "NOT_IN_THIS_CURRENCY",
            again: &|code| code == "SOFT",
        };
        let plan = Plan {
            flow: self.bundle.flow("f").unwrap(),
            bundle: &self.bundle,
            options: &self.options,
            systems: &systems,
            per_person: &|_| false,
            personal: None,
            erased: false,
            masking: None,
            routes: Some(routes),
        };
        let input = Input { connection: gate(), facts: facts.to_vec(), answer: Default::default() };
        decide(&self.state, &input, &plan, Timestamp(self.now))
    }
    fn tell(&mut self, facts: &[Fact]) -> &[super::super::Command] {
        self.now += 1000;
        let decision = self.decide(facts, Some(&self.counts)).unwrap();
        self.log.extend(decision.facts.into_iter().map(|f| (Timestamp(self.now), f)));
        self.state = decision.state;
        self.last = decision.commands;
        &self.last
    }
    fn paying(change: impl FnOnce(&mut Routing)) -> Self {
        let mut order = Self::new(change);
        order.tell(&[snapshot("t1")]);
        assert_eq!(order.last.len(), 1);
        order
    }
    /// The command that is out.
    fn out(&self) -> super::super::Command {
        self.last.iter().find(|c| c.action == "g.pay").unwrap().clone()
    }
    fn route(&self) -> String {
        self.out().params.at("route").as_text().unwrap().to_owned()
    }
    fn end(&mut self, end: CommandEnd, facts: &[Fact]) {
        let out = self.out();
        let ended = Fact::CommandEnded { command: out.id, step: out.step, end };
        self.tell(&[facts, &[ended]].concat());
    }
    fn decline(&mut self, payment: &str, code: &str, soft: bool) {
        let route = self.route();
        let facts = [failed(payment, code, soft), Fact::Routed { payment: payment.into(), route }];
        self.end(CommandEnd::Refused { code: code.into() }, &facts);
    }
    fn rebuilt(&self) -> OrderState {
        let gate = gate();
        let facts = self.log.iter().map(|(at, fact)| (*at, &gate, fact));
        OrderState::rebuild(self.state.key.clone(), facts).0.unwrap()
    }
}

fn snapshot(token: &str) -> Fact {
    Fact::Order(Box::new(OrderSnapshot {
        order_id: "A-1".into(),
        number: "1".into(),
        version: 1,
        placed_at: None,
        status: OrderStatus::PendingPayment,
        total: usd(5000),
        tax: 0,
        shipping: 0,
        lines: Vec::new(),
        shipments: Vec::new(),
        token: Some(token.into()),
        payment: None,
        gateway: None,
        guest: true,
        customer_ref: None,
        gateway_customer: None,
        test: false,
    }))
}
fn failed(payment: &str, code: &str, soft: bool) -> Fact {
    Fact::AttemptFailed {
        payment: payment.into(),
        attempt: payment.into(),
        code: code.into(),
        shopper_reason: "generic_decline".into(),
        soft,
    }
}
fn reserved(payment: &str, route: &str) -> [Fact; 2] {
    [
        Fact::Authorized {
            payment: payment.into(),
            charge: payment.into(),
            amount: usd(5000),
            expires_at: None,
        },
        Fact::Routed { payment: payment.into(), route: route.into() },
    ]
}
fn rule(when: Option<&str>, routes: &[&str]) -> Rule {
    let at = At::new("t", 1, 1);
    let when = when.map(|text| Expr::compile(text, &vocabulary().base_scope(), &at).unwrap());
    Rule { when, routes: names(routes), retry: None }
}

#[test]
fn the_choice_is_recorded_with_what_it_saw_and_whoever_replays_draws_nothing() {
    let mut order = Order::new(|_| {});
    assert!(matches!(order.decide(&[snapshot("t1")], None), Err(Needs::Counts)), "three may be drawn");
    order.tell(&[Fact::CardBrand { token: "t1".into(), brand: "Visa".into() }, snapshot("t1")]);
    let chosen = order.log.iter().find_map(|(_, f)| match f {
        Fact::RouteChosen { step, choice, .. } => Some((step.clone(), choice.clone())),
        _ => None,
    });
    let (step, choice) = chosen.unwrap();
    assert_eq!((step.as_str(), choice.how, choice.candidates.len()), ("pay/t1", How::Drawn, 3));
    assert!(choice.candidates.iter().all(|c| c.drawn.is_some()));
    assert_eq!(choice.segment, Segment::from("USD|visa||3000".to_owned()));
    assert_eq!(order.route(), choice.route);
    assert_eq!(order.out().taken.unwrap().route, choice.route);
    // Byte for byte, though the counts have changed since.
    let json = |state: &OrderState| serde_json::to_string(state).unwrap();
    assert_eq!(json(&order.rebuilt()), json(&order.state));
    order.decline("p1", "SOFT", true);
    order.end(CommandEnd::Done, &reserved("p2", "b"));
    assert_eq!(json(&order.rebuilt()), json(&order.state));
}

#[test]
fn the_same_counts_give_the_same_route_and_orders_spread() {
    let routes: Vec<String> = (0..40)
        .map(|n| {
            let mut order = Order::new(|_| {});
            order.state = OrderState::new(OrderKey::new(format!("shop/{n}")), Timestamp(1));
            order.tell(&[snapshot("t1")]);
            order.route()
        })
        .collect();
    for route in ["a", "b", "c"] {
        assert!(routes.iter().any(|r| r == route), "{route}");
    }
}

#[test]
fn rules_come_first_and_one_route_needs_no_counts() {
    let rules = |routing: &mut Routing| {
        routing.rules =
            vec![rule(Some("order.total.minor >= 100000"), &["a"]), rule(Some("order.guest"), &["c"])];
    };
    let order = Order::new(rules);
    let decision = order.decide(&[snapshot("t1")], None).unwrap();
    assert_eq!(decision.commands[0].params.at("route"), &Value::text("c"));
    let chosen = decision.state.choices.get("pay/t1").unwrap();
    assert_eq!((chosen.rule, chosen.others.len()), (Some(2), 0));
}

#[test]
fn what_follows_on_a_payment_goes_where_it_lies() {
    let mut order = Order::paying(|_| {});
    let route = order.route();
    order.end(CommandEnd::Done, &reserved("p1", &route));
    let take = &order.last[0];
    assert_eq!((take.action.as_str(), take.params.at("route")), ("g.take", &Value::text(route.as_str())));
    assert_eq!(order.state.choices["pay/t1"].end, Some(RouteEnd::Approved));
    assert_eq!(order.state.payments["p1"].route.as_deref(), Some(route.as_str()));
}

#[test]
fn a_soft_decline_is_tried_once_elsewhere_and_tells_nobody_meanwhile() {
    let mut order = Order::paying(|_| {});
    let first = order.route();
    order.decline("p1", "SOFT", true);
    assert_eq!(order.last.len(), 1, "no notice");
    let second = order.out();
    assert_eq!(second.step, "pay/t1~after:p1", "the decline is what causes it");
    assert_ne!(order.route(), first);
    assert_eq!(order.state.status, OrderStatus::PendingPayment);
    order.decline("p2", "SOFT", true);
    assert_eq!(order.state.status, OrderStatus::PaymentFailed);
    let told: Vec<&str> = order.last.iter().map(|c| c.step.as_str()).collect();
    assert_eq!(told, ["tell/p2"], "once, and of the last alone");
    // Another card begins anew.
    let Fact::Order(mut next) = snapshot("t2") else { panic!() };
    next.version = 2;
    order.tell(&[Fact::Order(next)]);
    assert_eq!(order.out().step, "pay/t2");
}

#[test]
fn what_is_hard_or_unknown_or_forbidden_is_never_tried_elsewhere() {
    type Run = Box<dyn Fn(&mut Order)>;
    let cases: [(&str, Run); 6] = [
        ("hard", Box::new(|o| o.decline("p1", "STOLEN", false))),
        ("soft, but not elsewhere", Box::new(|o| o.decline("p1", "FUNDS", true))),
        ("hard by advice", Box::new(|o| o.decline("p1", "SOFT", false))),
        ("unknown for days", Box::new(|o| o.end(CommandEnd::Parked { code: "outcome_unknown".into() }, &[]))),
        ("disagrees", Box::new(|o| o.end(CommandEnd::Parked { code: "answer_disagrees".into() }, &[]))),
        ("refused", Box::new(|o| o.end(CommandEnd::Refused { code: "INVALID_DATA".into() }, &[]))),
    ];
    for (name, run) in cases {
        let mut order = Order::paying(|_| {});
        run(&mut order);
        assert!(order.last.iter().all(|c| c.action != "g.pay"), "{name}");
        order.tell(&[]);
        assert!(order.last.iter().all(|c| c.action != "g.pay"), "{name}");
    }
    let mut off = Order::paying(|routing| routing.retry = false);
    off.decline("p1", "SOFT", true);
    assert!(off.last.iter().all(|c| c.action != "g.pay"), "not asked for");
    let mut alone = Order::paying(|routing| routing.rules = vec![rule(None, &["b"])]);
    alone.decline("p1", "SOFT", true);
    assert!(alone.last.iter().all(|c| c.action != "g.pay"), "nowhere else");
}

#[test]
fn a_webhook_that_overtakes_the_answer_neither_tells_nor_tries() {
    let mut order = Order::paying(|_| {});
    let out = order.out();
    order.tell(&[failed("p1", "SOFT", true)]);
    assert!(order.last.is_empty(), "the command is out: whether it is over is not known");
    assert_eq!(order.state.status, OrderStatus::PendingPayment);
    let end = CommandEnd::Refused { code: "SOFT".into() };
    let ended = Fact::CommandEnded { command: out.id, step: out.step, end };
    order.tell(&[failed("p1", "SOFT", true), ended]);
    assert_eq!(order.out().step, "pay/t1~after:p1");
    let ends = order.log.iter().filter(|(_, f)| matches!(f, Fact::RouteEnded { .. })).count();
    assert_eq!(ends, 1, "told twice, counted once");
}

#[test]
fn money_that_stands_under_the_decline_keeps_a_second_attempt_back() {
    let mut order = Order::paying(|_| {});
    let route = order.route();
    let facts = [&reserved("p1", &route)[..], &[failed("p1", "SOFT", true)]].concat();
    order.end(CommandEnd::Refused { code: "SOFT".into() }, &facts);
    assert!(order.last.iter().all(|c| c.action != "g.pay"));
}

#[test]
fn what_was_certainly_not_executed_goes_on_elsewhere_until_nowhere_is_left() {
    let mut order = Order::paying(|routing| routing.retry = false);
    let mut seen = vec![order.route()];
    for _ in 0..2 {
        order.end(CommandEnd::Refused { code: super::ROUTE_UNAVAILABLE.into() }, &[]);
        seen.push(order.route());
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"], "each once");
    order.end(CommandEnd::Refused { code: super::ROUTE_UNAVAILABLE.into() }, &[]);
    assert!(order.last.iter().all(|c| c.action != "g.pay"));
    assert_eq!(order.state.parked.len(), 1, "then a person looks");
    // A merchant id that is not set up is one that failed, whatever the bank would say.
    let mut order = Order::paying(|routing| routing.retry = false);
    order.decline("p1", "NOT_SET_UP", false);
    assert_eq!(order.out().step, "pay/t1~after:p1");
    assert_eq!(order.state.choices["pay/t1"].end, Some(RouteEnd::Failed));
}

/// The JWT of a card field names no step, and a second attempt finds it all the same.
#[test]
fn a_long_token_is_charged_whole_and_its_attempt_has_a_short_name() {
    let token = "j".repeat(8192);
    let mut order = Order::new(|_| {});
    order.tell(&[snapshot(&token)]);
    let first = order.out();
    assert_eq!(first.params.at("token").as_text(), Some(token.as_str()));
    assert!(first.step.starts_with("pay/token-") && first.step.len() < 80, "{}", first.step);
    order.decline("p1", "SOFT", true);
    let second = order.out();
    assert_eq!(second.step, format!("{}~after:p1", first.step));
    assert_eq!(second.params.at("token").as_text(), Some(token.as_str()));
    // Another token is another attempt.
    let mut other = Order::new(|_| {});
    other.tell(&[snapshot(&format!("{token}x"))]);
    assert_ne!(other.out().step, first.step);
}

#[test]
fn what_an_id_does_not_take_goes_on_elsewhere_and_is_no_failure_of_it() {
    type Run = Box<dyn Fn(&mut Order)>;
    let refused: Run = Box::new(|o| o.end(CommandEnd::Refused { code: "NOT_IN_THIS_CURRENCY".into() }, &[]));
    let declined: Run = Box::new(|o| o.decline("p1", "NOT_IN_THIS_CURRENCY", false));
    for run in [refused, declined] {
        let mut order = Order::paying(|routing| routing.retry = true);
        let first = order.route();
        run(&mut order);
        assert_eq!(order.state.choices["pay/t1"].end, Some(RouteEnd::Unfit));
        assert_ne!(order.route(), first);
        // Nobody was asked there: a soft decline at the next one may still be tried once more.
        order.decline("p2", "SOFT", true);
        assert_eq!(order.state.choices.len(), 3);
        assert_ne!(order.route(), first);
    }
}

#[test]
fn a_country_is_asked_for_before_it_is_used_and_only_where_it_is_wanted() {
    let order = Order::new(|routing| routing.by.push(Part::Country));
    assert!(matches!(order.decide(&[snapshot("t1")], Some(&Table::default())), Err(Needs::Personal)));
    let order = Order::new(|_| {});
    assert!(order.decide(&[snapshot("t1")], Some(&Table::default())).is_ok());
}

#[test]
fn a_payment_told_at_two_merchant_ids_goes_to_a_person() {
    let mut order = Order::paying(|_| {});
    let route = order.route();
    order.end(CommandEnd::Done, &reserved("p1", &route));
    order.tell(&[Fact::Routed { payment: "p1".into(), route: "elsewhere".into() }]);
    assert!(order.state.parked.values().any(|p| p.code == "route_changed" && p.blocks_money));
    assert_eq!(order.state.payments["p1"].route, Some(route));
    assert!(matches!(order.state.steps["take/p1"], StepState::Issued { .. }));
}
