//! What flows may ask of Stripe, as data.

use tillway_core::value::{ActionSpec, Field, Schema, Type, field};

use super::currency;
use crate::capabilities::{Amounts, Capabilities, Form, Role, Support};
use crate::port::Action;

const SHIP_TO: Schema = Schema {
    name: "ship_to",
    fields: &[
        field("name", Type::Text, "who receives it; without a name nothing is sent, for Stripe demands one")
            .personal(),
        field("line1", Type::Text, "street and number").personal(),
        field("line2", Type::Text, "second line").personal(),
        field("city", Type::Text, "city").personal(),
        field("region", Type::Text, "state or province").personal(),
        field("postal_code", Type::Text, "postal code").personal(),
        field("country", Type::Text, "two-letter country").personal(),
        field("phone", Type::Text, "phone").personal(),
    ],
};

const PAYMENT: Field = field("payment", Type::Text, "the payment's id at Stripe (pi_…)").required();
const AMOUNT: Field = field("amount", Type::Money, "how much").required();
const METADATA: Field =
    field("metadata", Type::Dict, "up to 50 keys of 40 characters, values of 500; nothing personal");

const ENSURE_CUSTOMER: Schema = Schema {
    name: "stripe.ensure_customer",
    fields: &[
        field("email", Type::Text, "e-mail address").personal(),
        field("name", Type::Text, "name").personal(),
        field("phone", Type::Text, "phone").personal(),
        field("reference", Type::Text, "the shop's customer id; needed where there is no e-mail address"),
        field("known", Type::Text, "the customer's id at Stripe, where the shop has it"),
        METADATA,
    ],
};
const CREATE_PAYMENT: Schema = Schema {
    name: "stripe.create_payment",
    fields: &[
        AMOUNT,
        field("order_id", Type::Text, "the shop's order id, stamped on the payment").required(),
        field("customer", Type::Text, "the customer's id at Stripe (cus_…)"),
        field("capture", Type::Text, "automatic or manual; automatic where it is left out"),
        field("description", Type::Text, "shown to the merchant; nothing personal"),
        field("receipt_email", Type::Text, "Stripe sends a receipt there").personal(),
        field("ship_to", Type::Record(&SHIP_TO), "shipping address").personal(),
        METADATA,
    ],
};
const UPDATE_PAYMENT: Schema = Schema { name: "stripe.update_payment", fields: &[PAYMENT, AMOUNT] };
const CONFIRM_PAYMENT: Schema = Schema {
    name: "stripe.confirm_payment",
    fields: &[
        PAYMENT,
        field(
            "token",
            Type::Text,
            "payment method (pm_…), confirmation token (ctoken_…) or card token (tok_…)",
        )
        .required(),
        field(
            "return_url",
            Type::Text,
            "where the shopper comes back to; else the connection's `return_url`",
        ),
        field(
            "failure_before",
            Type::Text,
            "charge of the newest attempt that failed before, or `none`: by it a decline whose answer was lost is told \
             from an earlier one",
        ),
    ],
};
const CAPTURE: Schema = Schema {
    name: "stripe.capture",
    fields: &[
        PAYMENT,
        AMOUNT,
        field("last", Type::Bool, "nothing will be captured after this; true where it is left out"),
    ],
};
const CANCEL_PAYMENT: Schema = Schema {
    name: "stripe.cancel_payment",
    fields: &[
        PAYMENT,
        field(
            "reason",
            Type::Text,
            "abandoned, duplicate, fraudulent or requested_by_customer; else not sent",
        ),
    ],
};
const REFUND: Schema = Schema {
    name: "stripe.refund",
    fields: &[
        PAYMENT,
        AMOUNT,
        field("request", Type::Text, "the shop's stable id of the refund request").required(),
        field("reason", Type::Text, "duplicate, fraudulent or requested_by_customer; else not sent"),
    ],
};
const READ_PAYMENT: Schema = Schema { name: "stripe.read_payment", fields: &[PAYMENT] };

/// Writes have their own identity at Stripe and are looked up; a read is simply made again.
const fn action(spec: &'static ActionSpec, reads: bool) -> Action {
    Action { spec, per_person: false, repeatable: reads, reads }
}

/// All actions.
pub(super) const ACTIONS: &[Action] = &[
    Action {
        spec: &ActionSpec {
            name: "stripe.ensure_customer",
            params: &ENSURE_CUSTOMER,
            money: false,
            doc: "finds the person's customer at Stripe, or makes one, once",
        },
        per_person: true,
        repeatable: true,
        reads: false,
    },
    action(
        &ActionSpec {
            name: "stripe.create_payment",
            params: &CREATE_PAYMENT,
            money: true,
            doc: "makes a PaymentIntent, without charging it",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.update_payment",
            params: &UPDATE_PAYMENT,
            money: true,
            doc: "changes the amount of a payment that is not confirmed",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.confirm_payment",
            params: &CONFIRM_PAYMENT,
            money: true,
            doc: "charges the token, or reserves the amount",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.capture",
            params: &CAPTURE,
            money: true,
            doc: "takes reserved money; the last capture releases the rest",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.cancel_payment",
            params: &CANCEL_PAYMENT,
            money: true,
            doc: "cancels a payment and releases what it reserved",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.refund",
            params: &REFUND,
            money: true,
            doc: "gives captured money back, in part or in full",
        },
        false,
    ),
    action(
        &ActionSpec {
            name: "stripe.read_payment",
            params: &READ_PAYMENT,
            money: false,
            doc: "reads a payment with its charge, refunds, disputes and review",
        },
        true,
    ),
];

/// What can be done with them, and what is told.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    role: Role::Gateway,
    signature: "HMAC-SHA256 over time and body",
    sweep: "events of 30 days",
    amounts: Amounts { form: Form::Counts, own_exponents: currency::OWN, refused: currency::UNCONFIRMED },
    customer: Support::By("stripe.ensure_customer"),
    create: Support::By("stripe.create_payment"),
    change: Support::By("stripe.update_payment"),
    authorize: Support::With("stripe.confirm_payment", "after `capture: manual`"),
    sale: Support::By("stripe.confirm_payment"),
    challenge: Support::Told("link for the shopper"),
    review: Support::Told("webhooks"),
    capture: Support::By("stripe.capture"),
    part_of_it: Support::By("stripe.capture"),
    several_captures: Support::With("stripe.capture", "setting `multicapture: if_available`"),
    cancel: Support::By("stripe.cancel_payment"),
    refund: Support::By("stripe.refund"),
    part_refund: Support::By("stripe.refund"),
    dispute: Support::Told("webhooks"),
    dispute_end: Support::Told("webhooks"),
    read: Support::By("stripe.read_payment"),
    ..Capabilities::NONE
};
