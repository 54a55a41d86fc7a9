//! Batches that are too large to be held at once: an invented month, settled with and without sections, says the same.

use tillway_core::journal::TrialBalance;
use tillway_core::settle::market::{Plan, Planted};
use tillway_core::settle::{Batch, Funding, Kind};
use tillway_market::{Manner, Market, name};

use super::*;
use crate::engine::WorkError;
use crate::records::{alias_key, entry_item, state_key};
use crate::settle::records::{BookDoc, BookRecord, OpenRecord, Sums, book_key};

const SHOP: &str = "connections:\n  shop: { system: clarity, base_url: \"https://shop.example/api/v1\", auth: api_key }\n  \
                    gateway: { system: stripe }\npairs:\n  main: { flow: stripe-clarity, shop: shop, gateway: gateway, \
                    initiates: shop, return_url: \"https://shop.example/back\" }\n";

/// The gateway of a month, its books in a store, and an engine that holds so many lines at once.
struct Invented {
    w: World,
    market: Arc<Market>,
}

impl Invented {
    async fn new(plan: &Plan, manner: Manner, in_memory: usize) -> Self {
        let mut market = Market::of(plan).unwrap();
        market.manner = manner;
        let market = Arc::new(market);
        let mut w = World::with(SHOP, |_| Response::new(404)).await;
        w.engine = Self::engine(&market, in_memory, &w.memory).await;
        let mut put = Vec::new();
        for (order, entry) in market.journal().unwrap() {
            put.push(entry_item(&order, &entry, entry.at).unwrap());
        }
        for state in market.orders() {
            let key = state_key(&state.key);
            let record = rec::OrderRecord { state, seq: 1, personal: None, seen: Vec::new(), wake_at: None };
            let body = serde_json::to_vec(&record).unwrap();
            put.push(NewItem { key, body, due: None, list: None, expires: None });
        }
        let cursor = Some(market.day.plus(-90).start());
        let body = serde_json::to_vec(&BookRecord { cursor, ..BookRecord::default() }).unwrap();
        put.push(NewItem { key: book_key(&name()), body, due: None, list: None, expires: None });
        for e in &market.month.expected {
            if let (Some(own), Some(order)) = (&e.ids.own, &e.order) {
                let body = serde_json::to_vec(&OrderKey::new(order.as_ref())).unwrap();
                let key = alias_key(&name(), own);
                let alias = NewItem { key, body, due: None, list: None, expires: None };
                w.memory.transact(vec![Write::Put(alias, Guard::Any)]).await.unwrap();
            }
        }
        for item in put {
            w.memory.transact(vec![Write::Put(item, Guard::Absent)]).await.unwrap();
        }
        Self { w, market }
    }
    async fn engine(market: &Arc<Market>, in_memory: usize, memory: &Arc<Memory>) -> Engine {
        let mut config = World::config(SHOP);
        config.in_memory = in_memory;
        let slot = config.connections.get_mut(&name()).unwrap();
        slot.1 = Arc::clone(market).connector(slot.1);
        World::engine_of(config, memory).await
    }
    /// Settles a day in the morning after it.
    async fn settle(&self, day: Day) -> Result<RunReport, WorkError> {
        self.w.memory.now.store((day.start() + Millis::hours(30)).0, Ordering::SeqCst);
        self.w.engine.settle_day(&name(), day, &|_| true).await
    }
    async fn run(&self) -> RunReport {
        let report = self.settle(self.market.day).await.unwrap();
        assert!(!report.busy);
        report
    }
    /// Everything that a person or an auditor sees, however it lies.
    async fn seen(&self) -> Seen {
        let engine = &self.w.engine;
        let mut out = Seen::default();
        for record in engine.settled_batches(&name()).await.unwrap() {
            let view = engine.settled_batch(Some(&name()), &record.batch.id).await.unwrap().unwrap();
            let checked = engine.check_batch(&view).await.unwrap();
            assert_eq!(checked.rejected, Vec::<String>::new(), "{}", record.batch.id);
            assert_eq!(checked.certificates, view.certificates());
            assert_eq!(checked.entries, view.entries());
            out.sections += view.doc.sections.len();
            out.held = out.held.max(view.doc.lines.len());
            let whole = engine.whole_batch(view).await.unwrap();
            out.flaws.extend(whole.doc.flaws.iter().map(Planted::as_found));
            let mut certificates = whole.doc.certificates;
            certificates.sort_by(|a, b| a.group.cmp(&b.group));
            out.certificates.extend(certificates.into_iter().map(|c| (c.group.lines, c.hash)));
            let mut entries = engine.posted_entries(&name(), &record.batch.id).await.unwrap();
            entries.sort_by(|a, b| a.id.cmp(&b.id));
            out.entries.extend(entries);
            out.batches.push((record.batch.id, record.standing, record.sums, record.posted, record.span));
        }
        let open = engine.settlement_open(Some(&name())).await.unwrap();
        out.open = open.into_iter().map(|o| o.record).collect();
        out.report = engine.settlement_report(&name(), self.market.day).await.unwrap().json().unwrap();
        let text = Mutex::new(String::new());
        let take = |piece: &str| {
            text.lock().unwrap().push_str(piece);
            Ok(())
        };
        engine.settlement_csv(&name(), self.market.day, &take).await.unwrap();
        out.csv = text.into_inner().unwrap().lines().map(str::to_owned).collect();
        out.csv.sort();
        let watch = engine.settlement_watch(&name(), self.market.day).await.unwrap();
        out.watch = serde_json::to_value(&watch).unwrap();
        self.nothing_is_left_over().await;
        out
    }
    /// Every document of a large run is one that a batch or the book names.
    async fn nothing_is_left_over(&self) {
        let mut named = std::collections::BTreeSet::new();
        let engine = &self.w.engine;
        for record in engine.settled_batches(&name()).await.unwrap() {
            let view = engine.settled_batch(Some(&name()), &record.batch.id).await.unwrap().unwrap();
            for section in view.doc.sections {
                named.insert(section.doc.to_string());
                named.extend(section.entries.map(String::from));
            }
        }
        let item = self.w.item(&book_key(&name())).unwrap();
        let book: BookRecord = serde_json::from_slice(&item.body).unwrap();
        assert_eq!((book.scratch, book.trash), (None, None));
        let doc: BookDoc = engine.shelved(&book.doc.unwrap()).await.unwrap();
        named.extend(doc.waiting.iter().map(|piece| piece.doc.to_string()));
        let items = self.w.memory.items.lock().unwrap();
        let heads = items.keys().filter(|k| k.sk == "head").filter_map(|k| k.pk.strip_prefix("shelf#"));
        let drafts: std::collections::BTreeSet<String> = heads
            .filter(|doc| doc.contains("/draft/") || doc.contains("/read/"))
            .map(str::to_owned)
            .collect();
        assert_eq!(drafts, named);
    }
    /// Items of the journal that settlement posted.
    fn posted(&self) -> usize {
        self.w.memory.items.lock().unwrap().keys().filter(|k| k.sk.starts_with("jrns#")).count()
    }
    async fn waiting(&self) -> usize {
        let item = self.w.item(&book_key(&name())).unwrap();
        let book: BookRecord = serde_json::from_slice(&item.body).unwrap();
        let doc = self.w.engine.book_doc(&book).await.unwrap();
        doc.waiting.iter().map(|piece| piece.items).sum()
    }
}

/// A batch: id, how it stands, what it comes to, entries posted last, days.
type Summed = (Box<str>, Standing, Sums, usize, (Day, Day));

#[derive(Debug, Default, PartialEq)]
struct Seen {
    sections: usize,
    /// Most lines of a batch's own document.
    held: usize,
    batches: Vec<Summed>,
    certificates: Vec<(Vec<Box<str>>, String)>,
    entries: Vec<Entry>,
    flaws: Vec<Planted>,
    open: Vec<OpenRecord>,
    report: String,
    csv: Vec<String>,
    watch: Json,
}

const PLAN: Plan = Plan { seed: 5, payments: 1_500, days: 10, fault_every: 15 };

/// The same but for how it lies.
fn same(mut seen: Seen, plain: &Seen) {
    assert!(seen.sections > 300, "{}", seen.sections);
    assert!(seen.held * 2 < plain.held, "{} of {}", seen.held, plain.held);
    (seen.sections, seen.held) = (plain.sections, plain.held);
    assert_eq!(seen.batches, plain.batches);
    assert_eq!(seen.entries, plain.entries);
    assert_eq!(seen.certificates, plain.certificates);
    assert_eq!(seen.open, plain.open);
    assert_eq!(seen.csv, plain.csv);
    assert_eq!(&seen, plain);
}

#[tokio::test]
async fn a_month_settled_in_sections_says_what_one_in_memory_says() {
    let small = Invented::new(&PLAN, Manner::AtOnce, usize::MAX).await;
    let told = small.run().await;
    let plain = small.seen().await;
    assert_eq!(plain.sections, 0);
    // What was planted is found, and nothing else.
    let mut found: Vec<Planted> = plain.open.iter().map(|o| Planted::as_found(&o.exception)).collect();
    found.extend(plain.flaws.iter().cloned());
    found.sort();
    let mut planted = small.market.month.planted.clone();
    planted.sort();
    assert_eq!(found, planted);
    for in_memory in [0, 40] {
        let large = Invented::new(&PLAN, Manner::AtOnce, in_memory).await;
        assert_eq!(large.run().await.headline, told.headline);
        same(large.seen().await, &plain);
        // One item for each batch, however many lines.
        assert_eq!(large.posted(), small.posted());
        // Again: nothing is posted twice, and what is open is called as before.
        let items = large.posted();
        assert_eq!(large.run().await.unchanged.len(), large.market.month.batches.len());
        assert_eq!(large.posted(), items);
        let again = large.seen().await;
        let names = |seen: &Seen| seen.open.iter().map(|o| o.id.clone()).collect::<Vec<_>>();
        assert_eq!(names(&again), names(&plain));
    }
}

#[tokio::test]
async fn what_is_not_due_yet_waits_in_documents_and_is_matched_when_its_line_comes() {
    let first = PLAN.end().plus(-33);
    let manner = Manner::InTwo(first);
    let small = Invented::new(&PLAN, manner, usize::MAX).await;
    let told = small.settle(first).await.unwrap();
    let large = Invented::new(&PLAN, manner, 0).await;
    assert_eq!(large.settle(first).await.unwrap().headline, told.headline);
    same(large.seen().await, &small.seen().await);
    let waiting = large.waiting().await;
    assert!(waiting > 200, "{waiting}");
    assert_eq!(small.waiting().await, 0);
    assert_eq!(large.run().await.headline, small.run().await.headline);
    same(large.seen().await, &small.seen().await);
    assert_eq!(large.waiting().await, 0);
}

#[tokio::test]
async fn a_line_of_what_an_earlier_day_settled_is_a_duplicate() {
    // The first run ends between the two lines of a duplicate.
    let month = Market::of(&PLAN).unwrap().month;
    let day = |id: &str| month.lines.iter().find(|l| *l.id == *id).unwrap().day;
    let pair = |p: &Planted| match (p.class, p.lines.as_slice()) {
        (Class::Duplicate, [a, b]) if day(a) != day(b) => Some(day(a).min(day(b))),
        _ => None,
    };
    let first = month.planted.iter().find_map(pair).unwrap();
    let two = Invented::new(&PLAN, Manner::InTwo(first), usize::MAX).await;
    two.settle(first).await.unwrap();
    two.run().await;
    let open = two.seen().await.open;
    let mut across = 0;
    for planted in &two.market.month.planted {
        let of_lines = |x: &OpenRecord| planted.lines.iter().any(|l| x.exception.lines.contains(l));
        if let (Class::Duplicate, [a, b]) = (planted.class, planted.lines.as_slice()) {
            let found = open.iter().find(|x| of_lines(x)).unwrap();
            assert_eq!(Planted::as_found(&found.exception), *planted);
            across += usize::from((day(a) <= first) != (day(b) <= first));
        }
    }
    assert!(across > 0);
    let classes = |class| open.iter().filter(|x| x.exception.class == class).count();
    let planted = |class| two.market.month.planted.iter().filter(|p| p.class == class).count();
    for class in [Class::MissingHere, Class::UnknownRefund, Class::UnknownChargeback, Class::Duplicate] {
        assert_eq!(classes(class), planted(class), "{class:?}");
    }
}

#[tokio::test]
async fn sections_of_a_submitted_batch_are_booked_when_it_has_its_money() {
    let first = PLAN.end().plus(-1);
    let manner = Manner::SubmittedFirst(first);
    let small = Invented::new(&PLAN, manner, usize::MAX).await;
    let large = Invented::new(&PLAN, manner, 0).await;
    small.settle(first).await.unwrap();
    large.settle(first).await.unwrap();
    assert_eq!((small.posted(), large.posted()), (0, 0));
    same(large.seen().await, &small.seen().await);
    assert_eq!(large.run().await.headline, small.run().await.headline);
    let plain = small.seen().await;
    assert!(plain.entries.len() > 1_000);
    same(large.seen().await, &plain);
    // A batch that says something else of a line in a section then is refused.
    let mut large = Invented::new(&PLAN, manner, 0).await;
    large.settle(first).await.unwrap();
    let before = large.seen().await;
    let mut market = Market::of(&PLAN).unwrap();
    market.manner = manner;
    let plain = market.month.lines.iter_mut().find(|l| l.kind == Kind::Charge && l.id.ends_with("_0"));
    let changed = plain.map(|line| {
        (line.gross, line.net) = (line.gross + 1, line.net + 1);
        line.batch.clone()
    });
    large.w.engine = Invented::engine(&Arc::new(market), 0, &large.w.memory).await;
    let report = large.run().await;
    let refused: Vec<_> = report.refused.iter().map(|r| Some(r.batch.clone())).collect();
    assert_eq!(refused, [changed]);
    assert_eq!(before.batches.len(), report.batches.len() + 1);
}

#[tokio::test]
async fn a_large_run_that_dies_at_any_write_is_gone_on_with_and_leaves_no_document_behind() {
    let plan = Plan { payments: 120, days: 2, ..PLAN };
    let whole = Invented::new(&plan, Manner::AtOnce, 0).await;
    whole.w.memory.fuse.store(i64::MAX, Ordering::SeqCst);
    whole.run().await;
    let writes = i64::MAX - whole.w.memory.fuse.load(Ordering::SeqCst);
    let plain = whole.seen().await;
    assert!(writes > 1_000, "{writes}");
    for (n, at) in (1..writes).step_by(41).enumerate() {
        let large = Invented::new(&plan, Manner::AtOnce, 0).await;
        large.w.memory.fuse_after.store(n % 2 == 0, Ordering::SeqCst);
        large.w.memory.fuse.store(at, Ordering::SeqCst);
        large.settle(large.market.day).await.unwrap_err();
        large.w.memory.fuse.store(i64::MAX, Ordering::SeqCst);
        // The lease of the run that died is waited for.
        large.w.memory.now.fetch_add(Millis::hours(1).0, Ordering::SeqCst);
        let report = large.w.engine.settle_day(&name(), large.market.day, &|_| true).await.unwrap();
        assert!(!report.busy, "{at}");
        let seen = large.seen().await;
        assert_eq!(seen.entries, plain.entries, "{at}");
        assert_eq!(seen.open, plain.open, "{at}");
    }
}

#[tokio::test]
async fn an_order_in_a_section_is_explained_by_its_certificate() {
    let large = Invented::new(&PLAN, Manner::AtOnce, 0).await;
    large.run().await;
    let all = large.market.journal().unwrap();
    let mut explained = 0;
    for (order, _) in all.iter().step_by(97) {
        let mine: Vec<Entry> = all.iter().filter(|(o, _)| o == order).map(|(_, e)| e.clone()).collect();
        let lines = large.w.engine.settlement_lines(&mine).await.unwrap();
        let text: String = lines.iter().flat_map(|l| &l.details).map(String::as_str).collect();
        let matched = mine.iter().any(|e| text.contains(&format!("{} by line ", e.id)));
        explained += usize::from(matched);
    }
    assert!(explained > 10, "{explained}");
}

#[tokio::test]
async fn the_checker_refuses_a_batch_whose_sections_were_changed() {
    let large = Invented::new(&PLAN, Manner::AtOnce, 0).await;
    large.run().await;
    let engine = &large.w.engine;
    let records = engine.settled_batches(&name()).await.unwrap();
    let record = records.iter().max_by_key(|r| r.sums.lines).unwrap();
    let view = engine.settled_batch(Some(&name()), &record.batch.id).await.unwrap().unwrap();
    assert!(view.doc.sections.len() > 10);
    type Change = fn(&mut BatchView);
    let changes: [(&str, Change); 6] = [
        ("the lines come to", |v| drop(v.doc.sections.pop())),
        ("a line is in two places", |v| {
            let section = v.doc.sections[0].clone();
            v.doc.sections.push(section);
        }),
        ("the sums are others", |v| v.doc.sections[0].tally.net += 1),
        ("belongs to another section", |v| {
            let (first, second) = (v.doc.sections[0].parts, v.doc.sections[1].parts);
            (v.doc.sections[0].parts, v.doc.sections[1].parts) = (second, first);
        }),
        ("the journal has", |v| v.doc.sections[0].entries = None),
        ("is missing or damaged", |v| v.doc.sections[0].doc = "gateway/nothing".into()),
    ];
    for (wanted, change) in changes {
        let mut view = view.clone();
        change(&mut view);
        let said = match engine.check_batch(&view).await {
            Ok(checked) => checked.rejected.join("\n"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // What the journal has of a section is compared as well.
    let key = {
        let items = large.w.memory.items.lock().unwrap();
        let own = |k: &&Key| k.pk.ends_with(&*record.batch.id) && k.sk.starts_with("jrns#");
        items.keys().find(own).unwrap().clone()
    };
    large.w.memory.items.lock().unwrap().remove(&key);
    let checked = engine.check_batch(&view).await.unwrap();
    assert!(checked.rejected.iter().any(|why| why.contains("the journal has")), "{:?}", checked.rejected);
}

#[tokio::test]
async fn a_large_batch_that_is_refused_gives_back_what_it_was_matched_with() {
    let mut market = Market::of(&PLAN).unwrap();
    let (batch, payout) = {
        let all = &mut market.month.batches;
        let lines = |b: &Batch| market.month.lines.iter().filter(|l| l.batch == b.id).count();
        let most = (0..all.len()).max_by_key(|n| lines(&all[*n])).unwrap();
        let Funding::Funded { payout, .. } = &mut all[most].funding else { panic!("it is not funded") };
        *payout += 1;
        let payout = *payout;
        (all[most].id.clone(), payout)
    };
    let wrong = Arc::new(market);
    let mut large = Invented::new(&PLAN, Manner::AtOnce, 0).await;
    let sound = large.market.clone();
    large.w.engine = Invented::engine(&wrong, 0, &large.w.memory).await;
    let report = large.run().await;
    assert_eq!(report.refused.iter().map(|r| &r.batch).collect::<Vec<_>>(), [&batch]);
    assert!(report.refused[0].why.iter().any(|w| w.contains(&payout.to_string())), "{:?}", report.refused);
    assert!(large.waiting().await > 20);
    large.nothing_is_left_over().await;
    // The gateway mends it: everything is as if it had been right at once.
    large.w.engine = Invented::engine(&sound, 0, &large.w.memory).await;
    large.run().await;
    let whole = Invented::new(&PLAN, Manner::AtOnce, 0).await;
    whole.run().await;
    let (seen, wanted) = (large.seen().await, whole.seen().await);
    // Lines that waited for it were in suspense meanwhile, and are out of it again.
    let balance = |seen: &Seen| {
        let mut sum = TrialBalance::default();
        seen.entries.iter().for_each(|e| sum.add(e));
        sum.0.retain(|_, left| *left != 0);
        sum.0
    };
    assert_eq!(balance(&seen), balance(&wanted));
    // Of two lines for one capture it may be the other one that was matched.
    let matched = |seen: &Seen| seen.batches.iter().map(|b| (b.2.lines, b.2.matched)).collect::<Vec<_>>();
    let total = |all: Vec<(usize, usize)>| all.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!(total(matched(&seen)), total(matched(&wanted)));
}
