//! The command on the stack (`--aws`), with the providers to talk to: webhooks, the parking lot, sweeps, rotated keys.

use std::collections::BTreeMap;

use serde_json::json;
use tillway_cloud_tests::{Cloud, SECOND, SECOND_API_KEY, look};
use tillway_core::time::Millis;
use tillway_sandbox::{HookFault, HookFaultRule, Sandbox as _};
use tillway_tests::world::{API_KEY, GATEWAY, SHOP};

/// Where the stack would be reached; the sandboxes know the local address beside it.
const URL: &str = "https://till.example.com";

/// Endpoints are made once, their secrets lie in Secrets Manager, and a webhook that one of them signed is taken.
pub(crate) async fn webhooks_are_registered_once_and_taken(cloud: &Cloud) {
    cloud.rest().await;
    let mut said = String::new();
    let mut run = async |args: &[&str]| {
        let out = cloud.command(args).await;
        said.push_str(&out);
        out
    };
    for (connection, endpoints, first) in [(GATEWAY, 4, "payments"), (SHOP, 2, "orders")] {
        let register = ["webhooks", "register", "--url", URL, "--connection", connection];
        let before = values(&run(&["secrets", "list", connection]).await);
        let made = run(&register).await;
        assert_eq!(made.matches("is made").count(), endpoints, "{made}");
        assert!(
            made.contains(&format!("tillway/dev/{connection}")),
            "the place of the secrets is named: {made}"
        );
        assert!(made.contains(&format!("{URL}/webhooks/{connection}/{first}")), "{made}");
        assert_eq!(values(&run(&["secrets", "list", connection]).await), before + endpoints);
        let again = run(&register).await;
        assert_eq!(again.matches("is as it should be").count(), endpoints, "{again}");
        assert!(!again.contains("is made"), "{again}");
        let listed = run(&["webhooks", "list", "--connection", connection]).await;
        assert_eq!(listed.matches(&format!("on  {URL}/")).count(), endpoints, "{listed}");
        // Only those of the endpoints are left.
        let keep = endpoints.to_string();
        run(&["secrets", "retire", connection, "webhook_secret", "--keep", &keep]).await;
    }
    // What the functions have read is read again after a while.
    cloud.clock.forward(Millis::mins(6));
    let (received_before, refused_before) = (received(cloud).await, cloud.refused().await);
    cloud.place("W-1", "pm_card_visa");
    cloud.until_known("W-1", "authorized").await;
    cloud.rest().await;
    let (received, refused) = (received(cloud).await, cloud.refused().await);
    assert_eq!(refused, refused_before, "no webhook was refused");
    for connection in [GATEWAY, SHOP] {
        let (before, after) = (received_before.get(connection), received.get(connection));
        assert!(after > before, "webhooks of {connection} under its endpoints' secrets are taken");
    }
    for canary in tillway_cloud_tests::canaries() {
        assert!(!said.contains(canary), "a secret was shown");
    }
    // A name may end there, as in the explanation of what a signing secret looks like; a value goes on.
    let shown = |part: &str| part.chars().take_while(char::is_ascii_alphanumeric).count() > 8;
    assert!(!said.split("whsec_").skip(1).any(shown), "a signing secret was shown");
}

/// How many webhooks were accepted, by connection.
async fn received(cloud: &Cloud) -> BTreeMap<String, u64> {
    let metrics = cloud.stack.ask(json!({ "do": "metrics" })).await;
    let counted = metrics["received"].as_object().cloned().unwrap_or_default();
    counted.into_iter().map(|(connection, n)| (connection, n.as_u64().unwrap_or(0))).collect()
}

/// How many values of `webhook_secret` a list of secrets tells.
fn values(listed: &str) -> usize {
    let line = listed.lines().find(|line| line.contains("webhook_secret")).unwrap();
    let mut words = line.split_whitespace().skip_while(|word| *word != "webhook_secret").skip(1);
    words.next().unwrap().parse().unwrap()
}

/// How long a webhook may be on its way before its event counts as lost; the sweep's own schedule is off meanwhile.
const LOST: Millis = Millis::mins(16);

/// An order with a status that no lookup knows: a person sees why it stands, mends the event, and lets it run to its good end.
pub(crate) async fn a_parked_order_is_mended_and_replayed(cloud: &Cloud) {
    cloud.rest().await;
    // Nobody else finds the order.
    schedules(cloud, "DISABLED").await;
    lose_one(cloud);
    cloud.place("D-1", "pm_card_visa");
    let now = cloud.now();
    let odd = {
        let mut shop = cloud.shop();
        let mut data = serde_json::to_value(shop.order("D-1").unwrap()).unwrap();
        data["status"] = "Vorgemerkt".into();
        shop.emit_raw(now, "orders", "order.created", &data)
    };
    cloud.rest().await;
    // An event that cannot be read names no pair of the shop's two, and so belongs to no order yet.
    let item = parked_where(cloud, "event", &odd).await.unwrap_or_else(|| panic!("{odd} is not parked"));
    let told = (item["code"].as_str(), item["field"].as_str(), item["replays"].as_u64());
    assert_eq!(told, (Some("status_unknown"), Some("data.status"), Some(0)));
    let id = item["id"].as_str().unwrap();
    let listed = cloud.command(&["parked", "list"]).await;
    assert!(
        listed.contains(id) && listed.contains("no order  status_unknown, field data.status"),
        "{listed}"
    );
    assert!(!listed.contains("Vorgemerkt"), "a list shows nothing of the event: {listed}");

    let shown = cloud.run(&["parked", "show", id], "").await;
    assert!(shown.err.contains("status_unknown"), "{}", shown.err);
    let event = shown.json();
    assert_eq!(event["data"]["status"], "Vorgemerkt");
    let mended = event.to_string().replace("Vorgemerkt", "Pending Payment");
    let file = cloud.file("mended.json", &mended);
    let edit = ["parked", "edit", id, "--file", &file];
    let dry = cloud.command(&edit).await;
    for said in ["-    \"status\": \"Vorgemerkt\"", "+    \"status\": \"Pending Payment\"", "add --yes"] {
        assert!(dry.contains(said), "`{said}` is not in {dry}");
    }
    let shown = cloud.run(&["parked", "show", id], "").await.json();
    assert_eq!(shown, event, "nothing is changed without --yes");
    let said = cloud.command(&[&edit[..], &["--yes"]].concat()).await;
    assert!(said.contains("changed data.status; `tillway parked replay"), "{said}");
    let shown = cloud.run(&["parked", "show", id], "").await;
    assert!(shown.err.contains("by tester: data.status"), "{}", shown.err);
    assert_eq!(shown.json()["data"]["status"], "Pending Payment");
    assert!(cloud.payments("D-1").is_empty(), "nothing is paid before the replay");

    let said = cloud.command(&["parked", "replay", id]).await;
    assert!(said.contains("runs again"), "{said}");
    cloud.until_status("D-1", "Paid").await;
    cloud.rest().await;
    cloud.charged_once("D-1", 4712);
    look::booked_once(cloud.stack.engine(), "D-1").await;
    assert_eq!(parked_where(cloud, "event", &odd).await, None);
    let told = cloud.command(&["explain", "D-1"]).await;
    for said in ["order shop/D-1: paid", "order.created (a person", "books"] {
        assert!(told.contains(said), "`{said}` is not in {told}");
    }
    let again = cloud.run(&["parked", "replay", id], "").await.failed();
    assert!(again.contains("no parked item"), "{again}");
    schedules(cloud, "ENABLED").await;
}

/// A webhook that never came is found by a person's sweep, worked by the stack, and found no second time.
pub(crate) async fn a_sweep_finds_what_never_came(cloud: &Cloud) {
    cloud.rest().await;
    schedules(cloud, "DISABLED").await;
    lose_one(cloud);
    cloud.place("D-2", "pm_card_visa");
    cloud.clock.forward(LOST);
    cloud.rest().await;
    assert_eq!(cloud.status("D-2"), "Pending Payment");
    let unknown = cloud.run(&["explain", "D-2"], "").await.failed();
    assert!(unknown.contains("tillway sweep"), "{unknown}");
    let said = cloud.command(&["sweep", "--connection", SHOP]).await;
    assert!(said.contains("1 lost") && said.contains("D-2)"), "{said}");
    cloud.until_status("D-2", "Paid").await;
    cloud.rest().await;
    cloud.charged_once("D-2", 4712);
    for connection in [SHOP, GATEWAY, SECOND] {
        let again = cloud.run(&["sweep", "--connection", connection, "--json"], "").await.json();
        let report = &again[0];
        assert_eq!((&report["lost"], &report["busy"]), (&json!([]), &json!(false)), "{connection}: {again}");
    }
    let told = cloud.command(&["explain", "D-2"]).await;
    assert!(told.contains("order shop/D-2: paid") && told.contains("found by the sweep"), "{told}");
    schedules(cloud, "ENABLED").await;
}

/// The gateway's key is replaced there and put here: the functions read it again when the old one is turned away, and no
/// order waits for the five minutes after which they would have.
pub(crate) async fn a_rotated_key_is_read_when_the_old_one_is_refused(cloud: &Cloud) {
    cloud.rest().await;
    let read = |calls: &serde_json::Value| {
        let by = |c: &&serde_json::Value| {
            c["function"] == "tillway-dev-act-stripe" && c["call"] == "secretsmanager:GetSecretValue"
        };
        calls.as_array().unwrap().iter().filter(by).count()
    };
    for (order, key, put, values) in
        [("D-3", SECOND_API_KEY, "rotate", "2 values"), ("D-4", API_KEY, "put", "1 value")]
    {
        let before = read(&cloud.stack.ask(json!({ "do": "calls" })).await);
        cloud.stripe().replace_key(key);
        let said = cloud.run(&["secrets", put, GATEWAY, "api_key"], &format!("{key}\n")).await.ok();
        assert!(said.contains(&format!("api_key of {GATEWAY} in tillway/dev/{GATEWAY}")), "{said}");
        assert!(!said.contains(key), "the key was shown");
        let listed = cloud.command(&["secrets", "list", GATEWAY]).await;
        assert!(listed.lines().any(|line| line.contains("api_key") && line.contains(values)), "{listed}");
        cloud.place(order, "pm_card_visa");
        cloud.until_status(order, "Paid").await;
        cloud.rest().await;
        cloud.charged_once(order, 4712);
        let after = read(&cloud.stack.ask(json!({ "do": "calls" })).await);
        assert!(after > before, "{order} was paid with a key that was not read");
    }
}

/// Cybersource's webhooks are made by hand here: the steps are printed, and nothing is changed.
pub(crate) async fn steps_are_printed_where_a_provider_has_no_api(cloud: &Cloud) {
    let before = cloud.command(&["secrets", "list", SECOND]).await;
    let register = ["webhooks", "register", "--url", URL, "--connection", SECOND];
    let said = cloud.command(&register).await;
    for step in [
        "At Cybersource",
        &format!("{URL}/webhooks/{SECOND}/payments"),
        &format!("{URL}/webhooks/{SECOND}/refunds"),
        &format!("{URL}/webhooks/{SECOND}/fraud-decisions"),
        &format!("tillway secrets put … {SECOND} webhook_secret"),
        "mle_private_key",
    ] {
        assert!(said.contains(step), "`{step}` is not in {said}");
    }
    assert!(!said.contains("is made"), "{said}");
    assert_eq!(cloud.command(&["secrets", "list", SECOND]).await, before, "no secret came of it");
}

/// The next order's webhook never comes.
fn lose_one(cloud: &Cloud) {
    let fault = HookFault::Lose;
    cloud.shop().inject_hook(HookFaultRule { type_contains: "order.created".to_owned(), fault, times: 1 });
}

async fn schedules(cloud: &Cloud, state: &str) {
    cloud.stack.ask(json!({ "do": "schedules", "state": state })).await;
}

/// What waits for a person of an order, as the command lists it.
pub(crate) async fn parked_of(cloud: &Cloud, order: &str) -> Option<serde_json::Value> {
    parked_where(cloud, "order", &format!("{SHOP}/{order}")).await
}

async fn parked_where(cloud: &Cloud, name: &str, value: &str) -> Option<serde_json::Value> {
    let items = cloud.run(&["parked", "list", "--json"], "").await.json();
    items.as_array().unwrap().iter().find(|item| item[name] == value).cloned()
}
