use serde_json::{Value, json};
use tillway_core::http::Method;
use tillway_core::time::Millis;

use super::{Bench, id, request};
use crate::Sandbox as _;

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn customers_are_kept_listed_by_email_and_deleted() {
    let mut bench = Bench::new();
    let first = bench.done(
        "/v1/customers",
        "email=Ann@shop.example&name=Ann&metadata[clarity_customer_id]=C1&address[city]=Oslo",
    );
    let second = bench.done("/v1/customers", "email=Ann@shop.example");
    bench.done("/v1/customers", "email=ann@shop.example");
    assert_eq!(first["address"]["city"], "Oslo");
    let by_email = "/v1/customers?email=Ann@shop.example";
    assert_eq!(ids(&bench.read(by_email)), [id(&second), id(&first)]);
    let path = format!("/v1/customers/{}", id(&first));
    bench.done(&path, "email=ann2@shop.example&metadata[x]=1");
    let event = bench.last_event("customer.updated");
    assert_eq!(
        event["data"]["previous_attributes"],
        json!({"email": "Ann@shop.example", "metadata": {"clarity_customer_id": "C1"}})
    );
    assert_eq!(ids(&bench.read(by_email)), [id(&second)]);
    assert_eq!(bench.refused("/v1/customers", "email=nobody").1, "email_invalid");

    let deleted = bench.send(&request(Method::Delete, &path, ""));
    assert_eq!(super::json(&deleted), json!({"id": id(&first), "object": "customer", "deleted": true}));
    assert_eq!(bench.read(&path)["deleted"], true);
    assert_eq!(bench.refused(&path, "name=x").0, 404);
    assert_eq!(
        bench.refused("/v1/payment_intents", &format!("amount=99&currency=usd&customer={}", id(&first))).0,
        400
    );
    assert_eq!(bench.get("/v1/customers/cus_nobody").0, 404);
    assert_eq!(bench.s.all_customers().count(), 2);
}

#[test]
fn search_lags_a_minute_behind() {
    let mut bench = Bench::new();
    let customer = bench.done("/v1/customers", "email=a@b.c&metadata[k]=it's");
    let payment = bench.done("/v1/payment_intents", "amount=100&currency=usd&metadata[clarity_order_id]=A-1");
    let searches = [
        ("/v1/customers/search?query=metadata%5B'k'%5D:'it%5C's'", id(&customer)),
        ("/v1/customers/search?query=email:'a@b.c'", id(&customer)),
        ("/v1/payment_intents/search?query=metadata%5B'clarity_order_id'%5D:'A-1'", id(&payment)),
    ];
    for (path, _) in &searches {
        assert_eq!(ids(&bench.read(path)).len(), 0, "{path}");
    }
    bench.wait(Millis::secs(60));
    for (path, found) in &searches {
        let page = bench.read(path);
        assert_eq!(ids(&page), std::slice::from_ref(found), "{path}");
        assert_eq!((&page["object"], &page["next_page"]), (&"search_result".into(), &Value::Null));
    }
    assert_eq!(bench.get("/v1/customers/search?query=name~'x'").0, 400);
}

#[test]
fn payments_are_listed_by_customer_and_expanded() {
    let mut bench = Bench::new();
    let customer = id(&bench.done("/v1/customers", "email=a@b.c"));
    let body = format!(
        "amount=100&currency=usd&customer={customer}&confirm=true&payment_method=pm_card_visa\
         &automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never\
         &capture_method=automatic&expand[]=customer&expand[]=latest_charge.balance_transaction\
         &shipping[name]=Ann&shipping[address][line1]=1 \"Main\" St"
    );
    let paid = bench.done("/v1/payment_intents", &body);
    assert_eq!(
        (&paid["customer"]["email"], &paid["latest_charge"]["balance_transaction"]["net"]),
        (&"a@b.c".into(), &67.into())
    );
    assert_eq!(paid["shipping"]["address"]["line1"], "1 \"Main\" St");
    bench.paid();
    assert_eq!(ids(&bench.read(&format!("/v1/payment_intents?customer={customer}"))), [id(&paid)]);
    assert_eq!(ids(&bench.read("/v1/payment_intents")).len(), 2);
    assert_eq!(ids(&bench.read(&format!("/v1/charges?customer={customer}"))).len(), 1);
    let listed = bench.read(&format!("/v1/charges?customer={customer}&expand[]=data.payment_intent"));
    assert_eq!(listed["data"][0]["payment_intent"]["id"], paid["id"]);
    for bad in ["expand[]=latest_charge", "expand[]=data.nothing"] {
        assert_eq!(bench.get(&format!("/v1/payment_intents?{bad}")).0, 400, "{bad}");
    }
    let other = bench.get("/v1/payment_intents/pi_other");
    assert_eq!((other.0, &other.1["error"]["code"]), (404, &"resource_missing".into()));
}

#[test]
fn webhook_endpoints_tell_their_secret_once() {
    let mut bench = Bench::new();
    let path = "/v1/webhook_endpoints";
    let made = bench.done(
        path,
        "url=https://t.example/webhooks/payments&enabled_events[0]=charge.succeeded&api_version=2026-10-28.endive",
    );
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with("whsec_") && secret != super::SECRET);
    let read = bench.read(path);
    assert_eq!((&read["data"][0]["url"], &read["data"][0]["secret"]), (&made["url"], &Value::Null));
    assert_eq!(bench.refused(path, "url=x&enabled_events[]=*").0, 400);
    let one = format!("{path}/{id}");
    assert_eq!(bench.refused(&one, "api_version=2026-10-28.endive"), (400, "parameter_unknown".to_owned()));
    let changed = bench.done(&one, "enabled_events[0]=refund.updated&disabled=true&metadata[a]=b");
    assert_eq!((&changed["status"], &changed["metadata"]["a"]), (&"disabled".into(), &"b".into()));
    assert_eq!((&changed["enabled_events"][0], &changed["secret"]), (&"refund.updated".into(), &Value::Null));
}

#[test]
fn an_endpoint_signs_its_topic_until_it_is_deleted() {
    let mut bench = Bench::new();
    let body = "url=https://t.example/webhooks/payments&enabled_events[0]=charge.succeeded";
    let made = bench.done("/v1/webhook_endpoints", body);
    let own = made["secret"].as_str().unwrap();
    let signs = |bench: &mut Bench| {
        bench.paid();
        let hooks = bench.s.take_deliveries(bench.now);
        let hook = hooks.iter().find(|d| d.topic == "payments").unwrap();
        let given = hook.request.header("stripe-signature").unwrap().to_owned();
        let expected = super::super::sign(&hook.request.body, own, bench.now.unix());
        given.ends_with(expected.split_once(",v1=").unwrap().1)
    };
    assert!(signs(&mut bench));
    let path = format!("/v1/webhook_endpoints/{}", made["id"].as_str().unwrap());
    let gone = bench.send(&super::request(Method::Delete, &path, ""));
    assert_eq!((gone.status, &super::json(&gone)["deleted"]), (200, &true.into()));
    assert!(!signs(&mut bench));
    assert_eq!(bench.get(&path).0, 404);
    assert!(ids(&bench.read("/v1/webhook_endpoints")).is_empty());
}
