//! Notices: templates are files, values are filled in by name.

use std::collections::BTreeMap;

use tillway_core::value::Value;

use crate::ports::Notice;
use crate::records::CommandRecord;

/// Fills a template. The first line is the subject; `{name}` is replaced by the value of that name, and a
/// name without value is an error, not an empty place.
pub(crate) fn render(
    templates: &BTreeMap<String, String>,
    record: &CommandRecord,
    params: &Value,
) -> Result<Notice, (&'static str, String)> {
    let audience = record.action.split('.').nth(1).unwrap_or("staff").to_owned();
    let name = params.get("template").and_then(Value::as_text).unwrap_or_default();
    let template = templates.get(name).ok_or_else(|| {
        ("notice_template_missing", format!("there is no notice template {name}; add the file"))
    })?;
    let to = params.get("to").and_then(Value::as_text).filter(|t| !t.is_empty()).map(str::to_owned);
    if audience == "customer" && to.is_none() {
        return Err((
            "notice_without_address",
            "the customer has no e-mail address; drop the item".to_owned(),
        ));
    }
    let mut text = String::with_capacity(template.len());
    let mut rest = template.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((field, tail)) = after.split_once('}') else { break };
        text.push_str(before);
        let value = params.get("data").and_then(|d| d.get(field));
        match value.and_then(Value::as_text) {
            Some(value) => text.push_str(value),
            None => {
                let what = format!("notice {name} shows {{{field}}}, which its mapping does not set");
                return Err(("notice_value_missing", what));
            }
        }
        rest = tail;
    }
    text.push_str(rest);
    let (subject, body) = text.split_once('\n').unwrap_or((text.as_str(), ""));
    Ok(Notice {
        id: record.id.to_string(),
        audience,
        to,
        subject: subject.trim().to_owned(),
        text: body.trim().to_owned(),
    })
}
