//! A customer's payment instruments. The list is read before one is made, and read again where the answer was lost: a
//! token is kept with a customer once. Only its identifier goes over the wire.

use tillway_core::doc::Json;

use super::client::{Client, ReadFault, refused, unknown};
use super::plan::Plan;
use super::wire::{self, text};
use crate::common::{still, unreadable};
use crate::port::{Call, Finding, NotDone, Observation, Outcome};

/// Instruments on a page, and pages read.
const PAGE: usize = 100;
const MOST_PAGES: usize = 5;
/// Where an instrument names its identifier.
const IDENTIFIER: [&str; 2] = ["instrumentIdentifier", "id"];

/// Adds the instrument, unless it is there.
pub(super) async fn attach(call: &Call<'_>, plan: &Plan) -> Outcome {
    let Some(token) = &plan.object else { return unreadable("names no instrument") };
    let client = Client::new(call, 6);
    match find(&client, plan, token).await {
        Ok(Some(id)) => return settled(&id, "known"),
        Ok(None) => {}
        Err(ReadFault::Missing(answer) | ReadFault::Refused(answer)) => {
            return refused(&answer, Observation::default());
        }
        Err(ReadFault::TooMany) => {
            let code = "too_many_instruments".to_owned();
            let summary = "the customer has more instruments than are read; add this one by hand".to_owned();
            return Outcome::Refused { code, observation: Observation::default(), summary };
        }
        Err(ReadFault::NotNow(after, why)) => return Outcome::NotDone { after, why },
        Err(fault) => return Outcome::NotDone { after: None, why: fault.not_now() },
    }
    let answer = match client.post(&plan.path, &plan.body).await {
        Ok(answer) if answer.is_success() => answer,
        Ok(answer) => return refused(&answer, Observation::default()),
        Err(outcome) => return outcome,
    };
    let made = answer.body.json();
    if text(made, &IDENTIFIER).is_some_and(|echo| echo != token) {
        return Outcome::Disagrees {
            field: IDENTIFIER.join("."),
            observation: Observation::default(),
            what: "another instrument than the one asked for was answered; look at the customer in the Business Center"
                .to_owned(),
        };
    }
    match text(made, &["id"]).filter(|i| wire::is_id(i)) {
        Some(id) => settled(id, "made"),
        None => unknown("an answer without an id"),
    }
}

/// Whether the lost call was carried out: the list tells.
pub(super) async fn find_out(call: &Call<'_>, plan: &Plan) -> Finding {
    let Some(token) = &plan.object else { return Finding::Evidence(unreadable("names no instrument")) };
    match find(&Client::new(call, 5), plan, token).await {
        Ok(Some(id)) => Finding::Evidence(settled(&id, "found")),
        Ok(None) => Finding::NotThere,
        // Its customer is gone, and the instrument with it.
        Err(ReadFault::Missing(answer) | ReadFault::Refused(answer))
            if matches!(answer.status, 404 | 410) =>
        {
            Finding::Evidence(refused(&answer, Observation::default()))
        }
        Err(ReadFault::NotNow(_, NotDone::Throttled)) => still("the read was throttled"),
        Err(fault) => still(fault.why()),
    }
}

/// The instrument that bears this identifier. A closed one pays for nothing, and is no instrument.
async fn find(client: &Client<'_>, plan: &Plan, token: &str) -> Result<Option<String>, ReadFault> {
    for page in 0..MOST_PAGES {
        let offset = page.saturating_mul(PAGE);
        let listed = client.get(&format!("{}?offset={offset}&limit={PAGE}", plan.path)).await?;
        let list = listed.json().at(&["_embedded", "paymentInstruments"]);
        let mut count = 0_usize;
        for one in list.into_iter().flat_map(Json::items) {
            count = count.saturating_add(1);
            let open = text(one, &["state"]) != Some("CLOSED");
            if open && text(one, &IDENTIFIER) == Some(token) {
                return Ok(text(one, &["id"]).map(str::to_owned));
            }
        }
        let total = listed.json().get("total").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let seen = offset.saturating_add(count);
        if count == 0 || total.map_or(count < PAGE, |total| seen >= total) {
            return Ok(None);
        }
    }
    Err(ReadFault::TooMany)
}

fn settled(id: &str, how: &str) -> Outcome {
    Outcome::Settled {
        observation: Observation::default(),
        provider_id: Some(id.to_owned()),
        summary: format!("payment instrument {id} ({how})"),
    }
}
