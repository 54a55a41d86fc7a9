//! What an order costs in calls, and what the logs hold.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tillway_aws::secrets::KEEP;
use tillway_cloud_tests::{Cloud, canaries};
use tillway_tests::world::CARD_NUMBER;

/// Budget of DESIGN section 9, all webhooks of the order included.
const BUDGET: usize = 45;
/// Units of DynamoDB that such an order takes at most: about 39 and 26. Ids and sealed data pack a little better or worse each
/// time, and a webhook may come before the result it tells of.
const UNITS: (f64, f64) = (44.0, 30.0);

/// Of these at most so many are of each service, and none of any other: 28 and 12, and what a webhook costs that comes before the
/// result it tells of.
const BY_SERVICE: [(&str, usize); 2] = [("dynamodb", 32), ("sqs", 13)];

/// The calls our code made so far: what the queues themselves do (receive, delete) is not among them.
async fn calls(cloud: &mut Cloud) -> Vec<Json> {
    let all = cloud.stack.ask(json!({ "do": "calls" })).await;
    let ours = |call: &&Json| {
        let by = call["function"].as_str().unwrap_or_default();
        let what = call["call"].as_str().unwrap_or_default();
        // Start of a cold environment, schedules, and the tick's own look-outs are no order's.
        let work = ["tick", "sweep", "settle"].iter().all(|name| !by.contains(name));
        let start = what.starts_with("secretsmanager:");
        !by.is_empty()
            && work
            && !start
            && what != "sqs:ReceiveMessage"
            && !what.starts_with("sqs:DeleteMessage")
    };
    all.as_array().unwrap().iter().filter(ours).cloned().collect()
}

/// An order of somebody new, alone.
pub(crate) async fn an_order_takes_at_most_45_calls(cloud: &mut Cloud) {
    cloud.rest().await;
    let before = calls(cloud).await.len();
    let logged = logged(cloud).await;
    let invoked = cloud.stack.ask(json!({ "do": "invocations" })).await;
    cloud.place("C-1", "pm_card_visa");
    cloud.until_status("C-1", "Paid").await;
    cloud.rest().await;
    let after = calls(cloud).await;
    let mut by_kind: BTreeMap<(String, String), usize> = BTreeMap::new();
    for call in after.iter().skip(before) {
        let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        *by_kind.entry((text("call"), text("function"))).or_default() += 1;
    }
    let total = after.len() - before;
    println!("calls of an order paid at once, by operation and function: {total} {by_kind:#?}");
    assert!(total > 20, "{total} calls: the recorder missed some");
    leave_for_costing(cloud, after.get(before..).unwrap_or_default(), &invoked, logged).await;
    assert!(total <= BUDGET, "{total} calls");
    by_service(&by_kind);
    let units = |name: &str| after.iter().skip(before).filter_map(|call| call[name].as_f64()).sum::<f64>();
    let spent = (units("write"), units("read"));
    println!("write and read units of an order paid at once: {spent:?}");
    assert!(spent.0 <= UNITS.0 && spent.1 <= UNITS.1, "{spent:?} units, at most {UNITS:?}");
}

/// Prints what each function asked of each service, and holds each service to its bound.
fn by_service(by_kind: &BTreeMap<(String, String), usize>) {
    let mut rows: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for ((call, function), n) in by_kind {
        let service = call.split(':').next().unwrap();
        *rows.entry(function).or_default().entry(service).or_default() += n;
        *sums.entry(service).or_default() += n;
    }
    rows.insert("all", sums.clone());
    println!("| function | {} |", BY_SERVICE.map(|(service, _)| service).join(" | "));
    println!("|---|---|---|");
    for (function, of) in &rows {
        let counts = BY_SERVICE.map(|(service, _)| of.get(service).copied().unwrap_or(0).to_string());
        println!("| {function} | {} |", counts.join(" | "));
    }
    for (service, n) in sums {
        let most = BY_SERVICE.iter().find(|(known, _)| *known == service).map_or(0, |(_, most)| *most);
        assert!(n <= most, "{n} calls of {service}, at most {most}");
    }
}

/// Secrets live across invocations: a process reads each that it needs as it starts, and no invocation after that reads one again,
/// but for a time limit and for a key that was turned away (`desk::a_rotated_key_is_read_when_the_old_one_is_refused`).
pub(crate) async fn warm_invocations_read_no_secret(cloud: &Cloud) {
    cloud.rest().await;
    // What runs now would read its secrets again at times of its own.
    cloud.stack.ask(json!({ "do": "end" })).await;
    let (read, started, invoked) =
        (secret_reads(cloud).await, counts(cloud, "starts").await, counts(cloud, "invocations").await);
    let begun = cloud.now();
    for order in ["R-1", "R-2", "R-3", "R-4"] {
        cloud.place(order, "pm_card_visa");
        cloud.until_status(order, "Paid").await;
        cloud.rest().await;
    }
    assert!(cloud.now().since(begun) < KEEP, "it took so long that secrets are read again");
    let starts = grown(&counts(cloud, "starts").await, &started);
    let of = |function: &str| starts.get(function).copied().unwrap_or(0);
    println!("| function | secret | starts | readings |\n|---|---|---|---|");
    for ((function, secret), times) in grown(&secret_reads(cloud).await, &read) {
        println!("| {function} | {secret} | {} | {times} |", of(&function));
        assert!(
            times <= of(&function),
            "{function} read {secret} {times} times in {} processes",
            of(&function)
        );
    }
    // Otherwise nothing was shown.
    let times = grown(&counts(cloud, "invocations").await, &invoked);
    let stages = cloud.stack.ask(json!({ "do": "stages" })).await;
    for stage in ["receive", "decide", "act"] {
        let of_it = stages.as_object().unwrap().iter().filter(|(_, of)| *of == stage);
        let processes: u64 = of_it.map(|(name, _)| of(&format!("tillway-dev-{name}"))).sum();
        let invocations = times.get(stage).copied().unwrap_or(0);
        println!("{stage}: {invocations} invocations in {processes} processes");
        assert!(processes > 0 && invocations >= 2 * processes, "{stage}: hardly an invocation was warm");
    }
}

/// What the stack counts by name.
async fn counts(cloud: &Cloud, what: &str) -> BTreeMap<String, u64> {
    let all = cloud.stack.ask(json!({ "do": what })).await;
    all.as_object().unwrap().iter().map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(0))).collect()
}

/// How often each function read each secret.
async fn secret_reads(cloud: &Cloud) -> BTreeMap<(String, String), u64> {
    let mut out = BTreeMap::new();
    for call in cloud.stack.ask(json!({ "do": "calls" })).await.as_array().unwrap() {
        if call["call"].as_str().is_some_and(|what| what.starts_with("secretsmanager:")) {
            let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            *out.entry((text(&call["function"]), text(&call["actions"][0][1]))).or_default() += 1;
        }
    }
    out
}

/// By how much each has grown, where it has.
fn grown<K: Ord + Clone>(after: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let more = after.iter().map(|(name, n)| (name.clone(), n - before.get(name).copied().unwrap_or(0)));
    more.filter(|(_, n)| *n > 0).collect()
}

/// Lines and bytes that our functions wrote so far: what the emulator writes of its own is no JSON.
async fn logged(cloud: &mut Cloud) -> (usize, usize) {
    let (mut lines, mut bytes) = (0, 0);
    for stage in ["receive", "decide", "act"] {
        let log = cloud.stack.ask(json!({ "do": "logs", "stage": stage })).await;
        for line in
            log.as_array().unwrap().iter().filter_map(Json::as_str).filter(|line| line.starts_with('{'))
        {
            lines += 1;
            bytes += line.len();
        }
    }
    (lines, bytes)
}

/// Leaves the calls, invocations and lines of log of the one order for `tests/aws/cost.py`.
async fn leave_for_costing(cloud: &mut Cloud, calls: &[Json], before: &Json, logged_before: (usize, usize)) {
    let Ok(path) = std::env::var("TILLWAY_TEST_CALLS") else { return };
    let lines: Vec<String> = calls.iter().map(Json::to_string).collect();
    std::fs::write(format!("{path}.order"), lines.join("\n")).unwrap();
    let after = cloud.stack.ask(json!({ "do": "invocations" })).await;
    let count = |of: &Json, stage: &str| of[stage].as_i64().unwrap_or(0);
    let stages = ["receive", "decide", "act"];
    let spent: serde_json::Map<String, Json> =
        stages.iter().map(|s| ((*s).to_owned(), (count(&after, s) - count(before, s)).into())).collect();
    std::fs::write(format!("{path}.invocations"), Json::Object(spent).to_string()).unwrap();
    let (lines, bytes) = logged(cloud).await;
    let written = json!({ "lines": lines - logged_before.0, "bytes": bytes - logged_before.1 });
    std::fs::write(format!("{path}.logs"), written.to_string()).unwrap();
}

/// Secrets, the customer's data and card numbers are in no log.
pub(crate) async fn nothing_secret_is_logged(cloud: &mut Cloud) {
    let mut lines = 0;
    for stage in ["receive", "decide", "act", "schedules"] {
        let log = cloud.stack.ask(json!({ "do": "logs", "stage": stage })).await;
        for line in log.as_array().unwrap() {
            let line = line.as_str().unwrap();
            lines += 1;
            let plain = line.replace([' ', '-'], "");
            let people = ["PRIVATE KEY", "tok_visa", "@example.com", "Rosen", "card_visa"];
            for canary in canaries().into_iter().chain(people) {
                assert!(!line.contains(canary), "a canary stands in the log of {stage}");
            }
            assert!(
                !plain.contains(&CARD_NUMBER.replace(' ', "")),
                "a card number stands in the log of {stage}"
            );
        }
    }
    assert!(lines > 100, "{lines} lines of log");
    let metrics = cloud.stack.ask(json!({ "do": "metrics" })).await;
    for name in [
        "received",
        "receive_refused",
        "decided",
        "events",
        "parked_open",
        "due_oldest_seconds",
        "settlement_overdue_seconds",
    ] {
        assert!(metrics.get(name).is_some(), "{name} was never told: {metrics}");
    }
}
