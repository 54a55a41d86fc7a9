//! What a person accepts: an open line or expectation of which no other side will come.
//!
//! An acceptance is a person's word in place of a certificate. It names one item, the account that takes it, who said so, when and
//! why, and its hash covers that and every field of the item; the checker counts the item as explained by it and by nothing less.
//!
//! | item | entry | debit | credit |
//! |---|---|---|---|
//! | line | `settled:<line>` of its batch ([`super::entries()`]) | clearing | account |
//! | booked expectation | `accepted:<expectation>` | account | clearing |
//! | the same, once its line has come after all | `accepted_back:<expectation>` | clearing | account |
//!
//! A fee that a rule expected is booked nowhere before its line comes, so accepting it posts nothing. A payout that came back is
//! in the bank's account and in clearing as it is: it is taken note of.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::line::{Expected, Kind, SettlementLine, Standing};
use crate::ids::ConnectionName;
use crate::journal::{Entry, Role, Unbalanced};
use crate::money::Money;
use crate::time::Timestamp;

/// The rule that an explained line bears which a person accepted.
pub const BY_PERSON: &str = "accepted";

/// A person's word on one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Id of the line or expectation.
    pub item: Box<str>,
    /// Of an expectation, what it stood for until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Standing>,
    /// The account that takes it.
    pub account: Role,
    /// The open item it was part of.
    pub under: Box<str>,
    /// Who.
    pub by: Box<str>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Box<str>,
    /// SHA-256 over all of it and every field of the item, hex.
    pub hash: String,
}

/// Who accepts, when, why, and under which open item.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The open item.
    pub under: &'a str,
    /// Who.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: &'a str,
}

/// Whether an account may take what a person accepts of this kind. Money that never came is no money at the bank, and what stays in
/// clearing, or is converted, is not closed; only a payout that came back is where it is.
#[must_use]
pub const fn may_take(account: Role, kind: Kind) -> bool {
    match account {
        Role::Bank => matches!(kind, Kind::PayoutReversal),
        Role::GatewayClearing | Role::Conversion => false,
        _ => !matches!(kind, Kind::PayoutReversal),
    }
}

/// The account that takes a kind where a person names none; `None`: it has to be said.
#[must_use]
pub const fn usual_account(kind: Kind) -> Option<Role> {
    match kind {
        Kind::Fee | Kind::TaxOnFee => Some(Role::Fees),
        Kind::Dispute | Kind::DisputeReversal => Some(Role::ChargebackLoss),
        Kind::ReserveHold | Kind::ReserveRelease => Some(Role::Reserve),
        Kind::PayoutReversal => Some(Role::Bank),
        _ => None,
    }
}

impl Acceptance {
    /// Of a line.
    #[must_use]
    pub fn of_line(line: &SettlementLine, account: Role, said: &Said<'_>) -> Self {
        Self::new(&line.id, None, account, said).sealed(&line.canonical())
    }

    /// Of an expectation, as it stands.
    #[must_use]
    pub fn of_expected(e: &Expected, account: Role, said: &Said<'_>) -> Self {
        Self::new(&e.id, Some(e.standing), account, said).sealed(&e.canonical())
    }

    fn new(item: &str, was: Option<Standing>, account: Role, said: &Said<'_>) -> Self {
        Self {
            item: item.into(),
            was,
            account,
            under: said.under.into(),
            by: said.by.into(),
            at: said.at,
            reason: said.reason.into(),
            hash: String::new(),
        }
    }

    fn sealed(self, item: &str) -> Self {
        let hash = self.hash_over(item);
        Self { hash, ..self }
    }

    fn hash_over(&self, item: &str) -> String {
        let Self { was, account, under, by, at, reason, .. } = self;
        let mut hasher = Sha256::new();
        let was = was.map(|was| format!("{was:?}")).unwrap_or_default();
        let at = at.0.to_string();
        let head = "tillway settlement acceptance 1";
        for part in [head, item, &was, account.name(), under, by, &at, reason] {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hex::encode(hasher.finalize())
    }

    /// Why it does not hold of this line.
    #[must_use]
    pub fn wrong_of_line(&self, line: &SettlementLine) -> Option<&'static str> {
        let named = self.item == line.id && self.was.is_none();
        self.wrong(named, line.kind, &line.canonical())
    }

    /// Why it does not hold of this expectation.
    #[must_use]
    pub fn wrong_of_expected(&self, e: &Expected) -> Option<&'static str> {
        let Some(standing @ (Standing::Booked | Standing::Ruled)) = self.was else {
            return Some("accepts what was not booked or ruled");
        };
        let was = Expected { standing, ..e.clone() };
        self.wrong(self.item == e.id, e.kind, &was.canonical())
    }

    fn wrong(&self, named: bool, kind: Kind, item: &str) -> Option<&'static str> {
        if !named {
            return Some("names another item");
        }
        if self.by.trim().is_empty() || self.reason.trim().is_empty() {
            return Some("does not say by whom, or why");
        }
        if !may_take(self.account, kind) {
            return Some("an account that may not take it");
        }
        (self.hash != self.hash_over(item)).then_some("the hash is another: it or its item was changed")
    }
}

/// Takes what the books hold of an expectation out of clearing; nothing where they hold nothing of it.
///
/// # Errors
/// [`Unbalanced`]: a defect of ours.
pub fn written_off(
    e: &Expected,
    accepted: &Acceptance,
    connection: &ConnectionName,
) -> Result<Option<Entry>, Unbalanced> {
    moved(e, accepted, connection, accepted.at, "accepted", -1)
}

/// Puts it back, once its line has come.
///
/// # Errors
/// [`Unbalanced`]: a defect of ours.
pub fn put_back(
    e: &Expected,
    accepted: &Acceptance,
    connection: &ConnectionName,
    at: Timestamp,
) -> Result<Option<Entry>, Unbalanced> {
    moved(e, accepted, connection, at, "accepted_back", 1)
}

fn moved(
    e: &Expected,
    accepted: &Acceptance,
    connection: &ConnectionName,
    at: Timestamp,
    what: &str,
    sign: i64,
) -> Result<Option<Entry>, Unbalanced> {
    if accepted.was != Some(Standing::Booked) {
        return Ok(None);
    }
    let held = e.amount.saturating_sub(e.booked_fee).saturating_mul(sign);
    let sides = [
        (Role::GatewayClearing, Money::new(held, e.currency)),
        (accepted.account, Money::new(held.saturating_neg(), e.currency)),
    ];
    let memo = if sign < 0 { "accepted by a person" } else { "came after it was accepted" };
    let entry = Entry::new(format!("{what}:{}", e.id), connection, at, memo, &sides)?;
    Ok(if entry.postings.is_empty() { None } else { Some(entry) })
}
