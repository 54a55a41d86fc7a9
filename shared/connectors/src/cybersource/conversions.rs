//! The list of decided cases. The API answers with JSON or with XML (document type `cdr`), and an account may give the one that
//! was not asked for: whichever comes is read.

use tillway_core::doc::{Doc, Json};
use tillway_core::time::Timestamp;

use super::client::{Client, ReadFault};
use super::endpoints;
use super::wire::{self, text};
use crate::port::NotDone;
use crate::settlement::FileFault;
use crate::settlement::xml::{Tag, Xml};

/// A decided case.
pub(super) struct Conversion {
    pub(super) payment: String,
    pub(super) code: String,
    pub(super) accepted: bool,
    pub(super) at: Option<Timestamp>,
}

impl Conversion {
    fn of(decision: &str, payment: &str, code: &str, at: &str) -> Option<Self> {
        let accepted = match decision {
            "ACCEPT" => true,
            "REJECT" => false,
            // Not decided yet, or in words nobody here knows: the case stays open.
            _ => return None,
        };
        let known = wire::is_id(payment) && !code.is_empty();
        known.then(|| Self {
            payment: payment.to_owned(),
            code: code.to_owned(),
            accepted,
            at: Timestamp::parse_rfc3339(at),
        })
    }
}

/// The decided cases since a time, oldest first.
pub(super) async fn since(client: &Client<'_>, since: Timestamp) -> Result<Vec<Conversion>, ReadFault> {
    let target = endpoints::report(client.call.connection, "conversion_details", since, client.call.now);
    let body = match client.text(&target).await {
        Ok(body) => body,
        // No data.
        Err(ReadFault::Missing(_)) => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let is_xml = body.trim_ascii_start().starts_with(b"<");
    let read = if is_xml { of_xml(&body).ok() } else { of_json(body) };
    // What cannot be read says nothing about any case, above all not that none was decided.
    let mut all = read.ok_or(ReadFault::NotNow(None, NotDone::Unavailable))?;
    all.sort_by_key(|c| c.at);
    Ok(all)
}

fn of_json(bytes: Vec<u8>) -> Option<Vec<Conversion>> {
    let list = Doc::from_bytes(bytes).ok().filter(|list| list.json().is_object())?;
    let items = list.json().get("conversionDetails").into_iter().flat_map(Json::items);
    let of = |item: Json<'_>, name: &str| text(item, &[name]).unwrap_or("").to_owned();
    let read = |item: Json<'_>| {
        let (payment, code) = (of(item, "requestId"), of(item, "merchantReferenceNumber"));
        Conversion::of(&of(item, "newDecision"), &payment, &code, &of(item, "conversionTime"))
    };
    Some(items.filter_map(read).collect())
}

/// `Report/Conversion`, the case in attributes and the decision in an element.
fn of_xml(bytes: &[u8]) -> Result<Vec<Conversion>, FileFault> {
    let mut xml = Xml::new(bytes);
    let (mut all, mut open, mut begun) = (Vec::new(), None, false);
    while let Some(tag) = xml.tag()? {
        match &tag {
            Tag::Start { name, .. } if !begun => {
                begun = true;
                if name != "Report" {
                    return Err(FileFault::new("unknown_header", "root", "is no report of conversions"));
                }
            }
            Tag::Start { name, .. } if name == "Conversion" => open = Some((tag.clone(), String::new())),
            Tag::End { name, text } if name == "NewDecision" => {
                if let Some((_, decision)) =
                    open.as_mut().filter(|_| xml.path().next_back() == Some("Conversion"))
                {
                    decision.clone_from(text);
                }
            }
            Tag::End { name, .. } if name == "Conversion" => {
                all.extend(open.take().and_then(|(case, decision)| {
                    let of = |name: &str| case.attribute(name);
                    let (payment, code) = (of("RequestID"), of("MerchantReferenceNumber"));
                    Conversion::of(&decision, payment, code, of("ConversionDate"))
                }));
            }
            _ => {}
        }
    }
    Ok(all)
}
