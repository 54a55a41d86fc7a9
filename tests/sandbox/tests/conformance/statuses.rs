//! Every status of the vendor has a meaning, and a new one is neither success nor failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tillway_connectors::{Finding, Outcome};
use tillway_core::time::Millis;
use tillway_sandbox::ApiFault;

use crate::world::{Kind, System, World, how, spec};

/// The vendor's list, where the shared folder is at hand.
fn listed(kind: &Kind) -> Option<Vec<String>> {
    let (file, place) = kind.listed?;
    let text = spec(file)?;
    if !place.starts_with('/') {
        let line = text.lines().find(|l| l.contains(place)).expect("the list has moved");
        let list = line.split_once('[').unwrap().1.split_once(']').unwrap().0;
        return Some(list.split(',').map(|w| w.trim().to_owned()).collect());
    }
    let file: Value = serde_json::from_str(&text).unwrap();
    let list = file.pointer(place).and_then(Value::as_array).expect("the list has moved");
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Puts a word in the place of every result.
fn replace<S: System>(body: &mut Value) -> bool {
    match body {
        Value::Object(members) => members.iter_mut().fold(false, |any, (name, value)| {
            if S::RESULTS.contains(&name.as_str()) && value.is_string() {
                *value = S::NEW_WORD.into();
                return true;
            }
            replace::<S>(value) || any
        }),
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| replace::<S>(item).then_some(())).count() > 0
        }
        _ => false,
    }
}

/// A provider that answers every question with a status nobody knows: nothing is taken for done or refused.
pub async fn unheard_of<S: System>() {
    for write in S::WRITES {
        for lost in [false, true] {
            let world = World::<S>::new();
            let params = S::ready(&world, write.action).await;
            let bent = Arc::new(AtomicBool::new(false));
            let seen = bent.clone();
            world.after(move |_, response| {
                let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
                if response.is_success() && replace::<S>(&mut body) {
                    seen.store(true, Ordering::Relaxed);
                    response.body = body.to_string().into_bytes();
                }
            });
            let outcome = if lost {
                world.fault(write, ApiFault::SilenceAfter);
                let first = world.call(write.action, &params, 0).await;
                if !matches!(first, Outcome::Unknown { .. }) {
                    // It reads before it writes, and went no further.
                    assert_eq!(world.count(write.action), 0, "{}: {}", write.action, how(&first));
                    continue;
                }
                world.pass(Millis::secs(61));
                world.pass(S::connector().indexing_lag());
                bent.store(false, Ordering::Relaxed);
                match world.find_out(write.action, &params, 0).await {
                    Finding::Evidence(outcome) => outcome,
                    _ => continue,
                }
            } else {
                world.call(write.action, &params, 0).await
            };
            let what = format!("{}, lost {lost}: {}", write.action, how(&outcome));
            if !bent.load(Ordering::Relaxed) {
                println!("{}: {}: its answers bear no status", S::connector().system(), write.action);
                continue;
            }
            if S::STATUSLESS.contains(&write.action) {
                println!("{}: {}: no status is about it", S::connector().system(), write.action);
                continue;
            }
            match &outcome {
                Outcome::Disagrees { what: told, .. } => {
                    assert!(told.contains(S::NEW_WORD), "{what}: {told}")
                }
                Outcome::Refused { code, .. } => assert_eq!(code, "status_unknown", "{what}"),
                Outcome::Unknown { .. } | Outcome::NotDone { .. } => {}
                Outcome::Settled { .. } => panic!("{what}"),
            }
        }
    }
}

pub async fn total<S: System>() {
    for kind in S::KINDS {
        let mut words: Vec<String> = kind.words.iter().map(|w| (*w).to_owned()).collect();
        if let Some(listed) = listed(kind) {
            assert_eq!(
                listed.iter().collect::<std::collections::BTreeSet<_>>(),
                words.iter().collect(),
                "the vendor's list of {}",
                kind.name
            );
            words = listed;
        }
        for word in &words {
            let told = S::told(kind.name, word).await;
            let to_a_person = kind.to_a_person.contains(&word.as_str());
            assert_eq!(told.is_err(), to_a_person, "{} {word}: {told:?}", kind.name);
        }
        match S::told(kind.name, S::NEW_WORD).await {
            Err(what) => assert_eq!(what.contains(S::NEW_WORD), !kind.free, "{}: {what}", kind.name),
            Ok(facts) => {
                let neither = |f: &tillway_core::facts::Fact| {
                    use tillway_core::facts::{Fact, ReviewOutcome};
                    matches!(f, Fact::ReviewClosed { outcome: ReviewOutcome::Closed, .. })
                };
                assert!(kind.open && facts.iter().all(neither), "{}: {facts:?}", kind.name);
            }
        }
        // What is no word is not repeated.
        let prose = "Ann Canary, ann@canary.example";
        if let Err(what) = S::told(kind.name, prose).await {
            assert!(!what.to_lowercase().contains("canary"), "{what}");
        }
        println!("{}: {}: {} statuses", S::connector().system(), kind.name, words.len());
    }
}
