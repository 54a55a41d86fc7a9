use tillway_core::money::Money;
use tillway_core::settle::{Day, Funding, Kind, SettlementLine};

use super::settlement_report::{Asked, read};
use crate::settlement::{Ending, Evidence, FileFault, Statement};

const HEADER: &str = "automatic_payout_id,automatic_payout_effective_at_utc,balance_transaction_id,created_utc,\
    available_on_utc,currency,gross,fee,net,reporting_category,source_id,charge_id,payment_intent_id,\
    customer_facing_amount,customer_facing_currency,something_new,payment_metadata[tillway_command]";
const ROWS: [&str; 5] = [
    "po_1,2026-11-20 00:00:00,txn_1,2026-11-17 09:00:00,2026-11-19 00:00:00,usd,108.00,3.43,104.57,charge,ch_1,ch_1,pi_1,108.00,usd,\"a \"\"b\"\"\r\nc\",A-1001",
    "po_1,2026-11-20 00:00:00,txn_2,2026-11-18 09:00:00,2026-11-19 00:00:00,usd,-10.00,0.00,-10.00,refund,re_1,ch_1,pi_1,-10.00,usd,,A-1001",
    "po_1,2026-11-20 00:00:00,txn_3,2026-11-18 09:00:00,2026-11-19 00:00:00,usd,-50.00,15.00,-65.00,dispute,dp_1,ch_9,pi_9,-50.00,usd,,A-0900",
    "po_1,2026-11-20 00:00:00,txn_4,2026-11-18 09:00:00,2026-11-19 00:00:00,usd,55.00,0.00,55.00,charge,ch_2,ch_2,pi_2,50.00,eur,,A-1002",
    "po_1,2026-11-20 00:00:00,txn_5,2026-11-18 09:00:00,2026-11-19 00:00:00,usd,-1.00,0.00,-1.00,moon_fee,,,,,,,",
];

fn file() -> String {
    format!("{HEADER}\r\n{}\r\n", ROWS.join("\r\n"))
}
fn lines_of(text: &str, asked: Asked<'_>) -> Result<(Vec<SettlementLine>, Statement), FileFault> {
    let mut reader = read(asked, text.as_bytes())?;
    let lines = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok((lines, reader.finish()?))
}
fn fault(text: &str) -> FileFault {
    lines_of(text, Asked::default()).unwrap_err()
}
fn usd(minor: i64) -> Money {
    Money::new(minor, "USD".parse().unwrap())
}
fn paid(minor: i64) -> Evidence {
    Evidence { payouts: [("po_1".into(), usd(minor))].into(), ..Evidence::default() }
}

#[test]
fn rows_become_lines_by_their_category() {
    let (lines, told) = lines_of(&file(), Asked::default()).unwrap();
    let shape: Vec<_> = lines.iter().map(|l| (l.kind, l.gross, l.fee, l.net)).collect();
    assert_eq!(
        shape,
        [
            (Kind::Charge, 10_800, 343, 10_457),
            (Kind::Refund, -1_000, 0, -1_000),
            (Kind::Dispute, -5_000, 1_500, -6_500),
            (Kind::Charge, 5_500, 0, 5_500),
            (Kind::Adjustment, -100, 0, -100),
        ]
    );
    let own: Vec<_> = lines.iter().map(|l| l.ids.own.as_deref()).collect();
    assert_eq!(own, [Some("ch_1"), Some("re_1"), Some("txn_3"), Some("ch_2"), None]);
    assert_eq!((lines[0].reference.as_deref(), lines[1].reference.as_deref()), (Some("A-1001"), None));
    assert_eq!(lines[1].ids.parent.as_deref(), Some("ch_1"));
    assert_eq!(lines[3].presentment, Some(Money::new(5_000, "EUR".parse().unwrap())));
    assert_eq!(lines[0].day.to_string(), "2026-11-19");
    let left = "55.00,0.00,55.00,charge,ch_2,ch_2,pi_2,50.00,eur";
    let (again, _) = lines_of(
        &file().replace(left, "-5.50,0.00,-5.50,partial_capture_reversal,ch_2,ch_2,pi_2,5.00,eur"),
        Asked::default(),
    )
    .unwrap();
    assert_eq!((again[3].kind, again[3].gross), (Kind::CaptureReversal, -550));
    assert_eq!(again[3].presentment, Some(Money::new(-500, "EUR".parse().unwrap())));
    assert_eq!(told.unfamiliar, ["moon_fee".to_owned()].into());
    assert_eq!((told.lines, told.ending, usize::try_from(told.bytes)), (5, Ending::Open, Ok(file().len())));
    assert_eq!(told.batches["po_1"].net, 10_457 - 1_000 - 6_500 + 5_500 - 100);
    told.prove(&paid(8_357)).unwrap();
    told.prove(&Evidence { bytes: Some(told.bytes), ..Evidence::default() }).unwrap();
}

#[test]
fn a_payouts_own_row_gives_the_money() {
    let row = "po_1,2026-11-20 00:00:00,txn_6,2026-11-18 09:00:00,2026-11-19 00:00:00,usd,-83.57,0.00,-83.57,payout,po_1,,,,,,";
    let (_, told) = lines_of(&format!("{}{row}\n", file()), Asked::default()).unwrap();
    told.prove(&Evidence::default()).unwrap();
    let batch = told.batches["po_1"].batch("po_1", &"s".into());
    assert_eq!(batch.funding, Funding::Funded { payout: 8_357, day: told.batches["po_1"].day });
    let other = format!("{}{}\n", file(), row.replace("83.57", "83.58"));
    let (_, told) = lines_of(&other, Asked::default()).unwrap();
    assert_eq!(told.prove(&Evidence::default()).unwrap_err().code, "sum_differs");
}

#[test]
fn what_is_written_otherwise_says_the_same() {
    let (lines, told) = lines_of(&file(), Asked::default()).unwrap();
    for text in [format!("\u{feff}{}", file()), file().replace("\r\n", "\n").replace("\nc\"", "\r\nc\""), {
        let mut rows: Vec<String> = file().split("\r\npo_").map(|r| format!("x,{r}")).collect();
        rows.iter_mut().skip(1).for_each(|r| r.insert_str(2, "po_"));
        rows.join("\r\n")
    }] {
        let (again, other) = lines_of(&text, Asked::default()).unwrap();
        assert_eq!(again, lines);
        assert_eq!(other.batches, told.batches);
        assert_ne!(other.bytes, told.bytes, "another file of the same content");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_column() {
    let cases: &[(&str, String, &str, &str, Option<u64>)] = &[
        ("nothing", String::new(), "empty", "file", None),
        ("another file", "a,b\n1,2\n".into(), "unknown_header", "header", None),
        (
            "missing",
            file().replace("reporting_category", "category"),
            "unknown_header",
            "reporting_category",
            Some(1),
        ),
        ("column twice", file().replace("something_new", "gross"), "duplicate_header", "gross", Some(1)),
        ("joined", format!("{0}{0}", file()), "duplicate_header", "header", Some(8)),
        ("no id", file().replace("txn_2", ""), "no_id", "balance_transaction_id", Some(4)),
        (
            "no payout",
            file().replace("po_1,2026-11-20 00:00:00,txn_2", ",,txn_2"),
            "no_id",
            "automatic_payout_id",
            Some(4),
        ),
        ("locale", file().replace("108.00,3.43", "\"1.108,00\",3.43"), "bad_number", "gross", Some(2)),
        ("no quotes", file().replace("108.00,3.43", "108,00,3.43"), "row_long", "row", Some(2)),
        (
            "overflow",
            file().replace("-10.00,0.00,-10.00", "-92233720368547758.08,0,1"),
            "overflow",
            "gross",
            Some(4),
        ),
        ("sign", file().replace("-10.00,0.00,-10.00", "10.00,0.00,10.00"), "wrong_sign", "gross", Some(4)),
        ("sum", file().replace("-10.00,0.00,-10.00", "-10.00,0.30,-10.00"), "sum_differs", "net", Some(4)),
        ("currencies", file().replace("usd,55.00", "eur,55.00"), "mixed_currencies", "currency", Some(6)),
        ("currency", file().replace("usd,55.00", "usx,55.00"), "bad_currency", "currency", Some(6)),
        (
            "date",
            file().replace("2026-11-19 00:00:00,usd,55", "19.11.2026,usd,55"),
            "wrong_date",
            "available_on_utc",
            Some(6),
        ),
        (
            "cut row",
            file().replace(",0.00,55.00,charge,ch_2,ch_2,pi_2,50.00,eur,,A-1002", ""),
            "truncated",
            "file",
            Some(6),
        ),
    ];
    for (name, text, code, field, line) in cases {
        let fault = fault(text);
        assert_eq!((fault.code, fault.field.as_str(), fault.line), (*code, *field, *line), "{name}: {fault}");
    }
    let utf16: Vec<u8> = file().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = [&[0xff, 0xfe][..], &utf16].concat();
    assert_eq!(read(Asked::default(), &bytes[..]).err().unwrap().code, "bad_encoding");
}

#[test]
fn another_accounts_file_and_another_days_are_refused() {
    let other =
        file().replace("something_new", "connected_account_id").replace("\"a \"\"b\"\"\r\nc\"", "acct_9");
    assert_eq!(fault(&other).code, "wrong_merchant");
    lines_of(&other, Asked { account: Some("acct_9"), days: None }).unwrap();
    let days = |text: &str| crate::settlement::values::day(text).map(|d: Day| (d, d));
    lines_of(&file(), Asked { days: days("2026-11-20"), account: None }).unwrap();
    let fault = lines_of(&file(), Asked { days: days("2026-11-21"), account: None }).unwrap_err();
    assert_eq!((fault.code, fault.line), ("wrong_date", Some(2)));
}

#[test]
fn a_cut_anywhere_is_noticed_or_the_rest_is_not_proven() {
    let whole = file();
    let (good, _) = lines_of(&whole, Asked::default()).unwrap();
    for cut in 0..whole.len() {
        let part = &whole.as_bytes()[..cut];
        let Ok(mut reader) = read(Asked::default(), part) else { continue };
        let mut lines = Vec::new();
        let broken = reader.by_ref().find_map(|l| l.map(|l| lines.push(l)).err());
        let told = reader.finish();
        assert_eq!(broken.is_some(), told.is_err(), "at {cut}");
        // What was read before the cut is as it was, its last line aside.
        let sound = lines.len().saturating_sub(1);
        assert_eq!(lines[..sound], good[..sound], "at {cut}");
        if let Ok(told) = told {
            assert!(told.prove(&Evidence::default()).is_err(), "at {cut}");
            assert!(told.prove(&paid(8_357)).is_err(), "at {cut}");
            let size = Evidence { bytes: u64::try_from(whole.len()).ok(), ..Evidence::default() };
            assert_eq!(told.prove(&size).unwrap_err().code, "truncated", "at {cut}");
        }
    }
    // A file without its last line break may have been cut before it was sent: its size proves nothing.
    let (_, told) = lines_of(whole.trim_end(), Asked::default()).unwrap();
    let size = Evidence { bytes: Some(told.bytes), ..paid(8_357) };
    assert_eq!((told.ending, told.prove(&size).unwrap_err().code), (Ending::Torn, "truncated"));
}

mod by_port {
    use serde_json::{Value, json};
    use tillway_core::http::Response;
    use tillway_core::settle::Batch;

    use super::*;
    use crate::port::Connector;
    use crate::settlement::{LinePage, SettleFault};
    use crate::stripe::Stripe;
    use crate::stripe::testing::{Bench, connection};

    async fn lines(
        answers: Vec<Response>,
        payout: i64,
    ) -> (Result<LinePage, SettleFault>, Vec<String>, Vec<String>) {
        let mut bench = Bench::new("settle", answers.into_iter().map(Ok));
        bench.connection.settings.insert("settlement.source".into(), "report".into());
        let day = crate::settlement::values::day("2026-11-20").unwrap();
        let funding = Funding::Funded { payout, day };
        let batch = Batch {
            id: "po_1".into(),
            connection: bench.connection.name.clone(),
            currency: usd(0).currency,
            funding,
        };
        let read = Stripe.settlement(&bench.connection).unwrap().lines(&bench.call(), &batch, None).await;
        (read, bench.http.calls(), bench.http.bodies())
    }
    fn run(status: &str, url: &str) -> Value {
        json!({"id": "frr_1", "object": "reporting.report_run", "status": status, "result": {"object": "file", "url": url}})
    }
    fn answers(status: &str, url: &str, file: &str) -> Vec<Response> {
        let mut csv = Response::new(200);
        csv.body = file.as_bytes().to_vec();
        vec![Response::json(200, &run("pending", "")), Response::json(200, &run(status, url)), csv]
    }
    fn url() -> String {
        format!("{}/v1/files/file_1/contents", connection().setting("base_url", "https://api.stripe.com"))
    }

    #[tokio::test]
    async fn the_report_of_a_day_gives_the_payouts_lines() {
        let other = "po_2,2026-11-20 00:00:00,txn_9,2026-11-18 09:00:00,2026-11-19 00:00:00,eur,1.00,0.00,1.00,charge,ch_7,,,,,,\n";
        let file = format!("{}{other}", file());
        let (read, calls, bodies) = lines(answers("succeeded", &url(), &file), 8_357).await;
        let page = read.unwrap();
        assert_eq!((page.lines.len(), page.unfamiliar), (5, ["moon_fee".to_owned()].into()));
        assert_eq!(
            calls,
            [
                "POST /v1/reporting/report_runs",
                "GET /v1/reporting/report_runs/frr_1",
                "GET /v1/files/file_1/contents"
            ]
        );
        assert!(bodies[0].contains("report_type=payout_reconciliation.itemized.5"), "{}", bodies[0]);
        assert!(bodies[0].contains("interval_start%5D=1795132800"), "{}", bodies[0]);
        let (read, ..) = lines(answers("succeeded", &url(), &file), 8_358).await;
        assert_eq!(read.unwrap_err().code(), "sum_differs");
        let (read, ..) = lines(answers("succeeded", &url(), &format!("{HEADER}\n{other}")), 8_357).await;
        assert_eq!(read.unwrap_err().code(), "truncated");
    }

    #[tokio::test]
    async fn a_file_that_is_not_as_long_as_was_announced_is_refused() {
        let file = file();
        for (body, announced, code) in [
            (file.as_str(), Some(file.len()), None),
            (file.as_str(), Some(file.len() + 1), Some("truncated")),
            (file.as_str(), Some(file.len() - 1), Some("sum_differs")),
            (file.as_str(), None, None),
            (file.trim_end(), None, Some("truncated")),
            (file.trim_end(), Some(file.trim_end().len()), Some("truncated")),
        ] {
            let mut answers = answers("succeeded", &url(), body);
            let length = announced.map(|n| ("content-length".to_owned(), n.to_string()));
            answers[2].headers.extend(length);
            let (read, ..) = lines(answers, 8_357).await;
            assert_eq!(read.err().map(|f| f.code()), code, "{announced:?}");
        }
    }

    #[tokio::test]
    async fn a_report_that_is_not_there_yet_is_waited_for_and_a_strange_host_gets_no_key() {
        let later = json!({"error": {"message": "Data for the report type payout_reconciliation.itemized.5 is only available through X"}});
        let missing = json!({"error": {"message": "Invalid report type"}});
        for (answers, code, sent) in [
            (answers("pending", "", ""), "not_ready", 2),
            (answers("failed", "", ""), "report_failed", 2),
            (vec![Response::json(400, &later)], "not_ready", 1),
            (vec![Response::json(400, &missing)], "refused", 1),
            (vec![Response::json(500, &json!({}))], "not_now", 1),
            (answers("succeeded", "https://files.example/x", ""), "refused", 2),
            (answers("succeeded", &url().replace("/v1", ".example/v1"), ""), "refused", 2),
        ] {
            let (read, calls, _) = lines(answers, 1).await;
            assert_eq!((read.unwrap_err().code(), calls.len()), (code, sent), "{calls:?}");
        }
    }
}
