//! What is seen of one order in each of the three systems.

use anyhow::Context as _;
use tillway_core::facts::OrderStatus;
use tillway_core::ids::OrderKey;
use tillway_core::money::{Currency, Money};
use tillway_core::state::OrderState;
use tillway_engine::ports::Key;
use tillway_engine::records::{CommandRecord, CommandState, LogRecord, OrderRecord, order_pk, state_key};
use tillway_sandbox::clarity::OrderTruth;

use super::gateway::{Payment, System};
use super::stage::Merchant;
use super::world::World;

/// An order as all three have it.
pub struct Seen {
    /// The shop's order.
    pub shop: OrderTruth,
    /// The gateway's words.
    pub system: &'static System,
    /// The gateway's payments for it.
    pub payments: Vec<Payment>,
    /// Tillway's state.
    pub state: Option<OrderState>,
}

impl Seen {
    /// What the shop shows.
    pub fn shop_status(&self) -> &str {
        &self.shop.status_text
    }
    /// What Tillway computed.
    pub fn status(&self) -> Option<OrderStatus> {
        self.state.as_ref().map(|s| s.status)
    }
    /// Codes of what waits for a person, sorted.
    pub fn parked(&self) -> Vec<String> {
        let mut codes: Vec<String> =
            self.state.iter().flat_map(|s| s.parked.values()).map(|p| p.code.clone()).collect();
        codes.sort();
        codes.dedup();
        codes
    }
    /// The payment that counts: one that took or holds money, else the newest.
    pub fn payment(&self) -> Option<&Payment> {
        self.payments.iter().max_by_key(|p| (p.captured, p.held, p.attempts))
    }
    /// The id of that payment.
    ///
    /// # Errors
    /// Where there is none.
    pub fn payment_id(&self) -> anyhow::Result<String> {
        Ok(self.payment().context("there is no payment yet")?.id.clone())
    }
    /// The status of that payment.
    pub fn payment_status(&self) -> Option<&'static str> {
        self.payment().map(|p| p.status)
    }
    fn sum(&self, of: impl Fn(&Payment) -> i64) -> i64 {
        self.payments.iter().map(of).sum()
    }
    /// Held and neither taken nor let go, over all payments, in the gateway's minor units.
    pub fn held(&self) -> i64 {
        self.sum(|p| p.held)
    }
    /// Taken, over all payments.
    pub fn captured(&self) -> i64 {
        self.sum(|p| p.captured)
    }
    /// Withdrawn before the batch, over all payments.
    pub fn voided(&self) -> i64 {
        self.sum(|p| p.voided)
    }
    /// Let go, over all payments.
    pub fn let_go(&self) -> i64 {
        self.sum(|p| p.let_go)
    }
    /// Given back, over all payments.
    pub fn refunded(&self) -> i64 {
        self.sum(|p| p.refunded)
    }
    /// Withdrawn by disputes and not reinstated, over all payments.
    pub fn disputed(&self) -> i64 {
        self.sum(|p| p.withdrawn.saturating_sub(p.reinstated))
    }
    /// Charges that were approved.
    pub fn charges(&self) -> usize {
        self.payments.iter().map(|p| p.charges).sum()
    }
    /// Order total in the gateway's minor units.
    pub fn total(&self) -> i64 {
        wire(self.shop.total)
    }
    /// One line for the three of them.
    pub fn summary(&self) -> String {
        let gateway = self.payment().map_or_else(|| "no payment".to_owned(), describe);
        let tillway = self.status().map_or("unknown order", OrderStatus::name);
        let parked = self.parked();
        let parked = if parked.is_empty() { "nothing".to_owned() } else { parked.join(", ") };
        let (name, shop) = (self.system.name, self.shop_status());
        format!("Clarity {shop}; {name} {gateway}; Tillway {tillway}; parked {parked}")
    }
}

/// Decimals the gateway's amounts have: ISO's, but two for ISK.
fn wire_exponent(currency: Currency) -> u32 {
    if currency.code() == "ISK" { 2 } else { currency.exponent() }
}

/// An amount in the gateway's minor units.
pub fn wire(money: Money) -> i64 {
    let more = wire_exponent(money.currency).saturating_sub(money.currency.exponent());
    money.minor.saturating_mul(10_i64.saturating_pow(more))
}

/// An amount of the gateway's as money.
pub fn unwire(minor: i64, code: &str) -> Option<Money> {
    let currency = Currency::parse(&code.to_ascii_uppercase()).ok()?;
    let less = wire_exponent(currency).saturating_sub(currency.exponent());
    Some(Money::new(minor.checked_div(10_i64.saturating_pow(less))?, currency))
}

/// A payment in a few words.
pub fn describe(p: &Payment) -> String {
    let amount =
        |minor: i64| unwire(minor, &p.currency).map_or_else(String::new, |m| m.to_major().to_string());
    let mut parts = vec![p.status.to_owned()];
    for (what, minor) in [
        ("holds", p.held),
        ("let go", p.let_go),
        ("took", p.captured),
        ("voided", p.voided),
        ("gave back", p.refunded),
        ("came back", p.came_back),
        ("withdrawn", p.withdrawn),
        ("reinstated", p.reinstated),
    ] {
        if minor != 0 {
            parts.push(format!("{what} {}", amount(minor)));
        }
    }
    if let [first, _, ..] = parts.as_slice() {
        let first = first.clone();
        let rest = parts.get(1..).unwrap_or_default().join(", ");
        return format!("{first}, {rest} {}", p.currency);
    }
    parts.join(", ")
}

impl dyn World + '_ {
    /// Looks at an order.
    ///
    /// # Errors
    /// Where the shop does not know it or the store does not answer.
    pub async fn look(&self, merchant: &Merchant, order: &str) -> anyhow::Result<Seen> {
        let key = OrderKey::of(&merchant.shop, order);
        let found = self.engine().ports.store.get(&[state_key(&key)]).await?;
        let record: Option<OrderRecord> =
            found.into_iter().flatten().next().map(|i| serde_json::from_slice(&i.body)).transpose()?;
        let shop = merchant.clarity().order(order).cloned().with_context(|| format!("no order {order}"))?;
        let payments = merchant.account().made_for(order);
        Ok(Seen { shop, system: merchant.system, payments, state: record.map(|r| r.state) })
    }

    /// Everything below an order's partition with this prefix.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn below<T: serde::de::DeserializeOwned>(
        &self,
        key: &OrderKey,
        prefix: &str,
        after: Option<&str>,
    ) -> anyhow::Result<Vec<(Key, T)>> {
        let mut out = Vec::new();
        let mut after = after.map(str::to_owned);
        loop {
            let store = &self.engine().ports.store;
            let page = store.query(&order_pk(key), prefix, after.as_deref(), 100).await?;
            for item in page.items {
                let value = serde_json::from_slice(&item.body)?;
                out.push((item.key, value));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(out),
            }
        }
    }

    /// The order's log after a place in it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn log(&self, key: &OrderKey, after: Option<&str>) -> anyhow::Result<Vec<(Key, LogRecord)>> {
        self.below(key, "log#", after).await
    }

    /// The order's commands that have not ended, in a few words.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open_commands(&self, key: &OrderKey) -> anyhow::Result<Vec<String>> {
        let all: Vec<(Key, CommandRecord)> = self.below(key, "cmd#", None).await?;
        let open = all.into_iter().filter(|(_, c)| !matches!(c.state, CommandState::Ended { .. }));
        Ok(open
            .map(|(_, c)| {
                let last = c.history.last().map_or("not sent yet", |n| n.what.as_str()).to_owned();
                format!("{} ({last})", c.action)
            })
            .collect())
    }
}
