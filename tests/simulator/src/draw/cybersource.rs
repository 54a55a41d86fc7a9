//! Orders of Cybersource and Clarity: cards by what the sandbox makes of their tokens, reviews of Decision Manager, captures
//! and refunds before and after the daily cut-off, and what people do in the Business Center.

use tillway_core::time::Millis;
use tillway_sandbox::cybersource::Manner;

use super::{Act, Card, MERCHANTS, OrderPlan, Plan, Verdict, lines, minutes};
use crate::dice::Dice;
use crate::memory::gateway::lenient;
use crate::pair::Pair;

const GOOD: Card = Card::Token("tok_visa");

const DECLINES: [&str; 7] =
    ["tok_insufficient", "tok_expired", "tok_stolen", "tok_declined", "tok_issuer", "tok_cvn", "tok_limit"];

/// Held by the issuer's or the platform's own checks.
const HELD: [&str; 3] = ["tok_avs", "tok_cv", "tok_contact"];

/// What goes wrong in ways that a person has to look at, or that leave open what happened.
const ODD: [&str; 8] = [
    "tok_timeout",
    "tok_service",
    "tok_timeout",
    "tok_service",
    "tok_invalid",
    "tok_badcard",
    "tok_unheard",
    "tok_challenge",
];

/// Draws `count` orders, numbered from `first`.
pub(super) fn draw(seed: u64, first: u32, count: u32, routed: Option<bool>) -> Plan {
    let mut dice = Dice::new(seed, 1);
    // A stream of its own: orders are the same whether they are routed or not.
    let mut market = Dice::new(seed, 8);
    let routed = [0, 1].map(|_| {
        let drawn = market.chance(6500);
        routed.unwrap_or(drawn)
    });
    let manners = routed.map(|routed| manners(&mut market, routed));
    // And one for whether Decision Manager is asked before the bank.
    let mut screens = Dice::new(seed, 9);
    // And one for who makes the payments, and whether cards are kept.
    let mut ways = Dice::new(seed, 11);
    let follows = [0, 1].map(|_| ways.chance(2500));
    let options = follows.map(|follows| {
        let mut options = pair_options(&mut dice);
        options.push(("initiates", if follows { "shop" } else { "tillway" }));
        options.push(("screening", if screens.chance(3500) { "before" } else { "inline" }));
        options
    });
    // And one for who decides a case here and not in the Business Center.
    let mut here = Dice::new(seed, 10);
    let partial = |dice: &mut Dice| {
        let how = dice.pick(&["ask", "reverse", "reverse", "accept"]).unwrap_or("ask");
        vec![("partial_authorization", how)]
    };
    let mut settings = [partial(&mut dice), partial(&mut dice)];
    for (own, options) in settings.iter_mut().zip(&options) {
        // Decision Manager alone takes no such token.
        if ways.chance(5000) && options.contains(&("screening", "inline")) {
            own.push(("token_kind", "instrument_identifier"));
        }
    }
    let people = (count / 2).max(1);
    let spread = i64::from(count).saturating_mul(20_000);
    let orders = (0..count)
        .map(|n| {
            let pair = usize::from(dice.chance(5000));
            let capture = options.get(pair).and_then(|o| o.first()).map_or("", |(_, c)| *c);
            let at = Millis(dice.between(0, spread));
            let mut order = order(&mut dice, first + n, pair, at, people, capture);
            if lenient(seed) {
                // Where the gateway gives back more than it took, nobody hears of another's refund in time.
                order.acts.retain(|(_, act)| !matches!(act, Act::DashboardRefund(_) | Act::DashboardVoid));
            }
            if follows.get(pair) == Some(&true) {
                follow(&mut ways, &mut order);
            }
            for (_, act) in &mut order.acts {
                if let Act::Review(verdict) = act
                    && here.chance(5000)
                {
                    *act = Act::Rule(matches!(verdict, Verdict::Approved | Verdict::Acknowledged));
                }
            }
            if routed.get(pair) == Some(&true) && market.chance(700) {
                outage(&mut market, &mut order);
            }
            order
        })
        .collect();
    let swap_at = dice.chance(6000).then(|| Millis(dice.between(0, spread.saturating_mul(2))));
    Plan { seed, pair: Pair::CybersourceClarity, options, settings, routed, manners, orders, swap_at }
}

/// The shop pays by itself. What goes wrong between shop and gateway is theirs: of cards those are left that are good, declined or
/// held.
fn follow(dice: &mut Dice, order: &mut OrderPlan) {
    order.by_shop = Some(dice.chance(5000));
    order.payment_first = dice.chance(5000);
    let plain = |card: Card| match card {
        Card::Token(token) if DECLINES.contains(&token) || HELD.contains(&token) => card,
        _ => GOOD,
    };
    order.card = plain(order.card);
    for (_, act) in &mut order.acts {
        if let Act::Pay(card) = act {
            *card = plain(*card);
        }
    }
}

const fn declines(permille: u64) -> Manner {
    Manner::Declines { permille, reason: "ISSUER_UNAVAILABLE" }
}

/// How the merchant ids of an account do: the first takes every currency, the further ones decline softly more often, or
/// lack a currency.
fn manners(dice: &mut Dice, routed: bool) -> [Manner; MERCHANTS] {
    const FIRST: [Manner; 3] = [Manner::Usual, declines(100), declines(300)];
    const FURTHER: [Manner; 6] = [
        Manner::Usual,
        declines(250),
        declines(250),
        declines(500),
        Manner::Without("EUR"),
        Manner::Without("GBP"),
    ];
    let mut out = [Manner::Usual; MERCHANTS];
    for (n, manner) in out.iter_mut().enumerate().filter(|_| routed) {
        *manner = dice.pick(if n == 0 { &FIRST[..] } else { &FURTHER }).unwrap_or_default();
    }
    out
}

/// A merchant id is out of order for some minutes while this order and others are placed, and does differently after it.
fn outage(dice: &mut Dice, order: &mut OrderPlan) {
    let merchant = dice.place(MERCHANTS);
    // Others go on; what is held at one that takes no captures waits for it, and so does what only it could tell.
    let how = [
        Manner::Unavailable,
        Manner::Broken,
        Manner::NotSetUp,
        Manner::NoCaptures,
        Manner::NoCaptures,
        Manner::NoReads,
        Manner::NoReads,
    ];
    let manner = dice.pick(&how).unwrap_or(Manner::Unavailable);
    let begins = minutes(dice, 0, 10);
    let ends = Millis(begins.0 + minutes(dice, 3, 40).0);
    let after = dice.pick(&[Manner::Usual, declines(250)]).unwrap_or_default();
    order.acts.push((begins, Act::Manner { merchant, manner }));
    order.acts.push((ends, Act::Manner { merchant, manner: after }));
    order.acts.sort_by_key(|(at, _)| *at);
}

fn pair_options(dice: &mut Dice) -> Vec<(&'static str, &'static str)> {
    let capture = dice.pick(&["authorization", "authorization", "shipment", "shipment", "manual"]);
    let on_cancelled = dice.pick(&["refund", "refund", "park"]).unwrap_or("refund");
    let on_total_lowered = dice.pick(&["park", "refund"]).unwrap_or("park");
    let on_expiring = dice.pick(&["alert", "capture"]).unwrap_or("alert");
    vec![
        ("capture", capture.unwrap_or("authorization")),
        ("on_cancelled", on_cancelled),
        ("on_total_lowered", on_total_lowered),
        ("on_expiring", on_expiring),
        // Whoever takes nothing before the end lets go after it.
        ("on_expired", if on_expiring == "capture" { "keep" } else { "release" }),
    ]
}

fn order(dice: &mut Dice, n: u32, pair: usize, at: Millis, people: u32, capture: &str) -> OrderPlan {
    let currency = dice.pick(&["USD", "USD", "USD", "EUR", "EUR", "GBP", "JPY", "KWD"]).unwrap_or("USD");
    let lines = lines(dice, 1);
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
        card: GOOD,
        payment_first: false,
        short_key: false,
        card_in_note: dice.chance(60),
        by_shop: None,
        word: None,
        acts: Vec::new(),
    };
    story(dice, &mut plan, capture);
    plan.acts.sort_by_key(|(at, _)| *at);
    plan
}

fn story(dice: &mut Dice, plan: &mut OrderPlan, capture: &str) {
    let mut acts: Vec<(Millis, Act)> = Vec::new();
    let mut paid = true;
    let mut reviewed = false;
    match dice.below(100) {
        0..=34 => {}
        35..=46 => {
            plan.card = Card::Token(dice.pick(&DECLINES).unwrap_or("tok_declined"));
            if dice.chance(3000) {
                let how = dice.pick(&DECLINES).unwrap_or("tok_declined");
                acts.push((minutes(dice, 1, 20), Act::Pay(Card::Token(how))));
            }
            paid = dice.chance(8000);
            if paid {
                acts.push((minutes(dice, 2, 120), Act::Pay(GOOD)));
            }
        }
        47..=64 => {
            paid = review(dice, plan, &mut acts);
            reviewed = paid;
        }
        65..=68 => {
            // The bank approves and the risk check refuses; another address or card may do.
            plan.word = Some("reject");
            paid = false;
            if dice.chance(4000) {
                acts.push((minutes(dice, 2, 60), Act::Pay(GOOD)));
            }
        }
        69..=73 => {
            plan.card = Card::Token("tok_partial");
            if dice.chance(6000) {
                acts.push((minutes(dice, 2, 90), Act::Pay(GOOD)));
            }
        }
        74..=78 => {
            plan.card = Card::Token(dice.pick(&ODD).unwrap_or("tok_timeout"));
            if dice.chance(6000) {
                acts.push((minutes(dice, 1, 60), Act::Pay(GOOD)));
            }
        }
        79..=81 => {
            acts.push((Millis(dice.between(0, 60_000)), Act::Cancel));
            paid = false;
        }
        82..=87 => {
            let late = if dice.chance(6000) { 600 } else { 3000 };
            acts.push((minutes(dice, 2, late), Act::Cancel));
        }
        88..=90 => {
            let pieces = if dice.chance(5000) { Some(1) } else { Some(4) };
            acts.push((Millis(dice.between(0, 60_000)), Act::Change { line: 1, pieces }));
        }
        91..=94 => {
            let (line, pieces) = match dice.below(3) {
                0 => (2, None),
                1 => (1, Some(1)),
                _ => (1, Some(5)),
            };
            acts.push((minutes(dice, 3, 600), Act::Change { line, pieces }));
        }
        95 => plan.card = Card::Token("tok_refunddeclined"),
        96 => plan.card = Card::Token("tok_refundfails"),
        97 => acts.push((minutes(dice, 1, 60), Act::DashboardCancel)),
        _ => acts.push((minutes(dice, 10, 600), Act::Expire)),
    }
    if paid {
        afterwards(dice, &mut acts, capture);
    }
    let ships = acts.iter().filter(|(_, a)| matches!(a, Act::Ship { .. })).map(|(at, _)| *at).min();
    if let Some(at) = ships.filter(|_| reviewed && capture == "shipment" && dice.chance(6000)) {
        // Who decided the case takes the money by hand, shortly before it is due.
        let before = minutes(dice, 12, 40);
        acts.push((Millis((at.0 - before.0).max(60_000)), Act::DashboardCapture(100)));
    }
    if dice.chance(800) {
        // An impatient shopper: though it may be paid already, it must not be charged again.
        let late = if dice.chance(5000) { 3 } else { 300 };
        acts.push((minutes(dice, 1, late), Act::Pay(GOOD)));
    }
    plan.acts = acts;
}

/// Held for a person; answers whether it is paid in the end.
fn review(dice: &mut Dice, plan: &mut OrderPlan, acts: &mut Vec<(Millis, Act)>) -> bool {
    if dice.chance(5000) {
        plan.word = Some("review");
    } else {
        plan.card = Card::Token(dice.pick(&HELD).unwrap_or("tok_avs"));
    }
    let (verdict, paid) = match dice.below(10) {
        0..=3 => (Verdict::Approved, true),
        4..=5 => (Verdict::Acknowledged, true),
        6..=7 => (Verdict::Refunded, false),
        _ => (Verdict::Fraud, false),
    };
    let at = minutes(dice, 20, 900);
    acts.push((at, Act::Review(verdict)));
    if dice.chance(4000) {
        // Somebody takes it in the Business Center while the case is open; long enough before that searches show it.
        let percent = if dice.chance(6000) { 100 } else { 40 };
        let before = minutes(dice, 12, 60);
        acts.push((Millis((at.0 - before.0).max(60_000)), Act::DashboardCapture(percent)));
    }
    paid
}

fn afterwards(dice: &mut Dice, acts: &mut Vec<(Millis, Act)>, capture: &str) {
    let ships = if capture == "shipment" { 8500 } else { 4000 };
    if dice.chance(ships) {
        for _ in 0..dice.below(3) {
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
    // Before a cut-off a void undoes it, after it a refund.
    let late = |dice: &mut Dice| if dice.chance(5000) { 600 } else { 9000 };
    if dice.chance(1200) {
        for _ in 0..=dice.below(3) {
            let percent = dice.pick(&[10, 25, 50, 100]).unwrap_or(100);
            let late = late(dice);
            acts.push((minutes(dice, 20, late), Act::DashboardRefund(percent)));
        }
    }
    if dice.chance(600) {
        acts.push((minutes(dice, 20, 600), Act::DashboardVoid));
    }
    if dice.chance(2500) {
        let early = dice.chance(800);
        for id in 0..=u8::try_from(dice.below(3)).unwrap_or(0) {
            let percent = dice.pick(&[5, 20, 30, 100, 100, 100]).unwrap_or(100);
            let (low, late) = (if early { 0 } else { 10 }, late(dice));
            acts.push((minutes(dice, low, late), Act::AskRefund { id, percent, early }));
        }
    }
    if dice.chance(300) {
        acts.push((minutes(dice, 5, 600), Act::CutOff));
    }
    if dice.chance(600) {
        let percent = dice.pick(&[40, 100, 100]).unwrap_or(100);
        acts.push((minutes(dice, 60, 5000), Act::Dispute(percent)));
        if dice.chance(5000) {
            acts.push((minutes(dice, 5100, 9000), Act::Decide(true)));
        }
    }
}
