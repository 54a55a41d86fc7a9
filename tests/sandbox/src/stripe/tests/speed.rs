//! Not a test of behaviour: `cargo test --release -p tillway-sandbox speed -- --ignored --nocapture`.

use tillway_core::http::Method;
use tillway_core::time::Millis;

use super::{Bench, id, request};
use crate::Sandbox;

#[test]
#[ignore = "measures; run it by hand"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn orders_per_second() {
    let mut bench = Bench::new();
    let start = std::time::Instant::now();
    let (orders, mut deliveries, mut bytes) = (20_000_u32, 0_usize, 0_usize);
    for n in 0..orders {
        let body = format!(
            "amount=1099&currency=usd&payment_method=pm_card_visa_x{n}&capture_method=manual&confirm=true\
             &return_url=https://a.b&metadata[clarity_order_id]=A-{n}&metadata[origin]=tillway"
        );
        let create = request(Method::Post, "/v1/payment_intents", &body)
            .with_header("idempotency-key", format!("c{n}"));
        let pi = id(&super::json(&bench.send(&create)));
        let capture = request(Method::Post, &format!("/v1/payment_intents/{pi}/capture"), "");
        bench.send(&capture.with_header("idempotency-key", format!("p{n}")));
        bench.send(&request(Method::Get, &format!("/v1/payment_intents/{pi}"), ""));
        bench.now = bench.now + Millis(1);
        for delivery in bench.s.take_deliveries(bench.now) {
            deliveries += 1;
            bytes += delivery.request.body.len();
            bench.s.delivered(bench.now, delivery.id, Some(200));
        }
    }
    let millis = start.elapsed().as_millis();
    println!("{orders} orders, {deliveries} webhooks ({bytes} bytes) in {millis} ms");
}
