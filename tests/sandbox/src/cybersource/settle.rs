//! What time does: holds end, batches go to the processor.

use tillway_core::time::{Millis, Timestamp};

use super::ids::Row;
use super::model::{Batch, Closed, Kind, Way};
use super::{CybersourceSandbox, Timer};

const DAY: i64 = 86_400_000;

impl CybersourceSandbox {
    /// Puts a capture, a sale or a refund where the next batch takes it from.
    pub(super) fn enqueue(&mut self, row: Row) {
        if self.pending.is_empty() {
            let today = Timestamp(self.now.0 - self.now.0.rem_euclid(DAY)) + self.config.cut_off;
            let next = if today > self.now { today } else { today + Millis::days(1) };
            self.set_timer(next, Timer::CutOff);
        }
        self.pending.push(row);
    }

    pub(super) fn expire(&mut self, row: Row) {
        let now = self.now;
        if let Some(payment) = self.txs.get_mut(row).and_then(|t| t.payment.as_deref_mut())
            && payment.closed.is_none()
        {
            payment.lapsed = payment.held();
            payment.closed = Some(Closed::Expired);
            payment.closed_at = Some(now);
        }
    }

    /// The cut-off: what is pending can no longer be voided.
    pub(super) fn batch(&mut self) {
        let rows: Vec<Row> = std::mem::take(&mut self.pending);
        let rows: Vec<Row> =
            rows.into_iter().filter(|r| self.txs.get(*r).is_some_and(|t| t.way == Way::Pending)).collect();
        for row in &rows {
            self.went(*row, Way::Batched);
        }
        if !rows.is_empty() {
            let batch = self.batches.len();
            self.batches.push(Batch { at: self.now, rows });
            self.set_timer(self.now + self.config.transmit_after, Timer::Transmit(batch));
        }
    }

    pub(super) fn transmit(&mut self, batch: Row) {
        let rows = self.batches.get(batch).map(|b| b.rows.clone()).unwrap_or_default();
        for row in rows {
            if self.refund_fails(row) {
                self.went(row, Way::Failed);
                self.unrefund(row);
            } else if let Some(tx) = self.txs.get_mut(row) {
                tx.way = Way::Transmitted;
            }
        }
    }

    fn unrefund(&mut self, row: Row) {
        let Some((root, amount)) = self.txs.get(row).map(|t| (t.root, t.amount)) else { return };
        if let Some(payment) = self.txs.get_mut(root).and_then(|t| t.payment.as_deref_mut()) {
            payment.refunded -= amount;
        }
    }

    fn went(&mut self, row: Row, way: Way) {
        let Some(tx) = self.txs.get_mut(row) else { return };
        tx.way = way;
        let event = match tx.kind {
            Kind::Refund => "payments.refund.status.updated",
            _ => "payments.capture.status.updated",
        };
        // The row is there, so nothing can be refused.
        let _told = self.tell(row, event);
    }
}
