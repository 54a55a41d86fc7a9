//! What flows may ask of Cybersource, as data.

use tillway_core::value::{ActionSpec, Field, Schema, Type, field};

use crate::capabilities::{Amounts, Capabilities, Form, Role, Support};
use crate::port::Action;

const fn text(name: &'static str, doc: &'static str) -> Field {
    field(name, Type::Text, doc)
}

const ADDRESS: Schema = Schema {
    name: "cybersource.address",
    fields: &[
        text("first_name", "given name").personal(),
        text("last_name", "family name").personal(),
        text("company", "company").personal(),
        text("line1", "street and number").personal(),
        text("line2", "second line").personal(),
        text("city", "city").personal(),
        text("region", "state or province").personal(),
        text("postal_code", "postal code").personal(),
        text("country", "two-letter country").personal(),
        text("email", "e-mail address; of the billing address alone").personal(),
        text("phone", "phone").personal(),
    ],
};

const LINE: Schema = Schema {
    name: "cybersource.line",
    fields: &[
        text("code", "product code; `default` where it is left out"),
        text("sku", "stock-keeping unit").required(),
        text("name", "what it is; the sku where it is left out"),
        field("quantity", Type::Decimal, "pieces; what is no whole number is sent as one piece at its worth")
            .required(),
        field("unit_price", Type::Decimal, "price of one piece in major units"),
        field("discount", Type::Money, "taken off the line; authorizations alone"),
        field("tax", Type::Money, "tax of the line"),
        field(
            "total",
            Type::Money,
            "its worth: which lines are sent where there are too many, and at what price where it has no price",
        ),
    ],
};
const LINES: Field = field("lines", Type::List(&LINE), "lines of the order, for Decision Manager");

const ORDER: Field = text("order_id", "the shop's order id; our reference at Cybersource").required();
const PAYMENT: Field = text("payment", "id of the payment (of its authorization)").required();
const ROUTE: Field = text("route", "merchant id, where the connection has several; routing fills it in");
const AMOUNT: Field = field("amount", Type::Money, "how much").required();

const AUTHORIZE: Schema = Schema {
    name: "cybersource.authorize",
    fields: &[
        ORDER,
        AMOUNT,
        text("token", "the shop's token: stored at Cybersource, or transient").required(),
        text("customer", "id of the stored customer, where the token is one of its instruments"),
        field("capture", Type::Bool, "take the money at once (a sale); false where it is left out"),
        field("bill_to", Type::Record(&ADDRESS), "billing address").personal(),
        field("ship_to", Type::Record(&ADDRESS), "shipping address, where it differs").personal(),
        text("customer_ref", "the shop's customer id, for Decision Manager"),
        text("ip_address", "address the order came from, for Decision Manager").personal(),
        text("fingerprint", "session of the device fingerprint, for Decision Manager").personal(),
        LINES,
        field("data", Type::Dict, "merchant-defined fields by number (1 to 100); nothing personal"),
        text("screening", "`before`: Decision Manager has looked already and is not asked again"),
        ROUTE,
        field(
            "everywhere",
            Type::Bool,
            "look for it at every merchant id; after a restore the engine says so",
        ),
    ],
};
const SCREEN: Schema = Schema {
    name: "cybersource.screen",
    fields: &[
        ORDER,
        AMOUNT,
        text("token", "the shop's token: a stored customer, or transient").required(),
        field("bill_to", Type::Record(&ADDRESS), "billing address").personal(),
        field("ship_to", Type::Record(&ADDRESS), "shipping address, where it differs").personal(),
        text("customer_ref", "the shop's customer id"),
        text("ip_address", "address the order came from").personal(),
        text("fingerprint", "session of the device fingerprint").personal(),
        LINES,
        field("data", Type::Dict, "merchant-defined fields by number (1 to 100); nothing personal"),
    ],
};
const CAPTURE: Schema = Schema {
    name: "cybersource.capture",
    fields: &[
        ORDER,
        PAYMENT,
        AMOUNT,
        field("last", Type::Bool, "nothing will be captured after this; true where it is left out"),
        field(
            "captured",
            Type::Money,
            "what is known to be taken: a capture beyond that is adopted, not made again",
        ),
        text(
            "known",
            "ids of the captures that are known, with blanks between: then captures are told apart by them, not by sums",
        ),
        field("look", Type::Bool, "look for such a capture first: after a review somebody may have made one"),
        field("sequence", Type::Int, "number of this capture among several, from 1"),
        field("count", Type::Int, "how many captures there will be"),
        ROUTE,
    ],
};
const REVERSE: Schema = Schema {
    name: "cybersource.reverse",
    fields: &[ORDER, PAYMENT, AMOUNT, text("reason", "shown in the Business Center; a code"), ROUTE],
};
const VOID: Schema = Schema {
    name: "cybersource.void",
    fields: &[
        ORDER,
        PAYMENT,
        AMOUNT,
        text("capture", "id of the capture; of a sale, the payment's").required(),
        text("request", "stable id of what asks for it").required(),
        ROUTE,
    ],
};
const VOID_REFUND: Schema = Schema {
    name: "cybersource.void_refund",
    fields: &[ORDER, PAYMENT, AMOUNT, text("refund", "id of the refund").required(), ROUTE],
};
const REFUND: Schema = Schema {
    name: "cybersource.refund",
    fields: &[
        ORDER,
        PAYMENT,
        AMOUNT,
        text("capture", "id of the capture that is refunded; the payment as a whole where it is left out"),
        text("request", "stable id of the refund request").required(),
        text("reason", "a code"),
        ROUTE,
    ],
};
const DECIDE: Schema = Schema {
    name: "cybersource.decide_case",
    fields: &[
        ORDER,
        PAYMENT,
        text("decision", "accept or reject").required(),
        field("act", Type::Bool, "reverse with reject; false where it is left out"),
        text("comment", "for the reviewer; nothing personal"),
        ROUTE,
    ],
};
const READ_ORDER: Schema = Schema {
    name: "cybersource.read_order",
    fields: &[
        ORDER,
        text("object", "a transaction to read besides, or `accept:` or `reject:` and a payment's id"),
        text("route", "merchant id that is read first, where the connection has several; all are read"),
    ],
};
const ENSURE_CUSTOMER: Schema = Schema {
    name: "cybersource.ensure_customer",
    fields: &[
        text("email", "e-mail address").personal(),
        text("reference", "the shop's customer id; needed where there is no e-mail address"),
        text("known", "the customer's id at Cybersource, where the shop has it"),
        text("earlier", "the one this person had before; the engine's"),
        text("offered", "one a payment made, taken where the person has none"),
    ],
};
const UPDATE_CUSTOMER: Schema = Schema {
    name: "cybersource.update_customer",
    fields: &[
        text("customer", "the customer's id at Cybersource").required(),
        text("email", "e-mail address").personal(),
        text("reference", "the shop's customer id; needed where there is no e-mail address"),
    ],
};
const INSTRUMENT: Schema = Schema {
    name: "cybersource.attach_instrument",
    fields: &[
        text("customer", "the customer's id at Cybersource; where it is left out, the one the person has"),
        text("earlier", "that one; the engine's"),
        text("instrument", "id of the instrument identifier: a token, never a card number").required(),
    ],
};

/// An action of one order; writes are looked up, a read is simply made again.
const fn action(spec: &'static ActionSpec, reads: bool) -> Action {
    Action { spec, per_person: false, repeatable: reads, reads }
}

const fn money(name: &'static str, params: &'static Schema, doc: &'static str) -> ActionSpec {
    ActionSpec { name, params, money: true, doc }
}

/// Reserves an amount.
pub(super) const AUTHORIZE_NAME: &str = "cybersource.authorize";
/// Asks Decision Manager alone.
pub(super) const SCREEN_NAME: &str = "cybersource.screen";
/// Takes reserved money.
pub(super) const CAPTURE_NAME: &str = "cybersource.capture";
/// Lets a reservation go.
pub(super) const REVERSE_NAME: &str = "cybersource.reverse";
/// Takes a capture back before it is settled.
pub(super) const VOID_NAME: &str = "cybersource.void";
/// Takes a refund back before it is settled.
pub(super) const VOID_REFUND_NAME: &str = "cybersource.void_refund";
/// Gives money back.
pub(super) const REFUND_NAME: &str = "cybersource.refund";
/// Decides a case.
pub(super) const DECIDE_NAME: &str = "cybersource.decide_case";
/// Reads all of an order.
pub(super) const READ_NAME: &str = "cybersource.read_order";
/// Finds or makes a customer.
pub(super) const CUSTOMER_NAME: &str = "cybersource.ensure_customer";
/// Brings a customer up to date.
pub(super) const UPDATE_CUSTOMER_NAME: &str = "cybersource.update_customer";
/// Keeps a reusable token with a customer.
pub(super) const INSTRUMENT_NAME: &str = "cybersource.attach_instrument";

/// Whether an action is carried out at one merchant id. The others read them all, or belong to the account.
pub(super) fn at_one_id(action: &str) -> bool {
    let payment = [AUTHORIZE_NAME, CAPTURE_NAME, REVERSE_NAME, DECIDE_NAME];
    payment.contains(&action) || [VOID_NAME, REFUND_NAME, VOID_REFUND_NAME].contains(&action)
}

/// All actions.
pub(super) const ACTIONS: &[Action] = &[
    Action {
        spec: &ActionSpec {
            name: CUSTOMER_NAME,
            params: &ENSURE_CUSTOMER,
            money: false,
            doc: "finds the person's customer token, or makes one",
        },
        per_person: true,
        repeatable: true,
        reads: false,
    },
    Action {
        spec: &ActionSpec {
            name: UPDATE_CUSTOMER_NAME,
            params: &UPDATE_CUSTOMER,
            money: false,
            doc: "reads a customer and writes e-mail address and reference where they differ; tells where it is gone",
        },
        per_person: false,
        repeatable: true,
        reads: false,
    },
    Action {
        spec: &ActionSpec {
            name: INSTRUMENT_NAME,
            params: &INSTRUMENT,
            money: false,
            doc: "lists the customer's payment instruments and adds the one that is missing",
        },
        per_person: true,
        repeatable: false,
        reads: false,
    },
    action(
        &money(AUTHORIZE_NAME, &AUTHORIZE, "reserves the amount on a token, with Decision Manager"),
        false,
    ),
    // Reserves nothing: asked again where the answer was lost, it says the same.
    Action {
        spec: &ActionSpec {
            name: SCREEN_NAME,
            params: &SCREEN,
            money: false,
            doc: "asks Decision Manager about an attempt before the bank is asked",
        },
        per_person: false,
        repeatable: true,
        reads: false,
    },
    action(
        &money(CAPTURE_NAME, &CAPTURE, "takes reserved money; several times where it is not the last"),
        false,
    ),
    action(&money(REVERSE_NAME, &REVERSE, "lets a reservation go that nothing was taken of"), false),
    action(&money(VOID_NAME, &VOID, "takes a whole capture back before it is settled"), false),
    action(&money(VOID_REFUND_NAME, &VOID_REFUND, "takes a whole refund back before it is settled"), false),
    action(&money(REFUND_NAME, &REFUND, "gives captured money back, in part or in full"), false),
    action(&money(DECIDE_NAME, &DECIDE, "accepts or rejects a payment held by Decision Manager"), false),
    action(
        &ActionSpec {
            name: READ_NAME,
            params: &READ_ORDER,
            money: false,
            doc: "reads the transactions of an order by our reference",
        },
        true,
    ),
];

/// Currencies with more than two decimals, unless `allow_three_decimals`.
const UNCONFIRMED: &[&str] = &["BHD", "CLF", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "UYW"];

/// What can be done with them, and what is told.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    role: Role::Gateway,
    signature: "HMAC-SHA256 over time and body",
    sweep: "decided cases, chargebacks, transactions",
    amounts: Amounts { form: Form::Decimals, own_exponents: &[], refused: UNCONFIRMED },
    leaves_another: &[CUSTOMER_NAME, SCREEN_NAME],
    customer: Support::With(CUSTOMER_NAME, "a lost answer may leave one behind"),
    references: Support::By(UPDATE_CUSTOMER_NAME),
    instruments: Support::By(INSTRUMENT_NAME),
    authorize: Support::With(AUTHORIZE_NAME, "with Decision Manager"),
    screening: Support::With(SCREEN_NAME, "without the bank"),
    sale: Support::With(AUTHORIZE_NAME, "`capture: true`"),
    challenge: Support::Told("to a person"),
    review: Support::With(DECIDE_NAME, "or told by webhooks"),
    capture: Support::By(CAPTURE_NAME),
    part_of_it: Support::By(CAPTURE_NAME),
    several_captures: Support::With(CAPTURE_NAME, "`last: false`"),
    cancel: Support::By(REVERSE_NAME),
    void: Support::With(VOID_NAME, "whole, before it is settled"),
    refund: Support::By(REFUND_NAME),
    part_refund: Support::By(REFUND_NAME),
    unrefund: Support::With(VOID_REFUND_NAME, "whole, before it is settled; in no shipped flow"),
    dispute: Support::Told("by the sweep"),
    read: Support::By(READ_NAME),
    ..Capabilities::NONE
};
