//! The handlers, called as the runtime calls them.

use std::cell::RefCell;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsMessage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tillway_connectors::{Secret, Secrets};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::allow::Networks;
use tillway_engine::ports::{Alerts, SecretError, SecretSource};
use tillway_engine::settings::load_receiving;
use tillway_engine::{Engine, Ports, WorkError};
use tillway_host::entropy::OsEntropy;

use super::batch::Batch;
use super::http::Desk;
use crate::absent::{NoHttp, NoNotify, NoShelf, NoStore};
use crate::alerts::AwsAlerts;
use crate::claims::Claims as _;
use crate::testing::{Hand, MemoryClaims, MemoryQueue, Published};

const NOW: Timestamp = Timestamp(1_795_248_000_000);
const HOOK: &str = "whsec_canary";

struct Fixed;
#[async_trait]
impl SecretSource for Fixed {
    async fn secrets(&self, connection: &str, _fresh: bool) -> Result<Secrets, SecretError> {
        let secrets = match connection {
            "intake" => [("key".to_owned(), vec![Secret::new("ab".repeat(32))])].into(),
            _ => [("webhook_secret".to_owned(), vec![Secret::new(HOOK)])].into(),
        };
        Ok(Secrets(secrets))
    }
}

struct Rig {
    engine: Engine,
    queue: Arc<MemoryQueue>,
    alerts: Arc<AwsAlerts>,
}

async fn rig() -> Rig {
    let text = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example.com/api/v1\" }\n  \
                stripe-main: { system: stripe }\n";
    rig_of(text).await
}

async fn rig_of(text: &str) -> Rig {
    let config = load_receiving("t.yaml", text).map_err(|p| format!("{p:?}")).unwrap();
    let clock = Arc::new(Hand::at(NOW));
    let queue = Arc::new(MemoryQueue::default());
    let alerts = Arc::new(AwsAlerts::new(Box::new(Published::default()), "test", clock.clone()));
    let ports = Ports {
        store: Arc::new(NoStore),
        shelf: Arc::new(NoShelf),
        queue: queue.clone(),
        clock,
        entropy: Arc::new(OsEntropy),
        secrets: Arc::new(Fixed),
        http: Arc::new(NoHttp),
        notify: Arc::new(NoNotify),
        alerts: alerts.clone(),
    };
    Rig { engine: Engine::receiver(Arc::new(config), ports).await.unwrap(), queue, alerts }
}

fn sign(body: &[u8]) -> String {
    tillway_sandbox::stripe::sign(body, HOOK, NOW.unix())
}

fn desk(allow: Option<&str>) -> Desk {
    let allow = allow.map(|networks| Networks::parse(networks).unwrap());
    Desk { system: "stripe", topics: &["payments", "events"], allow }
}

fn event(body: &[u8]) -> serde_json::Value {
    json!({
        "version": "2.0",
        "rawPath": "/webhooks/stripe-main/payments",
        "headers": {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": sign(body),
        },
        "requestContext": { "stage": "$default", "timeEpoch": 0, "http": { "method": "POST" } },
        "body": String::from_utf8_lossy(body),
        "isBase64Encoded": false,
    })
}

fn charge() -> Vec<u8> {
    json!({
        "id": "evt_1", "object": "event", "type": "charge.succeeded", "api_version": "2025-09-30.clover",
        "created": NOW.unix(), "livemode": false,
        "data": { "object": { "id": "ch_1", "object": "charge", "description": "Müller" } },
    })
    .to_string()
    .into_bytes()
}

async fn take(rig: &Rig, event: serde_json::Value) -> (i64, serde_json::Value, serde_json::Value) {
    let request = serde_json::from_value(event).unwrap();
    let answer = desk(None).take(&rig.engine, request).await;
    let whole = serde_json::to_value(&answer).unwrap();
    let body = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
    (answer.status_code, body, whole)
}

#[tokio::test]
async fn a_webhook_is_taken_in_as_text_and_as_base64() {
    let rig = rig().await;
    let body = charge();
    let (status, said, whole) = take(&rig, event(&body)).await;
    assert_eq!((status, &said), (202, &json!({ "status": "accepted" })));
    assert_eq!(whole["headers"]["content-type"], "application/json");
    let mut encoded = event(&body);
    encoded["body"] = STANDARD.encode(&body).into();
    encoded["isBase64Encoded"] = true.into();
    assert_eq!(take(&rig, encoded).await.0, 202);
    let sent = rig.queue.sent.lock().unwrap();
    assert_eq!(sent.iter().map(|(queue, _)| queue.as_str()).collect::<Vec<_>>(), ["events.fifo"; 2]);
    assert_eq!(sent[0].1.dedup.as_deref(), Some("stripe-main:evt_1:0"));
}

#[tokio::test]
async fn signatures_are_over_the_bytes_that_were_sent() {
    let rig = rig().await;
    // Not UTF-8: as a text it would have other bytes, so API Gateway sends base64.
    let odd = b"{\"id\": \"evt_\xff\"}".to_vec();
    let mut request = event(&odd);
    request["body"] = STANDARD.encode(&odd).into();
    request["isBase64Encoded"] = true.into();
    let (status, said, _) = take(&rig, request).await;
    assert_eq!((status, said["error"].as_str()), (400, Some("malformed")), "authentic, and no JSON");
    let mut broken = event(&charge());
    broken["body"] = format!("{} ", String::from_utf8(charge()).unwrap()).into();
    assert_eq!(take(&rig, broken).await.1, json!({ "error": "signature_wrong" }));
    let mut lie = event(&charge());
    lie["isBase64Encoded"] = true.into();
    assert_eq!(take(&rig, lie).await.0, 400);
    assert!(rig.queue.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn header_names_are_read_in_any_case() {
    let rig = rig().await;
    let body = charge();
    let mut request = event(&body);
    request["headers"] = json!({ "Content-Type": "application/json", "STRIPE-Signature": sign(&body) });
    assert_eq!(take(&rig, request).await.0, 202);
}

/// As AWS documents it: "Duplicate headers are combined with commas". `serve` does the same (`tests/e2e/src/edges.rs`); the
/// local API Gateway joins with a comma and a space.
#[tokio::test]
async fn of_what_came_twice_neither_is_picked() {
    let rig = rig().await;
    let body = charge();
    let good = sign(&body);
    for (name, twice, status, code) in [
        ("stripe-signature", format!("{good},{good}"), 401, "signature_missing"),
        ("stripe-signature", format!("t=1,v1=00,{good}"), 401, "signature_missing"),
        ("content-type", "application/json,application/json".to_owned(), 415, "content_type"),
    ] {
        let mut request = event(&body);
        request["headers"][name] = twice.into();
        assert_eq!(take(&rig, request).await.0, status, "{name}");
        assert!(rig.alerts.take_lines().iter().any(|line| line.contains(code)), "{name}");
    }
    assert!(rig.queue.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_function_serves_its_own_system_and_topics() {
    let rig = rig().await;
    for path in [
        "/webhooks/shop/payments",
        "/webhooks/stripe-main/refunds",
        "/webhooks/nobody/payments",
        "/webhooks/stripe-main/payments/",
        "/webhooks/stripe%2Dmain/payments",
        "/healthz",
    ] {
        let mut request = event(&charge());
        request["rawPath"] = path.into();
        assert_eq!(take(&rig, request).await.0, 404, "{path}");
    }
    let mut request = event(&charge());
    request["requestContext"]["http"]["method"] = "GET".into();
    let (status, _, whole) = take(&rig, request).await;
    assert_eq!((status, whole["headers"]["allow"].as_str()), (405, Some("POST")));
    let mut staged = event(&charge());
    staged["rawPath"] = "/prod/webhooks/stripe-main/events".into();
    staged["requestContext"]["stage"] = "prod".into();
    assert_eq!(take(&rig, staged).await.0, 202);
    let counted = rig.alerts.take_lines().join("\n");
    assert!(counted.contains("unknown_url") && counted.contains("method_not_allowed"), "{counted}");
}

#[tokio::test]
async fn only_allowed_networks_may_send() {
    let rig = rig().await;
    for (from, status) in [
        (Some("192.0.2.77"), 202),
        (Some("2001:db8::1"), 202),
        (Some("198.51.100.1"), 403),
        (Some("no address"), 403),
        (None, 403),
    ] {
        let mut request = event(&charge());
        request["requestContext"]["http"]["sourceIp"] = from.into();
        let request = serde_json::from_value(request).unwrap();
        let desk = desk(Some("192.0.2.0/24,2001:db8::/32"));
        assert_eq!(desk.take(&rig.engine, request).await.status_code, status, "{from:?}");
    }
    assert!(rig.alerts.take_lines().iter().any(|l| l.contains("address_refused") && l.contains(":3")));
}

#[tokio::test]
async fn a_connection_says_who_may_send_to_it() {
    let rig = rig_of(
        "connections:\n  stripe-main: { system: stripe, allow_from: 192.0.2.0/24 }\n  stripe-two: { system: stripe }\n",
    )
    .await;
    for (connection, from, status) in [
        ("stripe-main", Some("192.0.2.77"), 202),
        ("stripe-main", Some("198.51.100.1"), 403),
        ("stripe-main", None, 403),
        ("stripe-two", Some("198.51.100.1"), 202),
    ] {
        let mut request = event(&charge());
        request["rawPath"] = format!("/webhooks/{connection}/payments").into();
        request["requestContext"]["http"]["sourceIp"] = from.into();
        assert_eq!(take(&rig, request).await.0, status, "{connection} from {from:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_a_queue_that_is_down_means_again() {
    let rig = rig().await;
    let large = vec![b' '; 1024 * 1024 + 1];
    let (status, said, _) = take(&rig, event(&large)).await;
    assert_eq!((status, said["error"]["code"].as_str()), (413, Some("too_large")));
    *rig.queue.down.lock().unwrap() = true;
    let (status, said, whole) = take(&rig, event(&charge())).await;
    assert_eq!((status, said), (503, json!({ "error": "not_stored" })));
    assert_eq!(whole["headers"]["retry-after"], "5");
}

fn record(id: &str, group: Option<&str>, body: &str) -> SqsMessage {
    let mut attributes = json!({ "ApproximateReceiveCount": "3" });
    if let Some(group) = group {
        attributes["MessageGroupId"] = group.into();
    }
    serde_json::from_value(json!({
        "messageId": id, "receiptHandle": format!("r-{id}"), "body": STANDARD.encode(body),
        "attributes": attributes, "messageAttributes": {},
    }))
    .unwrap()
}

struct Stand {
    queue: MemoryQueue,
    claims: MemoryClaims,
    alerts: AwsAlerts,
    clock: Arc<Hand>,
}

fn stand() -> Stand {
    let clock = Arc::new(Hand::at(NOW));
    Stand {
        queue: MemoryQueue::default(),
        claims: MemoryClaims::default(),
        alerts: AwsAlerts::new(Box::new(Published::default()), "test", clock.clone()),
        clock,
    }
}

impl Stand {
    fn batch(&self, left: Millis) -> Batch<'_> {
        Batch {
            queue: "q",
            queues: Some(&self.queue),
            claims: &self.claims,
            alerts: &self.alerts,
            clock: self.clock.as_ref(),
            deadline: NOW + left,
            needed: Millis::secs(10),
        }
    }
}

fn failures(response: &SqsBatchResponse) -> Vec<&str> {
    let mut ids: Vec<&str> =
        response.batch_item_failures.iter().map(|f| f.item_identifier.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn the_rest_of_a_failed_group_goes_back_and_no_other() {
    let stand = stand();
    let records = [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", "c"), ("6", "a")];
    let records: Vec<_> = records.iter().map(|(id, group)| record(id, Some(group), id)).collect();
    let worked = RefCell::new(Vec::new());
    let response = stand
        .batch(Millis::mins(1))
        .ordered(&records, async |message| {
            let text = String::from_utf8_lossy(&message.body).into_owned();
            worked.borrow_mut().push(text.clone());
            match text.as_str() {
                "3" => Err(WorkError::Contended),
                "5" => panic!("canary"),
                _ => Ok(()),
            }
        })
        .await;
    assert_eq!(failures(&response), ["3", "5", "6"]);
    let mut worked = worked.into_inner();
    worked.sort();
    assert_eq!(worked, ["1", "2", "3", "4", "5"], "what comes after a failure is not begun");
    let released = stand.queue.released.lock().unwrap().clone();
    assert!(released.contains(&("r-3".to_owned(), Millis::secs(8))), "{released:?}");
    assert_eq!(released.len(), 3);
    assert!(stand.alerts.take_lines().iter().any(|line| line.contains("\"messages_returned\":3")));
}

/// Before the queue counts what stands behind it as dead.
#[test]
fn a_poison_event_is_buried_before_the_queue_would() {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/template.yaml"));
    let template = template.unwrap();
    let most = template.split("EventsDead.Arn, maxReceiveCount: ").nth(1).unwrap();
    let most: u32 = most.split('}').next().unwrap().parse().unwrap();
    let config = load_receiving("t.yaml", "connections: {}\n").map_err(|p| format!("{p:?}")).unwrap();
    assert!(config.bury_after < most, "{} of {most}", config.bury_after);
}

#[tokio::test]
async fn a_panic_costs_one_message_of_a_standard_queue() {
    let stand = stand();
    let records: Vec<_> = ["1", "2", "3"].iter().map(|id| record(id, None, id)).collect();
    let response = stand
        .batch(Millis::mins(1))
        .unordered(&records, async |message| if message.body == b"2" { panic!("canary") } else { Ok(()) })
        .await;
    assert_eq!(failures(&response), ["2"]);
}

#[tokio::test]
async fn nothing_is_begun_without_time_for_it() {
    let stand = stand();
    let records: Vec<_> = ["1", "2", "3"].iter().map(|id| record(id, Some("g"), id)).collect();
    let response = stand
        .batch(Millis::secs(15))
        .ordered(&records, async |_| {
            stand.clock.advance(Millis::secs(4));
            Ok(())
        })
        .await;
    assert_eq!(failures(&response), ["3"], "after two there are seven seconds left, and ten are needed");
    let none = stand.batch(Millis::secs(9)).unordered(&records, async |_| panic!("begun")).await;
    assert_eq!(failures(&none), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_claim_check_is_fetched_removed_and_known_when_it_comes_again() {
    let stand = stand();
    let key = stand.claims.put(vec![1; 300_000]).await.unwrap();
    let mut large = record("1", None, "");
    large.body = Some(format!("claim:{key}"));
    let records = [large];
    let failing = stand.batch(Millis::mins(1)).unordered(&records, async |_| Err(WorkError::NotSent)).await;
    assert_eq!(failures(&failing), ["1"]);
    let work = async |message: &tillway_engine::ports::InMessage| {
        assert_eq!(message.body.len(), 300_000);
        Ok(())
    };
    assert!(stand.batch(Millis::mins(1)).unordered(&records, work).await.batch_item_failures.is_empty());
    assert!(stand.claims.0.lock().unwrap().is_empty(), "removed after it was dealt with");
    let again = stand.batch(Millis::mins(1)).unordered(&records, async |_| panic!("worked twice")).await;
    assert!(again.batch_item_failures.is_empty());
    assert!(stand.alerts.take_lines().iter().any(|line| line.contains("claims_gone")));
    let mut odd = record("2", None, "");
    odd.body = Some("not base64!".to_owned());
    let odd = stand.batch(Millis::mins(1)).unordered(&[odd], async |_| Ok(())).await;
    assert_eq!(failures(&odd), ["2"], "goes to the dead letters");
    stand.alerts.count("received", "x", 0);
}
