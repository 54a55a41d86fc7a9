//! What nobody may read stands nowhere: canaries in secrets and in personal data, looked for in all that is shown.

use serde_json::json;
use tillway_connectors::port::{Inbound, Verified};
use tillway_connectors::{Finding, Outcome};
use tillway_core::http::Response;
use tillway_core::time::Millis;
use tillway_core::value::{Schema, Type, Value};
use tillway_sandbox::ApiFault;

use crate::world::{System, World, command, facts_of, usd};

pub const EMAIL: &str = "ann.canary@canary.example";
pub const NAME: &str = "Ann Canary";
pub const STREET: &str = "7 Canary Row";
pub const PHONE: &str = "+493012345678";

/// What must be read nowhere: the canaries, and every secret in full.
fn clean<S: System>(world: &World<S>, shown: &str, what: &str) {
    let lower = shown.to_lowercase();
    assert!(!lower.contains("canary") && !lower.contains("3012345678"), "{what}: {shown}");
    for secret in world.secrets.0.values().flatten().map(|s| s.expose()).filter(|s| s.len() > 8) {
        assert!(!shown.contains(secret), "{what}: a secret");
    }
}

fn shown_outcome(outcome: &Outcome) -> String {
    let parts = match outcome {
        Outcome::Settled { summary, .. } => summary.clone(),
        Outcome::Refused { code, summary, .. } => format!("{code} {summary}"),
        Outcome::Unknown { why, .. } => why.clone(),
        Outcome::Disagrees { field, what, .. } => format!("{field} {what}"),
        Outcome::NotDone { .. } => String::new(),
    };
    let facts = serde_json::to_string(facts_of(outcome)).unwrap();
    format!("{outcome:?} {parts} {facts}")
}

/// An error as a provider might word it, with all it knows of the customer.
fn chatty(status: u16) -> Response {
    let says = format!("{NAME} <{EMAIL}> of {STREET} was refused");
    let details = json!([{"field": says, "reason": says, "pointer": says}]);
    Response::json(
        status,
        &json!({"error": {"code": says, "type": says, "message": says, "param": says, "decline_code": says},
            "status": says, "reason": says, "message": says, "details": details, "code": says, "title": says,
            "detail": says, "errors": details, "errorInformation": {"reason": says, "message": says}}),
    )
}

pub async fn outcomes<S: System>() {
    let connector = S::connector();
    let actions: Vec<&str> = S::WRITES.iter().map(|w| w.action).chain(S::READS.iter().copied()).collect();
    let mut seen = 0;
    for action in actions {
        let mut check = |world: &World<S>, outcome: &Outcome, what: &str| {
            clean(world, &shown_outcome(outcome), &format!("{action}, {what}"));
            seen += 1;
        };
        let world = World::<S>::new();
        let params = S::ready(&world, action).await;
        let prepared = world.prepare(action, &params);
        clean(&world, &format!("{prepared:?} {} {params:?}", prepared.summary), action);
        clean(&world, &format!("{:?} {:?}", world.connection, world.secrets), action);
        check(&world, &world.call(action, &params, 0).await, "as it is");

        for status in [400, 401, 402, 403, 404, 409, 412, 422, 500, 503] {
            let world = World::<S>::new();
            let params = S::ready(&world, action).await;
            world.before(move |_| Some(chatty(status)));
            check(&world, &world.call(action, &params, 0).await, &format!("{status}"));
            match world.find_out(action, &params, 0).await {
                Finding::Evidence(outcome) => check(&world, &outcome, "a look"),
                other => clean(&world, &format!("{other:?}"), action),
            }
        }
        // What it does not understand, it does not repeat.
        let world = World::<S>::new();
        let params = S::ready(&world, action).await;
        world.after(|_, response| {
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            for name in ["status", "currency", "amount", "orderId", "customerId", "shipmentId"] {
                if body.get(name).is_some() {
                    body[name] = format!("{NAME} <{EMAIL}>").into();
                }
            }
            if let Some(sums) = body.pointer_mut("/orderInformation/amountDetails") {
                *sums = json!({"totalAmount": EMAIL, "currency": NAME, "authorizedAmount": EMAIL});
            }
            response.body = body.to_string().into_bytes();
        });
        check(&world, &world.call(action, &params, 0).await, "an answer full of them");
        if let Some(write) = S::WRITES.iter().find(|w| w.action == action) {
            let world = World::<S>::new();
            let params = S::ready(&world, action).await;
            world.fault(write, ApiFault::SilenceAfter);
            let (end, first) = world.carry(action, &params).await;
            check(&world, &first, "silence");
            check(&world, &end, "found out");
        }
    }
    let world = World::<S>::new();
    for (delivery, _) in S::webhooks(&world).await {
        let request = &delivery.request;
        let inbound = Inbound { topic: &delivery.topic, headers: &request.headers, body: &request.body };
        let Verified { event_id, event_type, group, opened, .. } =
            connector.verify(&world.connection, &world.secrets, inbound, world.now()).unwrap();
        clean(&world, &format!("{event_id} {event_type} {group} {request:?}"), "a webhook's name");
        let body = tillway_core::doc::Doc::from_bytes(opened.unwrap_or(request.body.clone())).unwrap();
        let meaning = connector.interpret(&world.connection, &event_type, body.json());
        clean(&world, &format!("{meaning:?}"), "a webhook's meaning");
    }
    world.pass(Millis::secs(1));
    println!("{}: {seen} outcomes without a canary", connector.system());
}

/// Values of every kind that hold a canary.
fn wrong() -> Vec<Value> {
    let text = || Value::text(format!("{NAME} <{EMAIL}> \u{7} '{STREET}'"));
    vec![
        text(),
        Value::text(format!("canary{}", "x".repeat(9000))),
        Value::List(vec![text()]),
        Value::map([("7", text()), ("k", text())]),
        Value::Null,
        Value::Bool(true),
    ]
}

/// Every parameter of every action in turn holds what it must not.
pub fn parameters<S: System>() {
    let world = World::<S>::new();
    let connector = S::connector();
    let mut refused = 0;
    for action in connector.actions() {
        let name = action.spec.name;
        for field in action.spec.params.fields {
            for value in wrong() {
                let mut params = filled(action.spec.params);
                params.insert(field.name.to_owned(), value);
                let params = Value::Map(params);
                let shown = match connector.prepare(&world.connection, name, &command(name), &params) {
                    Ok(prepared) => format!("{prepared:?} {}", prepared.summary),
                    Err(rejected) => {
                        refused += 1;
                        // Whom it is about is a business key and no message.
                        format!("{} {} {}", rejected.code, rejected.field, rejected.what)
                    }
                };
                clean(&world, &shown, &format!("{name}, parameter {}", field.name));
            }
        }
    }
    assert!(refused > 0);
    println!("{}: {refused} refusals without a canary", connector.system());
}

/// Something harmless in each parameter.
fn filled(schema: &Schema) -> std::collections::BTreeMap<String, Value> {
    let one = |ty: Type| match ty {
        Type::Bool => Value::Bool(true),
        Type::Int => Value::Int(1),
        Type::Money => usd(1000),
        Type::Time => Value::Time(tillway_core::time::Timestamp::from_unix(crate::world::START)),
        Type::Text => Value::text("x_1"),
        _ => Value::Null,
    };
    schema.fields.iter().map(|f| (f.name.to_owned(), one(f.ty))).collect()
}
