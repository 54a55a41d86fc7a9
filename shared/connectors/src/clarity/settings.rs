//! What can be set for a Clarity connection, with the working contract as the default.

use std::collections::BTreeSet;

use tillway_core::facts::OrderStatus;

use crate::config::Connection;

/// The setting that names the gateway's customer among a customer's external ids.
pub const GATEWAY_CUSTOMER: &str = "gateway_external_id";
/// The setting that names a reusable token there.
pub const INSTRUMENT: &str = "gateway_instrument_id";
/// The setting that says where an order tells the shopper's IP address.
pub const IP_ADDRESS: &str = "order.ip_address";
/// And the session of the gateway's device fingerprint.
pub const DEVICE_SESSION: &str = "order.device_session";
/// Most members on the way to either: what is read has a path of bounded length.
const DEEPEST: usize = 4;

/// Settings: name, default, meaning.
pub static SETTINGS: [(&str, &str, &str); 37] = [
    ("base_url", "", "where the API begins, e.g. https://shop.example.com/api/v1"),
    ("paths.token", "/oauth/token", "token endpoint, below base_url"),
    ("paths.orders", "/orders", "list of orders"),
    ("paths.order", "/orders/{orderId}", "one order"),
    ("paths.shipments", "/orders/{orderId}/shipments", "shipments of an order"),
    ("paths.customers", "/customers", "list of customers"),
    ("paths.customer", "/customers/{customerId}", "one customer"),
    ("paths.webhooks", "/webhooks", "webhook subscriptions, for `tillway webhooks`"),
    ("paths.webhook", "/webhooks/{webhookId}", "one webhook subscription"),
    (
        "paging.style",
        "page-index",
        "page-index: pages by number, oldest change first, each new page from the last change seen on; \
         page-index-plain: by number alone, for a list that is not sorted by change; link: by the address \
         in the answer",
    ),
    ("paging.index", "pageIndex", "query parameter of the page number, from 0"),
    ("paging.size", "pageSize", "query parameter of the page size"),
    ("paging.items", "items", "member of the answer that holds the page; `.` for the answer itself"),
    (
        "paging.total",
        "totalCount",
        "member of the answer that counts the orders of all pages; where there is none, pages are read until an \
         empty one",
    ),
    ("page_size", "50", "orders on a page, 1 to 200; the shop may give fewer"),
    ("updated_since", "updatedSince", "query parameter: orders changed at or after an instant"),
    ("auth", "oauth", "oauth (client credentials), api_key or jwt (login)"),
    ("auth.header", "X-Api-Key", "header of the API key"),
    ("auth.scope", "", "scope to ask for; empty: none is sent"),
    ("auth.login_path", "/auth/login", "login that answers a JWT, below base_url"),
    ("webhook.scheme", "standard", "standard (Standard Webhooks) or shared_header (a secret in a header)"),
    ("webhook.header", "X-Webhook-Secret", "header of the shared secret"),
    ("webhook.id_header", "webhook-id", "Standard Webhooks: header of the event id"),
    ("webhook.timestamp_header", "webhook-timestamp", "Standard Webhooks: header of the Unix seconds"),
    ("webhook.signature_header", "webhook-signature", "Standard Webhooks: header of the signatures"),
    ("tolerance_seconds", "300", "how far a webhook's timestamp may lie off, either way"),
    ("status_in.*", "", "the shop's status text = canonical name; added to the contract's table"),
    ("status_out.*", "", "canonical name = the shop's status text, in place of the one in the flows' lookup"),
    ("events.*", "", "our event name = the shop's, e.g. events.order.created = OrderCreated"),
    ("version_from", "version", "what orders a shop's snapshots: version (a counter) or updated_at"),
    (
        GATEWAY_CUSTOMER,
        "stripe_customer",
        "name in customer.externalIds of the gateway's customer id; where it is not set, `<system>_customer` of the \
         gateway that the shop's pair names",
    ),
    (
        INSTRUMENT,
        "",
        "name in customer.externalIds of a reusable token that the gateway's customer is to keep, e.g. \
         cybersource_instrument; empty: none is read",
    ),
    (
        IP_ADDRESS,
        "",
        "member of an order with the IP address it came from, e.g. device.ipAddress; empty: none is read",
    ),
    (
        DEVICE_SESSION,
        "",
        "member of an order with the session of the gateway's device fingerprint; empty: none is read",
    ),
    (
        "overwrite_fulfilment",
        "false",
        "whether a status may replace Processing, Shipped or Completed: false, true, or the canonical \
         names that may, e.g. refunded,cancelled",
    ),
    ("rate_limit.per_second", "20", "requests per second"),
    ("timeout_seconds", "20", "longest wait for one answer"),
];

/// Secrets: name, meaning. Which are needed depends on `auth`.
pub static SECRETS: [(&str, &str); 6] = [
    ("client_id", "OAuth client id (auth: oauth)"),
    ("client_secret", "OAuth client secret (auth: oauth)"),
    ("api_key", "API key (auth: api_key)"),
    ("username", "user name (auth: jwt)"),
    ("password", "password (auth: jwt)"),
    ("webhook_secret", "whsec_… of Standard Webhooks, or the shared header's text; several while rotating"),
];

/// Statuses by the contract's texts (reference `erp-clarity.md` 5.1), and a text for each status that the
/// contract does not name, so that whatever a flow may write can be read back.
pub static STATUS_IN: [(&str, OrderStatus); 16] = [
    ("pending payment", OrderStatus::PendingPayment),
    ("on hold", OrderStatus::OnHold),
    ("authorized", OrderStatus::Authorized),
    ("partially paid", OrderStatus::PartiallyPaid),
    ("payment received", OrderStatus::Paid),
    ("paid", OrderStatus::Paid),
    ("payment failed", OrderStatus::PaymentFailed),
    ("partially refunded", OrderStatus::PartiallyRefunded),
    ("refunded", OrderStatus::Refunded),
    ("disputed", OrderStatus::Disputed),
    ("charged back", OrderStatus::ChargedBack),
    ("cancelled", OrderStatus::Cancelled),
    ("canceled", OrderStatus::Cancelled),
    ("processing", OrderStatus::Processing),
    ("shipped", OrderStatus::Shipped),
    ("completed", OrderStatus::Completed),
];

/// Our event names.
pub static EVENTS: [&str; 5] =
    ["order.created", "order.updated", "order.refund_requested", "customer.updated", "inventory.updated"];

/// How calls prove who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// OAuth 2.0 client credentials.
    ClientCredentials,
    /// A key in a header.
    ApiKey,
    /// A login that answers a JWT.
    Jwt,
}

/// How pages of a list follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// By number, moving the window with the changes seen.
    Index,
    /// By number alone.
    IndexPlain,
    /// By the address in the answer.
    Link,
}

/// Where a snapshot's version comes from. One source for a connection, never both: a counter is small and
/// a time in milliseconds is large, so that one order told both ways would drop every later counter as
/// older than the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionFrom {
    /// `version`.
    Version,
    /// `updatedAt`, in milliseconds.
    UpdatedAt,
}

/// A setting, or its default as [`SETTINGS`] has it.
pub fn get<'a>(connection: &'a Connection, name: &'a str) -> &'a str {
    let default = SETTINGS.iter().find(|(n, ..)| *n == name).map_or("", |(_, default, _)| default);
    connection.setting(name, default).trim()
}

/// A whole-number setting; what is no number counts as the default (and was refused at load).
pub fn number(connection: &Connection, name: &str) -> i64 {
    let default = SETTINGS.iter().find(|(n, ..)| *n == name).and_then(|(_, d, _)| d.parse().ok());
    connection.number(name, default.unwrap_or(0))
}

/// The `auth` setting.
pub fn auth(connection: &Connection) -> Auth {
    match get(connection, "auth") {
        "api_key" => Auth::ApiKey,
        "jwt" => Auth::Jwt,
        _ => Auth::ClientCredentials,
    }
}

/// The `paging.style` setting.
pub fn paging(connection: &Connection) -> Paging {
    match get(connection, "paging.style") {
        "link" => Paging::Link,
        "page-index-plain" => Paging::IndexPlain,
        _ => Paging::Index,
    }
}

/// The `version_from` setting.
pub fn version_from(connection: &Connection) -> VersionFrom {
    match get(connection, "version_from") {
        "updated_at" => VersionFrom::UpdatedAt,
        _ => VersionFrom::Version,
    }
}

/// Whether webhooks carry a signature over their bytes, and are believed as they stand.
pub fn signed(connection: &Connection) -> bool {
    get(connection, "webhook.scheme") != "shared_header"
}

/// Reads the shop's status text.
pub fn status_in(connection: &Connection, text: &str) -> Option<OrderStatus> {
    let text = text.trim().to_lowercase();
    let own = connection.under("status_in.").find(|(theirs, _)| theirs.trim().to_lowercase() == text);
    match own {
        Some((_, name)) => OrderStatus::parse(name.trim()),
        None => STATUS_IN.iter().find(|(theirs, _)| *theirs == text).map(|(_, status)| *status),
    }
}

/// Whether a status may take the place of one that only the shop sets.
pub fn may_overwrite_fulfilment(connection: &Connection, target: OrderStatus) -> bool {
    match get(connection, "overwrite_fulfilment") {
        "false" | "no" | "" => false,
        "true" | "yes" => true,
        names => names.split(',').any(|name| name.trim() == target.name()),
    }
}

/// Our name of an event type; a type nobody listed is none.
pub fn event(connection: &Connection, event_type: &str) -> Option<&'static str> {
    let renamed =
        |ours: &str| connection.under("events.").find(|(o, _)| *o == ours).map(|(_, theirs)| theirs);
    let theirs = EVENTS.into_iter().find(|ours| renamed(ours) == Some(event_type));
    theirs.or_else(|| EVENTS.into_iter().find(|ours| *ours == event_type))
}

fn one_of(connection: &Connection, name: &str, allowed: &[&str], faults: &mut Vec<(String, String)>) {
    if !allowed.contains(&get(connection, name)) {
        faults.push((name.to_owned(), format!("write one of {}", allowed.join(", "))));
    }
}

/// Checks a connection's settings: the setting, and what is wrong with it.
pub fn check(connection: &Connection) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut wrong = |name: &str, what: &str| faults.push((name.to_owned(), what.to_owned()));

    let base = get(connection, "base_url");
    match reqwest::Url::parse(base) {
        _ if base.is_empty() => wrong("base_url", "set base_url, e.g. https://shop.example.com/api/v1"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() => {
            wrong("base_url", "write scheme, host and path alone");
        }
        Ok(url) if url.scheme() == "https" => {}
        Ok(url) if url.scheme() == "http" && !connection.production => {}
        _ => wrong("base_url", "write an https:// address"),
    }
    for (name, placeholder) in [
        ("paths.token", ""),
        ("paths.orders", ""),
        ("paths.order", "{orderId}"),
        ("paths.shipments", "{orderId}"),
        ("paths.customers", ""),
        ("paths.customer", "{customerId}"),
        ("paths.webhooks", ""),
        ("paths.webhook", "{webhookId}"),
        ("auth.login_path", ""),
    ] {
        let path = get(connection, name);
        let segment = |p: &str| placeholder.is_empty() || p.split('/').any(|s| s == placeholder);
        if !path.starts_with('/') || path.contains(['?', '#']) || !segment(path) {
            let what =
                if placeholder.is_empty() { "begin with / and leave out ? and #" } else { placeholder };
            wrong(name, &format!("write a path below base_url: {what}"));
        }
    }
    for (name, least, most) in [
        ("page_size", 1, 200),
        ("tolerance_seconds", 1, 86_400),
        ("rate_limit.per_second", 1, 10_000),
        ("timeout_seconds", 1, 120),
    ] {
        if !get(connection, name).parse::<i64>().is_ok_and(|n| (least..=most).contains(&n)) {
            wrong(name, &format!("write a whole number from {least} to {most}"));
        }
    }
    for name in [
        "auth.header",
        "webhook.header",
        "webhook.id_header",
        "webhook.timestamp_header",
        "webhook.signature_header",
    ] {
        let header = get(connection, name);
        if header.is_empty() || !header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            wrong(name, "write a header name of letters, digits and -");
        }
    }
    for name in [IP_ADDRESS, DEVICE_SESSION] {
        let path = get(connection, name);
        let plain = |step: &str| {
            !step.is_empty() && step.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let fits = path.split('.').all(plain) && path.split('.').count() <= DEEPEST;
        if !path.is_empty() && !fits {
            let what = "write names of members with dots between, at most 4, e.g. device.ipAddress";
            wrong(name, what);
        }
    }
    one_of(connection, "auth", &["oauth", "api_key", "jwt"], &mut faults);
    one_of(connection, "paging.style", &["page-index", "page-index-plain", "link"], &mut faults);
    one_of(connection, "webhook.scheme", &["standard", "shared_header"], &mut faults);
    one_of(connection, "version_from", &["version", "updated_at"], &mut faults);
    check_tables(connection, &mut faults);
    faults
}

fn check_tables(connection: &Connection, faults: &mut Vec<(String, String)>) {
    let mut wrong = |name: String, what: String| faults.push((name, what));
    let canonical = || OrderStatus::NAMES.join(", ");
    let mut seen = BTreeSet::new();
    for (text, name) in connection.under("status_in.") {
        if OrderStatus::parse(name.trim()).is_none() {
            wrong(format!("status_in.{text}"), format!("write one of {}", canonical()));
        }
        if !seen.insert(text.trim().to_lowercase()) {
            wrong(format!("status_in.{text}"), "this text stands twice, case aside".to_owned());
        }
    }
    for (name, text) in connection.under("status_out.") {
        if OrderStatus::parse(name).is_none() {
            wrong(
                format!("status_out.{name}"),
                format!("the name before the text is one of {}", canonical()),
            );
        } else if status_in(connection, text).is_none() {
            let hint = "this text cannot be read back; add it to status_in";
            wrong(format!("status_out.{name}"), hint.to_owned());
        }
    }
    for (ours, theirs) in connection.under("events.") {
        if !EVENTS.contains(&ours) {
            wrong(format!("events.{ours}"), format!("our names are {}", EVENTS.join(", ")));
        } else if theirs.is_empty() || connection.under("events.").any(|(o, t)| o != ours && t == theirs) {
            wrong(format!("events.{ours}"), "write a name that no other event has".to_owned());
        }
    }
    let overwrite = get(connection, "overwrite_fulfilment");
    let flag = ["true", "false", "yes", "no", ""].contains(&overwrite);
    if !flag && !overwrite.split(',').all(|name| OrderStatus::parse(name.trim()).is_some()) {
        wrong("overwrite_fulfilment".to_owned(), format!("write false, true, or some of {}", canonical()));
    }
    for name in connection.settings.keys() {
        let ours = ["paths.", "paging.", "auth.", "webhook.", "order."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if ours && !SETTINGS.iter().any(|(known, ..)| known == name) {
            let hint = tillway_core::check::did_you_mean(name, SETTINGS.iter().map(|(known, ..)| *known));
            wrong(name.clone(), format!("no such setting; {hint}"));
        }
    }
}
