//! A gateway that keeps no idempotency keys and whose search lags behind: whatever answer is lost, one authorization
//! stands in the end, and it is captured once.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use tillway_core::facts::{OrderStatus, StepState};
use tillway_core::http::Method;

use super::*;

/// What is lost of the first authorization.
#[derive(Clone, Copy, PartialEq)]
enum Lost {
    Nothing,
    /// Carried out, and the answer never came; the search shows it after so many questions, or never.
    Answer {
        seen_after: Option<u32>,
    },
    /// Never carried out.
    Request,
    /// Nothing; but the bank reserves a part only.
    Rest,
}

/// A gateway with a memory.
struct Gateway {
    lost: Lost,
    /// Transactions by id: what they are, transaction id, mark, reversed.
    done: BTreeMap<u64, Json>,
    searches: u32,
    sent: u32,
    captures: u32,
    shop: Json,
}

const AMOUNTS: &str = "orderInformation";

impl Gateway {
    fn answer(&mut self, request: &Request) -> Response {
        let body: Json = serde_json::from_slice(&request.body).unwrap_or(Json::Null);
        let path = request.path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method, parts.as_slice()) {
            (Method::Post, ["pts", "v2", "payments"]) => self.authorize(&body),
            (Method::Post, ["pts", "v2", "payments", id, "captures"]) => self.capture(id, &body),
            (Method::Post, ["pts", "v2", "reversals"]) => self.reverse_lost(&body),
            (Method::Post, ["tss", "v2", "searches"]) => self.search(),
            (Method::Get, ["tss", "v2", "transactions", id]) => match self.done.get(&id.parse().unwrap_or(0))
            {
                Some(found) => Response::json(200, found),
                None => Response::json(404, &json!({"errors": [{"type": "notFound"}]})),
            },
            // The shop: whatever is written to the order stands there.
            _ => {
                if let (Json::Object(order), Json::Object(patch)) = (&mut self.shop, body) {
                    order.extend(patch);
                    let version = order["version"].as_i64().unwrap() + 1;
                    order.insert("version".into(), version.into());
                }
                Response::json(200, &self.shop)
            }
        }
    }

    fn put(&mut self, application: &str, root: Option<u64>, body: &Json) -> Json {
        let id = 763_000 + u64::try_from(self.done.len()).unwrap();
        let entry = json!({
            "id": id.to_string(),
            "rootId": root.unwrap_or(id).to_string(),
            "submitTimeUTC": "2026-11-21T08:00:00Z",
            "status": if application == "ics_auth" { "AUTHORIZED" } else { "PENDING" },
            "applicationInformation": {"reasonCode": "100", "applications": [{"name": application, "rCode": "1"}]},
            "clientReferenceInformation": body["clientReferenceInformation"],
            "merchantDefinedInformation": body["merchantDefinedInformation"],
            AMOUNTS: body[AMOUNTS],
        });
        let mut entry = entry;
        if self.lost == Lost::Rest && application == "ics_auth" {
            entry["status"] = "PARTIAL_AUTHORIZED".into();
            entry[AMOUNTS]["amountDetails"]["authorizedAmount"] = "6.00".into();
        }
        self.done.insert(id, entry.clone());
        entry
    }

    fn authorize(&mut self, body: &Json) -> Response {
        self.sent += 1;
        let first = self.sent == 1;
        if first && self.lost == Lost::Request {
            return Response::json(502, &json!({"status": "SERVER_ERROR", "reason": "SERVER_TIMEOUT"}));
        }
        let answer = self.put("ics_auth", None, body);
        if first && !matches!(self.lost, Lost::Nothing | Lost::Rest) {
            return Response::json(502, &json!({"status": "SERVER_ERROR", "reason": "SERVER_TIMEOUT"}));
        }
        Response::json(201, &answer)
    }

    fn capture(&mut self, of: &str, body: &Json) -> Response {
        self.captures += 1;
        let answer = self.put("ics_bill", of.parse().ok(), body);
        Response::json(201, &answer)
    }

    fn reverse_lost(&mut self, body: &Json) -> Response {
        let wanted = &body["clientReferenceInformation"]["transactionId"];
        let found = self.done.values().find(|t| t["clientReferenceInformation"]["transactionId"] == *wanted);
        let Some(root) = found.and_then(|t| t["id"].as_str()?.parse().ok()) else {
            return Response::json(404, &json!({"errors": [{"type": "notFound"}]}));
        };
        let mut answer = self.put("ics_auth_reversal", Some(root), body);
        answer["status"] = "REVERSED".into();
        Response::json(201, &answer)
    }

    fn search(&mut self) -> Response {
        self.searches += 1;
        let shown = match self.lost {
            Lost::Answer { seen_after } => seen_after.is_some_and(|n| self.searches > n),
            _ => true,
        };
        let found: Vec<&Json> = self.done.values().filter(|_| shown).collect();
        Response::json(201, &json!({"totalCount": found.len(), "_embedded": {"transactionSummaries": found}}))
    }

    fn of(&self, application: &str) -> Vec<&Json> {
        let is = |t: &&Json| t["applicationInformation"]["applications"][0]["name"] == application;
        self.done.values().filter(is).collect()
    }
}

const CONFIG: &str = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                      signed: { system: cybersource, merchant_id: acme, key_id: k1 }\npairs:\n  main: { flow: \
                      cybersource-clarity, shop: shop, gateway: signed }\n";

async fn world(lost: Lost) -> (World, Arc<Mutex<Gateway>>) {
    world_of(CONFIG, lost).await
}

async fn world_of(config: &str, lost: Lost) -> (World, Arc<Mutex<Gateway>>) {
    let gateway =
        Gateway { lost, done: BTreeMap::new(), searches: 0, sent: 0, captures: 0, shop: order("A-1", 1) };
    let gateway = Arc::new(Mutex::new(gateway));
    let behind = Arc::clone(&gateway);
    let w = World::with(config, move |request| behind.lock().unwrap().answer(request)).await;
    (w, gateway)
}

impl World {
    /// Works events and commands as they come, and lets the time pass.
    pub(super) async fn live(&self, length: Millis) {
        let end = self.memory.now.load(Ordering::SeqCst) + length.0;
        while self.memory.now.load(Ordering::SeqCst) < end {
            for _ in 0..50 {
                let sent: Vec<(String, OutMessage)> = self.memory.sent.lock().unwrap().drain(..).collect();
                if sent.is_empty() {
                    break;
                }
                for (queue, message) in sent {
                    if queue == rec::EVENTS {
                        let event = self.engine.open_event(&message.body).unwrap();
                        self.engine.work_event(event).await.unwrap();
                    } else {
                        let message =
                            InMessage { receipt: "r".into(), group: None, body: message.body, receives: 1 };
                        self.engine.handle_command(&message).await.unwrap();
                    }
                }
            }
            self.pass(Millis::secs(30));
            self.engine.tick().await.unwrap();
        }
    }
    fn state(&self) -> rec::OrderRecord {
        let item = self.item(&rec::state_key(&OrderKey::from("shop/A-1"))).unwrap();
        serde_json::from_slice(&item.body).unwrap()
    }
}

async fn ordered(lost: Lost) -> (World, Arc<Mutex<Gateway>>) {
    let (w, gateway) = world(lost).await;
    let mut paid_by_token = order("A-1", 1);
    paid_by_token["payment"] = json!({"token": "5A9F8E0C1B2D3E4F"});
    w.engine.work_event(event("e-1", &paid_by_token)).await.unwrap();
    w.live(Millis::hours(2)).await;
    (w, gateway)
}

#[tokio::test]
async fn one_authorization_stands_and_is_captured_once_whatever_answer_is_lost() {
    for (lost, sent, reversed) in [
        (Lost::Nothing, 1, 0),
        (Lost::Answer { seen_after: Some(0) }, 1, 0),
        // The search lags behind: it is asked until the lag is over.
        (Lost::Answer { seen_after: Some(2) }, 1, 0),
        // It shows it never: the lost one is reversed before another goes out.
        (Lost::Answer { seen_after: None }, 2, 1),
        (Lost::Request, 2, 0),
    ] {
        let (w, gateway) = ordered(lost).await;
        let parked: Vec<String> = w.engine.parked().await.unwrap().into_iter().map(|p| p.item.what).collect();
        let gateway = gateway.lock().unwrap();
        let case = format!("{} searches", gateway.searches);
        assert_eq!(gateway.sent, sent, "{case}");
        assert_eq!(gateway.of("ics_auth_reversal").len(), reversed, "{case}");
        let standing = gateway.of("ics_auth").len() - reversed;
        assert_eq!((standing, gateway.captures), (1, 1), "{case}");
        let state = w.state().state;
        assert_eq!((state.status, state.captured()), (OrderStatus::Paid, 1000), "{case}");
        assert!(parked.is_empty(), "{case}: {parked:?}");
        assert_eq!(gateway.shop["status"], "Payment Received", "{case}");
    }
}

#[tokio::test]
async fn a_second_authorization_never_goes_out_while_the_search_only_lags() {
    let (w, gateway) = world(Lost::Answer { seen_after: None }).await;
    let mut paid_by_token = order("A-1", 1);
    paid_by_token["payment"] = json!({"token": "5A9F8E0C1B2D3E4F"});
    w.engine.work_event(event("e-1", &paid_by_token)).await.unwrap();
    w.live(Millis::mins(14)).await;
    assert_eq!(gateway.lock().unwrap().sent, 1);
    assert_ne!(w.state().state.status, OrderStatus::Paid);
}

#[tokio::test]
async fn a_probe_is_answered_and_leaves_nothing_and_only_where_the_provider_probes() {
    let (w, _) = world(Lost::Nothing).await;
    let probe = w.engine.receive("signed", "payments", &[], b"").await;
    assert_eq!((probe.status, probe.code, w.events_sent()), (200, "probe", 0));
    assert!(w.engine.answers_probe("signed", "payments"));
    for (connection, topic) in [("signed", "nothing"), ("shop", "orders"), ("nobody", "payments")] {
        assert!(!w.engine.answers_probe(connection, topic));
        assert_ne!(w.engine.receive(connection, topic, &[], b"").await.status, 200);
    }
}

#[tokio::test]
async fn what_an_event_does_not_tell_is_read_and_what_it_names_is_read_first() {
    let (w, gateway) = ordered(Lost::Nothing).await;
    // Somebody takes the capture back in the dashboard; its webhook names the void alone.
    let void = {
        let mut gateway = gateway.lock().unwrap();
        let root = gateway.of("ics_auth")[0]["id"].as_str().unwrap().parse().ok();
        let reference = json!({"clientReferenceInformation": {"code": "A-1"},
            AMOUNTS: {"amountDetails": {"totalAmount": "10.00", "currency": "USD"}}});
        gateway.lost = Lost::Answer { seen_after: None };
        let capture = gateway.of("ics_bill")[0]["id"].as_str().unwrap().to_owned();
        let void = gateway.put("ics_void", root, &reference)["id"].as_str().unwrap().to_owned();
        let undone = format!("https://apitest.example/tss/v2/transactions/{capture}");
        let detail = gateway.done.get_mut(&void.parse().unwrap()).unwrap();
        detail["_links"] = json!({"relatedTransactions": [{"href": undone}]});
        void
    };
    let data = json!({"id": void, "status": "VOIDED", "clientReferenceInformation": {"code": "A-1"}});
    let body = json!({"eventType": "payments.void.status.accepted", "payload": {"data": data}}).to_string();
    let t = w.memory.now.load(Ordering::SeqCst);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&STANDARD.decode(SIGNING).unwrap()).unwrap();
    mac.update(format!("{t}.{body}").as_bytes());
    let signature = format!("t={t};keyId=k;sig={}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [("content-type", "application/json"), ("v-c-signature", &signature)]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(w.engine.receive("signed", "payments", &headers, body.as_bytes()).await.status, 202);
    w.live(Millis::mins(5)).await;
    assert_eq!(w.state().state.refunded(), 1000, "though the search never showed it");
}

/// What a search shows only after a while lies in a window that begins before and ends after that.
#[tokio::test]
async fn windows_of_a_sweep_overlap_by_more_than_the_searches_lag() {
    let (w, _) = world(Lost::Nothing).await;
    let name = tillway_core::ids::ConnectionName::new("signed");
    let first = w.engine.sweep(&name).await.unwrap();
    w.live(Millis::mins(15)).await;
    let second = w.engine.sweep(&name).await.unwrap();
    assert_eq!(second.since, first.until - tillway_connectors::find("cybersource").unwrap().indexing_lag());
    assert!(first.until.since(second.since) > w.engine.config.times.sweep_overlap);
}

/// A merchant whose searches lag for longer says so, and nothing is sent again before.
#[tokio::test]
async fn a_longer_lag_is_waited_for() {
    let text = CONFIG.replace("key_id: k1", "key_id: k1, search_lag_minutes: 60");
    assert_ne!(text, CONFIG);
    let (w, gateway) = world_of(&text, Lost::Answer { seen_after: None }).await;
    let mut paid_by_token = order("A-1", 1);
    paid_by_token["payment"] = json!({"token": "5A9F8E0C1B2D3E4F"});
    w.engine.work_event(event("e-1", &paid_by_token)).await.unwrap();
    w.live(Millis::mins(59)).await;
    assert_eq!(gateway.lock().unwrap().sent, 1);
    w.live(Millis::mins(61)).await;
    assert_eq!(gateway.lock().unwrap().sent, 2, "undone, and sent again");
}

/// A person's word is late: the look he let be taken again is over by then, and told.
#[tokio::test]
async fn a_step_run_again_does_not_wait_for_an_answer_that_came_before() {
    let (w, _) = ordered(Lost::Rest).await;
    let parked = |items: Vec<rec::ParkedRecord>| {
        items.into_iter().find(|p| p.item.code == "answer_disagrees").map(|p| p.id)
    };
    let id = parked(w.engine.parked().await.unwrap()).unwrap();
    w.engine.parked_replay(&id, "ann").await.unwrap();
    let late: Vec<(String, OutMessage)> = w.memory.sent.lock().unwrap().drain(..).collect();
    assert!(late.iter().all(|(queue, _)| queue == rec::EVENTS), "her word, and nothing else");
    w.live(Millis::mins(5)).await;
    w.memory.sent.lock().unwrap().extend(late);
    w.live(Millis::mins(5)).await;
    let waiting = w.state().state.steps.into_iter().find(|(_, s)| matches!(s, StepState::Issued { .. }));
    assert_eq!(waiting, None);
    assert!(parked(w.engine.parked().await.unwrap()).is_some(), "it stands before her again");
}
