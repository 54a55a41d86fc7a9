//! One scenario at work: placing orders, doing what people do, waiting, and saying how it must end.

use anyhow::{Context as _, bail};
use tillway_core::facts::OrderStatus;
use tillway_core::ids::OrderKey;
use tillway_core::money::Currency;
use tillway_core::time::{Millis, Timestamp};
use tillway_sandbox::clarity::{ClaritySandbox, Customer, NewLine, NewOrder};
use tillway_sandbox::cybersource::CybersourceSandbox;
use tillway_sandbox::stripe::{ShopPayment, StripeSandbox};
use tillway_sandbox::{ApiFault, ApiFaultRule, HookFault, HookFaultRule, Sandbox as _};

pub use super::end::End;
use super::gateway::System;
use super::seen::{Seen, wire};
use super::stage::Merchant;
use super::story::Story;
use super::world::World;

/// Looks in a row with nothing to wait for, before it is given up.
const IN_VAIN: u32 = 5;
/// How far the clock is put forward while waiting for one thing, unless said otherwise.
const HORIZON: Millis = Millis::hours(3);

/// Numbers from a seed (SplitMix64), the same for a scenario whichever others run.
pub struct Draw(u64);

impl Draw {
    /// Begins from the demo's seed and the scenario's name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(seed ^ 0x5EED, |a, b| a.wrapping_mul(0x0100_0000_01B3) ^ u64::from(b)))
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(0).saturating_add(1);
        low.saturating_add(i64::try_from(self.next() % span).unwrap_or(0))
    }
    /// One of these.
    pub fn one_of<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let last = i64::try_from(choices.len()).unwrap_or(1).saturating_sub(1);
        let at = usize::try_from(self.range(0, last)).unwrap_or(0);
        choices.get(at).copied().unwrap_or_default()
    }
}

/// Days, hours and minutes, those that are there.
fn lasting(length: Millis) -> String {
    let minutes = length.0 / Millis::mins(1).0;
    let parts = [(minutes / 1440, "d"), (minutes / 60 % 24, "h"), (minutes % 60, "m")];
    let there = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}"));
    there.collect::<Vec<_>>().join(" ")
}

/// An order that was placed, and how it must end.
pub struct Placed {
    /// Whose.
    pub merchant: String,
    /// The order.
    pub order: String,
    /// How it must end; none where the scenario broke off before it could say.
    pub end: Option<End>,
}

/// A scenario at work.
pub struct Run<'a> {
    /// The stage.
    pub stage: &'a dyn World,
    /// The shop it plays at.
    pub merchant: &'a Merchant,
    /// The narrator.
    pub story: &'a mut Story,
    /// Numbers.
    pub draw: Draw,
    /// Orders so far.
    pub placed: Vec<Placed>,
}

impl Run<'_> {
    /// The gateway's words.
    pub const fn system(&self) -> &'static System {
        self.merchant.system
    }

    /// Paid in full by one charge at this run's gateway, and the shop says so.
    pub fn paid(&self, captured: i64) -> End {
        End::paid_at(self.system(), captured)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.stage.now()
    }

    /// Tells something that happens in the world.
    pub fn tell(&mut self, order: &str, who: &'static str, what: impl Into<String>) {
        let now = self.now();
        self.story.tell(now, order, who, what);
    }

    /// A card token that no other order has.
    pub fn token(&mut self, card: &str) -> String {
        format!("{card}_x{}", self.draw.range(100_000, 999_999))
    }

    /// A card of this run's gateway that nothing is wrong with.
    pub const fn good_card(&self) -> &'static str {
        let [card, _] = self.system().cards;
        card
    }

    /// An order of two lines by somebody new, to be paid with this card where one is named.
    pub fn new_order(&mut self, currency: &str, card: Option<&str>) -> anyhow::Result<NewOrder> {
        let mut order = NewOrder::new(Currency::parse(currency)?);
        let (first, last) = (
            self.draw.one_of(&["Jenny", "Omar", "Mei", "Tomas", "Aino", "Ravi"]),
            self.draw.one_of(&["Rosen", "Haddad", "Lindqvist", "Okafor", "Novak", "Iyer"]),
        );
        let number = self.draw.range(1000, 999_999);
        order.customer = Customer {
            email: Some(format!("{first}.{last}.{number}@example.com").to_lowercase()),
            first_name: Some(first.to_owned()),
            last_name: Some(last.to_owned()),
            ..Customer::default()
        };
        // Whole tens, so that every currency can carry them in every part.
        let (tea, pot) = (self.draw.range(60, 400) * 10, self.draw.range(200, 900) * 10);
        let line = |sku: &str, name: &str, quantity: &str, unit_price: i64, tax: i64| NewLine {
            sku: sku.to_owned(),
            name: name.to_owned(),
            quantity: quantity.to_owned(),
            unit_price,
            discount: 0,
            tax,
        };
        order.lines = vec![
            line("TEA", "Tea", "2", tea, tea / 100 * 10),
            line("POT", "Teapot", "1", pot, pot / 100 * 10),
        ];
        order.shipping = self.draw.range(30, 90) * 10;
        order.payment_token = card.map(|card| self.token(card));
        Ok(order)
    }

    /// Places an order at the shop.
    pub fn place(&mut self, order: NewOrder) -> anyhow::Result<String> {
        let card = order.payment_token.clone();
        let now = self.now();
        let (id, total) = {
            let mut clarity = self.merchant.clarity();
            let id = clarity.place_order(now, order)?;
            let total = clarity.order(&id).map(|o| o.total).context("the order is gone")?;
            (id, total)
        };
        let card = card.map_or_else(String::new, |card| format!(", card token {card}"));
        self.tell(&id, "shop", format!("order placed: {total}{card}"));
        self.placed.push(Placed { merchant: self.merchant.name.clone(), order: id.clone(), end: None });
        Ok(id)
    }

    /// Places an order of somebody new in dollars, paid with this card.
    pub fn order(&mut self, card: &str) -> anyhow::Result<String> {
        let order = self.new_order("USD", Some(card))?;
        self.place(order)
    }

    /// Somebody does something at the shop.
    pub fn shop<T, E: Into<anyhow::Error>>(
        &mut self,
        order: &str,
        what: impl Into<String>,
        act: impl FnOnce(&mut ClaritySandbox, Timestamp) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        self.tell(order, "shop", what);
        let now = self.now();
        act(&mut self.merchant.clarity(), now).map_err(Into::into)
    }

    /// Somebody does something at Stripe.
    pub fn stripe<T>(
        &mut self,
        order: &str,
        what: impl Into<String>,
        act: impl FnOnce(&mut StripeSandbox, Timestamp) -> Result<T, tillway_sandbox::stripe::ApiError>,
    ) -> anyhow::Result<T> {
        self.tell(order, "stripe", what);
        let now = self.now();
        let mut stripe = self.merchant.stripe()?;
        act(&mut stripe, now)
            .map_err(|error| anyhow::anyhow!("Stripe refused: {}", stripe.error_json(&error)))
    }

    /// Somebody does something at Cybersource.
    pub fn cybersource<T>(
        &mut self,
        order: &str,
        what: impl Into<String>,
        act: impl FnOnce(&mut CybersourceSandbox, Timestamp) -> Result<T, tillway_sandbox::cybersource::ApiError>,
    ) -> anyhow::Result<T> {
        self.tell(order, "cybersource", what);
        let now = self.now();
        let mut cybersource = self.merchant.cybersource()?;
        act(&mut cybersource, now).context("Cybersource refused")
    }

    /// The shop makes the payment itself, as a shop does that follows no one.
    pub fn shop_pays(
        &mut self,
        order: &str,
        card: &str,
        capture_method: &'static str,
        metadata_key: &'static str,
    ) -> anyhow::Result<String> {
        let token = self.token(card);
        let shop = self.merchant.clarity().order(order).cloned().context("the order is gone")?;
        let currency = shop.total.currency.code().to_lowercase();
        let payment =
            self.stripe(order, format!("the shop makes a payment itself ({capture_method})"), |s, now| {
                s.create_payment_as_shop(
                    now,
                    &ShopPayment {
                        amount: wire(shop.total),
                        currency: &currency,
                        metadata_key,
                        order_id: order,
                        capture_method,
                        payment_method: &token,
                        customer: None,
                    },
                )
            })?;
        Ok(payment)
    }

    /// Breaks the gateway's next calls to a path.
    pub fn break_gateway(&mut self, order: &str, path: &str, fault: ApiFault, times: u32, what: &str) {
        self.tell(order, "world", what);
        let rule = ApiFaultRule { method: None, path_contains: path.to_owned(), fault, times };
        self.merchant.account().inject(rule);
    }

    /// Breaks the gateway's next webhooks of a type.
    pub fn break_hooks(&mut self, kind: &str, fault: HookFault, times: u32) {
        let rule = HookFaultRule { type_contains: kind.to_owned(), fault, times };
        self.merchant.account().inject_hook(rule);
    }

    /// Breaks the shop's next webhooks of a type.
    pub fn break_shop_hooks(&mut self, kind: &str, fault: HookFault, times: u32) {
        let rule = HookFaultRule { type_contains: kind.to_owned(), fault, times };
        self.merchant.clarity().inject_hook(rule);
    }

    /// Looks at an order and tells what is new.
    pub async fn look(&mut self, order: &str) -> anyhow::Result<Seen> {
        let seen = self.stage.look(self.merchant, order).await?;
        self.story.catch_up(self.stage, self.merchant, &seen).await?;
        Ok(seen)
    }

    /// Waits until this is so.
    ///
    /// # Errors
    /// What was last seen, where it does not come to be.
    pub async fn until(
        &mut self,
        order: &str,
        what: &str,
        done: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<Seen> {
        let (begun, limit) = (tokio::time::Instant::now(), self.now() + HORIZON);
        let (_, patience) = self.stage.looks();
        // A busy machine may show nothing under way for a moment: it is looked again before it is given up.
        let mut in_vain = 0_u32;
        loop {
            let seen = self.look(order).await?;
            if done(&seen) {
                self.stage.goes_on();
                return Ok(seen);
            }
            let nothing = !self.stage.wait(limit).await?;
            in_vain = if nothing { in_vain.saturating_add(1) } else { 0 };
            if in_vain > IN_VAIN || begun.elapsed() > patience {
                let key = OrderKey::of(&self.merchant.shop, order);
                let open = self.stage.open_commands(&key).await?;
                let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
                bail!("waited in vain for: {what}. Last seen: {}; open commands: {open}", seen.summary());
            }
        }
    }

    /// Waits until every command of the order is done: reads, too, that were put off.
    pub async fn until_idle(&mut self, order: &str) -> anyhow::Result<()> {
        let key = OrderKey::of(&self.merchant.shop, order);
        let (begun, limit) = (tokio::time::Instant::now(), self.now() + HORIZON);
        let (_, patience) = self.stage.looks();
        loop {
            let mut open = self.stage.open_commands(&key).await?;
            if open.is_empty() {
                // What they caused may make another.
                self.stage.settle().await?;
                open = self.stage.open_commands(&key).await?;
            }
            if open.is_empty() || !self.stage.wait(limit).await? {
                self.stage.goes_on();
                return self.look(order).await.map(drop);
            }
            if begun.elapsed() > patience {
                bail!("waited in vain for the commands of {order}: {}", open.join(", "));
            }
        }
    }

    /// Waits until Tillway computed this status.
    pub async fn until_status(&mut self, order: &str, status: OrderStatus) -> anyhow::Result<Seen> {
        self.until(order, &format!("Tillway's status {}", status.name()), |s| s.status() == Some(status))
            .await
    }

    /// Waits until the shop shows this status.
    pub async fn until_shop(&mut self, order: &str, status: &str) -> anyhow::Result<Seen> {
        self.until(order, &format!("Clarity's status {status}"), |s| s.shop_status() == status).await
    }

    /// Waits until staff or customer were told something about the order.
    pub async fn until_told(&mut self, order: &str, audience: &str, about: &str) -> anyhow::Result<()> {
        let stage = self.stage;
        let told = move |order: &str| {
            stage
                .notices()
                .iter()
                .any(|n| n.audience == audience && n.subject.contains(about) && n.subject.contains(order))
        };
        self.until(order, &format!("{audience} told of {about}"), |_| told(order)).await.map(drop)
    }

    /// What `tillway explain` says of an order.
    pub async fn explained(&self, order: &str) -> anyhow::Result<String> {
        let key = OrderKey::of(&self.merchant.shop, order);
        Ok(self.stage.engine().explain(&key).await?.context("the order is gone")?.to_string())
    }

    /// Lets time pass.
    pub async fn pass(&mut self, order: &str, length: Millis, why: &str) -> anyhow::Result<()> {
        self.tell(order, "world", format!("{} pass{why}", lasting(length)));
        self.stage.pass(length).await?;
        if order.is_empty() { Ok(()) } else { self.look(order).await.map(drop) }
    }

    /// Waits until the order ends like this, and stays so when everything under way is done.
    pub async fn ends(&mut self, order: &str, end: End) -> anyhow::Result<()> {
        if let Some(placed) = self.placed.iter_mut().find(|p| p.order == order) {
            placed.end = Some(end.clone());
        }
        self.until(order, "its end state", |s| end.differences(s).is_empty())
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        self.until_idle(order).await?;
        let seen = self.look(order).await?;
        let wrong = end.differences(&seen);
        if wrong.is_empty() { Ok(()) } else { bail!("it did not stay: {}", wrong.join("; ")) }
    }
}
