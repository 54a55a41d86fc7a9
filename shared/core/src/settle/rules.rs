//! What a merchant tolerates and expects, as data: a YAML document, checked when it is loaded.
//!
//! ```yaml
//! settlement: default
//! due: {charge: 2, refund: 2}            # days from booking to settlement; others on the day itself
//! grace: 3                               # days after which a line is late, or an expectation missing
//! windows:                               # how many days before and after it is due a line may come
//!   gateway-id: {early: 30, late: 400}
//!   reference: {early: 7, late: 60}
//!   content: {early: 1, late: 4}
//! tolerances:
//!   rounding: {kinds: [charge, refund], up-to: 2, account: suspense, reason: rounding of the gateway}
//! fees:
//!   visa: {kinds: [charge], brand: visa, basis-points: 290, fixed: 30, currency: USD, tolerance: 1}
//! explain:                               # lines that no expectation stands for and that are no surprise
//!   monthly: {kinds: [fee], up-to: 5000, account: fees, reason: monthly fee}
//! tax-on-fees: tax                       # the account of tax on fees; `fees` where it is not said
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::line::{Day, Expected, Ids, Kind, SettlementLine, Standing};
use crate::check::{Problem, did_you_mean, sorted};
use crate::journal::Role;
use crate::money::Currency;
use crate::yaml::{self, Node};

/// Most days a window, a due date or the grace may have.
pub const MAX_DAYS: i32 = 4_000;

/// How far from its due day a line may stand, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days before.
    pub early: i32,
    /// Days after.
    pub late: i32,
}

impl Window {
    /// Whether a line of this day may answer what is due on that one.
    #[must_use]
    pub const fn holds(self, day: Day, due: Day) -> bool {
        let apart = day.since(due);
        apart <= self.late && apart >= self.early.saturating_neg()
    }
}

/// A difference that may be booked away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tolerance {
    /// The kinds it is for.
    pub kinds: Vec<Kind>,
    /// The currency it is for; any where it names none.
    pub currency: Option<Currency>,
    /// Largest difference, minor units.
    pub up_to: i64,
    /// The account that takes the difference.
    pub account: Role,
    /// Why, for people.
    pub reason: String,
}

/// What the gateway charges for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeRule {
    /// The kinds it is for.
    pub kinds: Vec<Kind>,
    /// Card brand, lower case; any where it names none.
    pub brand: Option<String>,
    /// Settlement currency; any where it names none.
    pub currency: Option<Currency>,
    /// Hundredths of a percent of the gross amount.
    pub basis_points: i64,
    /// Minor units for each line.
    pub fixed: i64,
    /// Largest difference, minor units.
    pub tolerance: i64,
    /// The gateway writes the fee on a line of its own, which is then expected like any other.
    pub own_line: bool,
}

/// Lines that need no expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// The kinds it is for.
    pub kinds: Vec<Kind>,
    /// Largest amount of one line either way, minor units.
    pub up_to: i64,
    /// The account that takes it.
    pub account: Role,
    /// Why, for people.
    pub reason: String,
}

/// The rules one connection settles by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Name.
    pub name: String,
    /// Days from booking to settlement, by kind.
    pub due: BTreeMap<Kind, i32>,
    /// Days after the due day.
    pub grace: i32,
    /// Window of the tiers by gateway id.
    pub by_gateway_id: Window,
    /// Window of the tier by our reference.
    pub by_reference: Window,
    /// Window of the tiers by content.
    pub by_content: Window,
    /// Tolerances by name.
    pub tolerances: BTreeMap<String, Tolerance>,
    /// Fees by name. The first in order of name that fits a line counts, one with a brand before one
    /// without.
    pub fees: BTreeMap<String, FeeRule>,
    /// Explanations by name.
    pub explain: BTreeMap<String, Explain>,
    /// Account of tax on fees.
    pub tax_on_fees: Role,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            due: BTreeMap::new(),
            grace: 3,
            by_gateway_id: Window { early: 30, late: 400 },
            by_reference: Window { early: 7, late: 60 },
            by_content: Window { early: 1, late: 4 },
            tolerances: BTreeMap::new(),
            fees: BTreeMap::new(),
            explain: BTreeMap::new(),
            tax_on_fees: Role::Fees,
        }
    }
}

const KEYS: [&str; 9] =
    ["settlement", "about", "due", "grace", "windows", "tolerances", "fees", "explain", "tax-on-fees"];

impl Rules {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// Every problem found, by place, with a hint.
    pub fn load(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let node = yaml::parse(file, text)?;
        let mut problems = Vec::new();
        if node.get("settlement").is_none() {
            problems.push(node.problem("missing-key", "no `settlement`", "name it: `settlement: default`"));
        }
        let rules = Self::default().with(&node, &mut problems);
        if problems.is_empty() { Ok(rules) } else { Err(sorted(problems)) }
    }

    /// These rules with what a document says otherwise: single days, windows, and rules by their names.
    #[must_use]
    pub fn with(self, node: &Node, out: &mut Vec<Problem>) -> Self {
        let mut rules = self;
        node.map("a map of rules", out);
        node.only_keys(&KEYS, out);
        if let Some(name) = node.get("settlement") {
            rules.name = name.text("a name", out).unwrap_or_default().to_owned();
        }
        if let Some(due) = node.get("due") {
            for (key, value) in due.map("a map from kind to days", out) {
                if let Some(kind) = kind(key, out) {
                    rules.due.insert(kind, days(value, out));
                }
            }
        }
        if let Some(grace) = node.get("grace") {
            rules.grace = days(grace, out);
        }
        if let Some(windows) = node.get("windows") {
            windows.only_keys(&["gateway-id", "reference", "content"], out);
            for (key, window) in [
                ("gateway-id", &mut rules.by_gateway_id),
                ("reference", &mut rules.by_reference),
                ("content", &mut rules.by_content),
            ] {
                let Some(node) = windows.get(key) else { continue };
                node.only_keys(&["early", "late"], out);
                *window = Window {
                    early: need(node, "early", out).map_or(0, |n| days(n, out)),
                    late: need(node, "late", out).map_or(0, |n| days(n, out)),
                };
            }
        }
        rules.tolerances.extend(named(node, "tolerances", out, tolerance));
        rules.fees.extend(named(node, "fees", out, fee));
        rules.explain.extend(named(node, "explain", out, explain));
        if let Some(account) = node.get("tax-on-fees") {
            rules.tax_on_fees = role(account, &[Role::Fees, Role::Tax], out);
        }
        rules
    }

    /// When a line of this kind should come for what was booked on that day.
    #[must_use]
    pub fn due(&self, kind: Kind, booked: Day) -> Day {
        booked.plus(self.due.get(&kind).copied().unwrap_or(0))
    }

    /// When something was booked that is due then.
    #[must_use]
    pub fn booked(&self, kind: Kind, due: Day) -> Day {
        due.plus(self.due.get(&kind).copied().unwrap_or(0).saturating_neg())
    }

    /// The narrowest tolerance that covers a difference, with its name.
    #[must_use]
    pub fn tolerates(&self, kind: Kind, currency: Currency, difference: i64) -> Option<(&str, &Tolerance)> {
        let size = difference.unsigned_abs();
        self.tolerances
            .iter()
            .filter(|(_, t)| t.covers(kind, currency) && size <= t.up_to.unsigned_abs())
            .min_by_key(|(name, t)| (t.up_to, name.as_str()))
            .map(|(name, t)| (name.as_str(), t))
    }

    fn fee_rule(&self, kind: Kind, brand: Option<&str>, currency: Currency) -> Option<&FeeRule> {
        let fits = |rule: &&FeeRule| {
            rule.kinds.contains(&kind)
                && rule.brand.as_deref().is_none_or(|b| Some(b) == brand)
                && rule.currency.is_none_or(|c| c == currency)
        };
        self.fees.values().filter(fits).min_by_key(|rule| rule.brand.is_none())
    }

    /// The fee that should be on this line, and how far it may be off, minor units of its currency; nothing
    /// where no rule speaks of it.
    #[must_use]
    pub fn fee_on(&self, line: &SettlementLine) -> Option<(i64, i64)> {
        let brand = line.card.as_ref().map(|c| c.brand.as_ref());
        let rule = self.fee_rule(line.kind, brand, line.currency)?;
        Some(if rule.own_line { (0, 0) } else { (rule.of(line.gross), rule.tolerance) })
    }

    /// The line of its own on which the fee of an expected line should come, where a rule says there is one.
    #[must_use]
    pub fn fee_line_of(&self, base: &Expected) -> Option<Expected> {
        let brand = base.card.as_ref().map(|c| c.brand.as_ref());
        let rule = self.fee_rule(base.kind, brand, base.currency).filter(|r| r.own_line)?;
        let fee = rule.of(base.amount);
        (fee != 0).then(|| Expected {
            id: format!("fee:{}", base.id).into(),
            kind: Kind::Fee,
            standing: Standing::Ruled,
            ids: Ids { own: None, parent: base.ids.own.clone(), payment: base.ids.payment.clone() },
            reference: base.reference.clone(),
            amount: fee.saturating_neg(),
            booked_fee: 0,
            ..base.clone()
        })
    }

    /// The rule that says why a line needs no expectation: its name and the account that takes it.
    #[must_use]
    pub fn explains(&self, line: &SettlementLine) -> Option<(&str, Role)> {
        let size = line.gross.unsigned_abs();
        let fits = |e: &Explain| e.kinds.contains(&line.kind) && size <= e.up_to.unsigned_abs();
        let found = self.explain.iter().find(|(_, e)| fits(e)).map(|(n, e)| (n.as_str(), e.account));
        found.or(match line.kind {
            Kind::Payout => Some(("payout", Role::Bank)),
            Kind::ReserveHold | Kind::ReserveRelease => Some(("reserve", Role::Reserve)),
            _ => None,
        })
    }
}

impl Tolerance {
    /// Whether it is for this kind and currency.
    #[must_use]
    pub fn covers(&self, kind: Kind, currency: Currency) -> bool {
        self.kinds.contains(&kind) && self.currency.is_none_or(|c| c == currency)
    }
}

impl FeeRule {
    /// The fee on a gross amount, rounded once, half to even. A percentage follows the size of the amount,
    /// whichever way the money goes.
    #[must_use]
    pub fn of(&self, gross: i64) -> i64 {
        let exact = i128::from(gross.unsigned_abs()).saturating_mul(i128::from(self.basis_points));
        let (whole, rest) = (exact.div_euclid(10_000), exact.rem_euclid(10_000));
        let up = rest > 5_000 || rest == 5_000 && whole.rem_euclid(2) == 1;
        let share = i64::try_from(whole.saturating_add(i128::from(up))).unwrap_or(i64::MAX);
        share.saturating_add(self.fixed)
    }
}

fn named<T>(
    node: &Node,
    key: &str,
    out: &mut Vec<Problem>,
    read: impl Fn(&Node, &mut Vec<Problem>) -> T,
) -> BTreeMap<String, T> {
    let Some(node) = node.get(key) else { return BTreeMap::new() };
    let pairs = node.map("a map from name to rule", out);
    pairs
        .iter()
        .filter_map(|(k, v)| {
            v.map("a rule", out);
            Some((k.as_text()?.to_owned(), read(v, out)))
        })
        .collect()
}

/// Accounts a difference or an unexpected line may go to.
const TAKERS: [Role; 6] =
    [Role::Suspense, Role::Fx, Role::Fees, Role::Tax, Role::Reserve, Role::ChargebackLoss];

fn tolerance(node: &Node, out: &mut Vec<Problem>) -> Tolerance {
    node.only_keys(&["kinds", "currency", "up-to", "account", "reason"], out);
    Tolerance {
        kinds: kinds(node, out),
        currency: node.get("currency").and_then(|n| currency(n, out)),
        up_to: need(node, "up-to", out).map_or(0, |n| minor(n, out)),
        account: need(node, "account", out).map_or(Role::Suspense, |n| role(n, &TAKERS, out)),
        reason: reason(node, out),
    }
}

fn explain(node: &Node, out: &mut Vec<Problem>) -> Explain {
    node.only_keys(&["kinds", "up-to", "account", "reason"], out);
    let kinds = kinds(node, out);
    // A refund or a chargeback nobody knows of is never a matter of course.
    for kind in &kinds {
        if matches!(kind, Kind::Charge | Kind::Refund | Kind::Dispute | Kind::Payout | Kind::PayoutReversal) {
            let what = format!("a {} cannot be explained by a rule", kind.name());
            out.push(node.problem("not-explainable", what, "leave it out: a person looks at these"));
        }
    }
    Explain {
        kinds,
        up_to: need(node, "up-to", out).map_or(0, |n| minor(n, out)),
        account: need(node, "account", out).map_or(Role::Suspense, |n| role(n, &TAKERS, out)),
        reason: reason(node, out),
    }
}

fn fee(node: &Node, out: &mut Vec<Problem>) -> FeeRule {
    let keys = ["kinds", "brand", "currency", "basis-points", "fixed", "tolerance", "own-line"];
    node.only_keys(&keys, out);
    let brand = node.get("brand").and_then(|n| n.text("a card brand", out)).map(str::to_lowercase);
    let number = |key: &str, out: &mut Vec<Problem>| node.get(key).map_or(0, |n| minor(n, out));
    let rule = FeeRule {
        kinds: kinds(node, out),
        brand,
        currency: node.get("currency").and_then(|n| currency(n, out)),
        basis_points: number("basis-points", out),
        fixed: number("fixed", out),
        tolerance: number("tolerance", out),
        own_line: node.get("own-line").is_some_and(|n| n.flag(out)),
    };
    if rule.fixed != 0 && rule.currency.is_none() {
        let hint = "add `currency:`; 30 is thirty cents in one and thirty yen in another";
        out.push(node.problem("missing-key", "`fixed` without a currency", hint));
    }
    if rule.basis_points > 10_000 {
        let hint = "basis points are hundredths of a percent: 290 is 2.9 %";
        out.push(node.problem("bad-number", "a fee of more than the amount", hint));
    }
    rule
}

fn need<'n>(node: &'n Node, key: &str, out: &mut Vec<Problem>) -> Option<&'n Node> {
    let found = node.get(key);
    if found.is_none() {
        out.push(node.problem("missing-key", format!("no `{key}`"), format!("add `{key}:`")));
    }
    found
}

fn reason(node: &Node, out: &mut Vec<Problem>) -> String {
    let text = need(node, "reason", out).and_then(|n| n.text("a reason", out));
    text.unwrap_or_default().to_owned()
}

fn kinds(node: &Node, out: &mut Vec<Problem>) -> Vec<Kind> {
    let Some(list) = need(node, "kinds", out) else { return Vec::new() };
    let items = list.list("a list of kinds", out);
    if items.is_empty() {
        out.push(list.problem("no-kinds", "a rule for no kind", "list at least one, or drop the rule"));
    }
    items.iter().filter_map(|n| kind(n, out)).collect()
}

fn kind(node: &Node, out: &mut Vec<Problem>) -> Option<Kind> {
    let text = node.text("a kind of line", out)?;
    let found = Kind::parse(text);
    if found.is_none() {
        let hint = did_you_mean(text, Kind::ALL.iter().map(|(_, n)| *n));
        out.push(node.problem("unknown-kind", format!("unknown kind `{text}`"), hint));
    }
    found
}

fn role(node: &Node, known: &[Role], out: &mut Vec<Problem>) -> Role {
    let text = node.text("an account", out).unwrap_or_default();
    known.iter().copied().find(|r| r.name() == text).unwrap_or_else(|| {
        let hint = did_you_mean(text, known.iter().map(|r| r.name()));
        out.push(node.problem("unknown-account", format!("no account `{text}` here"), hint));
        Role::Suspense
    })
}

fn currency(node: &Node, out: &mut Vec<Problem>) -> Option<Currency> {
    let text = node.text("a currency", out)?;
    let found = Currency::parse(text);
    if let Err(error) = &found {
        out.push(node.problem("unknown-currency", error.to_string(), "write an ISO 4217 code, e.g. USD"));
    }
    found.ok()
}

fn whole(node: &Node, most: i64, out: &mut Vec<Problem>) -> i64 {
    let found = node.as_text().and_then(|t| t.parse::<i64>().ok()).filter(|n| (0..=most).contains(n));
    found.unwrap_or_else(|| {
        let hint = "amounts are minor units: two cents are 2";
        out.push(node.problem("bad-number", format!("expected a whole number from 0 to {most}"), hint));
        0
    })
}

fn minor(node: &Node, out: &mut Vec<Problem>) -> i64 {
    whole(node, 1_000_000_000_000, out)
}

fn days(node: &Node, out: &mut Vec<Problem>) -> i32 {
    i32::try_from(whole(node, i64::from(MAX_DAYS), out)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_header_loads() {
        let head = include_str!("rules.rs").lines().take_while(|l| l.starts_with("//!"));
        let doc: Vec<&str> =
            head.map(|l| l.trim_start_matches("//!").strip_prefix(' ').unwrap_or("")).collect();
        let text = doc.join("\n");
        let text = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let rules = Rules::load("rules.yaml", text).unwrap();
        assert_eq!(rules.due(Kind::Charge, Day(10)), Day(12));
        assert_eq!(rules.due(Kind::Dispute, Day(10)), Day(10));
        let usd = Currency::parse("USD").unwrap();
        assert_eq!(rules.tolerates(Kind::Charge, usd, -2).unwrap().0, "rounding");
        assert!(rules.tolerates(Kind::Charge, usd, 3).is_none());
        assert!(rules.tolerates(Kind::Dispute, usd, 1).is_none());
        assert_eq!(rules.tax_on_fees, Role::Tax);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (line, code) in [
            ("grace: -1", "bad-number"),
            ("grace: 2.5", "bad-number"),
            ("due: {chrge: 2}", "unknown-kind"),
            ("window: {}", "unknown-key"),
            ("windows: {content: {early: 1}}", "missing-key"),
            ("tolerances: {r: {kinds: [charge], up-to: 2, account: bank, reason: x}}", "unknown-account"),
            ("tolerances: {r: {kinds: [charge], up-to: 2, account: fx}}", "missing-key"),
            ("tolerances: {r: {kinds: [], up-to: 2, account: fx, reason: x}}", "no-kinds"),
            ("fees: {v: {kinds: [charge], fixed: 30}}", "missing-key"),
            ("fees: {v: {kinds: [charge], basis-points: 29000}}", "bad-number"),
            ("explain: {e: {kinds: [refund], up-to: 2, account: fees, reason: x}}", "not-explainable"),
            ("tax-on-fees: receivable", "unknown-account"),
        ] {
            let problems = Rules::load("r.yaml", &format!("settlement: x\n{line}\n")).unwrap_err();
            assert_eq!((problems[0].code, problems[0].line), (code, 2), "{line}: {problems:?}");
        }
        assert_eq!(Rules::load("r.yaml", "grace: 1\n").unwrap_err()[0].code, "missing-key");
    }

    #[test]
    fn rules_over_others_change_what_they_name() {
        let base = "settlement: base\ndue: {charge: 2, refund: 3}\ngrace: 5\n\
                    tolerances: {a: {kinds: [charge], up-to: 1, account: fx, reason: x}}\n";
        let base = Rules::load("base.yaml", base).unwrap();
        let over =
            "due: {charge: 4}\ntolerances: {b: {kinds: [refund], up-to: 2, account: fees, reason: y}}\n";
        let mut problems = Vec::new();
        let node = yaml::parse("over.yaml", over).unwrap();
        let rules = base.clone().with(&node, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((rules.due(Kind::Charge, Day(0)), rules.due(Kind::Refund, Day(0))), (Day(4), Day(3)));
        assert_eq!((rules.grace, rules.tolerances.len(), rules.name.as_str()), (5, 2, "base"));
        let nothing = yaml::parse("over.yaml", "tax-on-fees: fees\n").unwrap();
        assert_eq!(base.clone().with(&nothing, &mut problems), base);
    }

    #[test]
    fn fees_round_half_to_even_once() {
        let rule = |basis_points, fixed| FeeRule {
            kinds: vec![Kind::Charge],
            brand: None,
            currency: None,
            basis_points,
            fixed,
            tolerance: 0,
            own_line: false,
        };
        assert_eq!(rule(290, 30).of(10_800), 343);
        assert_eq!(rule(50, 0).of(100), 0, "0.5 goes to the even 0");
        assert_eq!(rule(50, 0).of(300), 2, "1.5 goes to the even 2");
        assert_eq!(rule(50, 0).of(500), 2, "2.5 goes to the even 2");
        assert_eq!(rule(290, 0).of(i64::MAX), 267_477_789_068_788_498);
    }
}
