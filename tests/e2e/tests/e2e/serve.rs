//! `tillway serve` as it is run: a process of its own, killed when it suits nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tillway_core::http::{Method, Request};
use tillway_core::journal::Entry;
use tillway_engine::ports::{Item, Store};
use tillway_local::clock::SystemClock;
use tillway_local::sqlite::{Database, Options};
use tillway_tests::child::{Place, Serving, mode, wait_for, wait_until};
use tillway_tests::outside::lock;
use tillway_tests::temp::holds;
use tillway_tests::wire::exchange;
use tillway_tests::world::{
    API_KEY, CLIENT_SECRET, DATABASE, GATEWAY_HOOK, MASTER_KEY, SHOP_HOOK, new_order,
};

use crate::TILLWAY;

/// Short times, so that what a killed process held is looked at soon; sweeps find what nobody was there for.
const SHORT: &str = "sweep_every: 2s\ntimes: { call_limit: 2s, resend_after: 1s, breaker_open: 1s, sweep_grace: 1s, \
                     sweep_overlap: 5m }\n";

/// Orders placed while it is killed again and again.
const ORDERS: usize = 60;
/// Kills.
const KILLS: usize = 12;

/// Draws from a seed (SplitMix64).
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % below
}

fn name(n: usize) -> String {
    format!("K-{n}")
}

fn order(place: &Place, n: usize) {
    let (now, token) = (place.now(), format!("pm_card_visa_x{n}"));
    place.shop().place_order(now, new_order(&name(n), "USD", Some(&token))).unwrap();
}

fn all_paid(place: &Place, count: usize) -> bool {
    (0..count).all(|n| place.status(&name(n)) == "Paid")
}

/// Calls the gateway answered so far.
fn calls(place: &Place) -> u64 {
    place.stripe().counters().requests.values().sum()
}

/// Each order was charged once, for what it costs.
fn charged_once(place: &Place, count: usize) {
    for n in 0..count {
        let payments = place.stripe().payments_by_metadata("clarity_order_id", &name(n));
        let charges: usize = payments.iter().map(|p| p.charges_succeeded).sum();
        let captured: i64 = payments.iter().map(|p| p.captured).sum();
        assert_eq!((charges, captured), (1, 4712), "{}: {payments:?}", name(n));
    }
}

/// Everything in a data folder.
async fn items(place: &Place) -> Vec<Item> {
    let database = Database::open(&place.data().join(DATABASE), Options::new(Arc::new(SystemClock))).unwrap();
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = database.store().scan(after.as_deref(), 500).await.unwrap();
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

/// Commands by where they stand: `ended`, `claimed`, `unknown`, `pending`.
fn standing(items: &[Item]) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for item in items.iter().filter(|i| i.key.sk.starts_with("cmd#")) {
        let record: Json = serde_json::from_slice(&item.body).unwrap();
        *out.entry(record["state"]["is"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    out
}

async fn health(serving: &Serving) -> Json {
    let request = Request::new(Method::Get, "");
    let (status, body) =
        exchange(serving.address.parse().unwrap(), "GET", "/healthz", &request).await.unwrap();
    let health: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["healthy"]), (200, &true.into()), "{body}");
    health
}

/// Every line is JSON with time and level, and none holds a secret or anything of a person.
fn log_is_sound(place: &Place) {
    let log = lock(&place.log).clone();
    for line in &log {
        let parsed: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for member in ["timestamp", "level", "message", "target"] {
            assert!(parsed[member].is_string(), "{member}: {line}");
        }
    }
    let whole = log.join("\n").into_bytes();
    for canary in
        ["@example.com", "Jenny", "Rosen", "pm_card_", API_KEY, CLIENT_SECRET, GATEWAY_HOOK, SHOP_HOOK]
    {
        assert!(!holds(&whole, canary), "{canary} is logged");
    }
    assert!(!holds(&whole, MASTER_KEY), "the master key is logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_through_kill_after_kill_are_each_paid_once() {
    let place = Place::open(TILLWAY, "", SHORT).await;
    let mut seed = 2026;
    let mut serving = place.serve().await;
    let mut placed = 0;
    for _ in 0..KILLS {
        for _ in 0..ORDERS / KILLS {
            order(&place, placed);
            placed += 1;
        }
        // Somewhere in the middle of the work, counted in calls and not in time. Or before that: the process
        // may stand still because of what the last one held.
        let until = calls(&place) + draw(&mut seed, 60);
        let far_enough = wait_until("some more calls", || calls(&place) >= until || all_paid(&place, placed));
        let _either = tokio::time::timeout(Duration::from_millis(1_500), far_enough).await;
        serving.kill().await;
        place.unplug();
        serving = place.serve().await;
    }
    wait_until("every order is paid", || all_paid(&place, ORDERS)).await;
    // Nothing is left over: no event, no command, nothing for a person.
    wait_for("no event is left", async || health(&serving).await["events_queued"] == 0).await;
    wait_for("every command ended", async || standing(&items(&place).await).keys().all(|s| s == "ended"))
        .await;
    assert_eq!(health(&serving).await["parked"], 0);
    let parked = place.on_data(&["parked", "list", "--json"]).await.json();
    assert_eq!(parked, json!([]));
    assert_eq!(serving.terminate().await.code(), Some(0));

    charged_once(&place, ORDERS);
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    let stored = items(&place).await;
    let entries: Vec<Entry> = stored
        .iter()
        .filter(|i| i.key.sk.starts_with("jrn#"))
        .map(|i| serde_json::from_slice(&i.body).unwrap())
        .collect();
    for entry in &entries {
        entry.check().unwrap();
        for posting in &entry.postings {
            *sums.entry(posting.role.name()).or_default() += posting.amount.minor;
        }
    }
    let all = 4712 * i64::try_from(ORDERS).unwrap();
    assert_eq!((sums.values().sum::<i64>(), sums["gateway_clearing"], sums["receivable"]), (0, all, 0));

    assert!(lock(&place.log).iter().any(|l| l.contains("stopped")), "it did not say that it stopped");
    log_is_sound(&place);
    assert!(!holds(&std::fs::read(place.data().join(DATABASE)).unwrap(), "k-7@example.com"));
    assert!(holds(&place.folder.bytes(), API_KEY), "the secrets file itself was looked at too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_hand_and_the_rest_goes_on_after_a_restart() {
    let place = Place::open(TILLWAY, "", SHORT).await;
    let serving = place.serve().await;
    for n in 0..ORDERS {
        order(&place, n);
    }
    wait_until("work is in flight", || calls(&place) >= 12).await;
    assert_eq!(serving.terminate().await.code(), Some(0));
    place.unplug();
    assert!(!all_paid(&place, ORDERS), "it was over before it was stopped: that shows nothing");
    // What it had begun it has ended: nobody has to find out what became of a call.
    let standing = standing(&items(&place).await);
    assert!(!standing.contains_key("claimed") && !standing.contains_key("unknown"), "{standing:?}");
    let said = |what: &str| lock(&place.log).iter().any(|l| l.contains(what));
    assert!(said("stopping") && said("stopped"));
    let serving = place.serve().await;
    wait_until("every order is paid", || all_paid(&place, ORDERS)).await;
    charged_once(&place, ORDERS);
    assert_eq!(serving.terminate().await.code(), Some(0));
    log_is_sound(&place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthz_tells_what_waits_and_what_was_counted() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    let first = health(&serving).await;
    assert_eq!((&first["events_queued"], &first["parked"]), (&json!(0), &json!(0)), "{first}");
    order(&place, 0);
    place.until_status(&name(0), "Paid").await;
    let now = place.now();
    let bad = json!({"orderId": "K-9", "status": "Vorgemerkt"});
    place.shop().emit_raw(now, "orders", "order.created", &bad);
    wait_for("one item is parked", async || health(&serving).await["parked"] == 1).await;
    let told = health(&serving).await;
    assert!(told["counters"].to_string().contains("order.created"), "{told}");
    assert!(!told.to_string().contains("example.com"), "{told}");
    let address = serving.address.parse().unwrap();
    for (method, path, status) in [("POST", "/healthz", 405), ("GET", "/health", 404), ("GET", "/", 404)] {
        let answer = exchange(address, method, path, &Request::new(Method::Get, "")).await.unwrap();
        assert_eq!(answer.0, status, "{method} {path}: {}", answer.1);
    }
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secrets_file_that_others_can_read_is_refused() {
    let place = Place::open(TILLWAY, "", "").await;
    let secrets = place.folder.path().join("secrets");
    mode(&secrets, 0o640);
    let said = place.on_data(&["serve", "--listen", "127.0.0.1:0"]).await.failed();
    assert!(said.contains(&format!("chmod 600 {}", secrets.display())), "{said}");
    assert!(!said.contains(API_KEY) && !said.contains(MASTER_KEY));
    // A secret that is missing is named, with what to do.
    mode(&secrets, 0o600);
    std::fs::write(&secrets, "stripe.api_key = x\n").unwrap();
    let said = place.on_data(&["serve", "--listen", "127.0.0.1:0"]).await.failed();
    assert!(said.contains("tillway.master_key") && said.contains("openssl rand -hex 32"), "{said}");
    std::fs::write(&secrets, format!("tillway.master_key = {MASTER_KEY}\n")).unwrap();
    let said = place.on_data(&["serve", "--listen", "127.0.0.1:0"]).await.failed();
    assert!(said.contains("secrets of connection shop"), "{said}");
    // A configuration that is not there, or wrong.
    let said = place.run(&["serve", "--config", "nowhere.yaml", "--data", "d"]).await.failed();
    assert!(said.contains("nowhere.yaml") && said.contains("--help"), "{said}");
    place.folder.write("tillway.yaml", "conections: {}\n");
    let said = place.on_data(&["serve", "--listen", "127.0.0.1:0"]).await.failed();
    assert!(said.contains("tillway.yaml:1:1") && said.contains("`connections`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_help_of_every_command_shows_an_example() {
    let place = Place::open(TILLWAY, "", "").await;
    let top = place.run(&["--help"]).await.ok();
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1)
        .take_while(|l| l.starts_with("  "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|c| *c != "help")
        .collect();
    for expected in ["demo", "serve", "explain", "parked", "check", "simulate", "sweep", "erase", "send"] {
        assert!(commands.contains(&expected), "{expected} is no command: {commands:?}");
    }
    let mut all: Vec<Vec<&str>> = commands.iter().filter(|c| **c != "parked").map(|c| vec![*c]).collect();
    all.extend(["list", "show", "edit", "replay", "drop"].map(|c| vec!["parked", c]));
    for mut command in all {
        let named = format!("tillway {}", command.join(" "));
        command.push("--help");
        let help = place.run(&command).await.ok();
        assert!(help.contains("Example"), "{named} --help shows no example:\n{help}");
        let shown = help.contains(&named) || help.contains(&named.replace("tillway", "--"));
        assert!(shown, "{named} --help shows another command:\n{help}");
    }
}
