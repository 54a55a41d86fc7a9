//! Paths at Cybersource. Each can be set: the commissioned description names some that the vendor does not have.

use tillway_core::settle::Day;
use tillway_core::time::Timestamp;

use crate::config::Connection;

/// Name, path. `{id}` is the object the request is about.
pub(super) const PATHS: &[(&str, &str)] = &[
    ("payments", "/pts/v2/payments"),
    ("captures", "/pts/v2/payments/{id}/captures"),
    ("reversals", "/pts/v2/payments/{id}/reversals"),
    ("void_capture", "/pts/v2/captures/{id}/voids"),
    ("void_payment", "/pts/v2/payments/{id}/voids"),
    ("void_refund", "/pts/v2/refunds/{id}/voids"),
    ("refund_capture", "/pts/v2/captures/{id}/refunds"),
    ("refund_payment", "/pts/v2/payments/{id}/refunds"),
    ("timeout_reversals", "/pts/v2/reversals"),
    ("timeout_voids", "/pts/v2/voids"),
    ("searches", "/tss/v2/searches"),
    ("transactions", "/tss/v2/transactions/{id}"),
    ("decisions", "/risk/v1/decisions"),
    ("case_actions", "/risk/v1/decisions/{id}/actions"),
    ("conversion_details", "/reporting/v3/conversion-details"),
    ("chargeback_details", "/reporting/v3/chargeback-details"),
    ("report_downloads", "/reporting/v3/report-downloads"),
    ("reports", "/reporting/v3/reports"),
    ("net_fundings", "/reporting/v3/net-fundings"),
    ("purchase_refund_details", "/reporting/v3/purchase-refund-details"),
    ("customers", "/tms/v2/customers"),
    ("customer", "/tms/v2/customers/{id}"),
    ("instruments", "/tms/v2/customers/{id}/payment-instruments"),
];

/// A path with its object.
pub(super) fn path(connection: &Connection, name: &str, id: &str) -> String {
    let default = PATHS.iter().find(|(n, _)| *n == name).map_or("/", |(_, path)| path);
    connection.setting(&format!("paths.{name}"), default).replace("{id}", id)
}

/// A report of a time, as it is signed and sent.
pub(super) fn report(connection: &Connection, name: &str, since: Timestamp, until: Timestamp) -> String {
    let time = |at: Timestamp| at.rfc3339().replace(':', "%3A");
    let merchant = connection.setting("merchant_id", "");
    let path = path(connection, name, "");
    format!("{path}?startTime={}&endTime={}&organizationId={merchant}", time(since), time(until))
}

/// A day's report as a file.
pub(super) fn report_download(connection: &Connection, name: &str, day: Day) -> String {
    let merchant = connection.setting("merchant_id", "");
    let path = path(connection, "report_downloads", "");
    // By which date the report of a day goes is the vendor's to say, and it says so for reports of several days alone.
    let later = i32::from(connection.setting("settlement.report_date", "same") == "next");
    format!("{path}?reportDate={}&reportName={name}&organizationId={merchant}", day.plus(later))
}

/// The reports of a name and a time, and how each stands.
pub(super) fn report_search(
    connection: &Connection,
    name: &str,
    since: Timestamp,
    until: Timestamp,
) -> String {
    let search = report(connection, "reports", since, until);
    format!("{search}&timeQueryType=reportTimeFrame&reportName={name}")
}

/// A page of the details of all that was submitted in a time, from a row on.
pub(super) fn purchase_refund_details(
    connection: &Connection,
    (since, until): (Timestamp, Timestamp),
    offset: usize,
    limit: usize,
) -> String {
    let report = report(connection, "purchase_refund_details", since, until);
    format!("{report}&paymentSubtype=ALL&viewBy=submissionDate&offset={offset}&limit={limit}")
}

/// What is wrong with a path somebody set.
pub(super) fn problem(name: &str, path: &str) -> Option<String> {
    let Some((_, default)) = PATHS.iter().find(|(n, _)| *n == name) else {
        let known: Vec<&str> = PATHS.iter().map(|(n, _)| *n).collect();
        return Some(format!("is no endpoint; known are {}", known.join(", ")));
    };
    let fine = path.starts_with('/')
        && path.len() <= 200
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.{}".contains(&b));
    if !fine {
        return Some("begins with `/` and holds letters, digits, `/`, `-`, `_` and `.`".to_owned());
    }
    (default.contains("{id}") && !path.contains("{id}"))
        .then(|| "needs `{id}` where the object's id goes".to_owned())
}
