//! The ready-made pairs: flows, mappings, lookups and notices as files, built into the binary.
//!
//! A merchant changes single fields or steps with an override file beside these (`extends: …`); nothing has
//! to be copied.

use std::collections::BTreeMap;

use tillway_core::bundle::Source;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../", $path)))),*]
    };
}

const DOCUMENTS: &[(&str, &str)] = files![
    "cybersource-clarity/flow.yaml",
    "cybersource-clarity/profile.yaml",
    "cybersource-clarity/mappings/case-fraud-outcome.yaml",
    "cybersource-clarity/mappings/case-fraud-review.yaml",
    "cybersource-clarity/mappings/clarity-cybersource-case.yaml",
    "cybersource-clarity/mappings/clarity-cybersource-customer.yaml",
    "cybersource-clarity/mappings/clarity-cybersource-status.yaml",
    "cybersource-clarity/mappings/cybersource-attach-instrument.yaml",
    "cybersource-clarity/mappings/cybersource-authorize.yaml",
    "cybersource-clarity/mappings/cybersource-capture-authorization.yaml",
    "cybersource-clarity/mappings/cybersource-capture-expiring.yaml",
    "cybersource-clarity/mappings/cybersource-capture-shipment.yaml",
    "cybersource-clarity/mappings/cybersource-decide-case.yaml",
    "cybersource-clarity/mappings/cybersource-ensure-customer.yaml",
    "cybersource-clarity/mappings/cybersource-order-customer.yaml",
    "cybersource-clarity/mappings/cybersource-order-instrument.yaml",
    "cybersource-clarity/mappings/cybersource-read-refund.yaml",
    "cybersource-clarity/mappings/cybersource-refund-cancelled.yaml",
    "cybersource-clarity/mappings/cybersource-refund-lowered.yaml",
    "cybersource-clarity/mappings/cybersource-refund-requested.yaml",
    "cybersource-clarity/mappings/cybersource-release-cancelled.yaml",
    "cybersource-clarity/mappings/cybersource-release-expired.yaml",
    "cybersource-clarity/mappings/cybersource-release-requested.yaml",
    "cybersource-clarity/mappings/cybersource-reverse.yaml",
    "cybersource-clarity/mappings/cybersource-screen.yaml",
    "cybersource-clarity/mappings/cybersource-update-customer.yaml",
    "cybersource-clarity/mappings/cybersource-void-cancelled.yaml",
    "cybersource-clarity/mappings/cybersource-void-lowered.yaml",
    "cybersource-clarity/mappings/cybersource-void-requested.yaml",
    "cybersource-clarity/mappings/notice-fraud-case.yaml",
    "cybersource-clarity/mappings/park-case-undecided.yaml",
    "cybersource-clarity/mappings/park-hold-left.yaml",
    "cybersource-clarity/mappings/park-rejected-capture.yaml",
    "cybersource-clarity/mappings/park-rejected-taken.yaml",
    "cybersource-clarity/mappings/park-shipped-unpaid.yaml",
    "cybersource-clarity/lookups/clarity-cybersource-status-out.yaml",
    "stripe-clarity/flow.yaml",
    "stripe-clarity/mappings/clarity-next-action.yaml",
    "stripe-clarity/mappings/clarity-read-order.yaml",
    "stripe-clarity/mappings/clarity-status.yaml",
    "stripe-clarity/mappings/erp-credit-memo.yaml",
    "stripe-clarity/mappings/erp-invoice.yaml",
    "stripe-clarity/mappings/erp-payment.yaml",
    "stripe-clarity/mappings/erp-sales-order.yaml",
    "stripe-clarity/mappings/notice-declined-customer.yaml",
    "stripe-clarity/mappings/notice-declined-staff.yaml",
    "stripe-clarity/mappings/notice-dispute.yaml",
    "stripe-clarity/mappings/notice-dispute-outcome.yaml",
    "stripe-clarity/mappings/notice-expiring.yaml",
    "stripe-clarity/mappings/notice-refund-failed.yaml",
    "stripe-clarity/mappings/notice-review.yaml",
    "stripe-clarity/mappings/park-action-without-link.yaml",
    "stripe-clarity/mappings/park-cancelled.yaml",
    "stripe-clarity/mappings/park-overpaid.yaml",
    "stripe-clarity/mappings/park-short-payment.yaml",
    "stripe-clarity/mappings/park-total-raised.yaml",
    "stripe-clarity/mappings/stripe-cancel-payment.yaml",
    "stripe-clarity/mappings/stripe-capture-authorization.yaml",
    "stripe-clarity/mappings/stripe-capture-shipment.yaml",
    "stripe-clarity/mappings/stripe-confirm-payment.yaml",
    "stripe-clarity/mappings/stripe-create-payment.yaml",
    "stripe-clarity/mappings/stripe-ensure-customer.yaml",
    "stripe-clarity/mappings/stripe-new-amount.yaml",
    "stripe-clarity/mappings/stripe-refund-cancelled.yaml",
    "stripe-clarity/mappings/stripe-refund-lowered.yaml",
    "stripe-clarity/mappings/stripe-refund-requested.yaml",
    "stripe-clarity/lookups/clarity-status-out.yaml",
    "stripe-clarity/lookups/stripe-capture-method.yaml",
];

const NOTICES: &[(&str, &str)] = files![
    "cybersource-clarity/notices/fraud-case.staff.txt",
    "stripe-clarity/notices/declined.customer.txt",
    "stripe-clarity/notices/declined.staff.txt",
    "stripe-clarity/notices/dispute-outcome.staff.txt",
    "stripe-clarity/notices/dispute.staff.txt",
    "stripe-clarity/notices/expiring.staff.txt",
    "stripe-clarity/notices/refund-failed.staff.txt",
    "stripe-clarity/notices/review.staff.txt",
];

/// All template documents, ready for [`tillway_core::bundle::Bundle::load`].
#[must_use]
pub fn sources() -> Vec<Source> {
    let source = |(file, text): &(&str, &str)| Source { file: (*file).to_owned(), text: (*text).to_owned() };
    DOCUMENTS.iter().map(source).collect()
}

/// All notices by name (`declined.customer`): the subject in the first line, then the text.
#[must_use]
pub fn notices() -> BTreeMap<String, String> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or(file).trim_end_matches(".txt").to_owned();
    NOTICES.iter().map(|(file, text)| (name(file), (*text).to_owned())).collect()
}
