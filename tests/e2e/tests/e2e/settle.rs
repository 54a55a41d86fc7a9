//! `tillway settle` on the data of a running `serve`.

use tillway_core::settle::Day;
use tillway_core::time::Timestamp;
use tillway_sandbox::stripe::ShopPayment;
use tillway_tests::child::{Place, wait_for};
use tillway_tests::world::new_order;

use crate::TILLWAY;

async fn paid(place: &Place, order: &str) -> String {
    let now = place.now();
    place.shop().place_order(now, new_order(order, "USD", Some("pm_card_visa"))).unwrap();
    place.until_status(order, "Paid").await;
    place.stripe().payments_by_metadata("clarity_order_id", order).remove(0).payment
}

/// Pays the balance out; answers the payout and the day it is at the bank.
fn pay_out(place: &Place) -> (String, String) {
    let now = place.now();
    let payout = place.stripe().pay_out(now, "usd").unwrap();
    let arrival = place.stripe().object(&payout).unwrap()["arrival_date"].as_i64().unwrap();
    (payout, Day::of(Timestamp::from_unix(arrival)).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_settled_once_and_can_be_looked_at() {
    let place = Place::open(TILLWAY, "", "").await;
    // The command has it to itself.
    place.folder.write("settlement.yaml", "stripe: { scheduled: false }\n");
    let serving = place.serve().await;
    let payment = paid(&place, "A-1").await;
    paid(&place, "A-2").await;
    let now = place.now();
    place.stripe().dashboard_refund(now, &payment, Some(712), None).unwrap();
    place.until_status("A-1", "Partially Refunded").await;
    let (payout, day) = pay_out(&place);
    let run = ["settle", "run", "--connection", "stripe", "--date", &day];
    let said = place.on_data(&run).await.ok();
    assert!(
        said.contains(&format!("batch {payout}: closed, 4 lines: 3 matched, 1 explained, 0 open")),
        "{said}"
    );
    assert!(said.contains("closed: 2 payments, 1 refund, fees"), "{said}");
    assert!(said.contains("all matched"), "{said}");
    // Repeated, it says so and posts nothing.
    let said = place.on_data(&run).await.ok();
    assert!(said.contains("closed, as before, 4 lines") && said.contains("0 entries posted"), "{said}");
    let shown = place.on_data(&[&run[..], &["--json"]].concat()).await.json();
    assert_eq!(
        (shown["clean"].as_bool(), shown["unchanged"][0].as_str()),
        (Some(true), Some(payout.as_str()))
    );

    let said = place.on_data(&["settle", "show", &payout]).await.ok();
    assert!(said.contains("2 charges 94.24 USD, 1 refunds -7.12 USD, 0 disputes"), "{said}");
    let csv = place.on_data(&["settle", "show", &payout, "--csv"]).await.ok();
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert_eq!(csv.lines().filter(|l| l.starts_with("line,matched,")).count(), 3, "{csv}");
    let doc = place.on_data(&["settle", "show", &payout, "--json"]).await.json();
    assert_eq!(doc["doc"]["certificates"].as_array().unwrap().len(), 3);
    assert_eq!(place.on_data(&["settle", "open"]).await.ok().trim(), "nothing is open");
    let said = place.on_data(&["settle", "check", &payout]).await.ok();
    assert!(said.contains("holds: closed, 3 certificates"), "{said}");

    let (page, table) = (place.folder.path().join("day.html"), place.folder.path().join("day.csv"));
    let of_day = ["--connection", "stripe", "--date", &day];
    let files = ["--html", page.to_str().unwrap(), "--csv", table.to_str().unwrap()];
    let said = place.on_data(&[&["settle", "report"][..], &of_day, &files].concat()).await.ok();
    assert!(said.starts_with("closed: 2 payments"), "{said}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains(&payout) && html.contains("href=\"day.csv\""), "{html}");
    assert!(std::fs::read_to_string(&table).unwrap().contains(&payment));
    let report = place.on_data(&[&["settle", "report", "--json"][..], &of_day].concat()).await.json();
    assert_eq!(report["holds"][0]["clearing"]["minor"].to_string().trim_matches('"'), "0", "{report}");

    let text = place.on_data(&["explain", "A-1"]).await.ok();
    assert!(text.contains(&format!("settled in batch {payout}")) && text.contains("certificate "), "{text}");
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_order_stands_for_is_named_with_what_to_do() {
    let place = Place::open(TILLWAY, "", "").await;
    // The command has it to itself.
    place.folder.write("settlement.yaml", "stripe: { scheduled: false }\n");
    let serving = place.serve().await;
    paid(&place, "A-1").await;
    let now = place.now();
    let foreign = ShopPayment {
        amount: 4_200,
        currency: "usd",
        metadata_key: "till",
        order_id: "T-1",
        capture_method: "automatic",
        payment_method: "pm_card_visa_x1",
        customer: None,
    };
    place.stripe().create_payment_as_shop(now, &foreign).unwrap();
    let (payout, day) = pay_out(&place);
    let run = ["settle", "run", "--connection", "stripe", "--date", &day];
    let said = place.on_data(&run).await.ok();
    assert!(said.contains("open: 2 payments") && said.contains("1. missing here: 42.00 USD"), "{said}");
    let said = place.on_data(&["settle", "open"]).await.ok();
    assert!(said.contains("missing_here") && said.contains("42.00 USD") && said.contains(&payout), "{said}");
    assert!(said.contains("book it to its order"), "{said}");
    let items = place.on_data(&["settle", "open", "--json"]).await.json();
    assert_eq!(
        (items[0]["exception"]["class"].as_str(), items[0]["age"].as_i64().is_some()),
        (Some("missing_here"), true)
    );
    let csv = place.on_data(&["settle", "open", "--csv", "--connection", "stripe"]).await.ok();
    assert!(csv.lines().nth(1).unwrap().starts_with("stripe,missing_here,"), "{csv}");
    assert!(place.on_data(&["settle", "check", &payout]).await.ok().contains("holds: open"));
    // A person accepts it, with a reason and to an account that there is.
    let item = items[0]["id"].as_str().unwrap().to_owned();
    assert!(said.contains(&item), "{said}");
    let accept = async |item: &str, reason: &str, more: &[&str]| {
        let head = ["settle", "accept", "--item", item, "--reason", reason];
        place.on_data(&[&head[..], more].concat()).await
    };
    for (id, reason, more, words) in [
        (
            item.as_str(),
            "the till",
            &["--account", "petty_cash"][..],
            "there is no account `petty_cash`; accounts: receivable",
        ),
        (&item, "the till", &[], "say which account takes it"),
        (&item, " ", &["--account", "sales"], "say why"),
        ("missing_here-0", "the till", &["--account", "sales"], "nothing open is called missing_here-0"),
    ] {
        let said = accept(id, reason, more).await.failed();
        assert!(said.contains(words), "{said}");
    }
    let said = accept(&item, "the till at the door", &["--account", "sales"]).await.ok();
    assert!(
        said.contains("42.00 USD, accepted by tester on ")
            && said.contains(" to sales: the till at the door"),
        "{said}"
    );
    assert!(said.contains(&format!("batch {payout}: closed, 0 open")), "{said}");
    let said = accept(&item, "the till at the door", &[]).await.ok();
    assert!(said.contains("was accepted by tester"), "{said}");
    let said = accept(&item, "no reason", &[]).await.failed();
    assert!(said.contains("was accepted by tester on ") && said.contains("the till at the door"), "{said}");
    assert_eq!(place.on_data(&["settle", "open"]).await.ok().trim(), "nothing is open");
    assert!(place.on_data(&["settle", "check", &payout]).await.ok().contains("holds: closed"));
    let said = place.on_data(&["settle", "show", &payout]).await.ok();
    assert!(said.contains("accepted: txn_") && said.contains("to sales by tester at "), "{said}");
    assert!(place.on_data(&run).await.ok().contains("closed, as before"));

    let watch = ["settle", "watch", "--connection", "stripe", "--date", &day];
    let said = place.on_data(&watch).await.ok();
    assert!(said.contains("payments a day 2.0, no expectation yet: 0 days known"), "{said}");
    assert!(
        said.contains("fee rate of visa in USD 3.") && said.contains("nothing is out of the ordinary"),
        "{said}"
    );
    let told = place.on_data(&[&watch[..], &["--json"]].concat()).await.json();
    assert_eq!(
        (told["whole"].as_bool(), told["findings"].as_array().unwrap().len()),
        (Some(true), 0),
        "{told}"
    );
    let never = ["settle", "watch", "--connection", "stripe", "--date", "2020-01-01"];
    assert!(place.on_data(&never).await.ok().contains("was not settled"));
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_says_what_it_cannot_do() {
    let place = Place::open(TILLWAY, "", "").await;
    let serving = place.serve().await;
    wait_for("the store", async || place.on_data(&["settle", "open"]).await.code == Some(0)).await;
    let run = async |more: &[&str]| place.on_data(&[&["settle", "run"][..], more].concat()).await.failed();
    let said = run(&["--connection", "shop"]).await;
    assert!(said.contains("`shop` settles nothing") && said.contains("is read: stripe"), "{said}");
    let said = run(&["--connection", "stripe", "--date", "28.11.2026"]).await;
    assert!(said.contains("`28.11.2026` is no day; write it as 2026-11-28"), "{said}");
    for command in ["show", "check"] {
        let said = place.on_data(&["settle", command, "po_404"]).await.failed();
        assert!(said.contains("no batch `po_404`") && said.contains("tillway settle run"), "{said}");
    }
    let said = place.on_data(&["settle", "run", "--connection", "stripe"]).await.ok();
    assert!(said.contains("nothing was settled on"), "{said}");
    // The books' rates, as a file.
    let rates = async |text: &str| {
        let file = place.folder.write("rates.csv", text);
        place.on_data(&["settle", "rates", file.to_str().unwrap()]).await
    };
    let said = rates("day,from,to,rate\n2026-11-27,GBP,USD,\"1,27\"\n").await.failed();
    assert!(
        said.contains("rates.csv: bad_number: `rate` in line 2") && said.contains("nothing was kept"),
        "{said}"
    );
    let said = rates("Date,USD,GBP,\n2026-11-26,1.05,0.83,\n2026-11-27,1.06,0.84,\n").await.ok();
    assert_eq!(said.trim(), "4 rates from 2026-11-26 to 2026-11-27 are kept");
    let said = rates("Date,USD\n2026-11-27,1.07\n").await.ok();
    assert!(said.contains("1 of them were known otherwise") && said.contains("stays as it is"), "{said}");
    assert!(serving.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_payout_is_settled_without_a_command() {
    let place = Place::open(TILLWAY, "", "").await;
    place.folder.write(
        "settlement.yaml",
        "stripe:\n  time-zone: Europe/Berlin\n  cut-off: \"07:00\"\n  rules: { grace: 9 }\n",
    );
    let serving = place.serve().await;
    paid(&place, "A-1").await;
    let (payout, _) = pay_out(&place);
    let check = ["settle", "check", &payout];
    wait_for("the payout is settled", async || place.on_data(&check).await.code == Some(0)).await;
    assert!(place.on_data(&check).await.ok().contains("holds: closed, 1 certificates"));
    assert!(serving.terminate().await.success());
    // What is wrong in it is said with its line.
    place.folder.write("settlement.yaml", "stripe:\n  time-zone: Berlin\n");
    let said = place.on_data(&["settle", "open"]).await.failed();
    assert!(said.contains("settlement.yaml:2") && said.contains("`time-zone`"), "{said}");
}
