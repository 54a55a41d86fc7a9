//! Joining a fact into the state.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Applied, Binding, Charge, Closed, Contradiction, Dispute, Failure, MadeCapture, OrderState, Payment,
    READ_STEP, Refund, RefundRequest, Review, Ruling, TotalChange, UndoneCapture,
};
use crate::facts::{AuthorizationEnd, CommandEnd, Fact, OrderSnapshot, OrderStatus, StepState, Unparked};
use crate::ids::ConnectionName;
use crate::journal::Role;
use crate::money::Money;
use crate::time::Timestamp;

impl OrderState {
    /// Joins one fact. Repeating a fact, or applying an older one late, changes nothing that is known.
    pub fn apply(&mut self, fact: &Fact, connection: &ConnectionName, at: Timestamp) -> Applied {
        let mut out = Applied::default();
        let foreign = if is_of_money(fact) { self.foreign_payments() } else { BTreeMap::new() };
        out.changed = self.join(fact, connection, at, &mut out);
        if out.changed {
            self.book(connection, at, &mut out);
        }
        if out.changed && is_of_money(fact) {
            out.contradictions.extend(self.currency_contradictions(&foreign));
            self.note_imbalance(at);
        }
        out
    }

    fn join(&mut self, fact: &Fact, connection: &ConnectionName, at: Timestamp, out: &mut Applied) -> bool {
        match fact {
            Fact::Order(snapshot) => self.join_order(snapshot),
            Fact::RefundRequested { id, amount, reason } => match self.refund_requests.get(id) {
                Some(known) => {
                    if known.amount != *amount {
                        out.contradictions.push(Contradiction {
                            code: "refund_request_changed",
                            object: id.clone(),
                            what: format!(
                                "refund request {id} asked for {} and now for {amount}; give the second one \
                                 an id of its own",
                                known.amount
                            ),
                        });
                    }
                    false
                }
                None => {
                    let request = RefundRequest { amount: *amount, reason: reason.clone() };
                    self.refund_requests.insert(id.clone(), request);
                    true
                }
            },
            Fact::Customer { id } => {
                let found_again = self.lost_customers.remove(id);
                let new = self.customer.is_none();
                self.customer.get_or_insert_with(|| id.clone());
                new || found_again
            }
            Fact::CustomerLost { id } => self.join_customer_lost(id),
            Fact::Profile(snapshot) => self.join_profile(snapshot),
            Fact::Instrument { id } => self.instruments.insert(id.clone()),
            Fact::Payment { payment, amount } => {
                // All amounts it was ever heard of with: which is the newest is told by authorizations alone,
                // for a late event must not bring an old one back.
                let entry = self.payment_mut(payment, connection);
                let new = !entry.was_for(*amount);
                match entry.amount {
                    None => entry.amount = Some(*amount),
                    Some(_) if new => entry.other_amounts.push(*amount),
                    Some(_) => {}
                }
                new
            }
            Fact::CardBrand { token, brand } => {
                let new = !self.brands.contains_key(token);
                self.brands.entry(token.clone()).or_insert_with(|| brand.clone());
                new
            }
            Fact::Routed { payment, route } => {
                let entry = self.payment_mut(payment, connection);
                if let Some(known) = entry.route.as_ref().filter(|known| *known != route) {
                    out.contradictions.push(Contradiction {
                        code: "route_changed",
                        object: payment.clone(),
                        what: format!(
                            "payment {payment} was at merchant id {known} and is told at {route}; compare with the \
                             gateway, then drop"
                        ),
                    });
                }
                let new = entry.route.is_none();
                entry.route.get_or_insert_with(|| route.clone());
                new
            }
            Fact::RouteChosen { step, command, choice } => self.join_chosen(step, command, choice),
            Fact::RouteEnded { step, command, end, cause } => {
                self.join_route_end(step, command, *end, cause.as_deref())
            }
            Fact::Authorized { payment, charge, amount, expires_at } => {
                self.join_authorized(connection, (payment, charge), *amount, *expires_at, out)
            }
            Fact::Captured { payment, charge, total } => {
                self.join_captured(connection, (payment, charge), *total, at, out)
            }
            Fact::CaptureMade { payment, charge, capture, amount } => {
                self.join_capture_made(connection, (payment, charge, capture), *amount, at, out)
            }
            Fact::AuthorizationEnded { payment, charge, how } => {
                let charge = self.payment_mut(payment, connection).charges.get_mut(charge);
                // A charge we never saw authorized has nothing that could end.
                charge.is_some_and(|c| raise(&mut c.ended, *how))
            }
            Fact::PaymentCancelled { payment, reason } => {
                let entry = self.payment_mut(payment, connection);
                let new = entry.cancelled.is_none();
                entry.cancelled.get_or_insert_with(|| reason.clone());
                let undone = entry.undone.clone();
                for charge in entry.charges.values_mut().filter(|c| c.taken(&undone) == 0) {
                    charge.ended.get_or_insert(AuthorizationEnd::Voided);
                }
                new
            }
            Fact::AttemptFailed { payment, attempt, code, shopper_reason, soft } => {
                let entry = self.payment_mut(payment, connection);
                if entry.failures.iter().any(|f| f.attempt == *attempt) {
                    return false;
                }
                entry.failures.push(Failure {
                    attempt: attempt.clone(),
                    code: code.clone(),
                    shopper_reason: shopper_reason.clone(),
                    soft: *soft,
                });
                if let Some(charge) = entry.charges.get_mut(attempt) {
                    charge.refused = true;
                }
                true
            }
            Fact::ActionRequired { payment, attempt } => {
                self.payment_mut(payment, connection).actions.insert(attempt.clone())
            }
            Fact::ReviewOpened { review, payment } => {
                let new = !self.reviews.contains_key(review);
                self.reviews.entry(review.clone()).or_insert_with(|| fresh_review(payment));
                new
            }
            Fact::ReviewClosed { review, payment, outcome } => {
                let entry = self.reviews.entry(review.clone()).or_insert_with(|| fresh_review(payment));
                raise(&mut entry.outcome, *outcome)
            }
            Fact::ReviewRuled { review, nth, accept, note, .. } => {
                let Some(known) = self.reviews.get_mut(review) else { return false };
                let new = known.ruling.as_ref().is_none_or(|word| word.nth < *nth);
                if new {
                    known.ruling = Some(Ruling { nth: *nth, accept: *accept, note: note.clone() });
                }
                new
            }
            Fact::Refund { .. } => self.join_refund(fact, connection, at, out),
            Fact::Dispute { dispute, payment, amount, status, reason } => {
                let entry = self.dispute_mut(dispute, payment, *amount);
                let mut new = entry.reason.is_empty() && !reason.is_empty();
                if new {
                    entry.reason.clone_from(reason);
                }
                if *status > entry.status {
                    entry.status = *status;
                    new = true;
                }
                new
            }
            Fact::DisputeMoved { dispute, payment, txn, amount, fee } => {
                self.dispute_mut(dispute, payment, *amount);
                self.book_dispute_movement(connection, (dispute, txn), (*amount, *fee), at, out)
            }
            Fact::DisputeClosed { dispute, nth, won, withdrawals, .. } => {
                let Some(known) = self.disputes.get_mut(dispute) else { return false };
                let new = known.closed.is_none_or(|word| word.nth < *nth);
                if new {
                    known.closed = Some(Closed { nth: *nth, won: *won, withdrawals: *withdrawals });
                }
                new
            }
            Fact::Bound { pair, flow, hash } => {
                let binding = Binding { pair: pair.clone(), flow: flow.clone(), hash: hash.clone() };
                let new = self.binding.as_ref() != Some(&binding);
                self.binding = Some(binding);
                new
            }
            Fact::Person { person } => {
                let known = self.person.is_some();
                let before = self.person.replace(person.clone()).filter(|before| before != person);
                let new = before.is_some() || !known;
                self.former_persons.retain(|former| former != person);
                self.former_persons.extend(before);
                new
            }
            Fact::Step { step, state } => {
                let new = self.steps.get(step) != Some(state);
                self.steps.insert(step.clone(), state.clone());
                new
            }
            Fact::CommandEnded { command, step, end } => self.join_command_end(command, step, end),
            Fact::StatusChanged { seq, status, reason } => {
                self.status_seq = *seq;
                self.status = *status;
                self.status_reason.clone_from(reason);
                true
            }
            Fact::Parked(item) => {
                let new = !self.parked.contains_key(&item.id);
                self.parked.insert(item.id.clone(), item.clone());
                new
            }
            Fact::Unparked { id, how } => self.join_unparked(id, how),
            Fact::Duplicate => {
                self.duplicates = self.duplicates.saturating_add(1);
                false
            }
            Fact::NothingNew => false,
        }
    }

    fn join_order(&mut self, snapshot: &OrderSnapshot) -> bool {
        let mut news = false;
        if let Some(token) = snapshot.token.as_ref().filter(|t| !self.tokens.contains(t)) {
            self.tokens.push(token.clone());
            news = true;
        }
        // "Cancelled" that we wrote ourselves comes back as an echo; only the shop's own cancels. An older
        // version tells it too: our own write may have gone over it meanwhile.
        let cancels = snapshot.status == OrderStatus::Cancelled && self.status != OrderStatus::Cancelled;
        if cancels && !self.cancelled_by_shop {
            self.cancelled_by_shop = true;
            news = true;
        }
        let newer = self.order.as_ref().is_none_or(|known| snapshot.version > known.version);
        if !newer {
            return news;
        }
        if let Some(known) = self.order.as_ref().filter(|k| k.total != snapshot.total) {
            self.total_changes.push(TotalChange {
                version: snapshot.version,
                before: known.total,
                after: snapshot.total,
            });
        }
        self.order = Some(Box::new(snapshot.clone()));
        true
    }

    fn join_authorized(
        &mut self,
        connection: &ConnectionName,
        (payment, charge): (&str, &str),
        amount: Money,
        expires_at: Option<Timestamp>,
        out: &mut Applied,
    ) -> bool {
        let entry = self.payment_mut(payment, connection);
        let cancelled = entry.cancelled.is_some();
        let undone = entry.undone.clone();
        let Some(known) = entry.charges.get_mut(charge) else {
            let ended = cancelled.then_some(AuthorizationEnd::Voided);
            let refused = entry.failures.iter().any(|f| f.attempt == charge);
            let fresh = Charge { refused, ..fresh_charge(amount, false, expires_at, ended) };
            entry.charges.insert(charge.to_owned(), fresh);
            return true;
        };
        if known.authorized.currency != amount.currency {
            out.contradictions.push(mixed(charge, known.authorized, amount));
            return false;
        }
        // Incremental authorization only ever raises the amount; an implied one was a lower bound.
        let news = known.implied || amount.minor > known.authorized.minor;
        if news {
            known.implied = false;
            known.authorized = amount;
        }
        let dated = known.expires_at.is_none() && expires_at.is_some();
        if dated {
            known.expires_at = expires_at;
        }
        let stands = known.stands(&undone);
        if news && stands > amount.minor {
            let captured = Money::new(stands, amount.currency);
            out.contradictions.push(above(charge, captured, amount));
            known.authorized = captured;
        }
        news || dated
    }

    fn join_captured(
        &mut self,
        connection: &ConnectionName,
        (payment, charge): (&str, &str),
        total: Money,
        at: Timestamp,
        out: &mut Applied,
    ) -> bool {
        let entry = self.payment_mut(payment, connection);
        let gateway = entry.connection.clone();
        let new = !entry.charges.contains_key(charge);
        // A capture implies an authorization of at least as much, even where that event is still on its way.
        let known =
            entry.charges.entry(charge.to_owned()).or_insert_with(|| fresh_charge(total, true, None, None));
        if known.authorized.currency != total.currency {
            out.contradictions.push(mixed(charge, known.authorized, total));
            return false;
        }
        if total.minor <= known.captured {
            return new;
        }
        if total.minor > known.authorized.minor {
            if !known.implied {
                out.contradictions.push(above(charge, total, known.authorized));
            }
            known.authorized = total;
        }
        let amount = Money::new(total.minor.saturating_sub(known.captured), total.currency);
        known.captured = total.minor;
        known.captures.push(total.minor);
        let id = format!("capture:{charge}:{}", total.minor);
        let lines = [(Role::GatewayClearing, amount), (Role::Receivable, super::ledger::neg(amount))];
        super::ledger::push(out, id, &gateway, at, "capture", &lines);
        true
    }

    /// A capture with an id counts once, in whatever order the captures of an authorization become known.
    fn join_capture_made(
        &mut self,
        connection: &ConnectionName,
        (payment, charge, capture): (&str, &str, &str),
        amount: Money,
        at: Timestamp,
        out: &mut Applied,
    ) -> bool {
        let entry = self.payment_mut(payment, connection);
        let gateway = entry.connection.clone();
        let undone = entry.undone.clone();
        let new = !entry.charges.contains_key(charge);
        let none = Money::zero(amount.currency);
        let known =
            entry.charges.entry(charge.to_owned()).or_insert_with(|| fresh_charge(none, true, None, None));
        if known.authorized.currency != amount.currency {
            out.contradictions.push(mixed(charge, known.authorized, amount));
            return false;
        }
        if let Some(made) = known.made.get(capture) {
            if made.amount != amount.minor {
                let was = Money::new(made.amount, amount.currency);
                out.contradictions.push(Contradiction {
                    code: "capture_amount_changed",
                    object: capture.to_owned(),
                    what: format!(
                        "capture {capture} was {was} and is now {amount}; compare with the gateway, then drop"
                    ),
                });
            }
            return new;
        }
        if !amount.is_positive() {
            return new;
        }
        let level = known.captured.saturating_add(amount.minor);
        known.captured = level;
        known.captures.push(level);
        known.made.insert(capture.to_owned(), MadeCapture { amount: amount.minor, level });
        // What was undone before settlement may be taken again.
        let stands = known.stands(&undone);
        if stands > known.authorized.minor {
            let total = Money::new(stands, amount.currency);
            if !known.implied {
                out.contradictions.push(above(charge, total, known.authorized));
            }
            known.authorized = total;
        }
        let lines = [(Role::GatewayClearing, amount), (Role::Receivable, super::ledger::neg(amount))];
        super::ledger::push(out, format!("capture:{capture}"), &gateway, at, "capture", &lines);
        true
    }

    fn join_refund(
        &mut self,
        fact: &Fact,
        connection: &ConnectionName,
        at: Timestamp,
        out: &mut Applied,
    ) -> bool {
        let Fact::Refund { refund, payment, amount, status, moved, returned, request, of, undoes, resent } =
            fact
        else {
            return false;
        };
        if let Some(known) = self.refunds.get(refund).filter(|known| known.amount != *amount) {
            out.contradictions.push(Contradiction {
                code: "refund_amount_changed",
                object: refund.clone(),
                what: format!("refund {refund} was {} and is now {amount}", known.amount),
            });
            return false;
        }
        let resent = *resent && undoes.is_some();
        let mut news = false;
        if let Some(capture) = undoes {
            let undone = &mut self.payment_mut(payment, connection).undone;
            news = !undone.contains_key(capture);
            undone.entry(capture.clone()).or_insert(UndoneCapture { amount: amount.minor, resent });
        }
        let Some(known) = self.refunds.get_mut(refund) else {
            self.refunds.insert(
                refund.clone(),
                Refund {
                    payment: payment.clone(),
                    amount: *amount,
                    status: *status,
                    moved: *moved,
                    returned: *returned,
                    request: request.clone(),
                    of: of.clone(),
                    since: Some(at),
                    undoes: undoes.clone(),
                    resent,
                    booked: super::RefundBooked::default(),
                },
            );
            return true;
        };
        let before = known.clone();
        known.status = known.status.max(*status);
        known.moved |= *moved;
        known.returned |= *returned;
        known.request = known.request.take().or_else(|| request.clone());
        known.of = known.of.take().or_else(|| of.clone());
        // What is undone is told by the transaction itself: our own void's answer does not name it.
        known.resent |= resent && known.undoes.is_none();
        known.undoes = known.undoes.take().or_else(|| undoes.clone());
        news || *known != before
    }

    /// A replayed step runs again: from the start where it was refused or never sent, and where its command's
    /// outcome is unknown the same command is looked up again and never a second one made.
    fn join_unparked(&mut self, id: &str, how: &Unparked) -> bool {
        let Some(item) = self.parked.remove(id) else { return false };
        let Some(step) = item.step else { return true };
        match (how, self.steps.get(&step)) {
            (Unparked::Replayed { .. }, Some(StepState::Refused { .. })) => {
                let count = self.retries.entry(step.clone()).or_default();
                *count = count.saturating_add(1);
                self.steps.remove(&step);
            }
            (Unparked::Replayed { .. }, Some(StepState::Parked { item })) => {
                if let Some(command) = item.strip_prefix("command:") {
                    let command = crate::ids::CommandId::new(command);
                    self.steps.insert(step, StepState::Issued { command });
                } else {
                    if item.starts_with("unsent:") {
                        // Nothing came of the first intent, and nothing ever will: this is a new one.
                        let count = self.retries.entry(step.clone()).or_default();
                        *count = count.saturating_add(1);
                    }
                    self.steps.remove(&step);
                }
            }
            (Unparked::Dropped { .. }, Some(StepState::Parked { .. } | StepState::Refused { .. })) => {
                self.steps.insert(step, StepState::Skipped { why: "dropped by a person".to_owned() });
            }
            _ => {}
        }
        true
    }

    fn join_command_end(&mut self, command: &crate::ids::CommandId, step: &str, end: &CommandEnd) -> bool {
        let state = match end {
            CommandEnd::Done => StepState::Done,
            CommandEnd::Refused { code } => StepState::Refused { code: code.clone() },
            CommandEnd::Parked { .. } => StepState::Parked { item: format!("command:{command}") },
            CommandEnd::Unsent { .. } => StepState::Parked { item: format!("unsent:{command}") },
        };
        // Only the command the step waits for can end it; a late answer to an older one changes nothing.
        let ours = match self.steps.get(step) {
            Some(StepState::Issued { command: issued }) => issued == command,
            Some(StepState::Parked { item }) => *item == format!("command:{command}"),
            _ => false,
        };
        if !ours || self.steps.get(step) == Some(&state) {
            return false;
        }
        // A read that was asked for is over with its answer, and a customer may be read again for years.
        let read = self.key.is_customer() && step.starts_with(READ_STEP);
        if state == StepState::Done && read {
            self.steps.remove(step);
        } else {
            self.steps.insert(step.to_owned(), state);
        }
        true
    }

    fn payment_mut(&mut self, payment: &str, connection: &ConnectionName) -> &mut Payment {
        self.payments.entry(payment.to_owned()).or_insert_with(|| Payment {
            connection: connection.clone(),
            amount: None,
            other_amounts: Vec::new(),
            charges: BTreeMap::new(),
            undone: BTreeMap::new(),
            cancelled: None,
            failures: Vec::new(),
            actions: BTreeSet::new(),
            route: None,
        })
    }

    fn dispute_mut(&mut self, dispute: &str, payment: &str, amount: Money) -> &mut Dispute {
        self.disputes.entry(dispute.to_owned()).or_insert_with(|| Dispute {
            payment: payment.to_owned(),
            amount: Money::new(amount.minor.saturating_abs(), amount.currency),
            closed: None,
            status: crate::facts::DisputeStatus::Inquiry,
            reason: String::new(),
            moved: BTreeMap::new(),
            loss_booked: 0,
            loss_entries: 0,
        })
    }
}

/// Whether a fact can change what the order is worth, or what was reserved, taken or given back.
const fn is_of_money(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Order(_)
            | Fact::Payment { .. }
            | Fact::Authorized { .. }
            | Fact::Captured { .. }
            | Fact::CaptureMade { .. }
            | Fact::AttemptFailed { .. }
            | Fact::AuthorizationEnded { .. }
            | Fact::PaymentCancelled { .. }
            | Fact::Refund { .. }
            | Fact::Dispute { .. }
            | Fact::DisputeMoved { .. }
    )
}

fn raise<T: Ord + Copy>(slot: &mut Option<T>, value: T) -> bool {
    let higher = slot.is_none_or(|known| value > known);
    if higher {
        *slot = Some(value);
    }
    higher
}

fn fresh_review(payment: &str) -> Review {
    Review { payment: payment.to_owned(), outcome: None, ruling: None }
}

fn fresh_charge(
    authorized: Money,
    implied: bool,
    expires_at: Option<Timestamp>,
    ended: Option<AuthorizationEnd>,
) -> Charge {
    Charge {
        authorized,
        implied,
        captured: 0,
        sold: 0,
        expires_at,
        ended,
        captures: Vec::new(),
        made: BTreeMap::new(),
        refused: false,
    }
}

fn above(charge: &str, captured: Money, authorized: Money) -> Contradiction {
    Contradiction {
        code: "captured_above_authorized",
        object: charge.to_owned(),
        what: format!(
            "{charge}: {captured} captured of {authorized} authorized; compare with the gateway, then drop"
        ),
    }
}

fn mixed(object: &str, known: Money, new: Money) -> Contradiction {
    Contradiction {
        code: "currency_changed",
        object: object.to_owned(),
        what: format!("{object} was in {} and is now in {}", known.currency, new.currency),
    }
}
