//! Against the vendor's own description, where it lies beside the repository.

use std::path::Path;

use serde_json::Value;

use super::{Bench, KEY, SECRET};
use crate::stripe::ops::ROUTES;
use crate::stripe::params::{BOUNDS, Param, Ty};
use crate::stripe::schema::Schemas;
use crate::stripe::{StripeConfig, StripeSandbox};

fn openapi() -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/stripe/openapi.json");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    text.map(|t| serde_json::from_str(&t).unwrap())
}

fn names(params: &[Param], prefix: &[&'static str], out: &mut Vec<Vec<&'static str>>) {
    for param in params {
        let path = [prefix, &[param.name]].concat();
        match param.ty {
            Ty::Record(inner) => names(inner, &path, out),
            Ty::Created => assert_eq!(BOUNDS.len(), 4),
            _ => {}
        }
        out.push(path);
    }
}

#[test]
fn every_parameter_of_the_table_exists_in_the_vendors_schema() {
    let Some(document) = openapi() else { return };
    let schemas = Schemas::from_openapi(&document);
    let mut count = 0;
    for route in ROUTES {
        assert!(schemas.knows(route.operation()), "{}", route.operation());
        let mut paths = Vec::new();
        names(route.params, &[], &mut paths);
        for path in paths {
            assert!(schemas.has_param(route.operation(), &path), "{} {path:?}", route.operation());
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[test]
fn forms_are_checked_against_the_vendors_schema() {
    let Some(document) = openapi() else { return };
    let mut bench = Bench::new();
    bench.s = StripeSandbox::new(StripeConfig::new(KEY, SECRET, 1)).with_schema(&document);
    let (status, payment) = bench.pay("pm_card_visa", "manual");
    assert_eq!(status, 200, "{payment}");
    bench.done(
        "/v1/payment_intents",
        "amount=100&currency=usd&allowed_payment_method_types[0]=card&shipping[name]=x&shipping[address][line1]=y",
    );
    let wrong = "amount=100&currency=usd&allowed_payment_method_types[0]=cash";
    let (status, value) = bench.post("/v1/payment_intents", wrong);
    assert_eq!(status, 400);
    assert!(value["error"]["message"].as_str().unwrap().contains("(schema)"), "{value}");
    bench.done("/v1/customers", "email=a@b.c&metadata[a]=b&address=");
    bench.read("/v1/events?types[]=charge.succeeded&created[gte]=1&limit=2");
}

#[test]
fn objects_have_the_members_of_the_official_fixtures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/stripe/fixtures.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let fixtures: Value = serde_json::from_str(&text).unwrap();
    let mut bench = Bench::new();
    let (_, payment) = bench.pay("pm_card_riskLevelElevated", "automatic");
    let pi = super::id(&payment);
    let refund = bench.s.dashboard_refund(bench.now, &pi, Some(1), None).unwrap();
    let dispute = bench.s.open_dispute(bench.now, &pi, None, "general").unwrap();
    let customer = super::id(&bench.done("/v1/customers", "email=a@b.c"));
    let charge = payment["latest_charge"].as_str().unwrap().to_owned();
    let txn = bench.s.object(&refund).unwrap()["balance_transaction"].as_str().unwrap().to_owned();
    let review = payment["review"].as_str().unwrap().to_owned();
    // Members that the sandbox leaves out, each because no client of a merchant's payments reads it.
    let left_out =
        ["managed_payments", "refunds", "invoice_prefix", "next_invoice_sequence", "customer_account"];
    for (kind, id) in [
        ("payment_intent", pi),
        ("charge", charge),
        ("refund", refund),
        ("dispute", dispute),
        ("customer", customer),
        ("balance_transaction", txn),
        ("review", review),
    ] {
        let shown = bench.s.object(&id).unwrap();
        let members = fixtures["resources"][kind].as_object().unwrap();
        let missing: Vec<&String> =
            members.keys().filter(|k| shown.get(*k).is_none() && !left_out.contains(&k.as_str())).collect();
        assert!(missing.is_empty(), "{kind} lacks {missing:?}");
    }
}
