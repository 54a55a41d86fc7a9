//! What lines prove: effects of unknown outcome end, and the gateway is asked about objects the books do not know.

use tillway_connectors::port::NotDone;
use tillway_connectors::{Observation, Owner};
use tillway_core::ids::OrderKey;

use super::Run;
use super::records::{PlanDoc, Proof};
use crate::engine::{Engine, WorkError};
use crate::ports::{Key, Severity};
use crate::records::{Event, EventBody, Origin};

impl Engine {
    /// Lets every effect that a line proves leave Unknown, and tells orders of what only the gateway knew.
    pub(super) async fn take_evidence(&self, run: &mut Run<'_>, plan: &PlanDoc) -> Result<(), WorkError> {
        for proof in &plan.proofs {
            self.take_proof(run, proof).await?;
            self.keep_book(run).await?;
        }
        for object in &plan.unknown {
            // Nobody's, or not to be had now: it stays open, and the next run asks again.
            if let Ok(Some((order, told))) = self.ask(run, object).await {
                self.tell_order(run, object, order, told).await?;
            }
            self.keep_book(run).await?;
        }
        Ok(())
    }

    async fn take_proof(&self, run: &Run<'_>, proof: &Proof) -> Result<(), WorkError> {
        let Proof { record: (pk, sk), object, line, batch } = proof;
        let observation = match self.ask(run, object).await {
            Ok(Some((_, observation))) => observation,
            // The line stands whatever the gateway says of the object now.
            Ok(None) => Observation::default(),
            Err(NotDone::Unauthorized) => {
                let text = format!(
                    "{}: the gateway refuses to show {object}, which line {line} proves; give the key the right to \
                     read it, then look the payment up by hand",
                    run.name()
                );
                self.alert("settlement_evidence", Severity::Critical, None, text).await;
                return Ok(());
            }
            Err(why) => {
                let name = run.name();
                return Err(WorkError::Config(format!("{name}: {object} cannot be read now ({why:?})")));
            }
        };
        let said = format!("proven by settlement line {line} of batch {batch}");
        self.prove(&Key::new(pk.as_str(), sk.as_str()), &said, object, &observation).await
    }

    /// What the gateway says of an object.
    async fn ask(&self, run: &Run<'_>, object: &str) -> Result<Option<(OrderKey, Observation)>, NotDone> {
        let http = self.outbound(run.connection, run.connector, None);
        let call =
            tillway_connectors::port::Call { action: "resolve", ..self.settle_call(run, &http, self.now()) };
        let found = run.connector.resolve(call, object).await?;
        Ok(found.and_then(|(owner, observation)| match owner {
            Owner::Order { id } => Some((self.order_key(run.name(), &id)?, observation)),
            _ => None,
        }))
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
