//! Disputes: money withdrawn when one is opened, reinstated when it is won.

use std::sync::Arc;

use super::StripeSandbox;
use super::errors::ApiError;
use super::ids::{Kind, Row};
use super::ledger::DISPUTE_FEE;
use super::model::{Dispute, Source};

impl StripeSandbox {
    pub(super) fn dispute(
        &mut self,
        payment: Row,
        amount: Option<i64>,
        reason: &str,
    ) -> Result<Row, ApiError> {
        let charge_row = self.charge_to_refund(payment)?;
        let charge = self.charges.get(charge_row).cloned().ok_or_else(ApiError::bug)?;
        let amount = amount.unwrap_or(charge.amount_captured);
        if amount < 1 || amount > charge.amount_captured {
            return Err(ApiError::invalid("A dispute is about 1 up to the captured amount").param("amount"));
        }
        let row = self.disputes.len();
        self.disputes.push(Dispute {
            row,
            charge: charge_row,
            payment,
            created: self.now.unix(),
            amount,
            currency: charge.currency.clone(),
            reason: Arc::from(reason),
            status: "needs_response",
            withdrawn: 0,
            reinstated: 0,
            txns: Vec::new(),
        });
        if let Some(links) = self.links.get_mut(payment) {
            links.disputes.push(row);
        }
        self.charges.edit(charge_row).ok_or_else(ApiError::bug)?.disputed = true;
        self.emit_of(Kind::Dispute, row, "charge.dispute.created", None);
        let names = ("adjustment", "dispute");
        let txn = self.book(Source::Dispute(row), names, -amount, DISPUTE_FEE, &charge.currency);
        let dispute = self.disputes.edit(row).ok_or_else(ApiError::bug)?;
        dispute.withdrawn = amount;
        dispute.txns.push(txn);
        self.emit_of(Kind::Dispute, row, "charge.dispute.funds_withdrawn", None);
        self.close_reviews(payment, "disputed");
        Ok(row)
    }

    /// Closes a dispute; one that was lost can still be won.
    pub(super) fn decide_dispute(&mut self, row: Row, won: bool) -> Result<(), ApiError> {
        let dispute = self.disputes.get(row).cloned().ok_or_else(ApiError::bug)?;
        if dispute.status == "won" || (dispute.status == "lost" && !won) {
            return Err(ApiError::invalid(format!("This dispute is {} already", dispute.status)));
        }
        self.disputes.edit(row).ok_or_else(ApiError::bug)?.status = if won { "won" } else { "lost" };
        self.emit_of(Kind::Dispute, row, "charge.dispute.closed", None);
        if won && dispute.reinstated == 0 { self.reinstate(row) } else { Ok(()) }
    }

    /// Gives the withdrawn money back; the fee stays.
    pub(super) fn reinstate(&mut self, row: Row) -> Result<(), ApiError> {
        let dispute = self.disputes.get(row).cloned().ok_or_else(ApiError::bug)?;
        if dispute.reinstated >= dispute.withdrawn {
            return Err(ApiError::invalid("The funds of this dispute were reinstated already"));
        }
        let names = ("adjustment", "dispute_reversal");
        let txn = self.book(Source::Dispute(row), names, dispute.withdrawn, 0, &dispute.currency);
        let changed = self.disputes.edit(row).ok_or_else(ApiError::bug)?;
        changed.reinstated = changed.withdrawn;
        changed.txns.push(txn);
        self.emit_of(Kind::Dispute, row, "charge.dispute.funds_reinstated", None);
        Ok(())
    }
}
