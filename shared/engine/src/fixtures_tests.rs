//! An order and its day's settlement over what the gateway itself shows: the answers, and the report in each of its forms, of
//! `../shared/spec/cybersource/fixtures`.

use std::path::Path;

use tillway_core::settle::{Class, Day};

use super::*;
use crate::settle::Step;
use crate::settle::records::Standing;

fn fixture(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/cybersource/fixtures");
    let text = std::fs::read_to_string(folder.join(name)).ok();
    if text.is_none() {
        // Past what the test's own output is captured in: nobody else would read why it asked nothing.
        let _told = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {}/{name} is not here\n", folder.display()),
        );
    }
    text
}

/// An order that is paid with the fixtures' answers, and an account whose report this is.
async fn trade(format: &str, report: String) -> World {
    let answer = |name: &str| Response { body: fixture(name).unwrap().into_bytes(), ..Response::new(201) };
    let (authorized, captured) = (answer("payment_authorized_201.json"), answer("capture_201.json"));
    let text = format!(
        "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }}\n  signed: {{ \
         system: cybersource, base_url: \"https://gateway.example\", merchant_id: acme_test_001, key_id: k1, \
         settlement.format: {format} }}\npairs:\n  main: {{ flow: cybersource-clarity, shop: shop, gateway: signed }}\n"
    );
    World::with(&text, move |request| {
        if request.url.starts_with("https://shop.example") {
            return Response::json(200, &paid());
        }
        match request.path() {
            "/pts/v2/payments" => authorized.clone(),
            path if path.ends_with("/captures") => captured.clone(),
            "/reporting/v3/report-downloads" if request.query().contains("reportDate=2026-11-20") => {
                let mut answer = Response::new(200);
                answer.headers.push(("content-length".to_owned(), report.len().to_string()));
                answer.body = report.clone().into_bytes();
                answer
            }
            _ => Response::new(404),
        }
    })
    .await
}

fn paid() -> Json {
    let mut order = order("ORD-1001", 1);
    for amount in ["/total/amount", "/lines/0/unitPrice/amount"] {
        *order.pointer_mut(amount).unwrap() = "102.21".into();
    }
    order["payment"] = json!({"token": "tok_visa"});
    order
}

#[tokio::test]
async fn the_vendors_own_samples_are_settled() {
    for (file, format, foreign) in [
        ("pbdr_classic.csv", "csv", true),
        ("pbdr_custom_dotted.csv", "csv", false),
        ("pbdr_legacy.xml", "xml", false),
    ] {
        let Some(report) = fixture(file) else { return };
        let w = trade(format, report).await;
        w.engine.work_event(event("e-1", &paid())).await.unwrap();
        w.live(Millis::mins(5)).await;
        let (name, day) = (ConnectionName::new("signed"), Day::parse("2026-11-20").unwrap());
        w.pass(Millis::days(1));
        let run = w.engine.settle_day(&name, day, &|_: &Step| true).await.unwrap();
        assert!(run.refused.is_empty() && run.waiting.is_empty(), "{file}: {run:?}");
        let [batch] = run.batches.as_slice() else { panic!("{file}: {run:?}") };
        assert_eq!(
            (batch.batch.id.as_ref(), batch.standing),
            ("21265991580@2026-11-20", Standing::Submitted)
        );
        // Our capture is matched by its id. The other order's, and the refund, are of nobody here.
        let classes: Vec<Class> = run.open.iter().map(|o| o.exception.class).collect();
        let both = [Class::MissingHere, Class::UnknownRefund];
        assert_eq!(classes, both[usize::from(!foreign)..], "{file}");
        assert_eq!((batch.sums.matched, batch.sums.open), (1, classes.len()), "{file}");
        let view = w.engine.settled_batch(Some(&name), &batch.batch.id).await.unwrap().unwrap();
        let checked = w.engine.check_batch(&view).await.unwrap();
        assert!(checked.rejected.is_empty(), "{file}: {checked:?}");
        let told = w.engine.settlement_report(&name, day).await.unwrap();
        // What we took is still owed: the report says what was submitted. What is nobody's is in the books once it is funded.
        let holds = &told.holds[0];
        assert_eq!((holds.clearing.minor, holds.suspense.minor), (10_221, 0), "{file}");
        let again = w.engine.settle_day(&name, day, &|_: &Step| true).await.unwrap();
        assert_eq!(again.unchanged, std::slice::from_ref(&batch.batch.id), "{file}");
    }
}
