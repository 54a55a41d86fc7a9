//! What is drawn from a seed before a run: orders, and what customers, staff and banks will do.

mod cybersource;

use tillway_core::time::Millis;
use tillway_sandbox::cybersource::Manner;

use crate::dice::Dice;
use crate::pair::Pair;

/// How a review ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Approved,
    Refunded,
    Fraud,
    Acknowledged,
}

/// Something somebody does about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The shopper gives another card.
    Pay(Card),
    /// The shopper comes back from the bank.
    Authenticate(bool),
    /// A person closes the review.
    Review(Verdict),
    /// A person says here how it is to end: go on, or not.
    Rule(bool),
    /// The shop cancels.
    Cancel,
    /// The shop changes the pieces of a line, or takes it out.
    Change { line: u8, pieces: Option<u8> },
    /// The shop ships one piece of each line, or all that is left.
    Ship { all: bool },
    /// The shop completes.
    Complete,
    /// A refund in the gateway's dashboard, in percent of what is left.
    DashboardRefund(u8),
    /// The shop asks for a refund, in percent of the total.
    AskRefund { id: u8, percent: u8, early: bool },
    /// The newest refund fails.
    FailRefund,
    /// The bank disputes, in percent of what was captured.
    Dispute(u8),
    /// The dispute is decided.
    Decide(bool),
    /// The funds come back without a decision.
    Reinstate,
    /// Somebody captures in the dashboard, in percent.
    DashboardCapture(u8),
    /// Somebody cancels the payment in the dashboard.
    DashboardCancel,
    /// The hold ends before its time.
    Expire,
    /// The gateway's day ends: what was taken can no longer be voided.
    CutOff,
    /// Somebody takes the newest capture back in the dashboard, before it is settled.
    DashboardVoid,
    /// From now on a merchant id of the gateway, by its place, does so: it is out of order, or in order again.
    Manner { merchant: usize, manner: Manner },
}

/// A card by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    Good,
    Declined(&'static str),
    Challenge,
    Review,
    RefundFails,
    RefundPends,
    Disputes,
    /// By the token of a gateway whose tokens say themselves what they do.
    Token(&'static str),
}

impl Card {
    /// The gateway's token, unlike every other.
    pub(crate) fn token(self, order: &str, n: usize) -> String {
        let base = match self {
            Self::Good => "pm_card_visa",
            Self::Declined(how) => how,
            Self::Challenge => "pm_card_threeDSecure2Required",
            Self::Review => "pm_card_riskLevelElevated",
            Self::RefundFails => "pm_card_refundFail",
            Self::RefundPends => "pm_card_pendingRefund",
            Self::Disputes => "pm_card_createDispute",
            Self::Token(token) => token,
        };
        let order: String = order.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{base}_x{order}n{n}")
    }
}

/// A line: pieces, price, discount, tax in minor units.
pub(crate) type LinePlan = (u8, i64, i64, i64);

/// One order and its fate.
#[derive(Debug, Clone)]
pub(crate) struct OrderPlan {
    pub(crate) n: u32,
    pub(crate) pair: usize,
    pub(crate) at: Millis,
    pub(crate) currency: &'static str,
    pub(crate) lines: Vec<LinePlan>,
    pub(crate) shipping: i64,
    pub(crate) person: u32,
    pub(crate) guest: bool,
    pub(crate) card: Card,
    /// The shop's own payment comes before its order.
    pub(crate) payment_first: bool,
    /// How the shop spells the metadata key.
    pub(crate) short_key: bool,
    /// Somebody typed a card number into the note.
    pub(crate) card_in_note: bool,
    /// The shop makes the payment itself: a sale, or an authorization.
    pub(crate) by_shop: Option<bool>,
    /// A word in the address that a risk check looks for.
    pub(crate) word: Option<&'static str>,
    /// Since the order was placed.
    pub(crate) acts: Vec<(Millis, Act)>,
}

impl OrderPlan {
    pub(crate) fn id(&self) -> String {
        format!("A-{}", 1000 + self.n)
    }
    /// Whether somebody does this.
    pub(crate) fn does(&self, act: Act) -> bool {
        self.acts.iter().any(|(_, a)| *a == act)
    }
    /// Whether somebody gives money back in the dashboard.
    pub(crate) fn gives_back_by_hand(&self) -> bool {
        self.acts.iter().any(|(_, a)| matches!(a, Act::DashboardRefund(_) | Act::DashboardVoid))
    }
    /// Whether a review is decided against it.
    pub(crate) fn rejects(&self) -> bool {
        let verdicts = [Act::Review(Verdict::Refunded), Act::Review(Verdict::Fraud), Act::Rule(false)];
        verdicts.into_iter().any(|act| self.does(act))
    }
    /// All cards the shopper gives.
    pub(crate) fn cards(&self) -> impl Iterator<Item = Card> {
        let later = self.acts.iter().filter_map(|(_, act)| match act {
            Act::Pay(card) => Some(*card),
            _ => None,
        });
        std::iter::once(self.card).chain(later)
    }
    /// Whether the shop hands the card's token to Tillway; else it makes the payment itself.
    pub(crate) fn by_token(&self, pair: Pair) -> bool {
        match pair {
            Pair::StripeClarity => self.pair == 0,
            Pair::CybersourceClarity => self.by_shop.is_none(),
        }
    }
}

/// Merchant ids of an account that has several.
pub(crate) const MERCHANTS: usize = 3;

/// Everything drawn before a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// What the pairs are made of.
    pub(crate) pair: Pair,
    /// Options of the two pairs beside their defaults.
    pub(crate) options: [Vec<(&'static str, &'static str)>; 2],
    /// Settings of the two gateways beside those of the file.
    pub(crate) settings: [Vec<(&'static str, &'static str)>; 2],
    /// Whether orders of the two gateways are routed over all their merchant ids, or have the first one alone.
    pub(crate) routed: [bool; 2],
    /// How the merchant ids of the two gateways do at first.
    pub(crate) manners: [[Manner; MERCHANTS]; 2],
    pub(crate) orders: Vec<OrderPlan>,
    /// When the flow changes.
    pub(crate) swap_at: Option<Millis>,
}

const DECLINES: [&str; 6] = [
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_card_chargeDeclinedFraudulent",
    "pm_card_chargeDeclinedProcessingError",
    "pm_card_radarBlock",
];

impl Plan {
    /// Draws `count` orders, numbered from `first`. `routed`: not to be drawn, but so.
    pub(crate) fn draw(pair: Pair, seed: u64, first: u32, count: u32, routed: Option<bool>) -> Self {
        match pair {
            Pair::StripeClarity => Self::stripe(seed, first, count),
            Pair::CybersourceClarity => cybersource::draw(seed, first, count, routed),
        }
    }

    fn stripe(seed: u64, first: u32, count: u32) -> Self {
        let mut dice = Dice::new(seed, 1);
        let pair_options = |initiates: &'static str, dice: &mut Dice| {
            let capture = dice.pick(&["authorization", "authorization", "shipment", "manual"]);
            vec![
                ("initiates", initiates),
                ("capture", capture.unwrap_or("authorization")),
                ("on_cancelled", dice.pick(&["refund", "refund", "park"]).unwrap_or("refund")),
                ("on_total_lowered", dice.pick(&["park", "refund"]).unwrap_or("park")),
                ("on_expiring", dice.pick(&["alert", "capture"]).unwrap_or("alert")),
            ]
        };
        let options = [pair_options("tillway", &mut dice), pair_options("shop", &mut dice)];
        let people = (count / 2).max(1);
        let spread = i64::from(count).saturating_mul(20_000);
        let orders = (0..count)
            .map(|n| {
                let pair = if dice.chance(6500) { 0 } else { 1 };
                let capture = options.get(pair).and_then(|o| o.get(1)).map_or("", |(_, c)| *c);
                let at = Millis(dice.between(0, spread));
                order(&mut dice, first + n, pair, at, people, capture)
            })
            .collect();
        let swap_at = dice.chance(6000).then(|| Millis(dice.between(0, spread.saturating_mul(2))));
        Self {
            seed,
            pair: Pair::StripeClarity,
            options,
            settings: Default::default(),
            routed: [false; 2],
            manners: Default::default(),
            orders,
            swap_at,
        }
    }
}

/// Lines of an order.
fn lines(dice: &mut Dice, step: i64) -> Vec<LinePlan> {
    (0..=dice.below(2))
        .map(|_| {
            let pieces = i64::try_from(dice.below(3) + 1).unwrap_or(1);
            let price = dice.between(80, 1500) * 10;
            let discount = if dice.chance(2500) { dice.between(1, 40) * step } else { 0 };
            // Whole steps, and whole for each piece, so that fewer pieces make no crumbs.
            let tax = dice.between(0, 12) * step * pieces * 3;
            (u8::try_from(pieces).unwrap_or(1), price, discount * pieces, tax)
        })
        .collect()
}

fn order(dice: &mut Dice, n: u32, pair: usize, at: Millis, people: u32, capture: &str) -> OrderPlan {
    let currency =
        dice.pick(&["USD", "USD", "USD", "EUR", "EUR", "JPY", "KWD", "ISK", "ISK"]).unwrap_or("USD");
    let step = if currency == "KWD" { 10 } else { 1 };
    let lines = lines(dice, step);
    let shipping = if dice.chance(6000) { dice.between(1, 90) * 10 } else { 0 };
    let person = u32::try_from(dice.below(u64::from(people))).unwrap_or(0);
    let mut plan = OrderPlan {
        n,
        pair,
        at,
        currency,
        lines,
        shipping,
        person,
        guest: person.is_multiple_of(3),
        card: Card::Good,
        payment_first: dice.chance(5000),
        short_key: dice.chance(3000),
        card_in_note: dice.chance(60),
        by_shop: None,
        word: None,
        acts: Vec::new(),
    };
    if dice.chance(300) {
        plan.guest = !plan.guest;
    }
    story(dice, &mut plan, capture);
    plan.acts.sort_by_key(|(at, _)| *at);
    plan
}

fn minutes(dice: &mut Dice, low: i64, high: i64) -> Millis {
    Millis(dice.between(low * 60_000, high * 60_000))
}

fn story(dice: &mut Dice, plan: &mut OrderPlan, capture: &str) {
    let mut acts: Vec<(Millis, Act)> = Vec::new();
    let mut paid = true;
    match dice.below(100) {
        0..=39 => {}
        40..=53 => {
            plan.card = Card::Declined(dice.pick(&DECLINES).unwrap_or("pm_card_chargeDeclined"));
            if dice.chance(3000) {
                let how = dice.pick(&DECLINES).unwrap_or("pm_card_chargeDeclined");
                acts.push((minutes(dice, 1, 20), Act::Pay(Card::Declined(how))));
            }
            paid = dice.chance(8000);
            if paid {
                acts.push((minutes(dice, 5, 120), Act::Pay(Card::Good)));
            }
        }
        54..=64 => {
            plan.card = Card::Challenge;
            match dice.below(10) {
                0..=5 => acts.push((minutes(dice, 1, 30), Act::Authenticate(true))),
                6..=7 => {
                    acts.push((minutes(dice, 1, 30), Act::Authenticate(false)));
                    acts.push((minutes(dice, 31, 90), Act::Pay(Card::Good)));
                }
                8 => acts.push((minutes(dice, 1, 60), Act::Pay(Card::Good))),
                _ => paid = false,
            }
        }
        65..=74 => {
            plan.card = Card::Review;
            let verdict = match dice.below(10) {
                0..=4 => Verdict::Approved,
                5..=6 => Verdict::Refunded,
                7..=8 => Verdict::Fraud,
                _ => Verdict::Acknowledged,
            };
            paid = matches!(verdict, Verdict::Approved | Verdict::Acknowledged);
            acts.push((minutes(dice, 2, 600), Act::Review(verdict)));
        }
        75..=78 => {
            acts.push((Millis(dice.between(0, 60_000)), Act::Cancel));
            paid = false;
        }
        79..=84 => acts.push((minutes(dice, 2, 3000), Act::Cancel)),
        85..=88 => {
            let pieces = if dice.chance(5000) { Some(1) } else { Some(4) };
            acts.push((Millis(dice.between(0, 60_000)), Act::Change { line: 1, pieces }));
        }
        89..=93 => {
            let (line, pieces) = match dice.below(3) {
                0 => (2, None),
                1 => (1, Some(1)),
                _ => (1, Some(5)),
            };
            acts.push((minutes(dice, 3, 600), Act::Change { line, pieces }));
        }
        94 => plan.card = Card::RefundFails,
        95 => plan.card = Card::RefundPends,
        96 => plan.card = Card::Disputes,
        97 => acts.push((minutes(dice, 1, 60), Act::DashboardCancel)),
        _ => acts.push((minutes(dice, 10, 600), Act::Expire)),
    }
    if paid {
        afterwards(dice, &mut acts, capture);
    }
    if dice.chance(500) {
        // Once more, though it may be paid already: must not be charged again.
        acts.push((minutes(dice, 1, 300), Act::Pay(Card::Good)));
    }
    plan.acts = acts;
}

fn afterwards(dice: &mut Dice, acts: &mut Vec<(Millis, Act)>, capture: &str) {
    let ships = if capture == "shipment" { 8500 } else { 4000 };
    if dice.chance(ships) {
        if dice.chance(4000) {
            acts.push((minutes(dice, 30, 2000), Act::Ship { all: false }));
        }
        acts.push((minutes(dice, 60, 8000), Act::Ship { all: true }));
        if dice.chance(3000) {
            acts.push((minutes(dice, 8100, 9000), Act::Complete));
        }
    }
    if capture == "manual" && dice.chance(7000) {
        let percent = if dice.chance(7000) { 100 } else { 60 };
        acts.push((minutes(dice, 10, 6000), Act::DashboardCapture(percent)));
    }
    if dice.chance(1500) {
        for _ in 0..=dice.below(3) {
            let percent = dice.pick(&[10, 25, 50, 100]).unwrap_or(100);
            acts.push((minutes(dice, 20, 9000), Act::DashboardRefund(percent)));
        }
    }
    if dice.chance(1500) {
        let early = dice.chance(800);
        for id in 0..=u8::try_from(dice.below(3)).unwrap_or(0) {
            let percent = dice.pick(&[5, 20, 30, 100]).unwrap_or(100);
            let low = if early { 0 } else { 30 };
            acts.push((minutes(dice, low, 9000), Act::AskRefund { id, percent, early }));
        }
    }
    if dice.chance(300) {
        acts.push((minutes(dice, 500, 10_000), Act::FailRefund));
    }
    if dice.chance(600) {
        let percent = dice.pick(&[40, 100, 100]).unwrap_or(100);
        acts.push((minutes(dice, 60, 5000), Act::Dispute(percent)));
        match dice.below(5) {
            0 | 1 => acts.push((minutes(dice, 5100, 9000), Act::Decide(true))),
            2 => acts.push((minutes(dice, 5100, 9000), Act::Decide(false))),
            3 => {
                acts.push((minutes(dice, 5100, 7000), Act::Decide(false)));
                acts.push((minutes(dice, 7100, 9000), Act::Decide(true)));
            }
            _ => {
                acts.push((minutes(dice, 5100, 7000), Act::Reinstate));
                let won = dice.chance(5000);
                acts.push((minutes(dice, 7100, 9000), Act::Decide(won)));
            }
        }
    }
}
