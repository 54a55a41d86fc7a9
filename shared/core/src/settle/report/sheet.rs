//! Sums of a batch, and of a currency over batches.

use std::collections::BTreeMap;

use super::amount::{Amount, basis_points};
use super::text::shown;
use super::{BatchRow, State, Step, StepSum, Totals};
use crate::money::Currency;
use crate::settle::line::{Day, Kind, SettlementLine};

#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) known: Option<Known>,
    pub(super) totals: BTreeMap<Currency, Totals>,
    pub(super) counts: [u64; 3],
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: State,
    pub(super) payout: Option<Amount>,
    pub(super) funded_on: Option<Day>,
    pub(super) refusals: Vec<String>,
}

impl Sheet {
    pub(super) fn row(self, id: &str, currencies: &mut BTreeMap<Currency, Totals>) -> BatchRow {
        let known = self.known.unwrap_or_else(|| Known {
            state: State::Refused,
            payout: None,
            funded_on: None,
            refusals: vec!["lines came without their batch: list the batch again".to_owned()],
        });
        let mut totals: Vec<Totals> = self.totals.into_values().collect();
        for part in &mut totals {
            part.rate();
            if let Some(payout) = known.payout.filter(|p| p.currency == part.currency) {
                part.paid_out = payout;
            }
            currencies.entry(part.currency).or_insert_with(|| Totals::new(part.currency)).add(part);
        }
        let [matched, explained, open] = self.counts;
        BatchRow {
            id: shown(id),
            state: known.state,
            totals,
            payout: known.payout,
            funded_on: known.funded_on.map(|d| d.to_string()),
            matched,
            explained,
            open,
            refusals: known.refusals,
        }
    }
}

impl Totals {
    pub(super) fn new(currency: Currency) -> Self {
        let none = Amount::new(0, currency);
        let steps = Step::ALL.into_iter().map(|step| StepSum { step, sum: none }).collect();
        Self {
            currency,
            lines: 0,
            payments: 0,
            refunds: 0,
            disputes: 0,
            steps,
            net: none,
            fee_rate_basis_points: None,
            paid_out: none,
        }
    }

    fn move_by(&mut self, step: Step, minor: i128) {
        if let Some(found) = self.steps.iter_mut().find(|s| s.step == step) {
            found.sum.minor += minor;
            self.net.minor += minor;
        }
    }

    pub(super) fn take(&mut self, line: &SettlementLine) {
        let (fee, tax) = (i128::from(line.fee), i128::from(line.fee_tax));
        self.move_by(Step::Fees, tax - fee);
        self.move_by(Step::FeeTax, -tax);
        let Some(step) = Step::of(line.kind) else { return };
        self.move_by(step, i128::from(line.gross));
        self.lines += 1;
        match line.kind {
            Kind::Charge => self.payments += 1,
            Kind::Refund => self.refunds += 1,
            Kind::Dispute => self.disputes += 1,
            _ => {}
        }
    }

    /// Says the rate, once all is in.
    pub(super) fn rate(&mut self) {
        let fees = -(self.step(Step::Fees).minor + self.step(Step::FeeTax).minor);
        self.fee_rate_basis_points = basis_points(fees, self.step(Step::Charges).minor);
    }

    fn add(&mut self, other: &Self) {
        for part in &other.steps {
            self.move_by(part.step, part.sum.minor);
        }
        self.lines += other.lines;
        self.payments += other.payments;
        self.refunds += other.refunds;
        self.disputes += other.disputes;
        self.paid_out.minor += other.paid_out.minor;
    }
}
