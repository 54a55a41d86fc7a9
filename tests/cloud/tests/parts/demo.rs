//! The demo's scenarios (`tillway demo`), the same code, on the stack; and the same promises checked at the end.

use std::collections::BTreeMap;

use tillway::demo::report::Outcome;
use tillway::demo::run::Placed;
use tillway::demo::scenarios::{ALL, Scenario};
use tillway::demo::stage::Merchant;
use tillway::demo::story::Story;
use tillway::demo::world::World;
use tillway::demo::{Judged, first_sweeps, judged, play_one};
use tillway_cloud_tests::theatre::{Actor, Theatre};
use tillway_cloud_tests::{Cloud, SEED};
use tillway_core::time::Millis;

/// What a stack cannot show, and why.
const NOT_ON_A_STACK: [(&str, &str); 0] = [];

/// Days pass in these: they come after the others, whose payments could be batched or run out meanwhile.
const LONG: [&str; 6] = [
    "captured-in-part",
    "authorization-expiring",
    "authorization-expired",
    "cyb-captured-in-part",
    "cyb-authorization-expiring",
    "cyb-authorization-expired",
];

/// How often each merchant is there: as many of its scenarios are played at a time.
pub(crate) fn casts(part: &str) -> usize {
    match part {
        "now" => 6,
        "cnow" => 5,
        "ship" | "cship" => 3,
        "follow" => 2,
        _ => 1,
    }
}

/// Merchants, each with its scenarios: those of a part are dealt out to its casts.
fn dealt(merchants: &[Merchant], scenarios: &[Scenario]) -> Vec<(String, Vec<Scenario>)> {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hands: BTreeMap<String, Vec<Scenario>> = BTreeMap::new();
    for scenario in scenarios {
        let n = next.entry(scenario.merchant).or_default();
        let cast = *n % casts(scenario.merchant);
        *n += 1;
        let name =
            if cast == 0 { scenario.merchant.to_owned() } else { format!("{}{cast}", scenario.merchant) };
        assert!(merchants.iter().any(|m| m.name == name), "no merchant {name}");
        hands.entry(name).or_default().push(*scenario);
    }
    hands.into_iter().collect()
}

/// Scenarios of the two halves; of both together every one that a stack can show.
fn halves() -> [Vec<Scenario>; 2] {
    let playable = ALL.iter().filter(|s| NOT_ON_A_STACK.iter().all(|(name, _)| *name != s.name)).copied();
    let (long, usual) = playable.partition(|s| LONG.contains(&s.name));
    [usual, long]
}

/// Every scenario of the demo is played on the stack, or stands in the list of those that it cannot show.
#[test]
fn every_scenario_of_the_demo_is_played_or_says_why_not() {
    let [usual, long] = halves();
    let mut known: Vec<&str> = usual.iter().chain(&long).map(|s| s.name).collect();
    known.extend(NOT_ON_A_STACK.iter().map(|(name, _)| *name));
    known.sort_unstable();
    let mut all: Vec<&str> = ALL.iter().map(|s| s.name).collect();
    all.sort_unstable();
    assert_eq!(known, all);
    assert_eq!(long.len(), LONG.len(), "a long one is no scenario any more");
    assert!(NOT_ON_A_STACK.iter().all(|(_, why)| !why.is_empty()));
}

async fn plays(actor: Actor<'_>, merchant: String, hand: Vec<Scenario>) -> Vec<(Outcome, Vec<Placed>)> {
    let mut out = Vec::new();
    for scenario in hand {
        let (begun, from) = (std::time::Instant::now(), actor.now());
        let mut story = Story::silent(from);
        let (mut outcome, placed) = play_one(&actor, &mut story, SEED, scenario, &merchant).await.unwrap();
        outcome.lines = std::mem::take(&mut story.lines);
        let (took, passed) = (begun.elapsed(), actor.now().since(from));
        let ended = outcome.failed.as_deref().unwrap_or("ended well");
        println!("  {} at {merchant}: {ended}; took {took:.1?}, {passed} passed", scenario.name);
        out.push((outcome, placed));
    }
    actor.leaves();
    out
}

/// Plays all. Answers the merchants.
pub(crate) async fn scenarios_end_as_on_one_machine(
    cloud: &Cloud,
    mut merchants: Vec<Merchant>,
) -> Vec<Merchant> {
    // Sweeps are asked for by the scenarios, so that what they find can be seen; the tick is sent with each move of the clock.
    cloud.stack.ask(serde_json::json!({ "do": "schedules", "state": "DISABLED" })).await;
    // The night's first hours: the day's cut-off is far.
    let day = Millis::days(1).0;
    cloud.clock.forward(Millis(day - cloud.now().0.rem_euclid(day) + Millis::hours(1).0));
    let mut played = Vec::new();
    for (n, half) in halves().into_iter().enumerate() {
        let hands = dealt(&merchants, &half);
        let theatre = Theatre::new(cloud, merchants, hands.len());
        if n == 0 {
            first_sweeps(&theatre.actor(0)).await.unwrap();
        }
        let all = hands.into_iter().enumerate();
        let all = all.map(|(number, (merchant, hand))| plays(theatre.actor(number), merchant, hand));
        // The keeper ends with those who play; where it breaks off before, so do they.
        let outcomes =
            tokio::try_join!(theatre.keep(), async { Ok(tillway_cloud_tests::together(all).await) });
        let ((), outcomes) = outcomes.unwrap();
        played.extend(outcomes.into_iter().flatten());
        merchants = theatre.into_merchants();
    }
    let theatre = Theatre::new(cloud, merchants, 1);
    let actor = theatre.actor(0);
    let end = async {
        let end = judged(&actor, played).await;
        actor.leaves();
        end
    };
    let ((), Judged { outcomes, kept, .. }) = tokio::try_join!(theatre.keep(), end).unwrap();
    let mut wrong = Vec::new();
    for outcome in &outcomes {
        let name = outcome.scenario.name;
        wrong.extend(outcome.failed.iter().map(|why| format!("{name}: {why}")));
        wrong.extend(outcome.rows.iter().flat_map(|r| &r.wrong).map(|why| format!("{name}, at last: {why}")));
        if !outcome.ok() && wrong.is_empty() {
            wrong.push(format!("{name}: an order has no end"));
        }
    }
    for promise in &kept {
        println!("  {}: {}", promise.promise, promise.how.join("; "));
        wrong.extend(promise.broken.iter().map(|why| format!("{}: {why}", promise.promise)));
    }
    assert!(wrong.is_empty(), "{} of {} scenarios: {wrong:#?}", wrong.len(), outcomes.len());
    cloud.stack.ask(serde_json::json!({ "do": "schedules", "state": "ENABLED" })).await;
    theatre.into_merchants()
}
