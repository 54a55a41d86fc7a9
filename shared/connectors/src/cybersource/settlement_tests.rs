use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use tillway_core::http::{Request, Response};
use tillway_core::ids::CommandId;
use tillway_core::settle::{Batch, Funding, Kind, SettlementLine};
use tillway_core::time::{Millis, Timestamp};

use super::Cybersource;
use super::settlement_detail::{self as detail, Asked};
use super::settlement_xml as xml;
use super::testing::{connection, secrets, spec_text};
use crate::config::Connection;
use crate::http::kept::Kept;
use crate::http::{Http, HttpError};
use crate::port::{Call, Connector};
use crate::settlement::values::day;
use crate::settlement::{Ending, Evidence, FileFault, Statement};
use crate::testing::Script;

const CSV: &str = "acme_test_001,PaymentBatchDetailReport_Daily_Classic,PaymentBatchDetail,1.10,2026-11-19T08:00:00Z to 2026-11-20T08:00:00Z,,,,,,,\r\n\
    batch_id, merchant_id,batch_date,request_id,merchant_ref_number,TransactionReferenceNumber,payment_type,currency,amount,ics_applications,status,transaction_date,merchant_data_1\r\n\
    21265991580,acme_test_001,2026-11-20T04:15:21Z,763895001,A-1001,78243988,Visa,USD,102.21,\"ics_bill\",BATCHED,2026-11-19T09:33:55Z,\"a\r\n\"\"b\"\"\"\r\n\
    21265991580,acme_test_001,2026-11-20T04:15:21Z,763895002,A-1002,78243989,MasterCard,USD,50.00,\"ics_bill,ics_auth\",BATCHED,2026-11-19T10:00:00Z,\r\n\
    21265991580,acme_test_001,2026-11-20T04:15:21Z,763896003,A-1001,78243990,Visa,USD,10.00,ics_credit,BATCHED,2026-11-19T11:00:00Z,\r\n\
    21265991581,acme_test_001,2026-11-20T04:15:21Z,763896004,A-1003,78243991,Visa,JPY,1200,ics_bill,BATCHED,2026-11-19T11:00:00Z,\"x\r\ny\"\r\n";
const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE Report SYSTEM "https://api.cybersource.com/reporting/v3/dtds/pbdr">
<Report Name="Payment Batch Detail" Version="1.2" xmlns="https://api.cybersource.com/reporting/v3/dtds/pbdr" MerchantID="acme_test_001" ReportStartDate="2026-11-19T08:00:00Z" ReportEndDate="2026-11-20T08:00:00Z">
 <Batches><Batch BatchID="21265991580" BatchDate="2026-11-20"><Requests>
  <Request RequestID="763895001" MerchantReferenceNumber="A-1001"><PaymentMethod>Visa</PaymentMethod><CurrencyCode>USD</CurrencyCode><Amount>102.21</Amount><LineItems><LineItem><Amount>1.00</Amount></LineItem></LineItems><Application>ics_bill</Application></Request>
  <Request RequestID="763895002" MerchantReferenceNumber="A-1002"><CurrencyCode>USD</CurrencyCode><Amount>50.00</Amount><Application>ics_bill</Application><Application>ics_auth</Application></Request>
  <Request RequestID="763896003" MerchantReferenceNumber="A-1001"><CurrencyCode>USD</CurrencyCode><Amount>10.00</Amount><Application>ics_credit</Application></Request>
 </Requests></Batch><Batch BatchID="21265991581" BatchDate="2026-11-20"><Requests>
  <Request RequestID="763896004" MerchantReferenceNumber="A-1003"><CurrencyCode>JPY</CurrencyCode><Amount>1200</Amount><Application>ics_bill</Application></Request>
 </Requests></Batch></Batches>
</Report>
"#;

fn asked() -> Asked {
    Asked::of(&connection(), day("2026-11-20"))
}
type Read = Result<(Vec<SettlementLine>, Statement), FileFault>;
fn csv_with(connection: &Connection, asked: Asked, bytes: &[u8]) -> Read {
    let mut reader = detail::read(connection, asked, bytes)?;
    let lines = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok((lines, reader.finish()?))
}
fn csv(text: &str) -> Read {
    csv_with(&connection(), asked(), text.as_bytes())
}
fn xml_of(text: &str) -> Read {
    let connection = connection();
    let mut reader = xml::read(&connection, asked(), text.as_bytes())?;
    let lines = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok((lines, reader.finish()?))
}
fn grosses(lines: &[SettlementLine]) -> Vec<(Kind, i64)> {
    lines.iter().map(|l| (l.kind, l.gross)).collect()
}
/// Of so many bytes, as they were announced.
fn sized(text: &str) -> Evidence {
    Evidence { bytes: u64::try_from(text.len()).ok(), ..Evidence::default() }
}

#[test]
fn the_sign_comes_from_the_application_whatever_the_layout() {
    let (lines, told) = csv(CSV).unwrap();
    let expected =
        [(Kind::Charge, 10_221), (Kind::Charge, 5_000), (Kind::Refund, -1_000), (Kind::Charge, 1_200)];
    assert_eq!(grosses(&lines), expected);
    assert_eq!((lines[0].id.as_ref(), lines[0].batch.as_ref()), ("21265991580:763895001", "21265991580"));
    assert_eq!(lines[0].ids.own.as_deref(), Some("763895001"));
    // Our reference is the order's: it names its captures and no refund.
    assert_eq!((lines[0].reference.as_deref(), lines[2].reference.as_deref()), (Some("A-1001"), None));
    let batch = told.batches["21265991580"].batch("21265991580", &"cyb".into());
    assert_eq!(batch.funding, Funding::Submitted);
    assert_eq!(told.ending, Ending::Open);
    assert_eq!(told.prove(&Evidence::default()).unwrap_err().code, "unproven");
    told.prove(&sized(CSV)).unwrap();
    // The older layout: other names, refunds negative, no first record.
    let old = "batch_id,merchant_id,batch_date,request_id,merchant_ref_number,trans_ref_no,payment_method,currency,amount,transaction_type\n\
        21265991580,acme_test_001,2026-11-20,763895001,A-1001,7,Visa,USD,102.21,ics_bill\n\
        21265991580,acme_test_001,2026-11-20,763896003,A-1001,7,Visa,USD,-10.00,ics_credit\n";
    assert_eq!(grosses(&csv(old).unwrap().0), [(Kind::Charge, 10_221), (Kind::Refund, -1_000)]);
    // Nothing but its batches tells whose day such a file is: they may be a day apart, as days of other zones are.
    let of = |day: &str| csv(&old.replace("2026-11-20", day)).map(|_| ()).map_err(|f| (f.code, f.line));
    assert_eq!([of("2026-11-19"), of("2026-11-21")], [Ok(()), Ok(())]);
    assert_eq!(of("2026-11-22"), Err(("wrong_date", Some(2))));
    let two_days = CSV.replace("2026-11-20T04:15:21Z,763895001", "2026-11-22T04:15:21Z,763895001");
    assert!(csv(&two_days).is_ok(), "its period tells whose day it is");
    let (same, closed) = xml_of(XML).unwrap();
    assert_eq!(same, lines);
    assert_eq!((closed.batches, closed.ending), (told.batches, Ending::Closed));
}

#[test]
fn a_card_number_in_a_reference_is_not_kept() {
    let (lines, _) = csv(&CSV.replace("A-1002", "4111111111111111")).unwrap();
    assert_eq!((lines[0].reference.as_deref(), lines[1].reference.as_deref()), (Some("A-1001"), None));
}

#[test]
fn the_shared_samples_are_read() {
    let Some(classic) = spec_text("fixtures/pbdr_classic.csv") else { return };
    let (lines, _) = csv(&classic).unwrap();
    assert_eq!(grosses(&lines), [(Kind::Charge, 10_221), (Kind::Charge, 5_000), (Kind::Refund, -1_000)]);
    let (lines, _) = csv(&spec_text("fixtures/pbdr_custom_dotted.csv").unwrap()).unwrap();
    assert_eq!(grosses(&lines), [(Kind::Charge, 10_221), (Kind::Refund, -1_000)]);
    assert_eq!(lines[0].ids.parent.as_deref(), Some("7638943960206437203955"));
    let (lines, told) = xml_of(&spec_text("fixtures/pbdr_legacy.xml").unwrap()).unwrap();
    assert_eq!(grosses(&lines), [(Kind::Charge, 10_221), (Kind::Refund, -1_000)]);
    told.prove(&Evidence::default()).unwrap();
}

#[test]
fn what_is_wrong_with_a_csv_is_named_with_its_line_and_column() {
    let row = |from: &str, to: &str| CSV.replace(from, to);
    for (name, text, code, field, line) in [
        ("nothing", String::new(), "empty", "file", None),
        (
            "first record alone",
            CSV.split_inclusive('\n').next().unwrap().into(),
            "unknown_header",
            "header",
            None,
        ),
        ("a page of HTML", "<html>\n<body>\n</body></html>\n".into(), "unknown_header", "header", None),
        ("missing", row("currency,", "curr,"), "unknown_header", "currency", Some(2)),
        ("column twice", row("payment_type", "amount"), "duplicate_header", "amount", Some(2)),
        ("doubled", format!("{CSV}{CSV}"), "duplicate_header", "header", Some(9)),
        (
            "another merchant",
            row("acme_test_001,Pay", "other,Pay"),
            "wrong_merchant",
            "merchant of the first record",
            Some(1),
        ),
        ("another's row", row("81,acme_test_001", "81,other"), "wrong_merchant", "merchant_id", Some(7)),
        (
            "another day",
            row("2026-11-20T08:00:00Z,", "2026-11-21T08:00:00Z,"),
            "wrong_date",
            "period of the first record",
            Some(1),
        ),
        (
            "a period nobody can read",
            row("2026-11-20T08:00:00Z,", "20.11.2026,"),
            "wrong_date",
            "period of the first record",
            Some(1),
        ),
        (
            "no period",
            row(",2026-11-19T08:00:00Z to 2026-11-20T08:00:00Z,", ",,"),
            "wrong_date",
            "period of the first record",
            Some(1),
        ),
        (
            "another batch day",
            row("763895002,", "763895002,").replacen(
                "2026-11-20T04:15:21Z,763895002",
                "2026-10-20T04:15:21Z,763895002",
                1,
            ),
            "wrong_date",
            "batch_date",
            Some(5),
        ),
        (
            "no day",
            row("2026-11-20T04:15:21Z,763895002", "20.11.2026,763895002"),
            "wrong_date",
            "batch_date",
            Some(5),
        ),
        ("no id", row("763895002", ""), "no_id", "request_id", Some(5)),
        ("no batch", row("21265991581", ""), "no_id", "batch_id", Some(7)),
        ("bad id", row("763895002", "76 38/95"), "bad_id", "request_id", Some(5)),
        ("currencies", row("USD,50.00", "EUR,50.00"), "mixed_currencies", "currency", Some(5)),
        ("currency", row("USD,50.00", "KWD,50.00"), "bad_currency", "currency", Some(5)),
        ("locale", row("50.00", "\"1.050,00\""), "bad_number", "amount", Some(5)),
        ("no quotes", row("50.00", "50,00"), "row_long", "row", Some(5)),
        ("overflow", row("50.00", "92233720368547758.08"), "overflow", "amount", Some(5)),
        ("negative capture", row("50.00", "-50.00"), "wrong_sign", "amount", Some(5)),
        ("application", row("ics_credit", "ics_auth"), "unknown_application", "ics_applications", Some(6)),
        (
            "both",
            row("ics_credit", "\"ics_credit,ics_bill\""),
            "unknown_application",
            "ics_applications",
            Some(6),
        ),
        ("short row", row(",2026-11-19T10:00:00Z,\r\n", "\r\n"), "truncated", "file", Some(5)),
        ("open quote", row("ics_bill,BATCHED", "\"ics_bill,BATCHED"), "truncated", "file", Some(7)),
    ] {
        let fault = csv(&text).unwrap_err();
        assert_eq!((fault.code, fault.field.as_str(), fault.line), (code, field, line), "{name}: {fault}");
    }
    let mixed = CSV.replace("JPY,1200,ics_bill", "JPY,-1200,ics_credit");
    assert_eq!(csv(&mixed).unwrap_err().code, "wrong_sign", "some refunds with a sign and some without");
}

#[test]
fn what_is_wrong_with_an_xml_is_named() {
    for (name, text, code, field) in [
        ("nothing", String::new(), "empty", "file"),
        ("another document", "<html><body/></html>".into(), "unknown_header", "root"),
        ("doubled", format!("{XML}{}", &XML[XML.find("<Report").unwrap()..]), "duplicate_header", "root"),
        ("another merchant", XML.replace("acme_test_001", "other"), "wrong_merchant", "MerchantID"),
        ("another day", XML.replace("2026-11-20T08", "2026-11-22T08"), "wrong_date", "ReportEndDate"),
        (
            "batch day",
            XML.replace("BatchDate=\"2026-11-20\"", "BatchDate=\"2026-12-20\""),
            "wrong_date",
            "BatchDate",
        ),
        ("no id", XML.replace("RequestID=\"763895002\"", ""), "no_id", "RequestID"),
        (
            "amount twice",
            XML.replace("<Amount>50.00", "<Amount>5</Amount><Amount>50.00"),
            "duplicate_header",
            "Amount",
        ),
        ("locale", XML.replace("50.00", "50,00"), "bad_number", "Amount"),
        ("no amount", XML.replace("<Amount>50.00</Amount>", ""), "bad_number", "Amount"),
        ("overflow", XML.replace("50.00", "92233720368547758.08"), "overflow", "Amount"),
        (
            "currencies",
            XML.replace("USD</CurrencyCode><Amount>50", "EUR</CurrencyCode><Amount>50"),
            "mixed_currencies",
            "currency",
        ),
        (
            "currency",
            XML.replace("USD</CurrencyCode><Amount>50", "US</CurrencyCode><Amount>50"),
            "bad_currency",
            "CurrencyCode",
        ),
        ("application", XML.replace("ics_credit", "ics_auth"), "unknown_application", "Application"),
        ("negative capture", XML.replace("50.00", "-50.00"), "wrong_sign", "Amount"),
        ("tags", XML.replace("</Requests></Batch></Batches>", "</Batch></Batches>"), "not_xml", "file"),
    ] {
        let fault = xml_of(&text).unwrap_err();
        assert_eq!((fault.code, fault.field.as_str()), (code, field), "{name}: {fault}");
    }
}

#[test]
fn a_cut_anywhere_is_noticed_or_the_rest_is_not_proven() {
    let (good, _) = csv(CSV).unwrap();
    let connection = connection();
    for cut in 0..CSV.len() {
        let Ok(mut reader) = detail::read(&connection, asked(), &CSV.as_bytes()[..cut]) else { continue };
        let lines: Vec<_> = reader.by_ref().map_while(Result::ok).collect();
        let sound = lines.len().saturating_sub(1);
        assert_eq!(lines[..sound], good[..sound], "at {cut}");
        let Ok(told) = reader.finish() else { continue };
        assert!(told.prove(&Evidence::default()).is_err(), "at {cut}");
        assert!(told.prove(&sized(CSV)).is_err(), "at {cut}: {told:?}");
    }
    let end = XML.trim_end().len();
    for cut in (0..end).filter(|c| XML.is_char_boundary(*c)) {
        assert!(xml_of(&XML[..cut]).is_err(), "at {cut}");
    }
}

#[test]
fn days_end_at_the_midnight_of_the_settings_and_currencies_are_split_where_they_say_so() {
    let mut c = connection();
    let pacific =
        CSV.replace("2026-11-19T08:00:00Z to 2026-11-20T08", "2026-11-20T08:00:00Z to 2026-11-21T08");
    let read = |c: &Connection, text: &str| csv_with(c, Asked::of(c, day("2026-11-20")), text.as_bytes());
    assert_eq!(read(&c, &pacific).unwrap_err().code, "wrong_date");
    c.settings.insert("settlement.utc_offset".into(), "-08:00".into());
    read(&c, &pacific).unwrap();
    let mixed = CSV.replace("USD,50.00", "EUR,50.00");
    assert_eq!(csv(&mixed).unwrap_err().code, "mixed_currencies");
    c.settings.insert("settlement.mixed_currencies".into(), "split".into());
    let (lines, told) = read(&c, &mixed.replace("2026-11-20T08", "2026-11-21T08")).unwrap();
    let batches: Vec<&str> = told.batches.keys().map(AsRef::as_ref).collect();
    assert_eq!(batches, ["21265991580-EUR", "21265991580-USD", "21265991581-JPY"]);
    assert_eq!(lines[1].id.as_ref(), "21265991580:763895002");
    c.settings.insert("merchant_ids".into(), "acme_eu".into());
    read(&c, &pacific.replace("81,acme_test_001", "81,acme_eu")).unwrap();
}

#[test]
fn another_status_than_batched_goes_to_a_person() {
    let odd = CSV.replacen("ics_credit,BATCHED", "ics_credit,REJECTED", 1);
    let (lines, told) = csv(&odd).unwrap();
    assert_eq!(grosses(&lines)[2], (Kind::Adjustment, -1_000));
    assert_eq!(told.unfamiliar, ["REJECTED".to_owned()].into());
}

#[tokio::test]
async fn a_report_is_as_long_as_was_announced_and_its_words_are_told() {
    let read = |body: String, announced: Option<usize>| async move {
        let mut answer = Response::new(200);
        answer.headers.extend(announced.map(|n| ("content-length".to_owned(), n.to_string())));
        answer.body = body.into_bytes();
        let (connection, secrets, http) = (connection(), secrets(), Script::new([Ok(answer)]));
        let command = CommandId::new("settle");
        let call = Call {
            connection: &connection,
            secrets: &secrets,
            token: None,
            http: &http,
            action: "settle",
            command: &command,
            generation: 0,
            prepared: &[],
            now: Timestamp(7),
            limit: Millis::secs(30),
        };
        let batch = Batch {
            id: "21265991580@2026-11-20".into(),
            connection: connection.name.clone(),
            currency: "USD".parse().unwrap(),
            funding: Funding::Submitted,
        };
        let page = Cybersource.settlement(&connection).unwrap().lines(&call, &batch, None).await;
        page.map(|page| (page.lines.len(), page.unfamiliar)).map_err(|f| f.code())
    };
    let whole = CSV.len();
    assert_eq!(read(CSV.to_owned(), None).await, Ok((3, [].into())));
    assert_eq!(read(CSV.to_owned(), Some(whole)).await, Ok((3, [].into())));
    assert_eq!(read(CSV.to_owned(), Some(whole + 40)).await, Err("truncated"), "cut between two rows");
    assert_eq!(read(CSV.to_owned(), Some(whole - 1)).await, Err("sum_differs"));
    for announced in [None, Some(whole - 2)] {
        assert_eq!(
            read(CSV.trim_end().to_owned(), announced).await,
            Err("truncated"),
            "its last line is torn"
        );
    }
    let odd = CSV.replacen("ics_credit,BATCHED", "ics_credit,REJECTED", 1);
    assert_eq!(read(odd, None).await, Ok((3, ["REJECTED".to_owned()].into())));
}

/// Gives one report to whoever asks for it, for as long as a run lasts.
struct Day {
    report: String,
    asked: AtomicUsize,
    kept: Option<Kept>,
}
#[async_trait]
impl Http for Day {
    async fn send(&self, _: Request, _: Millis) -> Result<Response, HttpError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Response { body: self.report.clone().into_bytes(), ..Response::new(200) })
    }
    fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }
}

/// More rows than an answer of the API may have bytes for: listed, and each batch read to its end, page by page.
#[tokio::test]
async fn a_report_of_a_hundred_thousand_rows_is_downloaded_once_and_comes_in_pages() {
    const ROWS: usize = 100_000;
    let (head, _) = CSV.split_at(CSV.find("21265991580,").unwrap());
    let mut report = head.to_owned();
    for n in 0..ROWS {
        let (batch, currency) = if n % 4 == 3 { ("901", "EUR") } else { ("900", "USD") };
        let row = format!(
            "{batch},acme_test_001,2026-11-20T04:15:21Z,{},A-{n},{n},Visa,{currency},1.00,ics_bill,BATCHED,2026-11-19T09:33:55Z,\r\n",
            760_000_000 + n
        );
        report.push_str(&row);
    }
    assert!(report.len() > crate::http::live::MAX_ANSWER);
    for kept in [true, false] {
        let http = Day { report: report.clone(), asked: AtomicUsize::new(0), kept: kept.then(Kept::default) };
        let (connection, secrets, command) = (connection(), secrets(), CommandId::new("settle"));
        let call = Call {
            connection: &connection,
            secrets: &secrets,
            token: None,
            http: &http,
            action: "settle",
            command: &command,
            generation: 0,
            prepared: &[],
            now: Timestamp(7),
            limit: Millis::secs(30),
        };
        let api = Cybersource.settlement(&connection).unwrap();
        let listed = api.batches(&call, day("2026-11-20").unwrap(), None).await.unwrap().batches;
        assert_eq!(listed.len(), 2);
        let (mut all, mut pages) = (std::collections::BTreeSet::new(), Vec::new());
        for listed in &listed {
            let mut cursor: Option<String> = None;
            loop {
                let page = api.lines(&call, &listed.batch, cursor.as_deref()).await.unwrap();
                assert!(page.lines.iter().all(|l| l.batch == listed.batch.id));
                pages.push(page.lines.len());
                all.extend(page.lines.into_iter().map(|l| l.id));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        assert_eq!((pages, all.len()), (vec![20_000, 20_000, 20_000, 15_000, 20_000, 5_000], ROWS));
        // Without anything that is kept each page finds its way by itself.
        assert_eq!(http.asked.load(Ordering::SeqCst), if kept { 1 } else { 7 });
    }
}

/// Bytes that come a few at a time, and how many of them were asked for.
struct Trickle<'a>(&'a [u8], usize);
impl std::io::Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.1.min(self.0.len()).min(out.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}
/// One byte again and again, as if without end.
struct Endless(u8, std::rc::Rc<std::cell::Cell<usize>>);
impl std::io::Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        out.fill(self.0);
        self.1.set(self.1.get() + out.len());
        Ok(out.len())
    }
}

#[test]
fn an_endless_record_is_given_up_after_a_bounded_read() {
    let connection = connection();
    for (head, byte) in [
        ("", b'x'),
        (CSV, b'x'),
        (CSV, b'"'),
        (CSV, b','),
        (CSV, b'\n'),
        (XML, b' '),
        ("<Report a=\"", b'x'),
        ("<!--", b'-'),
        ("<!DOCTYPE r [", b'<'),
    ] {
        let taken = std::rc::Rc::new(std::cell::Cell::new(0));
        let bytes = std::io::Read::chain(head.as_bytes(), Endless(byte, taken.clone()));
        if head.starts_with('<') {
            let reader = xml::read(&connection, asked(), bytes).unwrap();
            assert!(reader.finish().is_err());
        } else {
            let read = detail::read(&connection, asked(), bytes).and_then(|r| r.finish());
            assert_eq!(read.unwrap_err().code, "too_long", "{byte}");
        }
        assert!(taken.get() < 4 * crate::settlement::source::MAX_RECORD, "{byte}: {}", taken.get());
    }
}

proptest! {
    #[test]
    fn chunks_of_any_size_say_the_same(size in 1_usize..40) {
        let connection = connection();
        let reader = detail::read(&connection, asked(), Trickle(CSV.as_bytes(), size)).unwrap();
        prop_assert_eq!(reader.finish().unwrap(), csv(CSV).unwrap().1);
        let bom = format!("\u{feff}{XML}");
        let reader = xml::read(&connection, asked(), Trickle(bom.as_bytes(), size)).unwrap();
        prop_assert_eq!(reader.finish().unwrap().batches, xml_of(XML).unwrap().1.batches);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..3_000),
        at in 0_usize..2_000,
        cut in 0_usize..200,
    ) {
        let connection = connection();
        for whole in ["", CSV, XML] {
            let mut mixed = whole.as_bytes().to_vec();
            let at = at.min(mixed.len());
            let to = at.saturating_add(cut).min(mixed.len());
            mixed.splice(at..to, bytes.iter().copied());
            let _ = csv_with(&connection, asked(), &mixed);
            let _ = xml::read(&connection, asked(), &mixed[..]).and_then(|r| r.finish());
            let _ = crate::stripe::settlement_report::read(Default::default(), &mixed[..]).and_then(|r| r.finish());
        }
    }
}
