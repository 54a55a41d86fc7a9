use proptest::prelude::*;
use tillway_core::settle::{Batch, Day, Funding};

use super::*;

const CSV: &str = "
bank: main
format: csv
account: DE02 1203 0000 0000 2020 51
currency: EUR
ours: [CYBERSOURCE]
delimiter: \";\"
decimal: comma
dates: DD.MM.YYYY
before: 2
columns: {date: Valuta, amount: Betrag, account: IBAN, balance: Saldo, text: [Zweck, Name]}
";
const FILE: &str = "Umsätze;vom 20.11.2026\r\nIBAN;Valuta;Betrag;Saldo;Zweck;Name\r\n\
    DE02120300000000202051;20.11.2026;1.142,21;2.142,21;\"Batch 21265991580\r\nCYBERSOURCE\";ACQ\r\n\
    DE02120300000000202051;20.11.2026;-12,00;2.130,21;Miete;Haus\r\n\
    DE02120300000000202051;21.11.2026;50,00;2.180,21;cybersource;ACQ\r\n";

fn layout() -> Layout {
    Layout::load("bank.yaml", CSV).unwrap()
}
fn camt_layout() -> Layout {
    let text = CSV.split("delimiter").next().unwrap().replace("csv", "camt053");
    Layout::load("bank.yaml", &text).unwrap()
}
fn csv(text: &str) -> Result<BankStatement, FileFault> {
    read(&layout(), text.as_bytes())
}
fn camt(text: &str) -> Result<BankStatement, FileFault> {
    read(&camt_layout(), text.as_bytes())
}
fn shape(told: &BankStatement) -> Vec<(String, i64)> {
    told.lines.iter().map(|l| (l.day.to_string(), l.amount.minor)).collect()
}

const CAMT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>
<GrpHdr><MsgId>M1</MsgId></GrpHdr>
<Stmt><Id>S-1</Id>
<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>EUR</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">1000.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">2130.21</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>
<TxsSummry><TtlNtries><NbOfNtries>3</NbOfNtries></TtlNtries></TxsSummry>
<Ntry><Amt Ccy="EUR">1142.21</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><ValDt><Dt>2026-11-21</Dt></ValDt><AcctSvcrRef>REF1</AcctSvcrRef>
<NtryDtls><TxDtls><Refs><EndToEndId>E1</EndToEndId></Refs><Amt Ccy="EUR">1142.21</Amt><RmtInf><Ustrd>Batch 21265991580 &amp; more CYBERSOURCE</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>
<Ntry><NtryRef>REF2</NtryRef><Amt Ccy="EUR">12.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><AddtlNtryInf>Miete</AddtlNtryInf></Ntry>
<Ntry><NtryRef>REF3</NtryRef><Amt Ccy="EUR">9.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>PDNG</Cd></Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><AddtlNtryInf>CYBERSOURCE</AddtlNtryInf></Ntry>
</Stmt></BkToCstmrStmt></Document>
"#;

#[test]
fn a_csv_statement_gives_the_gateways_bookings() {
    let told = csv(FILE).unwrap();
    assert_eq!(shape(&told), [("2026-11-20".into(), 114_221), ("2026-11-21".into(), 5_000)]);
    assert_eq!((told.others, told.ending), (1, Ending::Open));
    assert_eq!(told.prove(None).unwrap_err().code, "unproven");
    told.prove(u64::try_from(FILE.len()).ok()).unwrap();
    assert_eq!(told.prove(u64::try_from(FILE.len() + 1).ok()).unwrap_err().code, "truncated");
    assert!(!format!("{told:?}").contains("ACQ"), "texts are not shown");
    // Newest first, latin-1, and credit beside debit.
    let mut rows: Vec<&str> = FILE.trim_end().split("\r\nDE").collect();
    rows[1..].reverse();
    let down = format!("{}\r\n", rows.join("\r\nDE"));
    assert_eq!(csv(&down).unwrap().lines.len(), 2);
    let text = CSV
        .replace("delimiter", "encoding: latin-1\ndelimiter")
        .replace("amount: Betrag", "credit: Haben, debit: Soll");
    let other =
        Layout::load("bank.yaml", &text.replace("Zweck, Name", "Größe").replace(", balance: Saldo", ""))
            .unwrap();
    let file: Vec<u8> =
        "IBAN;Valuta;Soll;Haben;Größe\nDE02120300000000202051;20.11.2026;;7,50;Cybersource ü\n\
        DE02120300000000202051;20.11.2026;2,50;;cybersource\n"
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
    assert_eq!(shape(&read(&other, &file[..]).unwrap()).iter().map(|s| s.1).collect::<Vec<_>>(), [750, -250]);
    assert_eq!(read(&layout(), &file[..]).unwrap_err().code, "bad_encoding");
}

/// A booking without an id of the bank's has the same name in the statement of a day and in that of a month.
#[test]
fn a_name_that_is_made_up_does_not_depend_on_the_line() {
    let row = |day: &str, amount: &str, text: &str| {
        format!("DE02120300000000202051;{day};{amount};;{text};ACQ\r\n")
    };
    let head = FILE.split_inclusive("\r\n").take(2).collect::<String>();
    let ids = |rows: &[String]| -> Vec<String> {
        let told = csv(&format!("{head}{}", rows.concat())).unwrap();
        told.lines.iter().map(|l| l.id.to_string()).collect()
    };
    let ours = row("20.11.2026", "50,00", "CYBERSOURCE A");
    let others = row("19.11.2026", "7,00", "Miete");
    let one = ids(std::slice::from_ref(&ours));
    assert_eq!(ids(&[others.clone(), ours.clone()]), one);
    let changed = [
        row("21.11.2026", "50,00", "CYBERSOURCE A"),
        row("20.11.2026", "50,01", "CYBERSOURCE A"),
        row("20.11.2026", "50,00", "CYBERSOURCE B"),
    ];
    // The second of two that say the same is another booking.
    let mut all = ids(&[&[ours.clone(), ours.clone(), others, ours][..], &changed].concat());
    assert_eq!(all[0], one[0]);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn what_is_wrong_with_a_csv_statement_is_named() {
    for (name, text, code, field, line) in [
        ("empty", String::new(), "empty", "file", None),
        ("locale", FILE.replace("1.142,21", "1142.21"), "bad_number", "Betrag", Some(3)),
        ("thousands", FILE.replace("1.142,21", "1,142"), "bad_number", "Betrag", Some(3)),
        ("overflow", FILE.replace("1.142,21", "99999999999999999,00"), "overflow", "Betrag", Some(3)),
        (
            "account",
            FILE.replace("DE02120300000000202051;21", "DE99120300000000202051;21"),
            "wrong_merchant",
            "IBAN",
            Some(6),
        ),
        ("date", FILE.replace("21.11.2026", "11/21/2026"), "wrong_date", "Valuta", Some(6)),
        (
            "missing",
            FILE.replace("DE02120300000000202051;20.11.2026;-12,00;2.130,21;Miete;Haus\r\n", ""),
            "sum_differs",
            "Saldo",
            Some(5),
        ),
        ("doubled", format!("{FILE}{FILE}"), "duplicate_header", "header", Some(7)),
        ("column", FILE.replace("Betrag", "Amount"), "unknown_header", "Betrag", Some(2)),
    ] {
        let fault = csv(&text).unwrap_err();
        assert_eq!((fault.code, fault.field.as_str(), fault.line), (code, field, line), "{name}: {fault}");
    }
}

#[test]
fn camt_gives_what_is_booked_and_its_balances_are_checked() {
    let told = camt(CAMT).unwrap();
    assert_eq!(shape(&told), [("2026-11-21".into(), 114_221)]);
    assert_eq!((told.lines[0].id.as_ref(), told.others), ("REF1", 2));
    assert!(told.lines[0].text.contains("Batch 21265991580 & more"));
    told.prove(None).unwrap();
    let prefixed = CAMT
        .replace("</", "</c:")
        .replace("<c:", "<")
        .replace('<', "<c:")
        .replace("<c:/", "</")
        .replace("<c:?", "<?");
    let prefixed = prefixed.replace("</", "</c:").replace("</c:c:", "</c:").replace("xmlns=", "xmlns:c=");
    assert_eq!(camt(&prefixed).unwrap().lines, told.lines);
    assert_eq!(camt(&format!("\u{feff}{}", CAMT.replace('\n', "\r\n"))).unwrap().lines, told.lines);
    for (name, text, code, field) in [
        ("empty", String::new(), "empty", "file"),
        ("root", "<Report/>".into(), "unknown_header", "root"),
        (
            "account",
            CAMT.replace("2020512", "2020513").replace("0202051<", "0202052<"),
            "wrong_merchant",
            "Acct",
        ),
        ("entry lost", CAMT.replace("1142.21", "1142.22"), "sum_differs", "Bal"),
        ("count", CAMT.replace("<NbOfNtries>3", "<NbOfNtries>4"), "truncated", "NbOfNtries"),
        (
            "currency",
            CAMT.replace("<Amt Ccy=\"EUR\">12.00", "<Amt Ccy=\"USD\">12.00"),
            "mixed_currencies",
            "Ccy",
        ),
        ("locale", CAMT.replace("12.00", "12,00"), "bad_number", "Amt"),
        ("sign", CAMT.replace(">12.00", ">-12.00"), "wrong_sign", "Amt"),
        ("direction", CAMT.replace("DBIT", "OUT"), "wrong_sign", "CdtDbtInd"),
        ("day", CAMT.replace("<ValDt><Dt>2026-11-21", "<ValDt><Dt>21.11.2026"), "wrong_date", "ValDt"),
        ("doubled", format!("{CAMT}{}", CAMT.split_once("?>").unwrap().1), "duplicate_header", "root"),
        ("entity", CAMT.replace("&amp;", "&nbsp;"), "not_xml", "file"),
        (
            "pages",
            CAMT.replace(
                "<Id>S-1</Id>",
                "<Id>S-1</Id><StmtPgntn><PgNb>1</PgNb><LastPgInd>false</LastPgInd></StmtPgntn>",
            ),
            "truncated",
            "StmtPgntn",
        ),
    ] {
        let fault = camt(&text).unwrap_err();
        assert_eq!((fault.code, fault.field.as_str()), (code, field), "{name}: {fault}");
    }
    // Entries of a statement that names no account are nobody's of ours, whatever else is in the file.
    let second = CAMT
        .replace("<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>EUR</Ccy></Acct>", "")
        .replace("REF", "OTHER");
    let stmt = &second[second.find("<Stmt>").unwrap()..second.find("</BkToCstmrStmt>").unwrap()];
    let both = CAMT.replace("</Stmt></BkToCstmrStmt>", &format!("</Stmt>{stmt}</BkToCstmrStmt>"));
    assert_eq!(camt(&both).unwrap().lines, told.lines);
    // Any cut before the last tag is noticed.
    let end = CAMT.trim_end().len();
    for cut in (0..end).filter(|c| CAMT.is_char_boundary(*c)) {
        assert!(camt(&CAMT[..cut]).is_err(), "at {cut}");
    }
}

#[test]
fn a_layout_says_what_is_wrong_with_it() {
    let problems = Layout::load(
        "bank.yaml",
        "format: xls\naccount: 1\ncurrency: EURO\ncolumns: {amount: A, credit: B}\n",
    )
    .unwrap_err();
    let said: Vec<String> = problems.iter().map(|p| format!("{}:{}", p.line, p.code)).collect();
    assert_eq!(
        said,
        [
            "1:missing-key",
            "1:missing-key",
            "1:unknown-word",
            "3:bad-currency",
            "4:missing-key",
            "4:missing-key",
            "4:missing-key"
        ]
    );
}

fn waiting(id: &str, net: i64, day: i32) -> Waiting {
    let batch = Batch {
        id: id.into(),
        connection: "cyb".into(),
        currency: "EUR".parse().unwrap(),
        funding: Funding::Submitted,
    };
    Waiting { batch, net, day: Day(day) }
}
fn booking(id: &str, minor: i64, day: i32, text: &str) -> BankLine {
    BankLine {
        id: id.into(),
        day: Day(day),
        amount: Money::new(minor, "EUR".parse().unwrap()),
        text: text.into(),
    }
}

/// Whatever others' bookings are called holds up nothing, and a placeholder is no name.
#[test]
fn others_references_are_nobodys_business() {
    let odd = CAMT.replace("REF2", "Mieter Nr. 7 / \u{fc}ber");
    assert_eq!(camt(&odd).unwrap().lines, camt(CAMT).unwrap().lines);
    let ours = CAMT.replace("REF1", "of ours \u{fc}");
    assert_eq!(camt(&ours).unwrap_err().code, "bad_id");
    let twice = CAMT.replace("Miete", "CYBERSOURCE fees").replace("REF1", "NONREF").replace("REF2", "nonref");
    let told = camt(&twice).unwrap();
    // Their names are made of what they say, so that they are the same in a longer statement.
    let ids: Vec<&str> = told.lines.iter().map(|l| l.id.as_ref()).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids[0].starts_with("main:2026-11-21:"), "{ids:?}");
    let longer = twice.replace("<Id>S-1</Id>", "<Id>S-9</Id>");
    assert_eq!(camt(&longer).unwrap().lines, told.lines);
}

#[test]
fn a_booking_pays_the_batch_it_names_else_the_only_one_of_its_amount() {
    let batches = [
        waiting("21265991580@2026-11-20", 14_221, 10),
        waiting("21265991581", 5_000, 10),
        waiting("21265991582", 700, 10),
        waiting("21265991583", 700, 11),
    ];
    let lines = [
        booking("a", 13_900, 12, "CYB 21265991580, thanks"),
        booking("b", 5_000, 11, "CYB"),
        booking("c", 700, 12, "CYB"),
        booking("d", 14_221, 12, "CYB 212659915809"),
        booking("e", 5_000, 99, "CYB"),
    ];
    let (closed, open) = close(&batches, &lines, 5);
    let shape: Vec<_> = closed.iter().map(|c| (c.batch.id.as_ref(), c.line.as_ref(), c.difference)).collect();
    assert_eq!(shape, [("21265991580@2026-11-20", "a", -321), ("21265991581", "b", 0)]);
    assert_eq!(closed[0].batch.funding, Funding::Funded { payout: 13_900, day: Day(12) });
    let open: Vec<_> = open.iter().map(|o| (o.line.as_ref(), o.candidates.len())).collect();
    assert_eq!(open, [("c", 2), ("d", 0), ("e", 0)]);
    // An instalment names its batch, and is not all its money: the rest is no fee.
    for part in [7_110, 12_700, 15_700] {
        let (closed, open) = close(&batches, &[booking("a", part, 12, "CYB 21265991580, 1 of 2")], 5);
        assert_eq!((closed, open[0].candidates.len()), (vec![], 1), "{part}");
    }
    // A booking that takes money back pays nothing, though it names the batch.
    let back = [booking("a", -14_221, 12, "CYB 21265991580, returned")];
    let (closed, open) = close(&batches, &back, 5);
    assert_eq!((closed, open[0].candidates.len()), (vec![], 1));
    let owed = [waiting("21265991584", -500, 10)];
    assert_eq!(close(&owed, &[booking("a", -480, 12, "CYB 21265991584")], 5).0[0].difference, 20);
    // Two bookings for one batch pay it neither way.
    let twice = [booking("a", 5_000, 11, "CYB"), booking("b", 5_000, 12, "CYB")];
    assert_eq!(close(&batches, &twice, 5).0, []);
    let named = [booking("a", 5_000, 11, "CYB 21265991581"), booking("b", 5_000, 12, "CYB 21265991581")];
    assert_eq!(close(&batches, &named, 5).0, []);
}

proptest! {
    #[test]
    fn closing_does_not_depend_on_order_and_pays_each_once(
        nets in proptest::collection::vec(1_i64..4, 0..6),
        paid in proptest::collection::vec((1_i64..4, 0_i32..9), 0..6),
        turn in 0_usize..6,
    ) {
        let mut batches: Vec<_> = nets.iter().enumerate().map(|(i, net)| waiting(&format!("batch-{i}"), *net, i32::try_from(i).unwrap())).collect();
        let mut lines: Vec<_> = paid.iter().enumerate().map(|(i, (m, day))| booking(&format!("l{i}"), *m, *day, "x")).collect();
        let first = close(&batches, &lines, 5);
        prop_assert_eq!(first.0.len() + first.1.len(), lines.len());
        let mut ids: Vec<_> = first.0.iter().map(|c| c.batch.id.clone()).collect();
        ids.dedup();
        prop_assert_eq!(ids.len(), first.0.len());
        let turn = turn.min(batches.len());
        batches.rotate_left(turn);
        lines.reverse();
        prop_assert_eq!(close(&batches, &lines, 5), first);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), at in 0_usize..500) {
        let _ = read(&layout(), &bytes[..]);
        let _ = read(&camt_layout(), &bytes[..]);
        for whole in [FILE, CAMT] {
            let mut mixed = whole.as_bytes().to_vec();
            let at = at.min(mixed.len());
            mixed.splice(at..at, bytes.iter().copied().take(40));
            let _ = read(&layout(), &mixed[..]);
            let _ = read(&camt_layout(), &mixed[..]);
        }
    }
}
