//! What flows and mappings may name: fields and objects with their types and meanings.

use crate::mask::Class;
use crate::value::{Field, Schema, Type, field};

const fn text(name: &'static str, doc: &'static str) -> Field {
    field(name, Type::Text, doc)
}
const fn money(name: &'static str, doc: &'static str) -> Field {
    field(name, Type::Money, doc)
}
const fn flag(name: &'static str, doc: &'static str) -> Field {
    field(name, Type::Bool, doc).required()
}

/// A person's address.
pub static ADDRESS: Schema = Schema {
    name: "address",
    fields: &[
        text("name", "full name; the company's where no person is named").masked(Class::Name),
        text("company", "company").masked(Class::Name),
        text("line1", "street and number").masked(Class::Street),
        text("line2", "second line").masked(Class::Street),
        text("city", "city").masked(Class::City),
        text("region", "ISO 3166-2 subdivision without the country").masked(Class::Kept),
        text("postal_code", "postal code").masked(Class::PostalCode),
        text("country", "ISO 3166-1 alpha-2").masked(Class::Kept),
        text("phone", "E.164").masked(Class::Phone),
        text("email", "e-mail").masked(Class::Email),
    ],
};

static PERSON: Schema = Schema {
    name: "order.customer",
    fields: &[
        text("email", "e-mail").masked(Class::Email),
        text("name", "full name").masked(Class::Name),
        text("first_name", "given name").masked(Class::Name),
        text("last_name", "family name").masked(Class::Name),
        text("company", "company").masked(Class::Name),
        text("phone", "E.164").masked(Class::Phone),
    ],
};

/// What the order was placed with.
static DEVICE: Schema = Schema {
    name: "order.device",
    fields: &[
        text("ip_address", "IP address the order came from").masked(Class::Ip),
        // Of the shopper's visit and of nobody's name; a masked one is a visit that no gateway has heard of.
        text("session", "session of the gateway's device fingerprint").masked(Class::Kept),
    ],
};

/// A line of an order; a mapping's `each` calls it `line`.
static LINE: Schema = Schema {
    name: "line",
    fields: &[
        text("id", "the shop's line id").required(),
        text("sku", "stock-keeping unit").required(),
        text("name", "what the shop calls it"),
        field("quantity", Type::Decimal, "pieces, up to 4 decimals").required(),
        field("unit_price", Type::Decimal, "price of one piece in major units, before discount and tax"),
        money("discount", "taken off the line").required(),
        money("tax", "tax inside its worth").required(),
        money("total", "its worth: quantity × unit price − discount + tax").required(),
    ],
};

static ORDER: Schema = Schema {
    name: "order",
    fields: &[
        flag("known", "whether the shop's order is known yet"),
        text("id", "the shop's order id").required(),
        text("number", "number shown to people"),
        money("total", "grand total"),
        money("tax", "tax inside the total"),
        money("shipping", "shipping inside the total"),
        text("currency", "ISO 4217"),
        text("status", "canonical status the shop shows"),
        flag("cancelled", "cancelled by the shop"),
        flag("shipped", "shipped or completed"),
        flag("guest", "the customer has no account"),
        text("customer_ref", "the shop's customer id"),
        text("gateway_customer", "the gateway's customer id the shop keeps"),
        text("token", "newest payment token"),
        text("payment", "payment object the shop made"),
        field("customer", Type::Record(&PERSON), "who ordered").personal(),
        field("bill_to", Type::Record(&ADDRESS), "billing address").personal(),
        field("ship_to", Type::Record(&ADDRESS), "shipping address, where it differs").personal(),
        field("device", Type::Record(&DEVICE), "what it was placed with").personal(),
        field("lines", Type::List(&LINE), "its lines"),
    ],
};

static PAYMENT: Schema = Schema {
    name: "payment",
    fields: &[
        text("id", "the gateway's id of the payment that matters now"),
        text("charge", "the gateway's id of its newest authorization"),
        money("authorized", "reserved"),
        money("captured", "taken"),
        money("reserved", "reserved by this very payment, taken and let go included"),
        money("taken", "taken of this very payment"),
        text("captures", "ids of all its captures with blanks between, where the gateway counts them by id"),
        money("capturable", "reserved and not taken yet"),
        money("refunded", "returned or on its way back"),
        money("refundable", "taken and not returned"),
        money("disputed", "withdrawn by disputes"),
        flag("live", "holds or took money"),
        flag("lapsed", "what was reserved ran out or was let go, and nothing is reserved or taken instead"),
        flag("cancelled", "the payment object is dead"),
        flag("held", "a review is open"),
        flag("rejected", "a review ended in a refusal"),
        flag("reviewed", "a review is open or was"),
        flag("fits", "it was made out for the order's present total, or changed to it"),
    ],
};

static CUSTOMER: Schema = Schema { name: "customer", fields: &[text("id", "the gateway's customer id")] };

static PROFILE: Schema = Schema {
    name: "profile",
    fields: &[
        text("id", "the shop's customer id").required(),
        text("gateway_customer", "the gateway's customer id the shop keeps"),
        text("known_customer", "that one, else the one known: to be asked about"),
        text("email", "e-mail").masked(Class::Email),
        text("name", "full name").masked(Class::Name),
        text("first_name", "given name").masked(Class::Name),
        text("last_name", "family name").masked(Class::Name),
    ],
};

static STATUS: Schema = Schema {
    name: "status",
    fields: &[
        text("name", "canonical order status").required(),
        text("reason", "code that explains it"),
        field("seq", Type::Int, "count of changes").required(),
    ],
};

/// Options of a pair that flows read, with their allowed values (first: default) and meaning.
pub static PAIR_OPTIONS: &[(&str, &[&str], &str)] = &[
    ("initiates", &["tillway", "shop"], "who creates the payment at the gateway"),
    ("capture", &["authorization", "shipment", "manual"], "when money is taken"),
    ("screening", &["inline", "before"], "whether fraud screening comes with the authorization or before it"),
    ("return_url", &[], "where the shopper comes back to after 3-D Secure"),
    ("on_expiring", &["alert", "capture"], "what to do a day before an authorization runs out"),
    (
        "on_expired",
        &["keep", "release"],
        "what to do with what is reserved when its time is over and nothing was taken",
    ),
    ("on_total_lowered", &["park", "refund"], "what to do when the total is lowered after capture"),
    ("on_cancelled", &["refund", "park"], "what to do with captured money when the shop cancels"),
    ("notify_customer", &["yes", "no"], "tell the customer of a decline"),
    ("notify_staff", &["yes", "no"], "tell the staff of declines, holds, disputes, failed refunds"),
];

static PAIR: Schema = Schema {
    name: "pair",
    fields: &[
        text("name", "the pair's name").required(),
        text("initiates", "tillway or shop").required(),
        text("capture", "authorization, shipment or manual").required(),
        text("screening", "inline or before").required(),
        text("return_url", "after 3-D Secure"),
        text("on_expiring", "alert or capture").required(),
        text("on_expired", "keep or release").required(),
        text("on_total_lowered", "park or refund").required(),
        text("on_cancelled", "refund or park").required(),
        text("notify_customer", "yes or no").required(),
        text("notify_staff", "yes or no").required(),
        text("gateway", "the gateway connection's system").required(),
        text("shop", "the shop connection's system").required(),
    ],
};

/// The base view.
pub static BASE: Schema = Schema {
    name: "view",
    fields: &[
        field("order", Type::Record(&ORDER), "the shop's order").required(),
        field("payment", Type::Record(&PAYMENT), "its payment").required(),
        field("customer", Type::Record(&CUSTOMER), "the gateway's customer").required(),
        field("status", Type::Record(&STATUS), "the computed status").required(),
        field("pair", Type::Record(&PAIR), "the pair's options").required(),
        field("profile", Type::Record(&PROFILE), "the shop's customer, in the flow of profiles"),
    ],
};

static ATTEMPT: Schema = Schema {
    name: "attempt",
    fields: &[
        text("token", "payment token").required(),
        field("n", Type::Int, "from 1").required(),
        text("failure_before", "the gateway's id of the newest attempt of the payment that failed so far"),
    ],
};
static AUTHORIZATION: Schema = Schema {
    name: "authorization",
    fields: &[
        text("id", "the gateway's id").required(),
        text("payment", "payment").required(),
        money("amount", "reserved").required(),
        money("captured", "taken").required(),
        text("captures", "ids of its captures with blanks between, where the gateway counts them by id"),
        money("uncaptured", "still reserved").required(),
        money("due", "still reserved and owed: what the order's total does not cover is left to lapse")
            .required(),
        field("expires_at", Type::Time, "when it runs out"),
        text("ended", "kept (by the gateway, to be taken by nobody), released, expired, voided, or empty"),
    ],
};
static SHIPMENT: Schema = Schema {
    name: "shipment",
    fields: &[
        text("id", "the shop's id").required(),
        money("amount", "its worth").required(),
        money("capture", "its worth, at most what is still reserved").required(),
        flag("last", "completes the order"),
    ],
};
static CAPTURE: Schema = Schema {
    name: "capture",
    fields: &[
        text("id", "the gateway's id, or authorization and level").required(),
        text("capture", "the gateway's id, where it counts captures by id"),
        text("payment", "payment").required(),
        money("amount", "taken by this capture").required(),
        money("refundable", "of it, what was not returned yet").required(),
        flag("whole", "nothing of it was returned"),
    ],
};
static REFUND_REQUEST: Schema = Schema {
    name: "refund_request",
    fields: &[
        text("id", "the shop's id").required(),
        money("amount", "asked for").required(),
        text("reason", "code"),
        text(
            "capture",
            "the gateway's id of the capture that can give it all, one that it takes whole before others",
        ),
        text("payment", "the payment of that capture, else the one that matters now"),
        flag("whole", "it is all of that capture, of which nothing was returned"),
        flag("served", "money went back for it already, or is on its way"),
    ],
};
static REFUND: Schema = Schema {
    name: "refund",
    fields: &[
        text("id", "the gateway's id").required(),
        text("payment", "payment").required(),
        money("amount", "returned").required(),
        text("request", "our request it serves"),
        field("since", Type::Time, "when it was first heard of"),
        flag("open", "nobody has said yet that it went through, or that it did not"),
    ],
};
static DOOMED: Schema = Schema {
    name: "doomed_payment",
    fields: &[
        text("id", "the gateway's id and what it reserved").required(),
        text("payment", "payment").required(),
        money("amount", "what it is for"),
        money("held", "reserved and not let go").required(),
    ],
};
static DECLINE: Schema = Schema {
    name: "decline",
    fields: &[
        text("attempt", "the gateway's id").required(),
        text("payment", "payment").required(),
        text("code", "the gateway's code").required(),
        text("shopper_reason", "what the shopper may be told").required(),
        flag("soft", "the same card may be tried again"),
        flag("again", "it is tried again at another merchant id; what comes of that is told then"),
    ],
};
static DISPUTE: Schema = Schema {
    name: "dispute",
    fields: &[
        text("id", "the gateway's id").required(),
        text("payment", "payment").required(),
        money("amount", "at stake").required(),
        text("reason", "the gateway's code"),
        flag("won", "decided for the merchant"),
    ],
};
static REVIEW: Schema = Schema {
    name: "review",
    fields: &[
        text("id", "the gateway's id").required(),
        text("payment", "payment").required(),
        flag("approved", "go on"),
    ],
};
static REVIEW_RULING: Schema = Schema {
    name: "review_ruling",
    fields: &[
        text("id", "the gateway's id of the review").required(),
        text("payment", "payment").required(),
        text("decision", "accept or reject: what a person wants").required(),
        text("note", "why, in the person's words").required(),
        flag("open", "the review has not ended"),
    ],
};
static TOTAL_CHANGE: Schema = Schema {
    name: "total_change",
    fields: &[
        text("id", "version of the order").required(),
        money("before", "total before").required(),
        money("after", "total after").required(),
        flag("lowered", "after is less"),
    ],
};
static SHORT: Schema = Schema {
    name: "short",
    fields: &[
        text("id", "version that brought the total, and which way it is short").required(),
        money("missing", "neither taken nor reserved").required(),
        flag("raised", "what the customer agreed to covered a total the order had before"),
        flag("lapsed", "enough was agreed, and part of it was let go before it was taken"),
        field("since", Type::Time, "since when it has been so").required(),
    ],
};
static OVERPAID: Schema = Schema {
    name: "overpaid",
    fields: &[
        text("id", "version that brought the total, and how much was captured").required(),
        text("payment", "the payment that keeps most").required(),
        money("amount", "kept above what the order is worth now").required(),
        money("refundable", "of it, what a lowered total explains and one payment can give back").required(),
        text("capture", "the gateway's id of the capture that can give the refundable back"),
        flag("whole", "that is all of that capture, of which nothing was returned"),
        flag("lowered", "a lowered total explains it"),
        field("since", Type::Time, "since when it has been so").required(),
    ],
};
static ACTION: Schema = Schema {
    name: "action",
    fields: &[
        text("id", "identity of the attempt").required(),
        text("payment", "payment").required(),
        text("url", "where the cardholder must go").masked(Class::Kept),
    ],
};

static PROFILE_CHANGE: Schema = Schema {
    name: "profile_change",
    fields: &[field("seq", Type::Int, "count of changes that matter to the gateway").required()],
};
static INSTRUMENT: Schema =
    Schema { name: "instrument", fields: &[text("id", "reusable token at the gateway").required()] };

/// Objects a step may be made for each of.
pub static OBJECTS: &[(&str, &Schema)] = &[
    ("attempt", &ATTEMPT),
    ("authorization", &AUTHORIZATION),
    ("shipment", &SHIPMENT),
    ("capture", &CAPTURE),
    ("refund_request", &REFUND_REQUEST),
    ("refund", &REFUND),
    ("refund_failure", &REFUND),
    ("decline", &DECLINE),
    ("dispute", &DISPUTE),
    ("dispute_outcome", &DISPUTE),
    ("review", &REVIEW),
    ("review_outcome", &REVIEW),
    ("review_ruling", &REVIEW_RULING),
    ("total_change", &TOTAL_CHANGE),
    ("short", &SHORT),
    ("overpaid", &OVERPAID),
    ("action", &ACTION),
    ("status_change", &STATUS),
    ("doomed_payment", &DOOMED),
    ("doomed_capture", &CAPTURE),
    ("profile_change", &PROFILE_CHANGE),
    ("instrument", &INSTRUMENT),
];

/// Facts a step may await.
pub static AWAITS: &[(&str, &str)] = &[
    ("order", "the shop's order is known"),
    ("payment", "a payment object is known"),
    ("customer", "the gateway's customer is known"),
    ("authorized", "money is reserved or taken"),
    ("captured", "money was taken"),
    ("released", "no review is open and none ended in a refusal"),
    ("clear_to_capture", "money is reserved or taken, and no review stands in the way"),
];

/// The schema of a part of the personal data that is kept beside an order's facts: `order`, `action`.
#[must_use]
pub fn personal_part(name: &str) -> Option<&'static Schema> {
    let base = BASE.field(name).and_then(|f| match f.ty {
        Type::Record(schema) => Some(schema),
        _ => None,
    });
    base.or_else(|| OBJECTS.iter().find(|(object, _)| *object == name).map(|(_, schema)| *schema))
}
