//! The five promises of DESIGN section 1, checked against what the sandboxes really did and what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tillway_core::ids::{ConnectionName, OrderKey};
use tillway_core::journal::{Entry, Role, TrialBalance};
use tillway_core::money::{Currency, Money};
use tillway_core::state::OrderState;
use tillway_engine::records::{
    CommandRecord, CommandState, LogRecord, OrderRecord, ParkedRecord, UnhandledRecord,
};

use super::gateway::System;
use super::run::Placed;
use super::seen::unwire;
use super::stage::Merchant;
use super::world::World;

/// A card number for tests that nobody holds: it must be found nowhere after somebody typed it into a note.
pub const CANARY: &str = "4000 0566 5566 5556";

/// What became of one promise.
#[derive(Debug, Serialize)]
pub struct Promise {
    /// In words.
    pub promise: &'static str,
    /// Whether it was kept.
    pub kept: bool,
    /// How it was checked, with counts.
    pub how: Vec<String>,
    /// What broke it.
    pub broken: Vec<String>,
}

impl Promise {
    const fn new(promise: &'static str) -> Self {
        Self { promise, kept: true, how: Vec::new(), broken: Vec::new() }
    }
    fn must(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.kept = false;
            self.broken.push(otherwise.into());
        }
    }
}

/// Everything stored of one order.
#[derive(Default)]
struct Filed {
    record: Option<OrderRecord>,
    log: Vec<LogRecord>,
    entries: Vec<Entry>,
}

/// Everything stored.
#[derive(Default)]
struct Files {
    orders: BTreeMap<String, Filed>,
    /// Connection and id of every event that is in a log or a list.
    events: BTreeSet<(String, String)>,
    open_commands: Vec<String>,
    waiting: usize,
    parked: usize,
    unhandled: usize,
}

async fn read(stage: &dyn World) -> anyhow::Result<Files> {
    let mut files = Files::default();
    let mut after: Option<String> = None;
    loop {
        let page = stage.engine().ports.store.scan(after.as_deref(), 500).await?;
        for item in page.items {
            let (pk, sk, body) = (item.key.pk.as_str(), item.key.sk.as_str(), item.body.as_slice());
            if sk.starts_with("cmd#") {
                let command: CommandRecord = serde_json::from_slice(body)?;
                if !matches!(command.state, CommandState::Ended { .. }) {
                    files.open_commands.push(command.action);
                }
            } else if let Some(key) = pk.strip_prefix("order#") {
                let filed = files.orders.entry(key.to_owned()).or_default();
                if sk == "state" {
                    filed.record = Some(serde_json::from_slice(body)?);
                } else if sk.starts_with("jrn#") {
                    filed.entries.push(serde_json::from_slice(body)?);
                } else if sk.starts_with("log#") || sk.starts_with("note#") {
                    let log: LogRecord = serde_json::from_slice(body)?;
                    files.events.insert((log.connection.to_string(), log.event.clone()));
                    if sk.starts_with("log#") {
                        filed.log.push(log);
                    }
                }
            } else if pk.starts_with("unhandled:") {
                let record: UnhandledRecord = serde_json::from_slice(body)?;
                files.unhandled = files.unhandled.saturating_add(1);
                files.events.insert((record.connection.to_string(), record.event));
            } else if pk.starts_with("parked#") {
                let record: ParkedRecord = serde_json::from_slice(body)?;
                files.parked = files.parked.saturating_add(1);
                files.events.insert((record.event.0.to_string(), record.event.1));
            } else if sk == "waiting" {
                files.waiting = files.waiting.saturating_add(1);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(files),
        }
    }
}

/// Whose clearing account.
pub struct Clearing {
    /// The gateway's words.
    pub system: &'static System,
    /// Its connection.
    pub connection: ConnectionName,
}

/// The books: trial balance, and each clearing account beside the gateway's truth.
pub struct Books {
    /// Over all entries.
    pub balance: TrialBalance,
    /// A gateway's account, in the books, in truth.
    pub clearing: Vec<(Clearing, Money, Money)>,
}

/// Checks all five. Sweeps every connection once more first.
///
/// # Errors
/// Where the store or a sandbox does not answer.
pub async fn check(
    stage: &dyn World,
    placed: &[&Placed],
    told: &[String],
) -> anyhow::Result<(Vec<Promise>, Books)> {
    let mut lost = Promise::new("Nothing is lost");
    let mut swept = 0_usize;
    for merchant in stage.merchants() {
        for connection in [&merchant.gateway, &merchant.shop] {
            let report = stage.sweep(connection).await?;
            let account = merchant.account();
            for found in &report.lost {
                let only_swept = found.money.is_empty() && account.only_swept(&found.event);
                swept = swept.saturating_add(usize::from(only_swept));
                let order = found.order.as_deref().unwrap_or("no known order");
                lost.must(
                    only_swept,
                    format!("the last sweep of {connection} found {} of {order}", found.kind),
                );
            }
        }
    }
    stage.settle().await?;
    let files = read(stage).await?;
    nothing_lost(stage, &files, swept, &mut lost).await?;
    let twice = nothing_twice(stage, placed);
    let (balance, books) = balanced(stage, &files);
    let pan = no_card_number(stage, told).await?;
    let explains = explains(&files, placed, stage);
    Ok((vec![lost, twice, balance, pan, explains], books))
}

async fn nothing_lost(
    stage: &dyn World,
    files: &Files,
    swept: usize,
    promise: &mut Promise,
) -> anyhow::Result<()> {
    let (mut sent, mut dropped) = (0_usize, 0_usize);
    for merchant in stage.merchants() {
        let account = merchant.account();
        let (all, deliveries) = (account.told(), account.deliveries());
        drop(account);
        let gateway = merchant.gateway.to_string();
        let missing: Vec<&str> = all
            .iter()
            .filter(|(id, _)| !files.events.contains(&(gateway.clone(), id.clone())))
            .map(|(_, kind)| kind.as_str())
            .collect();
        // A webhook that was never delivered and said nothing that is not known stands in no list.
        promise.must(
            missing.len() <= deliveries.lost,
            format!("{gateway}: {} event(s) ended nowhere: {}", missing.len(), missing.join(", ")),
        );
        promise.must(deliveries.given_up == 0, format!("{gateway} gave webhooks up"));
        promise.must(deliveries.open == 0, format!("{gateway} still has webhooks to deliver"));
        let clarity = merchant.clarity();
        let shop = merchant.shop.to_string();
        let counters = clarity.counters();
        let emitted: u64 = counters.events.values().sum();
        let emitted = usize::try_from(emitted).unwrap_or(usize::MAX);
        let found = files.events.iter().filter(|(c, id)| *c == shop && id.starts_with("msg_")).count();
        let never = clarity.lost_events().len();
        promise.must(
            found.saturating_add(never) >= emitted,
            format!("{shop}: {emitted} webhooks, {found} ended somewhere, {never} were never delivered"),
        );
        promise.must(counters.given_up == 0, format!("{shop} gave webhooks up"));
        sent = sent.saturating_add(all.len()).saturating_add(emitted);
        dropped = dropped.saturating_add(missing.len()).saturating_add(never);
    }
    promise.how.push(format!(
        "{sent} events of the sandboxes: each stands in an order's log, in the parking lot or in the list of \
         unhandled ones ({} parked, {} unhandled), but for {dropped} whose webhooks were never delivered and whose \
         news the sweeps brought",
        files.parked, files.unhandled,
    ));
    let refused = stage.refused().await?;
    let refused: Vec<String> = refused.iter().map(|(code, n)| format!("{n} {code}")).collect();
    let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
    promise.how.push(format!("every other delivery was answered 2xx; refused at the edge: {refused}"));
    let besides = if swept == 0 {
        String::new()
    } else {
        format!(
            "; besides it told {swept} time(s) that a refund had reached the processor, which no webhook tells"
        )
    };
    promise.how.push(format!("a last sweep of every connection found nothing that was lost{besides}"));
    let (queued, dead) = stage.queued().await?;
    promise.must(queued == 0, format!("{queued} message(s) are still queued"));
    promise.must(dead == 0, format!("{dead} message(s) were given up"));
    promise.must(
        files.open_commands.is_empty(),
        format!("commands not ended: {}", files.open_commands.join(", ")),
    );
    promise.must(files.waiting == 0, format!("{} payment(s) wait for their order", files.waiting));
    promise.how.push(
        "queues and dead letters are empty, no command is open, no event waits for its order".to_owned(),
    );
    Ok(())
}

fn nothing_twice(stage: &dyn World, placed: &[&Placed]) -> Promise {
    let mut promise = Promise::new("Nothing happens twice");
    let (mut charges, mut refunds, mut customers) = (0_usize, 0_usize, 0_usize);
    for merchant in stage.merchants() {
        let account = merchant.account();
        let mut of_order: BTreeMap<String, usize> = BTreeMap::new();
        for payment in account.payments() {
            charges = charges.saturating_add(payment.charges);
            refunds = refunds.saturating_add(payment.refunds);
            promise.must(
                payment.captured <= payment.authorized,
                format!("{}: captured above authorized", payment.id),
            );
            promise.must(
                payment.refunded <= payment.captured,
                format!("{}: refunded above captured", payment.id),
            );
            if let Some(order) = payment.order {
                let sum = of_order.entry(order).or_default();
                *sum = sum.saturating_add(payment.standing);
            }
        }
        for twice in account.done_twice() {
            promise.must(false, twice);
        }
        for (order, charges) in of_order {
            promise.must(charges <= 1, format!("order {order} was charged {charges} times"));
        }
        let mut by_mail: BTreeMap<String, usize> = BTreeMap::new();
        for email in account.customers() {
            customers = customers.saturating_add(1);
            let count = by_mail.entry(email).or_default();
            *count = count.saturating_add(1);
        }
        let doubled = by_mail.values().filter(|n| **n > 1).count();
        promise
            .must(doubled == 0, format!("{}: {doubled} person(s) have several customers", merchant.gateway));
    }
    promise.how.push(format!(
        "{} truth: {charges} charges for {} orders, none for one order twice; {refunds} refunds, none above what \
         was taken, and each order's sum is the one its scenario names; {customers} customers, one for each person",
        stage.gateways("'s"),
        placed.len(),
    ));
    promise
}

/// What the gateway's clearing account must hold, by its truth: taken, given back, withdrawn, reinstated.
fn truth(merchant: &Merchant) -> BTreeMap<Currency, Money> {
    let mut sums: BTreeMap<Currency, Money> = BTreeMap::new();
    for p in merchant.account().payments() {
        let minor =
            p.captured.saturating_sub(p.refunded).saturating_sub(p.withdrawn).saturating_add(p.reinstated);
        if let Some(money) = unwire(minor, &p.currency) {
            let sum = sums.entry(money.currency).or_insert(Money::zero(money.currency));
            *sum = Money::new(sum.minor.saturating_add(money.minor), money.currency);
        }
    }
    sums
}

fn balanced(stage: &dyn World, files: &Files) -> (Promise, Books) {
    let mut promise = Promise::new("The books balance");
    let mut books = Books { balance: TrialBalance::default(), clearing: Vec::new() };
    let mut by_gateway: BTreeMap<ConnectionName, TrialBalance> = BTreeMap::new();
    let mut count = 0_usize;
    for entry in files.orders.values().flat_map(|o| &o.entries) {
        count = count.saturating_add(1);
        if let Err(error) = entry.check() {
            promise.must(false, error.to_string());
        }
        books.balance.add(entry);
        by_gateway.entry(entry.connection.clone()).or_default().add(entry);
    }
    for (currency, over) in books.balance.unbalanced() {
        promise.must(false, format!("debits exceed credits by {over} minor units of {}", currency.code()));
    }
    for merchant in stage.merchants() {
        let empty = TrialBalance::default();
        let booked = by_gateway.get(&merchant.gateway).unwrap_or(&empty);
        let mut currencies = truth(merchant);
        for (currency, _) in booked.0.keys() {
            currencies.entry(*currency).or_insert(Money::zero(*currency));
        }
        for (currency, truth) in currencies {
            // Fees of disputes went out of the clearing account as well.
            let clearing =
                booked.of(Role::GatewayClearing, currency).saturating_add(booked.of(Role::Fees, currency));
            let clearing = Money::new(i64::try_from(clearing).unwrap_or(i64::MAX), currency);
            promise.must(
                clearing == truth,
                format!(
                    "{}: the books say {clearing}, {} has {truth}",
                    merchant.gateway, merchant.system.name
                ),
            );
            let of = Clearing { system: merchant.system, connection: merchant.gateway.clone() };
            books.clearing.push((of, clearing, truth));
        }
    }
    promise.how.push(format!("{count} journal entries, each balanced in its currency, and so is their sum"));
    promise.how.push(format!(
        "clearing (dispute fees aside) equals {} captured − refunded − withdrawn + reinstated, for each account \
         and currency, to the minor unit",
        stage.gateways("'s"),
    ));
    (promise, books)
}

async fn no_card_number(stage: &dyn World, told: &[String]) -> anyhow::Result<Promise> {
    let mut promise = Promise::new("No card number gets in");
    let needles = [CANARY.to_owned(), CANARY.replace(' ', ""), CANARY.replace(' ', "-")];
    let holds = |bytes: &[u8]| needles.iter().any(|n| bytes.windows(n.len()).any(|w| w == n.as_bytes()));
    let kept = stage.kept().await?;
    let mut bytes = 0_usize;
    for (place, content) in &kept {
        bytes = bytes.saturating_add(content.len());
        promise.must(!holds(content), format!("the card number stands in {place}"));
    }
    let notices = stage.notices();
    let texts = notices.iter().flat_map(|n| [&n.subject, &n.text]).chain(told);
    promise.must(texts.into_iter().all(|t| !holds(t.as_bytes())), "the card number was told to somebody");
    let typed = stage.alarms("card_number_received").await? > 0;
    let sent = if typed {
        "typed into an order's note (removed at the edge, alarmed)"
    } else {
        "not typed in by any scenario of this run"
    };
    promise.how.push(format!(
        "a card number {sent} is in none of the {} places ({bytes} bytes) where something is kept, in no notice and \
         in no line of this report",
        kept.len(),
    ));
    Ok(promise)
}

fn explains(files: &Files, placed: &[&Placed], stage: &dyn World) -> Promise {
    let mut promise = Promise::new("It explains itself");
    let (mut decisions, mut whys) = (0_usize, 0_usize);
    for order in placed {
        let shop = stage.merchant(&order.merchant).map(|m| m.shop.clone());
        let Ok(shop) = shop else { continue };
        let key = OrderKey::of(&shop, &order.order);
        let Some(filed) = files.orders.get(key.as_str()) else {
            promise.must(false, format!("nothing is stored of order {key}"));
            continue;
        };
        promise.must(!filed.log.is_empty(), format!("the log of order {key} is empty"));
        decisions = decisions.saturating_add(filed.log.len());
        whys = whys.saturating_add(filed.log.iter().map(|l| l.why.len()).sum::<usize>());
    }
    for (key, filed) in &files.orders {
        let Some(record) = &filed.record else {
            promise.must(false, format!("order {key} has no state"));
            continue;
        };
        let facts = filed.log.iter().flat_map(|l| l.facts.iter().map(|f| (l.at, &l.connection, f)));
        let (state, mut entries) = OrderState::rebuild(OrderKey::new(key.as_str()), facts);
        let same = match (&state, serde_json::to_vec(&record.state)) {
            (Some(state), Ok(stored)) => serde_json::to_vec(state).is_ok_and(|rebuilt| rebuilt == stored),
            _ => false,
        };
        promise.must(same, format!("the state of order {key} is not what its facts make"));
        let sorted = |entries: &mut Vec<Entry>| {
            entries.sort_by(|a, b| (&a.connection, &a.id).cmp(&(&b.connection, &b.id)))
        };
        let mut stored = filed.entries.clone();
        sorted(&mut entries);
        sorted(&mut stored);
        let same =
            matches!((serde_json::to_vec(&entries), serde_json::to_vec(&stored)), (Ok(a), Ok(b)) if a == b);
        promise.must(same, format!("the journal of order {key} is not what its facts make"));
    }
    promise.how.push(format!(
        "{} orders have a log ({decisions} decisions, {whys} reasons written down); state and journal rebuilt from \
         the logged facts alone equal what is stored, byte for byte",
        files.orders.len(),
    ));
    promise
}
