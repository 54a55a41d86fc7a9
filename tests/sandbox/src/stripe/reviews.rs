//! Reviews: opened for elevated risk, closed by a person or by what happens to the payment.

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};

impl StripeSandbox {
    pub(super) fn approve_review(&mut self, id: &str, form: &Node) -> Result<Doc, ApiError> {
        let row = self.row_at(Kind::Review, id)?;
        Self::expand(Kind::Review, form, false)?;
        self.shut_review(row, "approved")?;
        self.shown(Kind::Review, row, form)
    }

    pub(super) fn shut_review(&mut self, row: Row, reason: &'static str) -> Result<(), ApiError> {
        let review = self.reviews.edit(row).ok_or_else(ApiError::bug)?;
        if review.closed_reason.is_some() {
            return Err(ApiError::invalid("This review is closed already").executed());
        }
        review.closed_reason = Some(reason);
        let (payment, charge) = (review.payment, review.charge);
        // A closed review is no longer shown on what it was about. [from memory]
        if let Some(payment) = self.payments.edit(payment) {
            payment.review = None;
        }
        if let Some(charge) = self.charges.edit(charge) {
            charge.review = None;
        }
        self.emit_of(Kind::Review, row, "review.closed", None);
        Ok(())
    }

    /// Closes what is still open for a payment.
    pub(super) fn close_reviews(&mut self, payment: Row, reason: &'static str) {
        let reviews = self.links.get(payment).map(|l| l.reviews.clone()).unwrap_or_default();
        for row in reviews {
            if self.reviews.get(row).is_some_and(|r| r.closed_reason.is_none()) {
                // Open and present: cannot be refused.
                let _closed = self.shut_review(row, reason);
            }
        }
    }
}
