//! What lines prove: effects of unknown outcome end, and the gateway is asked about objects the books do not know.

use tillway_connectors::port::NotDone;
use tillway_connectors::{Observation, Owner};
use tillway_core::ids::OrderKey;
use tillway_core::time::Millis;

use super::Run;
use super::records::{PlanDoc, Proof};
use crate::engine::{Engine, WorkError};
use crate::ports::{Key, Severity};
use crate::records::{Event, EventBody, Origin};

/// How long a run waits for an object that a line proves, and cannot be read.
const PATIENCE: Millis = Millis::hours(6);

impl Engine {
    /// Lets every effect that a line proves leave Unknown, and tells orders of what only the gateway knew.
    pub(super) async fn take_evidence(&self, run: &mut Run<'_>, plan: &PlanDoc) -> Result<(), WorkError> {
        for proof in &plan.proofs {
            self.take_proof(run, plan, proof).await?;
            self.keep_book(run).await?;
        }
        for object in &plan.unknown {
            // Nobody's, or not to be had now: it stays open, and the next run asks again.
            let found = self.read(run, object).await.ok().flatten();
            if let Some((Owner::Order { id }, told)) = found
                && let Some(order) = self.order_key(run.name(), &id)
            {
                self.tell_order(run, object, order, told).await?;
            }
            self.keep_book(run).await?;
        }
        Ok(())
    }

    /// The line stands whatever the gateway says of the object; but what it says is booked, and without it nothing is: then the
    /// call stays of unknown outcome, and a person is told.
    async fn take_proof(&self, run: &Run<'_>, plan: &PlanDoc, proof: &Proof) -> Result<(), WorkError> {
        let Proof { record: (pk, sk), object, line, batch } = proof;
        let name = run.name();
        let why = match self.read(run, object).await {
            Ok(Some((_, told))) if !told.facts.is_empty() => {
                let said = format!("proven by settlement line {line} of batch {batch}");
                return self.prove(&Key::new(pk.as_str(), sk.as_str()), &said, object, &told).await;
            }
            Ok(_) => "tells nothing of it".to_owned(),
            Err(NotDone::Unauthorized) => "refuses to show it (give the key the right to read it)".to_owned(),
            Err(why) if self.now().since(plan.at) < PATIENCE => {
                return Err(WorkError::Config(format!("{name}: {object} cannot be read now ({why:?})")));
            }
            // One object that cannot be read must not hold up all others for good.
            Err(why) => format!("cannot show it ({why:?})"),
        };
        let text = format!(
            "{name}: line {line} of batch {batch} proves {object}, and the gateway {why}; look the payment up and settle its \
             call by hand"
        );
        self.alert("settlement_evidence", Severity::Critical, None, text).await;
        Ok(())
    }

    /// What the gateway says of an object, and whose it is.
    async fn read(&self, run: &Run<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        let http = self.outbound(run.connection, run.connector, None);
        let call =
            tillway_connectors::port::Call { action: "resolve", ..self.settle_call(run, &http, self.now()) };
        run.connector.resolve(call, object).await
    }

    /// The facts go the way of all facts: as an event to decide.
    async fn tell_order(
        &self,
        run: &Run<'_>,
        object: &str,
        order: OrderKey,
        told: Observation,
    ) -> Result<(), WorkError> {
        if told.facts.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let event = Event {
            connection: run.name().clone(),
            id: format!("settle:{object}:{}", run.book.fence),
            kind: "tillway.settlement".to_owned(),
            origin: Origin::Sweep,
            received_at: now,
            created_at: None,
            replay: 0,
            group: order.order_id().to_owned(),
            redacted: Vec::new(),
            body: EventBody::Told { order, facts: told.facts },
        };
        if self.send_events(&[event]).await { Ok(()) } else { Err(WorkError::NotSent) }
    }
}
