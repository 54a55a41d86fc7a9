//! Lists: newest first, by cursor, with bounds on `created`. Rows are in order of creation, so every
//! bound is a binary search.

use std::ops::Range;

use super::StripeSandbox;
use super::errors::ApiError;
use super::form::Node;
use super::gate::Doc;
use super::ids::{Kind, Row};
use super::json::{self, Obj};
use super::model::Source;

/// What a list is drawn from.
pub(super) enum Pool<'a> {
    /// All rows from the first to before the second.
    All(Row, Row),
    /// These rows, ascending.
    Some(&'a [Row]),
}

impl Pool<'_> {
    fn len(&self) -> usize {
        match self {
            Self::All(from, to) => to - from,
            Self::Some(rows) => rows.len(),
        }
    }
    fn at(&self, position: usize) -> Option<Row> {
        match self {
            Self::All(from, to) => Some(from + position).filter(|r| r < to),
            Self::Some(rows) => rows.get(position).copied(),
        }
    }
    /// The first position whose row does not satisfy `before`.
    fn split(&self, before: impl Fn(Row) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle).is_some_and(&before) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// A page of rows, and whether there are more.
pub(super) type Page = (Vec<Row>, bool);

impl StripeSandbox {
    /// Picks a page.
    pub(super) fn page(
        &self,
        form: &Node,
        kind: Kind,
        pool: &Pool<'_>,
        created: impl Fn(Row) -> i64,
        keep: impl Fn(Row) -> bool,
    ) -> Result<Page, ApiError> {
        let limit = form.int("limit").unwrap_or(10);
        let limit = usize::try_from(limit).ok().filter(|l| (1..=100).contains(l)).ok_or_else(|| {
            ApiError::invalid("This value must be between 1 and 100")
                .code("parameter_invalid_integer")
                .param("limit")
        })?;
        let range = range(form, "created");
        let at = |bound: i64| pool.split(|r| created(r) < bound);
        let (mut low, mut high) = (at(range.start), at(range.end));
        let cursor = |name: &str| match form.text(name) {
            Some(id) => self.ids.row(kind, id).map(Some).ok_or_else(|| ApiError::missing_in(kind, id, name)),
            None => Ok(None),
        };
        match (cursor("starting_after")?, cursor("ending_before")?) {
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("You cannot use both starting_after and ending_before"))
            }
            (None, Some(row)) => {
                low = low.max(pool.split(|r| r <= row));
                let mut rows: Vec<Row> =
                    (low..high).filter_map(|p| pool.at(p)).filter(|r| keep(*r)).take(limit + 1).collect();
                let more = rows.len() > limit;
                rows.truncate(limit);
                rows.reverse();
                Ok((rows, more))
            }
            (after, None) => {
                if let Some(row) = after {
                    high = high.min(pool.split(|r| r < row));
                }
                let mut rows: Vec<Row> = (low..high)
                    .rev()
                    .filter_map(|p| pool.at(p))
                    .filter(|r| keep(*r))
                    .take(limit + 1)
                    .collect();
                let more = rows.len() > limit;
                rows.truncate(limit);
                Ok((rows, more))
            }
        }
    }

    /// Renders a page of objects.
    pub(super) fn listed(&self, kind: Kind, page: Page, url: &str, form: &Node) -> Result<Doc, ApiError> {
        let expand = Self::expand(kind, form, true)?;
        let (rows, more) = page;
        let snaps = rows.into_iter().filter_map(|row| self.snap(kind, row));
        Ok(list_doc(url, more, |out| json::array(out, snaps, |out, snap| self.write(out, &snap, &expand))))
    }

    fn charge_created(&self, row: Row) -> i64 {
        self.charges.get(row).map_or(0, |c| c.created)
    }

    pub(super) fn list_payments(&self, form: &Node) -> Result<Doc, ApiError> {
        let pool = match form.text("customer") {
            Some(id) => {
                let customer = self.row_in(Kind::Customer, id, "customer")?;
                Pool::Some(self.index.payments_of.get(&customer).map_or(&[][..], Vec::as_slice))
            }
            None => Pool::All(0, self.payments.len()),
        };
        let created = |row| self.payments.get(row).map_or(0, |p| p.created);
        let page = self.page(form, Kind::Payment, &pool, created, |_| true)?;
        self.listed(Kind::Payment, page, "/v1/payment_intents", form)
    }

    pub(super) fn list_charges(&self, form: &Node) -> Result<Doc, ApiError> {
        let customer =
            form.text("customer").map(|id| self.row_in(Kind::Customer, id, "customer")).transpose()?;
        let pool = match (form.text("payment_intent"), customer) {
            (Some(id), _) => {
                let payment = self.row_in(Kind::Payment, id, "payment_intent")?;
                Pool::Some(self.links.get(payment).map_or(&[][..], |l| &l.charges))
            }
            (None, Some(row)) => Pool::Some(self.index.charges_of.get(&row).map_or(&[][..], Vec::as_slice)),
            (None, None) => Pool::All(0, self.charges.len()),
        };
        let of_customer =
            |row| customer.is_none() || self.charges.get(row).is_some_and(|c| c.customer == customer);
        let page = self.page(form, Kind::Charge, &pool, |row| self.charge_created(row), of_customer)?;
        self.listed(Kind::Charge, page, "/v1/charges", form)
    }

    /// The payment and charge that a list of refunds or disputes is narrowed to.
    fn narrowed(&self, form: &Node) -> Result<(Option<Row>, Option<Row>), ApiError> {
        let charge = form.text("charge").map(|id| self.row_in(Kind::Charge, id, "charge")).transpose()?;
        let payment = match form.text("payment_intent") {
            Some(id) => Some(self.row_in(Kind::Payment, id, "payment_intent")?),
            None => charge.and_then(|row| self.charges.get(row)).map(|c| c.payment),
        };
        Ok((payment, charge))
    }

    pub(super) fn list_refunds(&self, form: &Node) -> Result<Doc, ApiError> {
        let (payment, charge) = self.narrowed(form)?;
        let pool = match payment {
            Some(row) => Pool::Some(self.links.get(row).map_or(&[][..], |l| &l.refunds)),
            None => Pool::All(0, self.refunds.len()),
        };
        let created = |row| self.refunds.get(row).map_or(0, |r| r.created);
        let keep = |row| charge.is_none() || self.refunds.get(row).map(|r| r.charge) == charge;
        let page = self.page(form, Kind::Refund, &pool, created, keep)?;
        self.listed(Kind::Refund, page, "/v1/refunds", form)
    }

    pub(super) fn list_disputes(&self, form: &Node) -> Result<Doc, ApiError> {
        let (payment, charge) = self.narrowed(form)?;
        let pool = match payment {
            Some(row) => Pool::Some(self.links.get(row).map_or(&[][..], |l| &l.disputes)),
            None => Pool::All(0, self.disputes.len()),
        };
        let created = |row| self.disputes.get(row).map_or(0, |d| d.created);
        let keep = |row| charge.is_none() || self.disputes.get(row).map(|d| d.charge) == charge;
        let page = self.page(form, Kind::Dispute, &pool, created, keep)?;
        self.listed(Kind::Dispute, page, "/v1/disputes", form)
    }

    pub(super) fn list_reviews(&self, form: &Node) -> Result<Doc, ApiError> {
        let created = |row| self.reviews.get(row).map_or(0, |r| r.created);
        // Open ones only, as the real list. [from memory]
        let open = |row| self.reviews.get(row).is_some_and(|r| r.closed_reason.is_none());
        let page = self.page(form, Kind::Review, &Pool::All(0, self.reviews.len()), created, open)?;
        self.listed(Kind::Review, page, "/v1/reviews", form)
    }

    pub(super) fn list_payouts(&self, form: &Node) -> Result<Doc, ApiError> {
        let created = |row| self.payouts.get(row).map_or(0, |p| p.created);
        let arrival = range(form, "arrival_date");
        let keep = |row| {
            self.payouts.get(row).is_some_and(|p| {
                arrival.contains(&p.arrival) && form.text("status").is_none_or(|status| status == p.status)
            })
        };
        let page = self.page(form, Kind::Payout, &Pool::All(0, self.payouts.len()), created, keep)?;
        self.listed(Kind::Payout, page, "/v1/payouts", form)
    }

    pub(super) fn list_txns(&self, form: &Node) -> Result<Doc, ApiError> {
        let source = form.text("source").map(|id| self.source(id)).transpose()?;
        let payout = form.text("payout").map(|id| self.row_in(Kind::Payout, id, "payout")).transpose()?;
        if payout.and_then(|row| self.payouts.get(row)).is_some_and(|p| !p.put_together) {
            let message = "The balance transactions of this payout are still being put together.";
            return Err(ApiError::invalid(message).code("payout_reconciliation_not_ready").param("payout"));
        }
        let pool = match (source, payout) {
            (Some(source), _) => Pool::Some(self.index.txns_of.get(&source).map_or(&[][..], Vec::as_slice)),
            (None, Some(row)) => {
                Pool::Some(self.index.txns_of_payout.get(&row).map_or(&[][..], Vec::as_slice))
            }
            (None, None) => Pool::All(0, self.txns.len()),
        };
        let created = |row| self.txns.get(row).map_or(0, |t| t.created);
        let keep = |row| {
            self.txns.get(row).is_some_and(|t| {
                (payout.is_none() || t.payout == payout)
                    && form.text("type").is_none_or(|kind| kind == t.kind)
                    && form.text("currency").is_none_or(|c| c == t.currency.as_ref())
            })
        };
        let page = self.page(form, Kind::Txn, &pool, created, keep)?;
        self.listed(Kind::Txn, page, "/v1/balance_transactions", form)
    }

    fn source(&self, id: &str) -> Result<Source, ApiError> {
        let row = |kind| self.row_at(kind, id).ok();
        let found = row(Kind::Charge)
            .map(Source::Charge)
            .or_else(|| row(Kind::Refund).map(Source::Refund))
            .or_else(|| row(Kind::Dispute).map(Source::Dispute))
            .or_else(|| row(Kind::Payout).map(Source::Payout));
        found.ok_or_else(|| ApiError::missing_in(Kind::Other, id, "source"))
    }
}

/// The instants that a parameter asks for: one, or bounds.
fn range(form: &Node, name: &str) -> Range<i64> {
    let bound = |side: &str| form.get(name).and_then(|r| r.int(side));
    let (exact, after) = (form.int(name), |t: i64| t.saturating_add(1));
    let from = [bound("gte"), bound("gt").map(after), exact];
    let to = [bound("lt"), bound("lte").map(after), exact.map(after)];
    from.into_iter().flatten().max().unwrap_or(i64::MIN)..to.into_iter().flatten().min().unwrap_or(i64::MAX)
}

/// A list object.
pub(super) fn list_doc(url: &str, more: bool, data: impl FnOnce(&mut String)) -> Doc {
    let mut out = String::with_capacity(4096);
    let mut obj = Obj::new(&mut out);
    obj.text("object", "list").with("data", data).flag("has_more", more).text("url", url);
    obj.end();
    Doc::Text(out.into())
}
