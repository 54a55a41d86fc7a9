//! The small figures of `tillway bench --micro`: one thread, no I/O.

use std::collections::BTreeMap;
use std::hint::black_box;

use anyhow::{Context as _, anyhow};
use tillway_connectors::{Connection, Connector as _, Inbound, Interpreted, Secret, Secrets};
use tillway_core::bundle::Bundle;
use tillway_core::decide::{Input, Plan, decide};
use tillway_core::doc::Doc;
use tillway_core::facts::Fact;
use tillway_core::ids::{ConnectionName, OrderKey, PersonId};
use tillway_core::state::{OrderState, view};
use tillway_core::time::Timestamp;
use tillway_core::value::Value;
use tillway_engine::ports::Clock as _;
use tillway_local::clock::SystemClock;

use crate::machine;
use crate::open::say;

const CHARGE: &str = include_str!("../../../events/stripe/charge.succeeded.json");
const ORDER: &str = include_str!("../../../events/clarity/order.created.json");
const SECRET: &str = "whsec_bench_0123456789abcdef";

/// Runs `work` for about two seconds; how often it ran, and nanoseconds for one.
fn clocked(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<(i64, i64)> {
    let begun = SystemClock.now();
    let mut count = 0_i64;
    loop {
        for _ in 0..100 {
            work()?;
        }
        count = count.saturating_add(100);
        let took = SystemClock.now().since(begun).0;
        if took >= 2000 {
            return Ok((count.saturating_mul(1000) / took, took.saturating_mul(1_000_000) / count));
        }
    }
}

/// Signature checks per second, and what flow and mappings cost for an order.
///
/// # Errors
/// Samples or templates that do not load.
pub fn run() -> anyhow::Result<()> {
    let now = Timestamp::from_unix(1_795_248_000);
    let stripe = Connection {
        name: ConnectionName::new("stripe"),
        system: "stripe".into(),
        production: false,
        settings: BTreeMap::new(),
    };
    let secrets = Secrets([("webhook_secret".to_owned(), vec![Secret::new(SECRET)])].into());
    let signature = tillway_sandbox::stripe::sign(CHARGE.as_bytes(), SECRET, now.unix());
    let headers = vec![("stripe-signature".to_owned(), signature)];
    let (rate, each) = clocked(|| {
        let inbound = Inbound { topic: "payments", headers: &headers, body: CHARGE.as_bytes() };
        let verified = tillway_connectors::stripe::Stripe.verify(&stripe, &secrets, inbound, now)?;
        black_box(verified.event_id.len());
        Ok(())
    })?;
    say(format!("signature checks (verify {} bytes, parse, name): {rate}/s, {each} ns each", CHARGE.len()));

    let connectors = tillway_connectors::registry();
    let vocabulary = tillway_engine::vocabulary::vocabulary(&connectors);
    let bundle =
        Bundle::load(&tillway_templates::sources(), &[], &vocabulary).map_err(|p| machine::problems(&p))?;
    let shop = Connection {
        name: ConnectionName::new("shop"),
        system: "clarity".into(),
        production: false,
        settings: BTreeMap::new(),
    };
    let body = Doc::parse(ORDER)?;
    let interpreted = tillway_connectors::clarity::Clarity
        .interpret(&shop, "order.created", body.json())
        .map_err(|r| anyhow!("the sample order is refused: {}", r.what))?;
    let Interpreted::About { observation, .. } = interpreted else {
        return Err(anyhow!("the sample is no order"));
    };
    let mut options: BTreeMap<String, String> = view::PAIR_OPTIONS
        .iter()
        .map(|(n, v, _)| ((*n).to_owned(), v.first().copied().unwrap_or("").to_owned()))
        .collect();
    for (name, value) in [("name", "main"), ("gateway", "stripe"), ("shop", "clarity")] {
        options.insert(name.to_owned(), value.to_owned());
    }
    let systems: BTreeMap<String, ConnectionName> =
        [("stripe", "stripe"), ("clarity", "shop"), ("notify", "notify"), ("tillway", "tillway")]
            .map(|(s, c)| (s.to_owned(), ConnectionName::new(c)))
            .into();
    let plan = Plan {
        flow: bundle.flow("stripe-clarity").context("the flow is not there")?,
        bundle: &bundle,
        options: &options,
        systems: &systems,
        per_person: &|action| action == "stripe.ensure_customer",
        personal: Some(&observation.personal),
        masking: None,
        erased: false,
        routes: None,
    };
    let mut facts = vec![Fact::Person { person: PersonId::new("p") }];
    facts.extend(observation.facts.iter().cloned());
    let input = Input { connection: ConnectionName::new("shop"), facts, answer: Default::default() };
    let state = OrderState::new(OrderKey::new("shop/A-1001"), now);
    let (rate, each) = clocked(|| {
        let decision = decide(&state, &input, &plan, now).map_err(|_| anyhow!("personal data is missing"))?;
        black_box(decision.commands.len());
        Ok(())
    })?;
    say(format!(
        "decisions on a new order (join, whole flow, mapping of its command): {rate}/s, {each} ns each"
    ));

    let mut known = state.clone();
    for fact in &input.facts {
        known.apply(fact, &ConnectionName::new("shop"), now);
    }
    let base = known.base_view(&options, Some(&observation.personal));
    let attempt = Value::map([("token", Value::text("pm_card_visa")), ("n", Value::Int(1))]);
    let status =
        Value::map([("name", Value::text("paid")), ("reason", Value::text("")), ("seq", Value::Int(1))]);
    let with = |name: &str, object: &Value| {
        let mut view = base.clone();
        if let Value::Map(map) = &mut view {
            map.insert(name.to_owned(), object.clone());
        }
        view
    };
    // What an order paid at once maps: customer, payment, confirmation, status.
    let jobs = [
        ("stripe/ensure-customer", with("attempt", &attempt)),
        ("stripe/create-payment", with("attempt", &attempt)),
        ("clarity/status", with("status_change", &status)),
    ];
    let (rate, each) = clocked(|| {
        for (name, view) in &jobs {
            let mapping = bundle.mapping(name).context("a mapping is not there")?;
            let mapped = mapping.apply(view, bundle.lookups()).map_err(|e| anyhow!("{name}: {}", e.what))?;
            black_box(&mapped);
        }
        Ok(())
    })?;
    say(format!("mapping of an order paid at once (3 mappings): {rate} orders/s, {each} ns an order"));
    Ok(())
}
