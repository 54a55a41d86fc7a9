//! Reports of a closed and an open day word by word, of invented months figure by figure, and of hostile texts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::money::Money;
use crate::settle::market::{Month, Night, Plan};
use crate::settle::{
    Batch, Card, Expected, Funding, Ids, Kind, Rules, SettlementLine, Standing, check::Verdict,
};

const RULES: &str = "\
settlement: small
due: {charge: 2, refund: 1}
grace: 3
fees:
  all: {kinds: [charge], currency: USD, basis-points: 290, fixed: 30, tolerance: 1}
explain:
  monthly: {kinds: [fee], up-to: 5000, account: fees, reason: monthly fee}
";

const TODAY: Day = Day(20_786);

fn cur(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn line(id: &str, kind: Kind, gross: i64, fee: i64, brand: &str) -> SettlementLine {
    SettlementLine {
        id: format!("txn_{id}").into(),
        batch: "po_1".into(),
        kind,
        ids: Ids { own: Some(id.into()), parent: None, payment: Some(format!("pi_{id}").into()) },
        reference: Some(format!("A-{id}").into()),
        gross,
        fee,
        fee_tax: 0,
        net: gross - fee,
        currency: cur("USD"),
        presentment: None,
        day: TODAY.plus(-1),
        card: Some(Card { brand: brand.into(), last4: "4242".into() }),
    }
}

fn expected(line: &SettlementLine) -> Expected {
    let booked_fee = if line.kind == Kind::Dispute { line.fee } else { 0 };
    Expected {
        id: format!("{}:{}", line.kind.name(), line.ids.own.as_deref().unwrap()).into(),
        kind: line.kind,
        standing: Standing::Booked,
        ids: line.ids.clone(),
        reference: line.reference.clone(),
        amount: line.gross,
        booked_fee,
        currency: line.currency,
        due: line.day,
        card: line.card.clone(),
        order: line.reference.as_ref().map(|r| format!("shop/{r}").into()),
    }
}

/// Lines in one batch with a payout; a currency of its own for each batch.
fn fund(month: &mut Month, id: &str, currency: &str, funded: bool) {
    let net = month.lines.iter().filter(|l| &*l.batch == id).map(|l| l.net).sum();
    let funding =
        if funded { Funding::Funded { payout: net, day: TODAY.plus(-1) } } else { Funding::Submitted };
    let connection = month.connection.clone();
    month.batches.push(Batch { id: id.into(), connection, currency: cur(currency), funding });
}

fn closed() -> Month {
    let rules = Rules::load("small", RULES).unwrap();
    let lines = vec![
        line("ch_1", Kind::Charge, 10_800, 343, "visa"),
        line("ch_2", Kind::Charge, 4_500, 161, "amex"),
        line("ch_3", Kind::Charge, 2_499, 102, "visa"),
        line("re_1", Kind::Refund, -1_000, 0, "visa"),
        line("dp_1", Kind::Dispute, -2_499, 1_500, "visa"),
    ];
    let expected = lines.iter().map(expected).collect();
    let mut month = Month {
        rules,
        connection: "acme-main".into(),
        lines,
        expected,
        batches: Vec::new(),
        planted: Vec::new(),
    };
    fund(&mut month, "po_1", "USD", true);
    month
}

/// The closed day with something of everything beside it, and texts that mean ill.
fn open() -> Month {
    let mut month = closed();
    (month.batches, month.planted) = (Vec::new(), Vec::new());
    let mut missing = expected(&line("ch_4", Kind::Charge, 123_456, 0, "visa"));
    missing.due = TODAY.plus(-9);
    missing.order = Some("shop/<script>alert(1)</script>".into());
    let mut foreign = line("re_9", Kind::Refund, -700, 0, "visa");
    foreign.reference = Some("=cmd|' /C calc'!A0".into());
    let mut other = line("ch_5", Kind::Charge, 3_100, 120, "visa");
    let booked = expected(&other);
    other.gross = 3_000;
    (other.fee, other.net) = (117, 2_883);
    let mut late = line("ch_6", Kind::Charge, 2_000, 88, "visa");
    let mut due = expected(&late);
    due.due = TODAY.plus(-8);
    late.card = Some(Card { brand: "visa".into(), last4: "4242424242424242".into() });
    let mut person = line("ch_7", Kind::Charge, 1_500, 74, "visa");
    person.reference = Some("jenny.doe@example.com paid with 4242 4242 4242 4242".into());
    let mut awaited = expected(&line("ch_8", Kind::Charge, 5_000, 0, "visa"));
    awaited.due = TODAY.plus(1);
    let mut euros = line("ch_e", Kind::Charge, 9_900, 0, "visa");
    (euros.batch, euros.currency) = ("batch_e".into(), cur("EUR"));
    month.expected.extend([missing, booked, due, expected(&euros), awaited]);
    month.lines.extend([foreign, other, late, person, euros]);
    fund(&mut month, "po_1", "USD", true);
    fund(&mut month, "batch_e", "EUR", false);
    month
}

fn report(month: &Month, night: &Night) -> Report {
    Report::of(&night.input(month, TODAY.plus(-1), TODAY))
}

fn links() -> page::Links {
    page::Links {
        explain: Some("https://pay.example/explain/{key}".to_owned()),
        csv: Some("lines.csv".to_owned()),
    }
}

/// Compares with files beside the tests; what came instead is left in `target/golden`.
fn golden(files: &[(&str, String)]) {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let came = here.join("../../target/golden");
    let mut differing = Vec::new();
    for (name, text) in files {
        let kept = fs::read_to_string(here.join("src/settle/report/golden").join(name)).unwrap_or_default();
        if &kept != text {
            fs::create_dir_all(&came).unwrap();
            fs::write(came.join(name), text).unwrap();
            differing.push(*name);
        }
    }
    assert!(
        differing.is_empty(),
        "{differing:?}: what came is in target/golden; copy it where the change is meant"
    );
}

/// The page without its style, which is kept in a file of its own.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    format!("{head}{}", rest.split_once("</style>").unwrap().1)
}

#[test]
fn a_closed_day_is_one_line() {
    let month = closed();
    let night = month.night(TODAY).unwrap();
    assert_eq!(night.batches[0].1, Ok(Verdict::Closed));
    let report = report(&month, &night);
    assert_eq!(
        report.morning(),
        "closed: 3 payments, 1 refund, 1 dispute, fees 11.83 %, net 121.94 USD, all matched"
    );
    golden(&[
        ("closed.json", report.json().unwrap()),
        ("closed.csv", csv::table(&night.input(&month, TODAY.plus(-1), TODAY))),
        ("closed.html", body(&page::html(&report, &links()))),
    ]);
}

#[test]
fn an_open_day_names_each_item_its_age_and_what_to_do() {
    let month = open();
    let night = month.night(TODAY).unwrap();
    let report = report(&month, &night);
    golden(&[
        ("open.txt", report.morning()),
        ("open.json", report.json().unwrap()),
        ("open.csv", csv::table(&night.input(&month, TODAY.plus(-1), TODAY))),
        ("open.html", body(&page::html(&report, &links()))),
    ]);
}

#[test]
fn the_sentence_of_the_issue() {
    let mut builder = Builder::new(&"acme-main".into(), TODAY, TODAY);
    let batch = Batch {
        id: "po_1".into(),
        connection: "acme-main".into(),
        currency: cur("USD"),
        funding: Funding::Funded { payout: 4_822_107, day: TODAY },
    };
    builder.batch(&batch, &Ok(Verdict::Closed));
    let explained =
        crate::settle::Explained { line: "x".into(), rule: "x".into(), account: crate::journal::Role::Fees };
    let mut left = 4_822_107_i64;
    for (kind, count, gross, fee) in
        [(Kind::Charge, 1_283, 4_000, 116), (Kind::Refund, 31, -1_000, 0), (Kind::Dispute, 2, -4_000, 1_500)]
    {
        for n in 0..count {
            let line = line(&format!("{kind:?}{n}"), kind, gross, fee, "visa");
            left -= line.net;
            builder.line(&line, Fate::Explained(&explained));
        }
    }
    let rest = line("rest", Kind::Charge, left, 0, "visa");
    builder.line(&rest, Fate::Explained(&explained));
    let report = builder.finish();
    let rate = percent(report.currencies[0].fee_rate_basis_points.unwrap());
    let said = format!(
        "closed: 1,284 payments, 31 refunds, 2 disputes, fees {rate}, net 48,221.07 USD, all matched"
    );
    assert_eq!(report.morning(), said);
}

#[test]
fn what_is_not_closed_says_so() {
    let notice = Notice {
        code: "not_ready".to_owned(),
        text: "the report is not ready: asked again in an hour".to_owned(),
    };
    let month = closed();
    let mut night = month.night(TODAY).unwrap();
    let mut input = night.input(&month, TODAY.plus(-1), TODAY);
    let notices = [notice];
    (input.batches, input.notices) = (&[], &notices);
    let waiting = Report::of(&input);
    assert_eq!(waiting.state, State::Waiting);
    assert!(
        waiting
            .morning()
            .starts_with("waiting: no settlement of 2026-11-28 could be read\n! the report is not")
    );
    input.notices = &[];
    assert_eq!(Report::of(&input).morning(), "nothing was settled on 2026-11-28");

    night.batches[0].1 = Err(vec![crate::settle::check::Rejection::Sum { lines: 1, payout: 2 }]);
    let refused = report(&month, &night);
    assert!(refused.morning().starts_with("not posted: 3 payments"), "{}", refused.morning());
    assert!(page::html(&refused, &links()).contains("the lines come to 1 and the payout to 2 minor units"));
}

#[test]
fn lines_without_their_batch_are_never_called_closed() {
    let mut builder = Builder::new(&"x".into(), TODAY, TODAY);
    builder.line(&line("ch_1", Kind::Charge, 100, 0, "visa"), Fate::Open);
    let report = builder.finish();
    assert_eq!((report.state, report.matching.open), (State::Refused, 1));
}

/// Rows and fields of RFC 4180.
fn parsed(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {
                chars.next();
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    assert!(row.is_empty() && field.is_empty() && !quoted, "the last row ends too");
    rows
}

#[test]
fn page_json_and_csv_say_what_the_lines_say() {
    let (mut rows_seen, mut open_seen) = (0, 0);
    for (seed, payments, fault_every) in [(1, 400, 0), (2, 700, 9), (3, 1_500, 40), (4, 60, 2), (5, 0, 0)] {
        let plan = Plan { seed, payments, days: 45, fault_every };
        let month = Month::of(&plan).unwrap();
        let today = plan.end();
        let night = month.night(today).unwrap();
        let input = night.input(&month, today, today);
        let report = Report::of(&input);
        let page = page::html(&report, &links());
        let table = parsed(&csv::table(&input));
        assert!(table.iter().all(|row| row.len() == csv::COLUMNS.len()), "seed {seed}");

        // Counted anew from what came in.
        let mut once: BTreeMap<&str, &SettlementLine> = BTreeMap::new();
        once.extend(month.lines.iter().map(|l| (l.id.as_ref(), l)));
        let of = |kind: Kind, code: &str| {
            once.values().filter(|l| l.kind == kind && l.currency.code() == code).count()
        };
        for totals in &report.currencies {
            let code = totals.currency.code();
            let payouts = month.batches.iter().filter(|b| b.currency == totals.currency);
            let paid: i64 = payouts
                .map(|b| if let Funding::Funded { payout, .. } = b.funding { payout } else { 0 })
                .sum();
            assert_eq!(totals.net.minor, i128::from(paid), "seed {seed} {code}");
            assert_eq!(totals.paid_out.minor, i128::from(paid));
            assert_eq!(totals.payments, u64::try_from(of(Kind::Charge, code)).unwrap());
            assert_eq!(totals.refunds, u64::try_from(of(Kind::Refund, code)).unwrap());
            assert_eq!(totals.disputes, u64::try_from(of(Kind::Dispute, code)).unwrap());
            assert!(page.contains(&format!("<td class=\"n\">{}</td>", totals.net.grouped())));
            let rows = table.iter().filter(|r| r[0] == "line" && r[6] != "payout" && r[8] == code);
            let nets = rows.map(|r| Money::parse_major(&r[12], totals.currency).unwrap().minor);
            assert_eq!(nets.sum::<i64>(), paid, "the CSV of seed {seed} in {code}");
        }
        let m = &report.matching;
        let payouts = once.values().filter(|l| l.kind == Kind::Payout).count();
        let out = &night.outcome;
        assert_eq!(m.matched, out.groups.iter().map(|g| u64::try_from(g.lines.len()).unwrap()).sum::<u64>());
        assert_eq!(m.open, u64::try_from(out.open_lines.len()).unwrap());
        assert_eq!(m.matched + m.explained + m.open, u64::try_from(once.len() - payouts).unwrap());
        assert_eq!(m.by_tier.values().sum::<u64>(), m.matched);
        assert_eq!(report.item_count, u64::try_from(out.exceptions.len()).unwrap());
        assert_eq!(report.aging.iter().map(|row| row.count).sum::<u64>(), report.item_count);
        assert_eq!(table.len(), 1 + once.len() + out.open_expected.len());
        for held in &report.holds {
            assert_eq!(
                held.clearing, held.awaited,
                "seed {seed}: clearing holds what is awaited, nothing else"
            );
        }
        let closed = report.open_item_count == 0 && !report.batches.is_empty();
        assert_eq!(report.state == State::Closed, closed, "seed {seed}: {:?}", report.state);
        rows_seen += table.len();
        open_seen += report.open_item_count;
    }
    assert!(rows_seen > 3_000 && open_seen > 80, "{rows_seen} {open_seen}");
}

#[test]
fn no_order_of_the_input_matters_and_no_size() {
    let plan = Plan { seed: 8, payments: 2_600, days: 20, fault_every: 1 };
    let month = Month::of(&plan).unwrap();
    let night = month.night(plan.end()).unwrap();
    let report = Report::of(&night.input(&month, plan.end(), plan.end()));
    let (mut back, mut back_night) = (month.clone(), night.clone());
    back.lines.reverse();
    back.expected.reverse();
    back_night.batches.reverse();
    back_night.outcome.exceptions.reverse();
    assert_eq!(Report::of(&back_night.input(&back, plan.end(), plan.end())), report);
    assert_eq!((report.items.len(), report.item_count > 2_000), (MOST_ITEMS, true));
    let page = page::html(&report, &links());
    assert!(page.len() < 250_000, "{}", page.len());
    assert_eq!(page.matches("<article").count(), page::MOST_ITEMS);
    assert!(page.contains(&format!("And {} more", grouped(report.item_count - 200))));
    assert_eq!(report.morning().lines().count(), 22);
    let oldest = report.items.iter().filter(|i| !i.matched).map(|i| i.since);
    assert!(oldest.clone().is_sorted() && oldest.count() > 500);
}

/// Every tag with the names of its attributes: what a browser would make of the page, its texts aside.
fn skeleton(page: &str) -> Vec<String> {
    body(page)
        .split('<')
        .skip(1)
        .map(|part| {
            let tag = part.split_once('>').unwrap().0;
            let mut names: Vec<&str> = vec![tag.split_whitespace().next().unwrap()];
            names.extend(tag.split('"').step_by(2).filter_map(|t| t.trim().strip_suffix('=')));
            names.join(" ")
        })
        .collect()
}

#[test]
fn no_text_from_outside_becomes_more_than_text() {
    let with = |text: &str| {
        let mut month = open();
        let put = |to: &mut Option<Box<str>>| *to = Some(text.into());
        for l in month.lines.iter_mut().filter(|l| &*l.batch == "po_1") {
            put(&mut l.reference);
            put(&mut l.ids.parent);
            l.card = Some(Card { brand: text.into(), last4: text.into() });
            l.id = format!("{text}{}", l.id).into();
        }
        for e in &mut month.expected {
            put(&mut e.order);
            e.id = format!("{text}{}", e.id).into();
        }
        for b in &mut month.batches {
            b.id = if &*b.id == "po_1" { text.into() } else { b.id.clone() };
        }
        month.lines.iter_mut().filter(|l| &*l.batch == "po_1").for_each(|l| l.batch = text.into());
        month
    };
    let pages = |text: &str| {
        let month = with(text);
        let mut night = month.night(TODAY).unwrap();
        let refused = crate::settle::check::Rejection::Lost(text.into());
        night.batches[0].1 = Err(vec![refused]);
        let notices = [Notice { code: text.to_owned(), text: text.to_owned() }];
        let mut input = night.input(&month, TODAY, TODAY);
        input.notices = &notices;
        (page::html(&Report::of(&input), &links()), csv::table(&input))
    };
    let plain = skeleton(&pages("harmless").0);
    assert!(plain.len() > 200 && !plain.iter().any(|tag| tag.starts_with("script")), "{}", plain.len());
    for text in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</style><svg onload=alert(1)>",
        "--><!--",
        "&lt;script&gt;",
        "javascript:alert(1)",
        "{key}",
        "=cmd|' /C calc'!A0",
        "\t=1+1",
        " @SUM(A1)",
        "＝1",
        "a\",\"b\r\n=1",
    ] {
        let (page, table) = pages(text);
        assert_eq!(skeleton(&page), plain, "{text}");
        assert!(!page.contains("<script") && !page.contains("href=\"javascript"), "{text}");
        let rows = parsed(&table);
        assert!(rows.iter().all(|row| row.len() == csv::COLUMNS.len()), "{text}");
        let money = 9..15;
        for field in rows.iter().flat_map(|r| r.iter().enumerate()).filter(|(i, _)| !money.contains(i)) {
            let begins = field.1.trim_start().chars().next();
            assert!(!begins.is_some_and(|c| "=+-@＝＋－＠".contains(c)), "{text} in {field:?}");
        }
    }
}

#[test]
fn links_lead_to_the_web_or_beside_the_page_and_nowhere_else() {
    let month = open();
    let report = report(&month, &month.night(TODAY).unwrap());
    let to = |explain: Option<&str>| {
        page::html(
            &report,
            &page::Links { explain: explain.map(str::to_owned), csv: explain.map(str::to_owned) },
        )
    };
    assert!(
        to(Some("explain/{key}.txt"))
            .contains("href=\"explain/shop%2F%3Cscript%3Ealert%281%29%3C%2Fscript%3E.txt\"")
    );
    assert!(to(Some("https://x.example/?q={key}")).contains("href=\"https://x.example/?q=shop%2FA-ch_5\""));
    for bad in
        [None, Some("javascript:alert('{key}')"), Some("data:text/html,{key}"), Some("//evil.example/{key}")]
    {
        let page = to(bad);
        assert_eq!(page.matches("href=").count(), page.matches("href=\"#items\"").count(), "{bad:?}");
        assert!(page.contains("<code>tillway explain shop/A-ch_5</code>"));
        assert!(
            page.contains(
                "<code>tillway explain &#39;shop/&lt;script&gt;alert(1)&lt;/script&gt;&#39;</code>"
            )
        );
    }
    // Nothing is fetched: no address in the page but those of links.
    let page = to(None);
    for loads in ["src=", "url(", "@import", "http://", "https://", "<script", "<link", "<iframe", "<img"] {
        assert!(!page.contains(loads), "{loads}");
    }
}

#[test]
fn people_and_card_numbers_are_shown_nowhere() {
    let mut month = open();
    for e in &mut month.expected {
        e.order = Some("shop/jenny.doe@example.com".into());
        e.reference = Some("jenny.doe@example.com".into());
    }
    let night = month.night(TODAY).unwrap();
    let notices = [Notice {
        code: "x".to_owned(),
        text: "from jenny.doe@example.com with 4242424242424242".to_owned(),
    }];
    let mut input = night.input(&month, TODAY, TODAY);
    input.notices = &notices;
    let report = Report::of(&input);
    let shown = [report.morning(), report.json().unwrap(), csv::table(&input), page::html(&report, &links())];
    for text in &shown {
        for canary in ["jenny", "example.com", "4242 4242", "42424242"] {
            let clean = text.replace("pay.example/explain", "");
            assert!(!clean.contains(canary), "{canary} in {:.80}", text);
        }
    }
    assert!(shown[2].contains("[e-mail] paid with [card number]"));
    assert!(shown[2].contains(",visa,4242,"), "the last four digits may be shown");
}

#[test]
fn every_class_says_what_to_do_in_words_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for class in Class::ALL {
        assert!(seen.insert(title(class)) && seen.insert(class.action()), "{class:?}");
        assert!(class.action().len() > 20);
    }
}
