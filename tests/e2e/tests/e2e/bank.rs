//! `tillway settle bank` with files, on the data of a running `serve`.

use tillway_core::settle::Day;
use tillway_sandbox::cybersource::CybersourceSandbox;
use tillway_tests::child::{CYBERSOURCE, Place};
use tillway_tests::world::new_order;

use crate::TILLWAY;

const LAYOUT: &str =
    "bank: main\nformat: camt053\naccount: DE02120300000000202051\ncurrency: USD\nours: [ACME ACQUIRING]\n";

/// A statement in camt.053: id, day, cents (credit), text.
fn camt(bookings: &[(&str, Day, i64, String)]) -> String {
    let amount = |minor: i64| {
        format!("<Amt Ccy=\"USD\">{}.{:02}</Amt><CdtDbtInd>CRDT</CdtDbtInd>", minor / 100, minor % 100)
    };
    let balance = |code: &str, minor| {
        format!("<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{}</Bal>", amount(minor))
    };
    let entries: String = bookings
        .iter()
        .map(|(id, day, minor, text)| {
            format!(
                "<Ntry>{}<Sts>BOOK</Sts><ValDt><Dt>{day}</Dt></ValDt><AcctSvcrRef>{id}</AcctSvcrRef><AddtlNtryInf>{text}</AddtlNtryInf></Ntry>",
                amount(*minor)
            )
        })
        .collect();
    let sum: i64 = bookings.iter().map(|b| b.2).sum();
    format!(
        "<?xml version=\"1.0\"?>\n<Document><BkToCstmrStmt><Stmt><Id>S1</Id><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>\n\
         {}{}{entries}\n</Stmt></BkToCstmrStmt></Document>\n",
        balance("OPBD", 10_000),
        balance("CLBD", 10_000 + sum),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_closes_what_was_submitted_once() {
    let (place, _) = Place::<CybersourceSandbox>::with_cybersource(TILLWAY, "").await;
    place.folder.write("settlement.yaml", &format!("{CYBERSOURCE}: {{ scheduled: false }}\n"));
    let serving = place.serve().await;
    let now = place.now();
    place.shop().place_order(now, new_order("A-1", "USD", Some("tok_visa_x1"))).unwrap();
    place.until_status("A-1", "Payment Received").await;
    let now = place.now();
    place.cybersource().cut_off_now(now);
    let day = Day::of(now);
    let date = day.to_string();
    let run = ["settle", "run", "--connection", CYBERSOURCE, "--date", &date, "--json"];
    let ran = place.on_data(&run).await.json();
    assert_eq!(ran["batches"][0]["standing"], "submitted", "{ran}");
    let batch = ran["batches"][0]["batch"]["id"].as_str().unwrap().to_owned();
    let named = batch.split('@').next().unwrap();

    let write = |name: &str, text: &str| place.folder.write(name, text).display().to_string();
    let layout = write("bank.yaml", LAYOUT);
    let bookings = [
        ("REF1", day, 4_650, format!("ACME ACQUIRING batch {named}")),
        ("REF2", day, 999, "ACME ACQUIRING deposit".to_owned()),
        ("REF3", day, 5, "interest".to_owned()),
    ];
    let good = write("statement.xml", &camt(&bookings));
    let bank = async |statement: &str, more: &[&str]| {
        let head = ["settle", "bank", "--connection", CYBERSOURCE, "--statement", statement];
        place.on_data(&[&head[..], more].concat()).await
    };
    // What is wrong is told with its place, and nothing is posted.
    let said = bank(&good, &[]).await.failed();
    assert!(said.contains("--layout FILE") && said.contains("settlement.yaml"), "{said}");
    let torn = write("torn.xml", camt(&bookings).split("</Stmt>").next().unwrap());
    let odd = write("odd.xml", &camt(&bookings).replace(">46.50<", ">46,50<"));
    let other = write("other.yaml", &LAYOUT.replace("202051", "202052"));
    let bad = write("bad.yaml", &LAYOUT.replace("camt053", "mt940"));
    let with = ["--layout", layout.as_str()];
    for (statement, more, words) in [
        (&torn, &with[..], &["torn.xml: truncated"][..]),
        (&odd, &with, &["odd.xml: bad_number: `Amt` in line 3"]),
        (&good, &["--layout", &other], &["wrong_merchant", "another account"]),
        (&good, &["--layout", &bad], &["bad.yaml:2", "`format`"]),
        (&"/nowhere.xml".to_owned(), &with, &["cannot read /nowhere.xml"]),
        (&good, &["--layout", &layout, "--pays", "REF2"], &["BOOKING=BATCH"]),
        (&good, &["--layout", &layout, "--pays", "REF9=x"], &["no booking REF9"]),
    ] {
        let said = bank(statement, more).await.failed();
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
    }
    assert!(place.on_data(&["settle", "check", &batch]).await.ok().contains("holds: submitted"));

    // With the layout beside the other settings no file has to be named.
    let indented: String = LAYOUT.lines().map(|l| format!("    {l}\n")).collect();
    place
        .folder
        .write("settlement.yaml", &format!("{CYBERSOURCE}:\n  scheduled: false\n  bank:\n{indented}"));
    let said = bank(&good, &[]).await.ok();
    assert!(said.contains("main: 2 booking(s) of the gateway, 1 other(s)"), "{said}");
    assert!(
        said.contains(&format!(
            "batch {batch}: closed by booking REF1 of {day}, 46.50 USD, 0.62 USD kept back"
        )),
        "{said}"
    );
    assert!(said.contains("open: booking REF2") && said.contains("no batch waits for this amount"), "{said}");
    let said = bank(&good, &[]).await.ok();
    assert!(
        said.contains(&format!("REF1 of {day}, 46.50 USD: has paid {batch}"))
            && said.contains("nothing was posted"),
        "{said}"
    );
    let told = bank(&good, &["--json"]).await.json();
    assert_eq!(
        (told["before"][0]["booking"].as_str(), told["closed"].as_array().unwrap().len()),
        (Some("REF1"), 0)
    );
    assert!(place.on_data(&["settle", "check", &batch]).await.ok().contains("holds: closed"));
    let said = place.on_data(&["settle", "show", &batch]).await.ok();
    assert!(said.contains(&format!("paid by booking REF1 of {day} at main")), "{said}");
    let of_day = ["settle", "report", "--json", "--connection", CYBERSOURCE, "--date", &date];
    let report = place.on_data(&of_day).await.json();
    assert_eq!(report["holds"][0]["clearing"]["minor"].to_string().trim_matches('"'), "0", "{report}");
    assert!(serving.terminate().await.success());
}
