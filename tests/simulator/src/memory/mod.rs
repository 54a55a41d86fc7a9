//! The ports in memory, under virtual time. Each call yields at least once, and each may meet a fault.

pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod people;
pub(crate) mod queue;
pub(crate) mod small;
pub(crate) mod store;

use std::sync::Arc;

use crate::exec::Core;
use crate::faults::{Fate, Faults, Op};

/// The way into and out of every port call.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) core: Arc<Core>,
    pub(crate) faults: Arc<Faults>,
}

/// The call fails, with or without its effect.
pub(crate) struct Broken;

impl Gate {
    /// Before the effect. `Err`: nothing was done.
    pub(crate) async fn enter(&self, op: Op) -> Result<Fate, Broken> {
        Core::yield_now().await;
        let fate = self.faults.fate(op);
        match fate {
            Fate::CrashBefore => {
                self.core.crash().await;
                Err(Broken)
            }
            Fate::FailBefore => Err(Broken),
            Fate::StallBefore(length) => {
                self.core.stall(length).await;
                Ok(Fate::Fine)
            }
            fate => Ok(fate),
        }
    }
    /// After the effect. `Err`: done, and nobody hears of it.
    pub(crate) async fn leave(&self, fate: Fate) -> Result<(), Broken> {
        match fate {
            Fate::CrashAfter => {
                self.core.crash().await;
                Err(Broken)
            }
            Fate::FailAfter => Err(Broken),
            Fate::StallAfter(length) => {
                self.core.stall(length).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
