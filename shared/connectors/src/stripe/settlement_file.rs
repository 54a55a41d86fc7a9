//! The lines of a payout from the itemized payout-reconciliation report, where `settlement.source: report` asks for it:
//! one file of a day in place of a page for every hundred rows. Payouts themselves are listed as ever.
//!
//! A report run is asked for under an idempotency key made of connection, day and report, so that asking again within hours gives
//! the same run; then it is looked at until it is done. Nothing of Stripe's money or objects changes by it.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tillway_core::money::Money;
use tillway_core::settle::{Batch, Day, Funding};
use tillway_core::time::Millis;
use tillway_core::value::Value as Params;

use super::client::{Client, ReadFault};
use super::settlement::{Payouts, not_read};
use super::settlement_report::{self as report, Asked};
use super::wire::{self, text};
use super::{DEFAULT_BASE, form};
use crate::config::Connection;
use crate::http::kept::File;
use crate::port::{Call, NotDone, Outcome, key_prefix};
use crate::settlement::paged::{self, Rows};
use crate::settlement::{BatchPage, Effect, Evidence, FileFault, LinePage, SettleFault, Settlement};

/// A run is looked at again after this.
const RUNNING: Millis = Millis::mins(10);
/// Data of a day comes hours later.
const NO_DATA_YET: Millis = Millis::mins(30);
/// Where Stripe keeps files.
const FILES: &str = "https://files.stripe.com/";

/// Payouts by list, their lines by report.
pub(super) struct ReportFiles;

#[async_trait]
impl Settlement for ReportFiles {
    fn rules(&self, connection: &Connection) -> &'static str {
        Payouts.rules(connection)
    }

    async fn batches(
        &self,
        call: &Call<'_>,
        day: Day,
        cursor: Option<&str>,
    ) -> Result<BatchPage, SettleFault> {
        Payouts.batches(call, day, cursor).await
    }

    async fn lines(
        &self,
        call: &Call<'_>,
        batch: &Batch,
        cursor: Option<&str>,
    ) -> Result<LinePage, SettleFault> {
        let Funding::Funded { payout, day } = batch.funding else {
            let what = "the payout has no day; list it again";
            return Err(FileFault::new("wrong_date", "arrival_date", what).into());
        };
        let client = Client::for_many(call, 3);
        let url = file_url(call, &client, day).await?;
        let file = download(call, &client, &url).await?;
        let read = move |bytes| report::read(Asked { days: Some((day, day)), account: None }, bytes);
        let told = paged::told(&file, read)?;
        // That the report has all of this payout, its amount shows.
        let payouts = [(batch.id.clone(), Money::new(payout, batch.currency))].into();
        told.prove(&Evidence { bytes: file.length(), payouts })?;
        let open = || read(file.open()).map(|reader| -> Rows { Box::new(reader) });
        let (lines, next) = paged::page(call.http.kept(), (&batch.id, &batch.id), cursor, open)?;
        Ok(LinePage { lines, next, unfamiliar: told.unfamiliar.clone(), ..LinePage::default() })
    }

    fn effect(&self, connection: &Connection, action: &str, params: &Params) -> Option<Effect> {
        Payouts.effect(connection, action, params)
    }
}

/// Where the report of a day lies, once it is made.
async fn file_url(call: &Call<'_>, client: &Client<'_>, day: Day) -> Result<String, SettleFault> {
    let (from, to) = (day.start().unix(), day.plus(1).start().unix());
    let asked = json!({
        "report_type": report::REPORT_TYPE,
        "parameters": {"interval_start": from, "interval_end": to, "columns": report::COLUMNS},
    });
    // Whether a refusal is kept under a key is not known, so that each quarter of a day has another.
    let quarter = call.now.unix().div_euclid(6 * 3600);
    let key = format!("{}report:{day}:{quarter}", key_prefix(&call.connection.name));
    let made = match client.post_or_refusal("/v1/reporting/report_runs", &form::encode(&asked), &key).await {
        Ok(answer) if answer.is_success() => answer,
        // Data for the report type is only available through a time that is not there yet.
        Ok(answer) if answer.status == 400 && says_later(&answer.body) => {
            return Err(SettleFault::NotReady { after: NO_DATA_YET });
        }
        Ok(answer) => {
            let what = format!(
                "Stripe said {}; the key needs the right to make reports, in live mode for most of them",
                answer.said()
            );
            return Err(FileFault::new("refused", "report_runs", what).into());
        }
        Err(Outcome::NotDone { after, why }) => return Err(SettleFault::NotNow { why, after }),
        // Asked again under the same key.
        Err(_) => return Err(SettleFault::NotNow { why: NotDone::Unavailable, after: None }),
    };
    let run = text(made.body.json(), "id").filter(|id| wire::is_id(id));
    let Some(run) = run else {
        return Err(FileFault::new("no_id", "id", "the report run has no id; settle again").into());
    };
    // The answer to the first asking is kept under the key: how the run stands now has to be read.
    let run = match client.get(&format!("/v1/reporting/report_runs/{run}"), &Value::Null).await {
        Ok(run) => run,
        Err(ReadFault::Missing(_)) => return Err(SettleFault::NotReady { after: RUNNING }),
        Err(fault) => return Err(not_read(fault)),
    };
    match text(run.json(), "status") {
        Some("succeeded") => {
            let url = run.json().get("result").and_then(|f| text(f, "url")).map(str::to_owned);
            url.ok_or_else(|| {
                FileFault::new("report_failed", "result.url", "the run is done and has no file; settle again")
                    .into()
            })
        }
        Some("failed") => {
            let what = "the report could not be made; look at it in the dashboard, then settle the day again";
            Err(FileFault::new("report_failed", "status", what).into())
        }
        _ => Err(SettleFault::NotReady { after: RUNNING }),
    }
}

fn says_later(body: &tillway_core::doc::Doc) -> bool {
    let said = body.json().get("error").and_then(|e| text(e, "message")).unwrap_or("");
    said.contains("only available through")
}

/// Reads the file. The key goes nowhere but to Stripe.
async fn download(call: &Call<'_>, client: &Client<'_>, url: &str) -> Result<Arc<File>, SettleFault> {
    let base = call.connection.setting("base_url", DEFAULT_BASE).trim_end_matches('/');
    let own = url.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    let files = base == DEFAULT_BASE && url.starts_with(FILES);
    if !own && !files {
        let what = "lies at another host than Stripe's; nothing was sent there";
        return Err(FileFault::new("refused", "result.url", what).into());
    }
    match client.download(url).await {
        Ok(file) => Ok(file),
        // A file that is named and not there yet, or no more.
        Err(ReadFault::Missing(_)) => Err(SettleFault::NotReady { after: RUNNING }),
        Err(fault) => Err(not_read(fault)),
    }
}
