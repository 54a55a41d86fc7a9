//! A rate limit: nothing was done, and as long as the provider asks is waited.

use tillway_connectors::port::NotDone;
use tillway_connectors::{Finding, Outcome};
use tillway_core::http::Response;
use tillway_core::time::{Millis, Timestamp};

use crate::world::{START, System, World, how};

fn throttled(after: Option<&str>) -> Response {
    let mut answer = Response::new(429);
    answer.headers.extend(after.map(|a| ("retry-after".to_owned(), a.to_owned())));
    answer
}

pub async fn all<S: System>() {
    let actions = S::WRITES.iter().map(|w| w.action).chain(S::READS.iter().copied());
    for action in actions {
        let reads = S::READS.contains(&action);
        let world = World::<S>::new();
        let params = S::ready(&world, action).await;
        for (asked, expected) in [
            (Some("7"), Some(Millis::secs(7))),
            (Some("120"), Some(Millis::mins(2))),
            (None, None),
            (Some("soon"), None),
        ] {
            world.before(move |_| Some(throttled(asked)));
            let outcome = world.call(action, &params, 0).await;
            assert_eq!(
                outcome,
                Outcome::NotDone { after: expected, why: NotDone::Throttled },
                "{action}: {}",
                how(&outcome)
            );
        }
        let found = world.find_out(action, &params, 0).await;
        assert!(matches!(found, Finding::StillUnknown { .. }), "{action}: a limit is no evidence: {found:?}");
        assert!(reads || world.count(action) == 0, "{action}");
        world.straighten();
        let outcome = world.call(action, &params, 0).await;
        assert!(matches!(outcome, Outcome::Settled { .. }), "{action} afterwards: {}", how(&outcome));
        assert!(reads || world.count(action) == 1, "{action}");
    }
    let world = World::<S>::new();
    world.before(|_| Some(throttled(Some("7"))));
    let swept = world.sweep(Timestamp::from_unix(START) - Millis::mins(1), None).await;
    assert_eq!(swept.err(), Some(NotDone::Throttled));
}
