//! What the connector reads as settled, against what the sandbox did.

use std::collections::BTreeMap;

use tillway_connectors::port::Interpreted;
use tillway_connectors::{BatchStanding, ListedBatch, SettleFault, Settlement};
use tillway_core::settle::certificate::certify;
use tillway_core::settle::check::{Statement, Verdict, check};
use tillway_core::settle::{
    Day, Expected, Funding, Ids, Kind as Lines, RuleBook, Rules, SettlementLine, Standing, ToBook, entries,
    settle,
};

use super::*;

#[path = "fees.rs"]
mod fees;

impl World {
    fn api(&self) -> &'static dyn Settlement {
        Cybersource.settlement(&self.connection).unwrap()
    }
    /// All batches of a day.
    async fn batches(&self, day: Day) -> Result<Vec<ListedBatch>, SettleFault> {
        let command = CommandId::new("settle");
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.api().batches(&self.settling(&command), day, cursor.as_deref()).await?;
            all.extend(page.batches);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
    async fn lines(&self, listed: &ListedBatch) -> Result<Vec<SettlementLine>, SettleFault> {
        let command = CommandId::new("settle");
        let page = self.api().lines(&self.settling(&command), &listed.batch, None).await?;
        assert_eq!(page.next, None);
        Ok(page.lines)
    }
    fn settling<'a>(&'a self, command: &'a CommandId) -> Call<'a> {
        Call {
            connection: &self.connection,
            secrets: &self.secrets,
            token: None,
            http: self,
            action: "settle",
            command,
            generation: 0,
            prepared: &[],
            now: self.now(),
            limit: Millis::mins(5),
        }
    }
    /// A sale of an order of its own. Gives the payment.
    async fn sale(&self, name: &str, minor: i64, currency: &str) -> String {
        let mut step = authorize(name, "tok_visa", minor);
        let amount = Money::new(minor, Currency::parse(currency).unwrap());
        if let Value::Map(params) = &mut step.params {
            params.insert("capture".into(), Value::Bool(true));
            params.insert("order_id".into(), Value::text(name));
            params.insert("amount".into(), Value::Money(amount));
        }
        self.done(&step).await
    }
    /// Some trade in one batch: 10.00 and 5.00 captured, 2.50 refunded. Gives the second capture.
    async fn trade(&self) -> String {
        let payment = self.done(&authorize("c1", "tok_visa", 1500)).await;
        self.done(&follow("capture", &payment, 1000, &[("last", Value::Bool(false))])).await;
        let second = Step { command: "k2", ..follow("capture", &payment, 500, &[]) };
        let capture = self.done(&second).await;
        let more = [("capture", Value::text(capture.as_str())), ("request", Value::text("R-1"))];
        self.done(&follow("refund", &payment, 250, &more)).await;
        capture
    }
}

fn shape(lines: &[SettlementLine]) -> Vec<(Lines, i64)> {
    let mut all: Vec<_> = lines.iter().map(|l| (l.kind, l.gross)).collect();
    all.sort_unstable();
    all
}

/// What the journal would expect of an object.
fn expect(id: String, kind: Lines, own: &str, amount: i64) -> Expected {
    Expected {
        id: id.into(),
        kind,
        standing: Standing::Booked,
        ids: Ids { own: Some(own.into()), parent: None, payment: None },
        reference: None,
        amount,
        booked_fee: 0,
        currency: Currency::parse("USD").unwrap(),
        due: today(),
        card: None,
        order: None,
    }
}

/// The day the clock starts on.
fn today() -> Day {
    Day::of(Timestamp::from_unix(START))
}

#[tokio::test]
async fn a_days_report_is_waited_for_then_read_in_both_formats() {
    for format in ["csv", "xml"] {
        let world = World::with(config(None), &[("settlement.format", format)]);
        world.trade().await;
        let not_ready = |e: SettleFault| matches!(e, SettleFault::NotReady { .. });
        assert!(not_ready(world.batches(today()).await.unwrap_err()), "no cut-off yet");
        world.pass(Millis::hours(14));
        assert!(not_ready(world.batches(today()).await.unwrap_err()), "it is being made");
        world.pass(Millis::hours(4));
        let listed = world.batches(today()).await.unwrap();
        let [batch] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((batch.batch.funding, &batch.standing), (Funding::Submitted, &BatchStanding::Ready));
        assert!(batch.batch.id.ends_with(&format!("@{}", today())));
        let lines = world.lines(batch).await.unwrap();
        assert_eq!(shape(&lines), [(Lines::Charge, 500), (Lines::Charge, 1000), (Lines::Refund, -250)]);
        assert!(lines.iter().all(|l| l.batch == batch.batch.id));
        // By the ids that the books name them by.
        let truth = world.truth("A-1");
        let made: Vec<&str> = truth.payments[0].transactions.iter().map(|t| t.id.as_str()).collect();
        assert!(lines.iter().all(|l| made.contains(&l.ids.own.as_deref().unwrap())), "{lines:?} {made:?}");
        assert_eq!(world.batches(today()).await.unwrap(), listed, "listed again it is the same");
        // A day without any.
        world.pass(Millis::days(1));
        assert_eq!(world.batches(today().plus(1)).await.unwrap(), []);
        assert!(world.sandbox(|s, _| s.counters().auth_refusals.is_empty()));
    }
}

/// The subscription began after the trade: of its day and those before there never is a report.
#[tokio::test]
async fn a_report_that_never_was_is_not_waited_for_for_ever() {
    let begun = async |since: Day, days: &'static str| {
        let mut config = config(None);
        config.funded_after = Some(Millis::days(2));
        config.reports_since = since.start();
        let settings = [("settlement.funding", "net_fundings"), ("settlement.funding_days", days)];
        let world = World::with(config, &settings);
        world.trade().await;
        // The third morning after the trade's.
        world.pass(Millis::hours(68));
        world
    };
    let funded = today().plus(2);
    let world = begun(today().plus(1), "5").await;
    let waits = matches!(world.batches(funded).await, Err(SettleFault::NotReady { .. }));
    assert!(waits, "the report of the trade's day may still come");
    world.pass(Millis::days(1));
    let listed = world.batches(funded).await.unwrap();
    let [batch] = listed.as_slice() else { panic!("{listed:?}") };
    let BatchStanding::Unlisted { why } = &batch.standing else { panic!("{batch:?}") };
    let before = [0, 1, 2, 3].map(|back: i32| today().plus(-back).to_string()).join(", ");
    assert!(why.contains(&format!("there never was a report of {before}")), "{why}");
    // What is asked for is all there.
    let near = begun(today(), "2").await;
    let listed = near.batches(funded).await.unwrap();
    assert!(matches!(listed[0].batch.funding, Funding::Funded { .. }), "{listed:?}");
    assert_eq!(listed[0].standing, BatchStanding::Ready);
}

#[tokio::test]
async fn a_net_funding_closes_the_batch_whose_sums_it_has() {
    let mut config = config(None);
    config.funded_after = Some(Millis::days(2));
    let world = World::with(config, &[("settlement.funding", "net_fundings")]);
    let capture = world.trade().await;
    world.pass(Millis::days(2));
    world.sandbox(|s, now| s.charge_back(now, &capture, 300, "10.4", false)).unwrap();
    world.pass(Millis::days(1));
    let before = world.batches(today()).await.unwrap();
    assert_eq!(before.len(), 1);
    let funded = world.batches(today().plus(2)).await.unwrap();
    let [batch] = funded.as_slice() else { panic!("{funded:?}") };
    assert_eq!(batch.batch.id, before[0].batch.id);
    // 2.9 % of 15.00, and the chargeback.
    assert_eq!(batch.batch.funding, Funding::Funded { payout: 1500 - 250 - 43 - 300, day: today().plus(2) });
    let lines = world.lines(batch).await.unwrap();
    assert_eq!(
        shape(&lines),
        [
            (Lines::Charge, 500),
            (Lines::Charge, 1000),
            (Lines::Refund, -250),
            (Lines::Dispute, -300),
            (Lines::Fee, -43),
        ]
    );
    assert_eq!(lines.iter().map(|l| l.net).sum::<i64>(), 907);
    // What the books expect by the ids of those objects is matched, and the checker lets it be posted.
    let truth = world.truth("A-1");
    let objects = truth.payments.iter().flat_map(|p| &p.transactions);
    let mut expected: Vec<Expected> = objects
        .filter_map(|t| match t.kind {
            Kind::Capture => Some(expect(format!("capture:{}", t.id), Lines::Charge, &t.id, t.amount)),
            Kind::Refund => Some(expect(format!("refund:{}", t.id), Lines::Refund, &t.id, -t.amount)),
            _ => None,
        })
        .collect();
    // By the text under which the sweep tells the journal of it.
    let command = CommandId::new("sweep");
    let swept = Cybersource.sweep(world.settling(&command), Timestamp::from_unix(START), Some("chargebacks"));
    let event = swept.await.unwrap().events.remove(0);
    let told = Cybersource.interpret(&world.connection, &event.event_type, event.body.json()).unwrap();
    let Interpreted::About { observation, .. } = told else { panic!("no order's event") };
    let moved = observation.facts.iter().find_map(|f| match f {
        Fact::DisputeMoved { txn, amount, .. } => Some((txn.clone(), amount.minor)),
        _ => None,
    });
    let (txn, minor) = moved.unwrap();
    expected.push(expect(format!("dispute:{txn}"), Lines::Dispute, &txn, minor));
    let rules = Rules::load("r", world.api().rules(&world.connection)).unwrap();
    let outcome = settle(&lines, &expected, &rules, today().plus(9));
    assert_eq!((outcome.groups.len(), outcome.open_lines.len(), outcome.open_expected.len()), (4, 0, 0));
    let (rates, kept) = (BTreeMap::new(), RuleBook::new(&rules));
    let to_book = ToBook {
        batch: &batch.batch,
        lines: &lines,
        groups: &outcome.groups,
        expected: &expected,
        explained: &outcome.explained,
        rates: &rates,
        rules: &kept,
    };
    let booked = entries(&to_book, |_| false);
    let verdict = check(&Statement {
        batch: &batch.batch,
        lines: &lines,
        other_lines: &[],
        expected: &expected,
        certificates: &certify(&outcome.groups, &lines, &expected),
        explained: &outcome.explained,
        accepted: &[],
        open_lines: &[],
        open_expected: &[],
        entries: &booked.unwrap(),
        rates: &rates,
        rules: &kept,
        sections: &[],
    });
    assert_eq!(verdict, Ok(Verdict::Closed));
    let mut other = batch.clone();
    other.batch.funding = Funding::Funded { payout: 1200, day: today().plus(2) };
    assert_eq!(world.lines(&other).await.unwrap_err().code(), "sum_differs");
}

/// How a batch is listed: its name before the day, its money, and whether a person has to look.
fn told(listed: &[ListedBatch]) -> Vec<(&str, Option<i64>, bool)> {
    let of = |l: &ListedBatch| match l.batch.funding {
        Funding::Funded { payout, .. } => Some(payout),
        Funding::Submitted => None,
    };
    let by_hand = |l: &ListedBatch| matches!(l.standing, BatchStanding::Unlisted { .. });
    listed.iter().map(|l| (l.batch.id.split('@').next().unwrap(), of(l), by_hand(l))).collect()
}

fn funded_world(settings: &[(&str, &str)]) -> World {
    let mut config = config(None);
    config.funded_after = Some(Millis::days(2));
    let own = [("settlement.funding", "net_fundings")];
    World::with(config, &[&own[..], settings].concat())
}

#[tokio::test]
async fn a_funding_of_chargebacks_alone_goes_to_a_person_and_its_chargebacks_are_listed() {
    let world = funded_world(&[]);
    let euros = world.sale("e1", 2000, "EUR").await;
    world.pass(Millis::days(1));
    world.sale("u1", 1000, "USD").await;
    world.pass(Millis::days(2));
    // On the day the dollars are funded, a chargeback in euros, of which nothing is funded.
    world.sandbox(|s, now| s.charge_back(now, &euros, 700, "10.4", false)).unwrap();
    world.pass(Millis::days(1));
    let day = today().plus(3);
    let listed = world.batches(day).await.unwrap();
    let dollars = world.batches(today().plus(1)).await.unwrap().remove(0).batch.id;
    let dollars = dollars.split('@').next().unwrap();
    let expected =
        [(dollars, Some(971), false), ("funding-EUR", Some(-700), true), ("chargebacks-EUR", None, false)];
    let mut shown = told(&listed);
    shown.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(shown, sorted);
    let charged = listed.iter().find(|l| l.batch.id.starts_with("chargebacks-EUR")).unwrap();
    assert_eq!(shape(&world.lines(charged).await.unwrap()), [(Lines::Dispute, -700)]);
    let why = listed.iter().find_map(|l| match &l.standing {
        BatchStanding::Unlisted { why } => Some(why.as_str()),
        _ => None,
    });
    assert!(
        why.unwrap().contains("chargebacks 7.00 EUR; no batch of the days before has these sums"),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_funding_that_several_batches_fit_goes_to_a_person() {
    let world = funded_world(&[]);
    let first = world.sale("u1", 1000, "USD").await;
    world.pass(Millis::days(1));
    world.sale("u2", 1000, "USD").await;
    world.pass(Millis::days(1));
    world.sandbox(|s, now| s.charge_back(now, &first, 300, "10.4", false)).unwrap();
    world.pass(Millis::days(1));
    let listed = world.batches(today().plus(2)).await.unwrap();
    assert_eq!(told(&listed), [("funding-USD", Some(671), true), ("chargebacks-USD", None, false)]);
    let BatchStanding::Unlisted { why } = &listed[0].standing else { panic!("{listed:?}") };
    assert!(why.contains("several batches have these sums"), "{why}");
}

#[tokio::test]
async fn chargebacks_that_a_funding_does_not_tell_of_are_listed_beside_it() {
    let world = funded_world(&[]);
    let sold = world.sale("u1", 1000, "USD").await;
    world.pass(Millis::days(2));
    // Money given back is in the list of the day and in no funding.
    world.sandbox(|s, now| s.charge_back(now, &sold, 300, "10.4", true)).unwrap();
    world.pass(Millis::days(1));
    let listed = world.batches(today().plus(2)).await.unwrap();
    let [funded, charged] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(shape(&world.lines(funded).await.unwrap()), [(Lines::Charge, 1000), (Lines::Fee, -29)]);
    assert_eq!(shape(&world.lines(charged).await.unwrap()), [(Lines::DisputeReversal, 300)]);
}

#[tokio::test]
async fn nothing_is_closed_while_the_report_of_a_day_before_is_not_there() {
    let world = funded_world(&[]);
    world.sale("u1", 1000, "USD").await;
    world.pass(Millis::days(3));
    let day = today().plus(2);
    assert_eq!(world.batches(day).await.unwrap().len(), 1);
    // Two days' reports come late: the day's own, and one that may have a batch of the same sums.
    world.sandbox(|s, _| s.config_mut().report_after = Millis::days(3));
    assert!(matches!(world.batches(day).await.unwrap_err(), SettleFault::NotReady { .. }));
    // The day's own answers, and the one before it is not there.
    let command = CommandId::new("settle");
    let page = world.api().batches(&world.settling(&command), day, Some("funding")).await;
    assert!(matches!(page, Err(SettleFault::NotReady { .. })), "{page:?}");
}

#[tokio::test]
async fn chargebacks_are_a_submitted_batch_where_no_funding_is_told() {
    let world = World::new();
    let capture = world.trade().await;
    world.pass(Millis::days(1));
    world.sandbox(|s, now| s.charge_back(now, &capture, 300, "10.4", false)).unwrap();
    world.pass(Millis::days(1));
    let listed = world.batches(today().plus(1)).await.unwrap();
    let [batch] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(batch.batch.id.as_ref(), format!("chargebacks-USD@{}", today().plus(1)));
    assert_eq!(batch.batch.funding, Funding::Submitted);
    let lines = world.lines(batch).await.unwrap();
    assert_eq!(shape(&lines), [(Lines::Dispute, -300)]);
}

#[tokio::test]
async fn what_cannot_be_had_is_told_apart() {
    let world = World::new();
    world.trade().await;
    world.pass(Millis::days(1));
    world.fault("report-downloads", ApiFault::Refuse(503));
    assert!(matches!(world.batches(today()).await.unwrap_err(), SettleFault::NotNow { .. }));
    world.fault("report-downloads", ApiFault::SilenceBefore);
    assert!(matches!(world.batches(today()).await.unwrap_err(), SettleFault::NotNow { .. }));
    let mut other = World::with(config(None), &[("settlement.report", "Other")]);
    other.sandbox = world.sandbox;
    other.pass(Millis::days(1));
    assert!(matches!(other.batches(today()).await.unwrap_err(), SettleFault::NotReady { .. }));
    let strange = ListedBatch {
        batch: tillway_core::settle::Batch {
            id: "x".into(),
            connection: "cyb-test".into(),
            currency: Currency::parse("USD").unwrap(),
            funding: Funding::Submitted,
        },
        standing: BatchStanding::Ready,
    };
    assert_eq!(other.lines(&strange).await.unwrap_err().code(), "no_id");
}

#[tokio::test]
async fn every_merchant_id_has_its_own_report_and_its_own_money() {
    let key = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    let mut config = config(None);
    config.funded_after = Some(Millis::days(1));
    let credentials = Credentials::new("acme_eu", "eu-key", key);
    config.merchants = vec![Merchant { credentials, manner: Manner::Usual }];
    let settings = [
        ("merchant_ids", "acme_eu"),
        ("routes.acme_eu.key_id", "eu-key"),
        ("settlement.funding", "net_fundings"),
    ];
    let mut world = World::with(config, &settings);
    world.secrets.0.insert("shared_secret.acme_eu".into(), vec![Secret::new(key)]);
    for (route, command, minor) in [("acme_test_001", "c1", 1000), ("acme_eu", "c2", 2000)] {
        let mut step = authorize(command, "tok_visa", minor);
        if let Value::Map(params) = &mut step.params {
            params.insert("capture".into(), Value::Bool(true));
            params.insert("route".into(), Value::text(route));
            params.insert("order_id".into(), Value::text(command));
        }
        assert_eq!(how(&world.call(&step).await), "settled");
    }
    world.pass(Millis::days(2));
    let listed = world.batches(today()).await.unwrap();
    let shape_of = async |listed: &[ListedBatch]| {
        let mut all = Vec::new();
        for batch in listed {
            let own = !batch.batch.id.ends_with("@acme_eu");
            all.push((own, batch.batch.funding, shape(&world.lines(batch).await.unwrap())));
        }
        all
    };
    let day = today().plus(1);
    assert_eq!(
        shape_of(&listed).await,
        [
            (true, Funding::Submitted, vec![(Lines::Charge, 1000)]),
            (false, Funding::Submitted, vec![(Lines::Charge, 2000)]),
        ]
    );
    assert_eq!(
        shape_of(&world.batches(day).await.unwrap()).await,
        [
            (true, Funding::Funded { payout: 971, day }, vec![(Lines::Charge, 1000), (Lines::Fee, -29)]),
            (false, Funding::Funded { payout: 1942, day }, vec![(Lines::Charge, 2000), (Lines::Fee, -58)]),
        ]
    );
}
