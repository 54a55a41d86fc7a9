//! One command is one effect, whatever becomes of its answer.

use tillway_connectors::{Finding, Outcome};
use tillway_core::time::Millis;
use tillway_sandbox::ApiFault;

use crate::world::{System, World, how};

/// Effects, those aside that a connector says may be left behind.
fn used<S: System>(count: usize, action: &str) -> usize {
    let connector = S::connector();
    if count > 1 && connector.capabilities().leaves_another.contains(&action) {
        println!("{}: {action}: {} left behind, as declared", connector.system(), count - 1);
        return 1;
    }
    count
}

/// The same command twice, at once and later.
pub async fn twice<S: System>() {
    for write in S::WRITES {
        for wait in [Millis(0), Millis::mins(2)] {
            let world = World::<S>::new();
            let params = S::ready(&world, write.action).await;
            assert_eq!(world.count(write.action), 0, "{} before", write.action);
            let first = world.call(write.action, &params, 0).await;
            assert!(matches!(first, Outcome::Settled { .. }), "{}: {}", write.action, how(&first));
            assert_eq!(world.count(write.action), 1, "{}", write.action);
            world.pass(wait);
            let again = world.call(write.action, &params, 0).await;
            assert_eq!(
                used::<S>(world.count(write.action), write.action),
                1,
                "{} again after {wait}: {}",
                write.action,
                how(&again)
            );
            // Whoever looks finds it.
            world.pass(S::connector().indexing_lag());
            let found = world.find_out(write.action, &params, 0).await;
            assert!(
                matches!(found, Finding::Evidence(Outcome::Settled { .. })),
                "{} is found: {found:?}",
                write.action
            );
            let after = used::<S>(world.count(write.action), write.action);
            assert_eq!(after, 1, "{} after a look", write.action);
        }
    }
}

/// An answer lost after the effect is found; one lost before it is sent again, once.
pub async fn lost<S: System>() {
    for write in S::WRITES {
        for (fault, happened) in [
            (ApiFault::SilenceAfter, true),
            (ApiFault::Fail500AfterEffect, true),
            (ApiFault::SilenceBefore, false),
            (ApiFault::Fail500, false),
            (ApiFault::Refuse(503), false),
        ] {
            let what = format!("{} under {}", write.action, fault.name());
            let world = World::<S>::new();
            let params = S::ready(&world, write.action).await;
            world.fault(write, fault);
            let (end, first) = world.carry(write.action, &params).await;
            // Where nothing was executed it may be known, or sent again at once because the provider said so; silence and
            // an error after the effect leave it open.
            let open = matches!(first, Outcome::Unknown { .. });
            let over = matches!(first, Outcome::NotDone { .. } | Outcome::Settled { .. });
            assert!(open || (!happened && over), "{what}: {}", how(&first));
            assert!(matches!(end, Outcome::Settled { .. }), "{what}: {}", how(&end));
            assert_eq!(used::<S>(world.count(write.action), write.action), 1, "{what}");
        }
    }
}
