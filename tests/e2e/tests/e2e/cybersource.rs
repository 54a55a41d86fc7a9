//! `tillway serve` with Cybersource: a process of its own, signed calls out, signed and encrypted webhooks in.

use std::net::SocketAddr;

use tillway_core::http::{Method, Request};
use tillway_sandbox::cybersource::{CybersourceSandbox, Decision, Kind, forge, sign};
use tillway_sandbox::{HookFault, HookFaultRule, Sandbox as _};
use tillway_tests::child::{
    CYBERSOURCE_HOOK, CYBERSOURCE_HOOK_ID, CYBERSOURCE_SECRET, Place, Serving, mode, wait_for, wait_until,
};
use tillway_tests::outside::lock;
use tillway_tests::samples::of;
use tillway_tests::temp::holds;
use tillway_tests::wire::exchange;
use tillway_tests::world::{CARD_NUMBER, CLIENT_SECRET, MASTER_KEY, SHOP_HOOK, new_order};

use crate::TILLWAY;

type At = Place<CybersourceSandbox>;

const APPROVED: &str = "payments.authorization.status.accepted";

fn place(at: &At, order: &str, token: &str, email: &str) {
    let mut new = new_order(order, "USD", Some(token));
    new.customer.email = Some(email.to_owned());
    new.note = Some(format!("please charge {CARD_NUMBER}"));
    let now = at.now();
    at.shop().place_order(now, new).unwrap();
}

async fn status(serving: &Serving, method: &str, path: &str, request: &Request) -> (u16, String) {
    let to: SocketAddr = serving.address.parse().unwrap();
    exchange(to, method, path, request).await.unwrap()
}

/// The payment of an order.
fn payment(at: &At, order: &str) -> String {
    at.cybersource().order_truth(order).payments[0].payment.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_paid_reviewed_and_reversed_and_nothing_secret_stays_in_clear() {
    let (at, private_key) = At::with_cybersource(TILLWAY, "").await;
    let serving = at.serve().await;
    place(&at, "A-1", "tok_visa_x1", "canary.mail@quarantine.example");
    place(&at, "A-2", "tok_visa_x2", "review.canary@quarantine.example");
    place(&at, "A-3", "tok_visa_x3", "reject.canary@quarantine.example");
    at.until_status("A-1", "Payment Received").await;
    at.until_status("A-2", "On Hold").await;
    at.until_status("A-3", "Payment Failed").await;
    let (now, held) = (at.now(), payment(&at, "A-2"));
    at.cybersource().decide(now, &held, Decision::Accept).unwrap();
    at.until_status("A-2", "Payment Received").await;
    wait_until("the third is let go", || at.cybersource().order_truth("A-3").held == 0).await;
    for (order, captured) in [("A-1", 4712), ("A-2", 4712), ("A-3", 0)] {
        let truth = at.cybersource().order_truth(order);
        assert_eq!((truth.captured, truth.payments.len()), (captured, 1), "{order}");
        assert!(truth.by_mark.values().all(|n| *n == 1), "{order}: {:?}", truth.by_mark);
    }
    wait_until("every webhook is accepted", || at.cybersource().deliveries_open() == 0).await;
    let counters = at.cybersource().counters().clone();
    assert_eq!((counters.deliveries_given_up, counters.undeliverable, counters.card_numbers_seen), (0, 0, 0));
    assert!(counters.deliveries_accepted >= 6 && counters.auth_refusals.is_empty(), "{counters:?}");
    let text = at.on_data(&["explain", "A-2"]).await.ok();
    assert!(text.contains("cybersource.capture") && !text.contains("quarantine.example"), "{text}");
    let alarmed = at.on_data(&["parked", "list"]).await.ok();
    assert!(alarmed.contains("card_number_removed"), "{alarmed}");
    assert!(serving.terminate().await.success());

    let log = lock(&at.log).join("\n").into_bytes();
    let data = std::fs::read_dir(at.data()).unwrap();
    let stored: Vec<u8> = data.flat_map(|f| std::fs::read(f.unwrap().path()).unwrap_or_default()).collect();
    assert!(stored.len() > 20_000 && log.len() > 5_000, "{} {}", stored.len(), log.len());
    let body = private_key.lines().nth(3).unwrap();
    let joined = CARD_NUMBER.replace(' ', "");
    for canary in [
        CARD_NUMBER,
        joined.as_str(),
        "quarantine.example",
        "Jenny",
        "Rosen",
        CYBERSOURCE_SECRET,
        CYBERSOURCE_HOOK,
        body,
        "PRIVATE KEY",
        CLIENT_SECRET,
        SHOP_HOOK,
        MASTER_KEY,
    ] {
        assert!(!holds(&log, canary), "{canary} is logged");
        assert!(!holds(&stored, canary), "{canary} is stored in clear");
    }
    assert!(!holds(&log, "tok_visa"), "a payment token is logged");
    assert!(holds(&at.folder.bytes(), CYBERSOURCE_HOOK), "the secrets file itself was looked at too");
}

/// A chargeback whose end no report tells: a person says it, in words that are checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_how_a_chargeback_ended() {
    let (at, _) = At::with_cybersource(TILLWAY, "times: { sweep_grace: 0s }\n").await;
    let serving = at.serve().await;
    place(&at, "A-1", "tok_visa_x1", "a-1@example.com");
    at.until_status("A-1", "Payment Received").await;
    let close = async |more: &[&str], reason: &str| {
        let head = ["dispute", "close", "--order", "A-1", "--reason", reason];
        at.on_data(&[&head[..], more].concat()).await
    };
    let why = "not answered in time";
    let said = close(&["--lost"], why).await.failed();
    assert!(said.contains("has no open dispute"), "{said}");
    let now = at.now();
    let captured = at.cybersource().order_truth("A-1").payments[0].transactions.clone();
    let capture = captured.iter().find(|t| t.kind == Kind::Capture).unwrap().id.clone();
    at.cybersource().charge_back(now, &capture, 4712, "10.4", false).unwrap();
    let swept = at.on_data(&["sweep"]).await.ok();
    assert!(swept.contains("looked at"), "{swept}");
    at.until_status("A-1", "Disputed").await;
    for (more, reason, words) in [
        (&["--lost", "--dispute", "chargeback:1"][..], why, "no open dispute; known: chargeback:"),
        (&["--lost"], "card 4111 1111 1111 1111", "no card number"),
        (&["--lost"], " ", "1 to 200 characters"),
        (&["--won", "--lost"], why, "cannot be used with"),
        (&[], why, "required"),
    ] {
        let said = close(more, reason).await.failed();
        assert!(said.contains(words) && !said.contains("4111"), "{said}");
    }
    let said = close(&["--lost"], why).await.ok();
    assert!(said.contains("is lost, with 47.12 USD withdrawn"), "{said}");
    at.until_status("A-1", "Refunded").await;
    let said = close(&["--lost"], why).await.ok();
    assert!(said.contains("was closed as lost before; nothing is changed"), "{said}");
    let text = at.on_data(&["explain", "A-1"]).await.ok();
    assert!(
        text.contains("tester says that dispute chargeback:")
            && text.contains("is lost: not answered in time"),
        "{text}"
    );
    assert!(text.contains("dispute lost"), "the books have it: {text}");
    // It was a mistake.
    let said = close(&["--won"], why).await.ok();
    assert!(said.contains("is won"), "{said}");
    at.until_status("A-1", "Payment Received").await;
    assert!(serving.terminate().await.success());
}

/// Cases of fraud review that are decided here and not in the Business Center.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_decides_cases_of_fraud_review() {
    let (at, _) = At::with_cybersource(TILLWAY, "times: { sweep_grace: 0s }\n").await;
    let serving = at.serve().await;
    for (n, word) in (1..).zip(["review", "review", "plain", "review"]) {
        place(&at, &format!("A-{n}"), &format!("tok_visa_x{n}"), &format!("{word}.{n}@example.com"));
    }
    for (order, status) in
        [("A-1", "On Hold"), ("A-2", "On Hold"), ("A-3", "Payment Received"), ("A-4", "On Hold")]
    {
        at.until_status(order, status).await;
    }
    let say = async |how: &str, order: &str, note: &str, more: &[&str]| {
        let head = ["review", how, order, "--note", note];
        at.on_data(&[&head[..], more].concat()).await
    };
    let why = "called the customer";
    for (order, note, more, words) in [
        ("A-3", why, &[][..], "has no open review"),
        ("A-9", why, &[], "nothing is known of `A-9`"),
        ("A-1", "card 4111 1111 1111 1111", &[], "no card number"),
        ("A-1", " ", &[], "1 to 200 characters"),
        ("A-1", why, &["--review", "1"], "has no open review; known: "),
    ] {
        let said = say("accept", order, note, more).await.failed();
        assert!(said.contains(words) && !said.contains("4111"), "{said}");
    }
    // One by its order, one by its payment.
    let said = say("accept", "A-1", why, &[]).await.ok();
    assert!(said.contains("is told to accept review"), "{said}");
    let held = payment(&at, "A-2");
    let said = say("reject", &held, "stolen card", &[]).await.ok();
    assert!(said.contains(&format!("to reject review {held} of order shop/A-2")), "{said}");
    at.until_status("A-1", "Payment Received").await;
    at.until_status("A-2", "Cancelled").await;
    wait_until("the second is let go", || at.cybersource().order_truth("A-2").held == 0).await;
    // Somebody is faster in the Business Center, and its webhook is lost: the gateway's word counts.
    let (now, held) = (at.now(), payment(&at, "A-4"));
    let lose = HookFaultRule { type_contains: "risk".into(), fault: HookFault::Lose, times: 1 };
    at.cybersource().inject_hook(lose);
    at.cybersource().decide(now, &held, Decision::Reject).unwrap();
    let _said = say("accept", "A-4", why, &[]).await.ok();
    at.until_status("A-4", "Cancelled").await;
    for (order, captured, held) in [("A-1", 4712, 0), ("A-2", 0, 0), ("A-4", 0, 0)] {
        wait_until(order, || at.cybersource().order_truth(order).held == held).await;
        let truth = at.cybersource().order_truth(order);
        assert_eq!((truth.captured, truth.payments.len()), (captured, 1), "{order}");
        assert!(truth.by_mark.values().all(|n| *n == 1), "{order}: {:?}", truth.by_mark);
    }
    let said = say("reject", "A-1", why, &[]).await.failed();
    assert!(said.contains("has no open review; known:") && said.contains("(accepted)"), "{said}");
    let text = at.on_data(&["explain", "A-1"]).await.ok();
    assert!(text.contains("tester says to accept review") && text.contains(why), "{text}");
    assert!(text.contains("cybersource.decide_case"), "{text}");
    assert!(!at.on_data(&["parked", "list"]).await.ok().contains("case_not_decided"));
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_and_what_is_not_genuine_is_refused() {
    let (at, _) = At::with_cybersource(TILLWAY, "").await;
    let serving = at.serve().await;
    place(&at, "A-1", "tok_visa_x1", "a-1@example.com");
    at.until_status("A-1", "Payment Received").await;
    let own = "/webhooks/signed/payments";
    let empty = Request::new(Method::Post, "").with_body("application/json", Vec::<u8>::new());
    assert_eq!(status(&serving, "GET", own, &Request::new(Method::Get, "")).await.0, 200, "health check");
    assert_eq!(status(&serving, "POST", own, &empty).await.0, 200, "an empty POST");
    assert_eq!(status(&serving, "GET", "/webhooks/shop/orders", &empty).await.0, 405, "nobody else's");

    let paid = payment(&at, "A-1");
    let genuine = at.cybersource().webhook(APPROVED, &paid).unwrap();
    let (code, said) = status(&serving, "POST", own, &genuine).await;
    assert_eq!(code, 202, "{said}");
    for name in ["paymentstatusupdate", "refundstatusupdate", "frauddecisionupdate"] {
        let (code, said) = status(&serving, "POST", &format!("/webhooks/signed/{name}"), &genuine).await;
        assert_eq!(code, 202, "the commissioned {name}: {said}");
    }
    let text = String::from_utf8(genuine.body.to_vec()).unwrap();
    assert!(text.contains("encData") && !text.contains("4712") && !text.contains("47.12"), "{text}");

    let now = at.now();
    let signed = |body: &str, key: &str, at: i64| {
        forge(body, &sign(body.as_bytes(), CYBERSOURCE_HOOK_ID, key, at), APPROVED)
    };
    let (_, rest) = text.split_once("\"encData\":\"").unwrap();
    let sealed = rest.split_once('"').unwrap().0;
    let parts = sealed.split_once('.').unwrap().1;
    let weak = text.replace(sealed, &format!("eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMjU2R0NNIn0.{parts}"));
    let changed = text.replace("status.accepted", "status.rejected");
    let header = genuine.header("v-c-signature").unwrap();
    let hours = 2 * 3_600_000;
    for (what, path, request, code, says) in [
        ("malformed", own, signed(&weak, CYBERSOURCE_HOOK, now.0), 400, "malformed"),
        ("no JSON", own, signed("{", CYBERSOURCE_HOOK, now.0), 400, "malformed"),
        ("another's key", own, signed(&text, CYBERSOURCE_SECRET, now.0), 401, "signature_wrong"),
        ("changed", own, forge(changed.as_str(), header, APPROVED), 401, "signature_wrong"),
        ("unsigned", own, forge(text.as_str(), "", APPROVED), 401, "signature_missing"),
        ("stale", own, signed(&text, CYBERSOURCE_HOOK, now.0 - hours), 401, "timestamp_stale"),
        ("from the future", own, signed(&text, CYBERSOURCE_HOOK, now.0 + hours), 401, "timestamp_future"),
        ("no such topic", "/webhooks/signed/payouts", genuine.clone(), 404, "unknown_url"),
        ("no such connection", "/webhooks/signd/payments", genuine.clone(), 404, "unknown_url"),
    ] {
        let (got, said) = status(&serving, "POST", path, &request).await;
        assert!(got == code && said.contains(says), "{what}: {got} {said}");
    }
    // Encrypted for a key that is not here: ours to mend, so it shall come again.
    let tag = sealed.rsplit_once('.').unwrap().1;
    let broken = text.replace(tag, &"A".repeat(tag.len()));
    assert_eq!(status(&serving, "POST", own, &signed(&broken, CYBERSOURCE_HOOK, now.0)).await.0, 500);
    let truth = at.cybersource().order_truth("A-1");
    assert_eq!((truth.captured, truth.payments.len()), (4712, 1));
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_is_signed_encrypted_where_it_must_be_and_accepted() {
    let (at, private_key) = At::with_cybersource(TILLWAY, "").await;
    let serving = at.serve().await;
    let (config, to) = (at.folder.path().join("tillway.yaml"), format!("http://{}", serving.address));
    let config = config.display().to_string();
    let samples = of("cybersource");
    assert_eq!(samples.len(), 15);
    for sample in &samples {
        let file = sample.file.display().to_string();
        let said = at.run(&["send", &file, "--to", &to, "--config", &config]).await.ok();
        assert!(said.contains(&sample.kind) && said.contains(": 202 "), "{said}");
    }
    // Each went to its topic and was understood: nothing is listed as unhandled.
    let last =
        std::fs::read_to_string(&samples[0].file).unwrap().replace(&samples[0].kind, "payments.of.tomorrow");
    let last = at.folder.write("tomorrow.json", &last).display().to_string();
    let said = at.run(&["send", &last, "--to", &to, "--config", &config]).await.ok();
    assert!(said.contains(": 202 "), "{said}");
    let mut listed = String::new();
    wait_for("the last of them, of a type nobody knows, is counted", async || {
        listed = at.on_data(&["unhandled"]).await.ok();
        listed.contains("payments.of.tomorrow")
    })
    .await;
    assert!(samples.iter().all(|s| !listed.contains(&s.kind)), "{listed}");
    // Without the key it says which secret it needs.
    let text = std::fs::read_to_string(at.folder.path().join("secrets")).unwrap();
    let without: String =
        text.lines().filter(|l| !l.contains("mle_private_key")).map(|l| format!("{l}\n")).collect();
    let secrets = at.folder.write("without", &without);
    mode(&secrets, 0o600);
    let file = samples[0].file.display().to_string();
    let secrets = secrets.display().to_string();
    let args = ["send", &file, "--to", &to, "--config", &config, "--secrets", &secrets];
    let said = at.run(&args).await.failed();
    assert!(said.contains("signed.mle_private_key") && !said.contains(&private_key[30..60]), "{said}");
    assert!(serving.terminate().await.success());
}
