//! What no webhook told is found page by page, and a sweep that is cut goes on where it stood.

use std::collections::{BTreeMap, BTreeSet};

use tillway_connectors::port::NotDone;
use tillway_core::http::Response;
use tillway_core::time::{Millis, Timestamp};

use crate::world::{START, System, World};

const THINGS: usize = 23;

/// Events by id with their whole bodies, in the order they came.
async fn pages<S: System>(world: &World<S>, cut: bool) -> Vec<Vec<(String, String)>> {
    let since = Timestamp::from_unix(START) - Millis::mins(1);
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..200 {
        if cut {
            // The connection breaks, then the next try is throttled, then a worker takes over with the cursor alone.
            for status in [503, 429] {
                world.before(move |_| Some(Response::new(status)));
                let broken = world.sweep(since, cursor.as_deref()).await.err();
                let expected = [NotDone::Unavailable, NotDone::Throttled];
                assert!(broken.is_some_and(|why| expected.contains(&why)), "{broken:?}");
            }
            world.straighten();
        }
        let page = world.sweep(since, cursor.as_deref()).await.unwrap();
        pages.push(page.events.into_iter().map(|e| (e.event_id, e.body.json().to_string())).collect());
        match page.next {
            Some(next) => cursor = Some(next),
            None => return pages,
        }
    }
    panic!("the sweep comes to no end")
}

pub async fn cut<S: System>() {
    let world = World::<S>::new();
    let things = S::fill(&world, THINGS).await;
    assert!(things.len() >= THINGS);
    let whole = pages(&world, false).await;
    let full = whole.iter().filter(|p| !p.is_empty()).count();
    assert!(full >= 3, "{full} pages are none to speak of");
    let all: BTreeMap<&str, &str> =
        whole.iter().flatten().map(|(id, body)| (id.as_str(), body.as_str())).collect();
    for thing in &things {
        let told = all
            .iter()
            .filter(|(id, body)| id.contains(thing.as_str()) || body.contains(&format!("\"{thing}\"")));
        assert_eq!(told.count(), 1, "{thing} is told once");
    }
    // Met again, it bears the same id and is dropped by that.
    assert_eq!(all.len(), things.len());

    let again = pages(&world, true).await;
    let ids = |pages: &[Vec<(String, String)>]| -> BTreeSet<String> {
        pages.iter().flatten().map(|(id, _)| id.clone()).collect()
    };
    assert_eq!(ids(&again), ids(&whole), "cut and gone on with");
    assert_eq!(again.iter().map(Vec::len).sum::<usize>(), whole.iter().map(Vec::len).sum::<usize>());
    println!("{}: {} things on {full} pages", S::connector().system(), things.len());
}
