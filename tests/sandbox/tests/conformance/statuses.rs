//! Every status of the vendor has a meaning, and a new one is neither success nor failure.

use serde_json::Value;

use crate::world::{Kind, System, spec};

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
            Err(what) => assert!(what.contains(S::NEW_WORD), "{} names the word: {what}", kind.name),
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
