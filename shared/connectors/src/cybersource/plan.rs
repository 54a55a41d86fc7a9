//! Turning a flow's parameters into the bytes of a request. Pure; the bytes hold no credentials and are stored before
//! the first one leaves.
//!
//! Every request carries the order in `clientReferenceInformation.code` and the command in
//! `clientReferenceInformation.transactionId`. Searches do not show the latter, so the command stands in a
//! merchant-defined field too (payments, captures, refunds) and in the comments (all).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tillway_core::ids::CommandId;
use tillway_core::money::Money;
use tillway_core::value::Value;

use super::actions;
use super::endpoints;
use super::transaction::COMMENT;
use super::wire::{self, Fault};
use crate::common;
use crate::config::Connection;
use crate::port::Prepared;

/// A request made ready, and what its answer must agree with. No `Debug`: the body may be personal.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) path: String,
    /// The body; the client adds the transaction id.
    #[serde(default)]
    pub(super) body: Json,
    /// Our reference.
    pub(super) code: String,
    /// The payment it is about, where that is known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<String>,
    /// The object in the path: a capture, where that is not the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) amount: Option<Money>,
    /// A sale; a case rejected with its reversal.
    #[serde(default)]
    pub(super) taking: bool,
    /// Nothing will be captured after it.
    #[serde(default)]
    pub(super) last: bool,
    /// Look for captures somebody else made before capturing.
    #[serde(default)]
    pub(super) look: bool,
    /// What is known to be captured, minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) captured: Option<i64>,
    /// By which captures, where they were told by their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) known: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<String>,
    /// A case is accepted, not rejected.
    #[serde(default)]
    pub(super) accept: bool,
    /// The merchant id it goes to; the connection's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    /// Which merchant id it went to before is not known: all are looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) everywhere: bool,
    /// What a customer shall look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<Wanted>,
}

impl Plan {
    /// The transaction a refund or void acts on: the capture, which of a sale is the payment itself.
    pub(super) fn returns(&self) -> Option<&str> {
        self.object.as_deref().or(self.payment.as_deref())
    }
}

/// A customer as the shop has it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) email: Option<String>,
    pub(super) reference: Option<String>,
    /// Customers it may be, the likeliest first.
    #[serde(default)]
    pub(super) known: Vec<String>,
}

/// Reads parameters.
pub(super) struct Params<'a> {
    pub(super) connection: &'a Connection,
    command: &'a CommandId,
    pub(super) params: &'a Value,
}

impl<'a> Params<'a> {
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        common::text(self.params, name)
    }
    pub(super) fn needed(&self, name: &str) -> Result<&'a str, Fault> {
        common::needed(self.params, name)
    }
    fn id(&self, name: &str) -> Result<&'a str, Fault> {
        let id = self.needed(name)?;
        wire::is_id(id).then_some(id).ok_or_else(|| {
            let what = format!("`{name}` is no id of Cybersource's (letters, digits, dashes)");
            Fault::new("id_malformed", name, what)
        })
    }
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.params.at(name).as_bool().unwrap_or(default)
    }
    pub(super) fn amount(&self) -> Result<Money, Fault> {
        common::amount(self.params)
    }
    pub(super) fn code(&self) -> Result<String, Fault> {
        wire::code_for(self.connection, self.needed("order_id")?)
    }
    /// `clientReferenceInformation` without the transaction id.
    pub(super) fn reference(&self, code: &str) -> Json {
        let set = |name| Some(self.connection.setting(name, "")).filter(|v| !v.is_empty());
        let mut partner = Map::new();
        partner.extend(set("partner.developer_id").map(|v| ("developerId".to_owned(), Json::from(v))));
        partner.extend(set("partner.solution_id").map(|v| ("solutionId".to_owned(), Json::from(v))));
        let mut out = json!({"code": code, "comments": format!("{COMMENT}{}", self.command)});
        if let Some(map) = out.as_object_mut().filter(|_| !partner.is_empty()) {
            map.insert("partner".into(), Json::Object(partner));
        }
        out
    }
    /// The merchant-defined fields: what the flow gives, our command, our refund request.
    pub(super) fn defined(&self, request: Option<&str>) -> Result<Json, Fault> {
        let own = self.connection.number("command_field", 20);
        let mut out = Vec::new();
        if let Value::Map(given) = self.params.at("data") {
            for (key, value) in given.iter().filter(|(_, v)| !v.is_empty()) {
                let field = format!("data.{key}");
                let number = key.parse::<i64>().ok().filter(|n| (1..=100).contains(n));
                let taken = number.is_none_or(|n| n == own || n == own.saturating_add(1));
                let text = value.as_text().filter(|t| t.chars().count() <= 255);
                let (Some(text), false) = (text, taken) else {
                    let what = format!(
                        "merchant-defined fields are numbered 1 to 100 ({own} and the next one are ours) and hold \
                         texts of at most 255 characters"
                    );
                    return Err(Fault::new("data_malformed", field, what));
                };
                out.push(json!({"key": key, "value": text}));
            }
        }
        out.push(json!({"key": own.to_string(), "value": self.command.as_str()}));
        out.extend(request.map(|r| json!({"key": own.saturating_add(1).to_string(), "value": r})));
        Ok(Json::Array(out))
    }
    pub(super) fn amount_details(&self, amount: Money) -> Result<Json, Fault> {
        let wire = wire::to_wire(self.connection, amount, "amount")?;
        Ok(json!({"totalAmount": wire, "currency": amount.currency.code()}))
    }
    pub(super) fn path(&self, name: &str, id: &str) -> String {
        endpoints::path(self.connection, name, id)
    }
}

/// Makes the bytes of a request.
pub(super) fn prepare(
    connection: &Connection,
    action: &str,
    command: &CommandId,
    params: &Value,
) -> Result<Prepared, Fault> {
    let p = Params { connection, command, params };
    let plan = match action {
        actions::AUTHORIZE_NAME => super::plan_pay::authorize(&p)?,
        actions::SCREEN_NAME => super::screen::plan(&p)?,
        actions::CAPTURE_NAME => capture(&p)?,
        actions::REVERSE_NAME => reverse(&p)?,
        actions::VOID_NAME => void(&p)?,
        actions::VOID_REFUND_NAME => void_refund(&p)?,
        actions::REFUND_NAME => refund(&p)?,
        actions::DECIDE_NAME => decide(&p)?,
        actions::READ_NAME => read(&p)?,
        actions::CUSTOMER_NAME => customer(&p)?,
        actions::UPDATE_CUSTOMER_NAME => update_customer(&p)?,
        actions::INSTRUMENT_NAME => instrument(&p)?,
        _ => return Err(Fault::new("action_unknown", "do", "Cybersource's connector has no such action")),
    };
    let plan =
        Plan { route: super::routes::of(&p, action)?, everywhere: p.flag("everywhere", false), ..plan };
    let several = !super::routes::all(connection).is_empty();
    let at = plan.route.as_ref().filter(|_| several).map(|route| format!(" at {route}")).unwrap_or_default();
    let sum = plan.amount.map(|a| format!(" {a}")).unwrap_or_default();
    let method = match action {
        actions::READ_NAME => "READ",
        actions::UPDATE_CUSTOMER_NAME => "PATCH",
        _ => "POST",
    };
    let summary = format!("{method} {}{sum}{at}", plan.path);
    let bytes = serde_json::to_vec(&plan).map_err(|_| {
        Fault::new("unserializable", "", "the request could not be written down; this is a bug")
    })?;
    Ok(Prepared { bytes, summary })
}

fn capture(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment, amount) = (p.code()?, p.id("payment")?, p.amount()?);
    let mut body = json!({
        "clientReferenceInformation": p.reference(&code),
        "orderInformation": {"amountDetails": p.amount_details(amount)?},
        "merchantDefinedInformation": p.defined(None)?,
    });
    let last = p.flag("last", true);
    let number = |name: &str| p.params.at(name).as_int().filter(|n| (1..=99).contains(n));
    if let (Some(sequence), Some(count)) = (number("sequence"), number("count"))
        && let Some(map) = body.as_object_mut()
    {
        let options = json!({"captureSequenceNumber": sequence, "totalCaptureCount": count});
        map.insert("processingInformation".into(), json!({"captureOptions": options}));
    }
    let known = p.params.at("captured").as_money();
    if let Some(known) = known.filter(|k| k.currency != amount.currency) {
        let what = format!("`captured` is in {}, and the capture in {}", known.currency, amount.currency);
        return Err(Fault::new("currency_mixed", "captured", what));
    }
    let ids = p.text("known").map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    if ids.iter().flatten().any(|id| !wire::is_id(id)) {
        let what =
            "`known` holds ids of captures with blanks between; map it to the `captures` of what is captured";
        return Err(Fault::new("id_malformed", "known", what));
    }
    Ok(Plan {
        known: ids,
        path: p.path("captures", payment),
        body,
        code,
        payment: Some(payment.to_owned()),
        amount: Some(amount),
        last,
        look: p.flag("look", false),
        captured: known.map(|k| k.minor),
        ..Plan::default()
    })
}

/// A reason for the Business Center: a code, else nothing.
fn reason<'a>(p: &Params<'a>) -> &'a str {
    let plain =
        |r: &&str| r.len() <= 50 && r.bytes().all(|b| b.is_ascii_alphanumeric() || b"_- ".contains(&b));
    p.text("reason").filter(plain).unwrap_or("not given")
}

fn reverse(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment, amount) = (p.code()?, p.id("payment")?, p.amount()?);
    let body = json!({
        "clientReferenceInformation": p.reference(&code),
        "reversalInformation": {"amountDetails": p.amount_details(amount)?, "reason": reason(p)},
    });
    let path = p.path("reversals", payment);
    Ok(Plan { path, body, code, payment: Some(payment.to_owned()), amount: Some(amount), ..Plan::default() })
}

fn void(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment, amount) = (p.code()?, p.id("payment")?, p.amount()?);
    let (capture, request) = (p.id("capture")?, p.needed("request")?);
    wire::to_wire(p.connection, amount, "amount")?;
    // A sale's capture has the payment's own id.
    let path =
        if capture == payment { p.path("void_payment", payment) } else { p.path("void_capture", capture) };
    Ok(Plan {
        path,
        body: json!({"clientReferenceInformation": p.reference(&code)}),
        code,
        payment: Some(payment.to_owned()),
        object: Some(capture.to_owned()),
        amount: Some(amount),
        request: Some(request.to_owned()),
        ..Plan::default()
    })
}

fn void_refund(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment, amount) = (p.code()?, p.id("payment")?, p.amount()?);
    let refund = p.id("refund")?;
    wire::to_wire(p.connection, amount, "amount")?;
    Ok(Plan {
        path: p.path("void_refund", refund),
        body: json!({"clientReferenceInformation": p.reference(&code)}),
        code,
        payment: Some(payment.to_owned()),
        object: Some(refund.to_owned()),
        amount: Some(amount),
        ..Plan::default()
    })
}

fn refund(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment, amount) = (p.code()?, p.id("payment")?, p.amount()?);
    let request = p.needed("request")?;
    let capture = p.text("capture").map(|_| p.id("capture")).transpose()?.filter(|c| *c != payment);
    let path = match capture {
        Some(capture) => p.path("refund_capture", capture),
        None => p.path("refund_payment", payment),
    };
    let body = json!({
        "clientReferenceInformation": p.reference(&code),
        "orderInformation": {"amountDetails": p.amount_details(amount)?},
        "merchantDefinedInformation": p.defined(Some(request))?,
    });
    Ok(Plan {
        path,
        body,
        code,
        payment: Some(payment.to_owned()),
        object: capture.map(str::to_owned),
        amount: Some(amount),
        request: Some(request.to_owned()),
        ..Plan::default()
    })
}

fn decide(p: &Params<'_>) -> Result<Plan, Fault> {
    let (code, payment) = (p.code()?, p.id("payment")?);
    let accept = match p.needed("decision")? {
        "accept" => true,
        "reject" => false,
        _ => return Err(Fault::new("decision_unknown", "decision", "`decision` is `accept` or `reject`")),
    };
    let act = p.flag("act", false);
    if act && accept {
        let what = "an accepted payment is captured by a step of its own, so that its amount is known; leave `act` out";
        return Err(Fault::new("act_not_taken", "act", what));
    }
    let comment: String = p.text("comment").unwrap_or("decided in Tillway").chars().take(200).collect();
    let decision = if accept { "ACCEPT" } else { "REJECT" };
    let mut body = json!({"decisionInformation": {"decision": decision, "comments": comment}});
    if let Some(map) = body.as_object_mut().filter(|_| act) {
        map.insert("processingInformation".into(), json!({"actionList": ["REVERSE"]}));
    }
    let path = p.path("case_actions", payment);
    Ok(Plan { path, body, code, payment: Some(payment.to_owned()), taking: act, accept, ..Plan::default() })
}

fn read(p: &Params<'_>) -> Result<Plan, Fault> {
    let object = p.text("object").map(str::to_owned);
    if let Some(object) = &object {
        let bare =
            object.strip_prefix("accept:").or_else(|| object.strip_prefix("reject:")).unwrap_or(object);
        if !bare.split(':').all(wire::is_id) {
            return Err(Fault::new("id_malformed", "object", "`object` is no id of a transaction"));
        }
    }
    Ok(Plan { path: p.path("searches", ""), code: p.code()?, object, ..Plan::default() })
}

fn customer(p: &Params<'_>) -> Result<Plan, Fault> {
    // An id the shop mistyped is no reason to make no customer.
    let mut known: Vec<String> = Vec::new();
    for id in ["known", "earlier", "offered"].into_iter().filter_map(|name| p.text(name)) {
        if wire::is_id(id) && !known.iter().any(|k| k == id) {
            known.push(id.to_owned());
        }
    }
    let wanted = Some(Wanted { known, ..wanted(p)? });
    Ok(Plan { path: p.path("customers", ""), wanted, ..Plan::default() })
}

/// A person as the shop has them.
fn wanted(p: &Params<'_>) -> Result<Wanted, Fault> {
    let own = |name| p.text(name).map(str::to_owned);
    let (email, reference) = (own("email"), own("reference"));
    if email.is_none() && reference.is_none() {
        let what = "a customer needs an e-mail address or the shop's customer id; map one of them";
        return Err(Fault::new("parameter_missing", "email", what));
    }
    Ok(Wanted { email, reference, known: Vec::new() })
}

fn update_customer(p: &Params<'_>) -> Result<Plan, Fault> {
    let id = p.needed("customer")?;
    let (path, known) = match wire::is_id(id) {
        true => (p.path("customer", id), vec![id.to_owned()]),
        // The shop names something that is no id of Cybersource's: no customer is there under it.
        false => (p.path("customer", ""), Vec::new()),
    };
    let object = Some(id.to_owned());
    Ok(Plan { path, object, wanted: Some(Wanted { known, ..wanted(p)? }), ..Plan::default() })
}

fn instrument(p: &Params<'_>) -> Result<Plan, Fault> {
    let token = p.needed("instrument")?;
    if !tillway_core::pan::find(token).is_empty() {
        let what = "a card number stands where a token belongs; the shop must send Cybersource's token";
        return Err(Fault::new("card_number", "instrument", what));
    }
    let token = p.id("instrument")?;
    let customer = match p.text("customer") {
        Some(_) => p.id("customer")?,
        None => p.text("earlier").filter(|id| wire::is_id(id)).ok_or_else(|| {
            let what = "no customer of Cybersource's is known for this person; map `customer`";
            Fault::new("parameter_missing", "customer", what)
        })?,
    };
    Ok(Plan {
        path: p.path("instruments", customer),
        body: json!({"instrumentIdentifier": {"id": token}}),
        object: Some(token.to_owned()),
        ..Plan::default()
    })
}
