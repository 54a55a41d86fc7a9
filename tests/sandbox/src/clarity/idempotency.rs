//! Answers kept under their idempotency keys. Refusals are not kept: what was not executed may be sent
//! again. A 500 is kept, as its effect is unknown.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use tillway_core::http::{Method, Request, Response};
use tillway_core::time::{Millis, Timestamp};

use super::ClaritySandbox;
use super::answers::{Outcome, invalid, problem, with_header};
use super::route::Route;

/// How long an answer is kept.
const KEEP: Millis = Millis::hours(24);

/// A key and what it was sent with.
pub(super) struct Key {
    name: String,
    request: u64,
}

struct Kept {
    request: u64,
    at: Timestamp,
    response: Response,
}

/// The store.
#[derive(Default)]
pub(super) struct Answers {
    kept: HashMap<String, Kept>,
    /// Keys, the oldest first.
    age: VecDeque<(Timestamp, String)>,
}

impl Answers {
    /// What a key was answered before, or a refusal where it came with another request.
    pub fn find(&self, now: Timestamp, key: &Key) -> Option<Outcome> {
        let kept = self.kept.get(&key.name).filter(|kept| now.since(kept.at) < KEEP)?;
        Some(if kept.request == key.request {
            Ok(with_header(kept.response.clone(), "idempotency-replayed", "true"))
        } else {
            Err(problem(422, "conflict", "this idempotency key came with another request before"))
        })
    }

    pub fn keep(&mut self, now: Timestamp, key: Key, response: &Response, most: usize) {
        self.forget(now - KEEP);
        self.age.push_back((now, key.name.clone()));
        self.kept.insert(key.name, Kept { request: key.request, at: now, response: response.clone() });
        while self.age.len() > most {
            self.drop_oldest();
        }
    }

    /// Forgets what is as old as this, or older.
    pub fn forget(&mut self, before: Timestamp) {
        while self.age.front().is_some_and(|(at, _)| *at <= before) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.age.pop_front() {
            self.kept.remove(&name);
        }
    }
}

impl ClaritySandbox {
    /// The key of a request that has one and comes where keys count.
    pub(super) fn idempotency_key(&self, request: &Request, route: &Route) -> Result<Option<Key>, Response> {
        let counts = self.config.idempotency
            && matches!(request.method, Method::Post | Method::Patch | Method::Put)
            && !matches!(route, Route::Token | Route::Login);
        let Some(name) = request.header("idempotency-key").filter(|_| counts) else { return Ok(None) };
        if name.is_empty() || name.len() > 255 {
            return Err(invalid("/header/Idempotency-Key", "expected 1 to 255 characters"));
        }
        // The default hasher has fixed keys: the same in every run.
        let mut hasher = DefaultHasher::new();
        (request.method, request.path(), &request.body).hash(&mut hasher);
        Ok(Some(Key { name: name.to_owned(), request: hasher.finish() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::time::Millis;

    use super::super::testing::{Shop, json_of, new_order, now};
    use super::*;
    use crate::{ApiFault, ApiFaultRule, Reply, Sandbox};

    fn patch(shop: &Shop, order: &str, key: &str, body: &serde_json::Value) -> Request {
        shop.request(Method::Patch, &format!("/orders/{order}"), Some(body))
            .with_header("idempotency-key", key)
    }

    #[test]
    fn the_same_key_and_body_get_the_same_answer_and_one_effect() {
        let mut shop = Shop::new();
        let order = shop.0.place_order(now(), new_order("USD")).unwrap();
        let request = patch(&shop, &order, "k1", &json!({"note": "once"}));
        let first = shop.send(now(), &request);
        assert_eq!(first.status, 200);
        shop.0.hold(now(), &order).unwrap();
        let again = shop.send(now() + Millis::mins(1), &request);
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!((shop.0.order(&order).unwrap().version, shop.0.counters().replays), (3, 1));

        let other = shop.send(now(), &patch(&shop, &order, "k1", &json!({"note": "twice"})));
        assert_eq!((other.status, &json_of(&other)["code"]), (422, &"conflict".into()));
        let refused = patch(&shop, &order, "k2", &json!({"nope": 1}));
        assert_eq!(shop.send(now(), &refused).status, 400);
        let fixed = patch(&shop, &order, "k2", &json!({"note": "right"}));
        assert_eq!(shop.send(now(), &fixed).status, 200, "a refusal is not kept");
    }

    #[test]
    fn answers_are_forgotten_by_age_and_number_and_where_keys_are_not_honoured() {
        let mut shop = Shop::with(|c| c.idempotency_keep = 2);
        let order = shop.0.place_order(now(), new_order("USD")).unwrap();
        let replayed = |shop: &mut Shop, at, key: &str| {
            let request = patch(shop, &order, key, &json!({"note": key}));
            shop.send(at, &request).header("idempotency-replayed").is_some()
        };
        for key in ["a", "b", "c"] {
            assert!(!replayed(&mut shop, now(), key));
        }
        assert!(replayed(&mut shop, now(), "c"));
        assert!(!replayed(&mut shop, now(), "a"), "pushed out");
        shop.login(now() + Millis::hours(24));
        assert!(!replayed(&mut shop, now() + Millis::hours(24), "c"), "too old");
        let mut deaf = Shop::with(|c| c.idempotency = false);
        deaf.0.place_order(now(), new_order("USD")).unwrap();
        assert!(!replayed(&mut deaf, now(), "a") && !replayed(&mut deaf, now(), "a"));
    }

    fn rule(fault: ApiFault) -> ApiFaultRule {
        ApiFaultRule { method: Some(Method::Patch), path_contains: "/orders/".into(), fault, times: 1 }
    }

    #[test]
    fn faults_take_effect_or_not_and_are_stored_as_documented() {
        // fault, answer (0: silence), whether the note is set, answer to the same call again, note then
        for (fault, status, effect, again, finally) in [
            (ApiFault::Refuse(429), 429, false, 200, true),
            (ApiFault::Refuse(503), 503, false, 200, true),
            (ApiFault::Fail500, 500, false, 500, false),
            (ApiFault::Fail500AfterEffect, 500, true, 500, true),
            (ApiFault::SilenceBefore, 0, false, 200, true),
            (ApiFault::SilenceAfter, 0, true, 200, true),
        ] {
            let mut shop = Shop::new();
            let order = shop.0.place_order(now(), new_order("USD")).unwrap();
            shop.0.inject(rule(fault.clone()));
            assert_eq!(shop.call(now(), Method::Get, "/orders", None).status, 200, "another call");
            let request = patch(&shop, &order, "k", &json!({"note": "set"}));
            let noted = |shop: &Shop| shop.0.order(&order).unwrap().note.as_deref() == Some("set");
            let got = match shop.0.handle(now(), &request) {
                Reply::Answer(response) => response.status,
                Reply::Silence => 0,
            };
            assert_eq!((got, noted(&shop)), (status, effect), "{fault:?}");
            assert_eq!(shop.send(now(), &request).status, again, "{fault:?} again");
            assert_eq!(noted(&shop), finally, "{fault:?} again");
            assert_eq!(shop.0.order(&order).unwrap().version, if finally { 2 } else { 1 }, "{fault:?}");
            assert_eq!(shop.0.counters().faults.values().sum::<u64>(), 1);
        }
    }

    #[test]
    fn a_500_without_a_key_is_not_stored() {
        let mut shop = Shop::new();
        let order = shop.0.place_order(now(), new_order("USD")).unwrap();
        shop.0.inject(rule(ApiFault::Fail500));
        let request = shop.request(Method::Patch, &format!("/orders/{order}"), Some(&json!({"note": "x"})));
        assert_eq!(shop.send(now(), &request).status, 500);
        assert_eq!(shop.send(now(), &request).status, 200);
    }

    #[test]
    fn while_down_every_call_is_503_with_the_time_left() {
        let mut shop = Shop::with(|c| c.html_refusals = true);
        shop.0.down_until(now() + Millis(2500));
        let response = shop.call(now(), Method::Get, "/orders", None);
        assert_eq!((response.status, response.header("retry-after")), (503, Some("3")));
        assert_eq!(response.header("content-type"), Some("text/html"));
        assert_eq!(shop.call(now() + Millis(2500), Method::Get, "/orders", None).status, 200);
    }

    #[test]
    fn above_the_rate_limit_calls_are_429() {
        let mut shop = Shop::with(|c| c.rate_limit = Some(3));
        let at = now() + Millis::secs(10);
        let left: Vec<_> = (0..4)
            .map(|_| {
                let response = shop.call(at, Method::Get, "/orders", None);
                (response.status, response.header("ratelimit-remaining").unwrap().to_owned())
            })
            .collect();
        assert_eq!(left, [(200, "2".into()), (200, "1".into()), (200, "0".into()), (429, "0".into())]);
        let refused = shop.call(at, Method::Get, "/orders", None);
        assert_eq!(
            (refused.header("retry-after"), refused.header("ratelimit-limit")),
            (Some("1"), Some("3"))
        );
        assert_eq!(shop.call(at + Millis::secs(1), Method::Get, "/orders", None).status, 200);
    }
}
