//! What is settled in another currency, with and without a rate of the books.

use tillway_core::settle::rates::Rates;

use super::*;

fn cur(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

impl Trade {
    /// Pounds are settled in dollars at so many ten thousandths.
    fn converts_at(&self, rate: i64) {
        self.stripe(|s, _| s.config_mut().converts = vec![("gbp".to_owned(), "usd".to_owned(), rate)]);
    }
    async fn books_say(&self, day: Day, rate: &str) -> u64 {
        let mut rates = Rates::default();
        rates.put(day, cur("GBP"), cur("USD"), rate).unwrap();
        self.w.engine.keep_rates(rates).await.unwrap().changed
    }
    /// What the journal has of an account and a currency.
    fn held(&self, role: Role, currency: &str) -> i64 {
        let journal = self.journal();
        let of_it = journal.iter().flat_map(|e| &e.postings);
        of_it.filter(|p| p.role == role && p.amount.currency == cur(currency)).map(|p| p.amount.minor).sum()
    }
}

#[tokio::test]
async fn what_an_exchange_gains_or_loses_is_booked_by_the_books_rate() {
    let t = Trade::new().await;
    t.converts_at(12_700);
    assert_eq!(t.books_say(t.today().plus(-1), "1.25").await, 0);
    let payment = t.charge_in("gbp", "pm_card_visa_xg", "G-1", 10_000);
    t.charge("A-1", 5_000);
    t.hear().await;
    let payout = t.pay_out();
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    let told =
        "\n! 1 line in GBP settled in USD: 100.00 GBP for 127.00 USD, 2.00 USD gained over the books' rates";
    assert!(report.headline.contains(told), "{}", report.headline);
    assert_eq!((t.held(Role::Conversion, "GBP"), t.held(Role::Conversion, "USD")), (10_000, -12_500));
    assert_eq!(t.held(Role::Fx, "USD"), -200, "gained: a credit");
    assert_eq!((t.held(Role::GatewayClearing, "GBP"), t.held(Role::GatewayClearing, "USD")), (0, 0));
    // The report knows it, its state is that of the batch, and the checker computes it again.
    let day = t.today();
    let sheet = t.w.engine.settlement_report(&gate(), day).await.unwrap();
    assert!(sheet.headline().starts_with("closed: 2 payments"), "{}", sheet.headline());
    let view = t.batch(&payout).await;
    let checked = t.w.engine.check_batch(&view).await.unwrap();
    assert_eq!((checked.standing, &checked.rejected[..]), (Some(Standing::Closed), &[][..]));
    // The pound is dearer when it goes back: the merchant pays for that.
    t.w.pass(Millis::days(1));
    t.converts_at(13_000);
    t.charge("A-2", 50_000);
    t.refund(&payment, 10_000);
    t.hear().await;
    t.pay_out();
    let report = t.settle().await;
    assert!(
        report.headline.contains("-100.00 GBP for -130.00 USD, 5.00 USD lost against"),
        "{}",
        report.headline
    );
    assert_eq!((t.held(Role::Conversion, "GBP"), t.held(Role::Conversion, "USD")), (0, 0));
    assert_eq!(t.held(Role::Fx, "USD"), 300, "what both exchanges cost");
}

#[tokio::test]
async fn without_a_rate_none_is_booked_and_one_that_comes_later_changes_nothing_that_is_posted() {
    let t = Trade::new().await;
    t.converts_at(12_700);
    t.charge_in("gbp", "pm_card_visa_xg", "G-1", 10_000);
    t.hear().await;
    let payout = t.pay_out();
    let report = t.settle().await;
    assert!(report.is_clean(), "{report:?}");
    let told = "100.00 GBP for 127.00 USD; the books' rate is not known: tillway settle rates";
    assert!(report.headline.contains(told), "{}", report.headline);
    let held = |t: &Trade| (t.held(Role::Conversion, "USD"), t.held(Role::Fx, "USD"));
    assert_eq!(held(&t), (-12_700, 0));
    assert_eq!((t.books_say(t.today(), "1.25").await, t.books_say(t.today(), "1.20").await), (0, 1));
    t.settle().await;
    assert_eq!(held(&t), (-12_700, 0));
    let checked = t.w.engine.check_batch(&t.batch(&payout).await).await.unwrap();
    assert_eq!(checked.rejected, [""; 0]);
}
