//! The kit's own proof: each check fails on a connector that is broken in the way the check is about. What is broken is the
//! connector of Cybersource, with everything else as it is; that the checks pass on the sound one is shown beside them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tillway_connectors::capabilities::{Amounts, Capabilities};
use tillway_connectors::cybersource::Cybersource as Sound;
use tillway_connectors::http::Http;
use tillway_connectors::port::{
    Action, Call, EdgeFault, Inbound, Interpreted, Needed, NotDone, Observation, Owner, Rejected, Verified,
};
use tillway_connectors::{Connection, Connector, Finding, Outcome, Prepared, Secret, Secrets, SweepPage};
use tillway_core::doc::Json;
use tillway_core::ids::{CommandId, digest};
use tillway_core::time::{Millis, Timestamp};
use tillway_core::value::Value;
use tillway_sandbox::cybersource::sign;

use crate::cybersource::Cybersource;
use crate::{declared, echo, once, redaction, signatures, statuses, sweeps, throttled};

/// One action is not declared.
const HIDES_AN_ACTION: u8 = 1;
/// Currencies that are refused are not declared so.
const HIDES_CURRENCIES: u8 = 2;
/// A webhook is believed whoever signed it.
const BELIEVES_ANYBODY: u8 = 3;
/// And whenever it was signed.
const KNOWS_NO_TIME: u8 = 4;
/// What an answer says is not compared.
const BELIEVES_ANSWERS: u8 = 5;
/// Each sending is a command of its own.
const SENDS_ANEW: u8 = 6;
/// Whoever looks finds nothing.
const LOOKS_AWAY: u8 = 7;
/// Of each further page of a sweep one is left out.
const LEAVES_SOME_OUT: u8 = 8;
/// A rate limit is taken for a refusal.
const GIVES_UP: u8 = 9;
/// What was sent is repeated in what is shown.
const TALKS: u8 = 10;
/// So is a parameter that is refused.
const TALKS_OF_PARAMETERS: u8 = 11;

/// Whoever looks finds nothing, and each sending is a command of its own.
const SENDS_BLINDLY: u8 = 12;

/// A connector that is broken in one way.
struct Broken(u8);

/// Of a number other than 0, the connector that is broken so.
pub fn connector(how: u8) -> &'static dyn Connector {
    static ALL: [Broken; 13] = [
        Broken(0),
        Broken(HIDES_AN_ACTION),
        Broken(HIDES_CURRENCIES),
        Broken(BELIEVES_ANYBODY),
        Broken(KNOWS_NO_TIME),
        Broken(BELIEVES_ANSWERS),
        Broken(SENDS_ANEW),
        Broken(LOOKS_AWAY),
        Broken(LEAVES_SOME_OUT),
        Broken(GIVES_UP),
        Broken(TALKS),
        Broken(TALKS_OF_PARAMETERS),
        Broken(SENDS_BLINDLY),
    ];
    &ALL[usize::from(how)]
}

/// A command like this one that nobody has heard of.
fn another(command: &CommandId) -> CommandId {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::SeqCst).to_string();
    CommandId::new(digest(&[command.as_str(), &n]))
}

/// All texts of parameters.
fn texts(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(texts).collect(),
        Value::Map(members) => members.values().map(texts).collect(),
        _ => String::new(),
    }
}

#[async_trait]
impl Connector for Broken {
    fn system(&self) -> &'static str {
        Sound.system()
    }
    fn capabilities(&self) -> &'static Capabilities {
        static HIDDEN: OnceLock<Capabilities> = OnceLock::new();
        let sound = Sound.capabilities();
        let amounts = Amounts { refused: &[], ..sound.amounts };
        match self.0 {
            HIDES_CURRENCIES => HIDDEN.get_or_init(|| Capabilities { amounts, ..*sound }),
            _ => sound,
        }
    }
    fn topics(&self) -> &'static [&'static str] {
        Sound.topics()
    }
    fn media_types(&self) -> &'static [&'static str] {
        Sound.media_types()
    }
    fn actions(&self) -> &'static [Action] {
        let all = Sound.actions();
        if self.0 == HIDES_AN_ACTION { &all[1..] } else { all }
    }
    fn settings(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        Sound.settings()
    }
    fn secrets(&self) -> &'static [(&'static str, &'static str)] {
        Sound.secrets()
    }
    fn lacks(&self, connection: &Connection, secrets: &Secrets, what: Needed) -> Option<&'static str> {
        Sound.lacks(connection, secrets, what)
    }
    fn check_settings(&self, connection: &Connection) -> Vec<(String, String)> {
        Sound.check_settings(connection)
    }
    fn verify(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        inbound: Inbound<'_>,
        now: Timestamp,
    ) -> Result<Verified, EdgeFault> {
        let name = "v-c-signature";
        let given =
            inbound.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let signed_at =
            given.and_then(|v| v.split(';').find_map(|p| p.trim().strip_prefix("t="))?.parse().ok());
        let now = match self.0 {
            KNOWS_NO_TIME => signed_at.map_or(now, Timestamp),
            _ => now,
        };
        let key = secrets.0.get("webhook_secret").and_then(|all| all.first()).map(Secret::expose);
        let Some(key) = key.filter(|_| self.0 == BELIEVES_ANYBODY) else {
            return Sound.verify(connection, secrets, inbound, now);
        };
        // A key without an id fits whatever id a signature names.
        let (id, key) = key.split_once(':').unwrap_or(("any", key));
        let mut headers = inbound.headers.to_vec();
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), sign(inbound.body, id, key, now.0)));
        Sound.verify(connection, secrets, Inbound { headers: &headers, ..inbound }, now)
    }
    fn identifier_fields(&self) -> &'static [&'static str] {
        Sound.identifier_fields()
    }
    fn interpret(
        &self,
        connection: &Connection,
        event_type: &str,
        body: Json<'_>,
    ) -> Result<Interpreted, Rejected> {
        Sound.interpret(connection, event_type, body)
    }
    fn prepare(
        &self,
        connection: &Connection,
        action: &str,
        command: &CommandId,
        params: &Value,
    ) -> Result<Prepared, Rejected> {
        Sound.prepare(connection, action, command, params).map_err(|mut rejected| {
            if self.0 == TALKS_OF_PARAMETERS {
                rejected.what.push_str(&texts(params));
            }
            rejected
        })
    }
    async fn call(&self, call: Call<'_>) -> Outcome {
        let sent = String::from_utf8_lossy(call.prepared).into_owned();
        let fresh = another(call.command);
        let call = if matches!(self.0, SENDS_ANEW | SENDS_BLINDLY) {
            Call { command: &fresh, generation: 0, ..call }
        } else {
            call
        };
        match (self.0, Sound.call(call).await) {
            (BELIEVES_ANSWERS, Outcome::Disagrees { observation, .. }) => {
                Outcome::Settled { observation, provider_id: None, summary: "believed".to_owned() }
            }
            (GIVES_UP, Outcome::NotDone { .. }) => Outcome::Refused {
                code: "gave_up".to_owned(),
                observation: Observation::default(),
                summary: "gave up".to_owned(),
            },
            (TALKS, Outcome::Settled { observation, provider_id, .. }) => {
                Outcome::Settled { observation, provider_id, summary: sent }
            }
            (_, outcome) => outcome,
        }
    }
    async fn find_out(&self, call: Call<'_>) -> Finding {
        match self.0 {
            LOOKS_AWAY | SENDS_BLINDLY => Finding::NotThere,
            _ => Sound.find_out(call).await,
        }
    }
    fn indexing_lag(&self) -> Millis {
        Sound.indexing_lag()
    }
    fn key_lifetime(&self) -> Millis {
        Sound.key_lifetime()
    }
    fn needs_token(&self, connection: &Connection) -> bool {
        Sound.needs_token(connection)
    }
    async fn fetch_token(
        &self,
        connection: &Connection,
        secrets: &Secrets,
        http: &dyn Http,
        limit: Millis,
    ) -> Result<(Secret, Millis), NotDone> {
        Sound.fetch_token(connection, secrets, http, limit).await
    }
    async fn sweep(
        &self,
        call: Call<'_>,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<SweepPage, NotDone> {
        let mut page = Sound.sweep(call, since, cursor).await?;
        if self.0 == LEAVES_SOME_OUT && cursor.is_some_and(|c| c.starts_with("s:") && c != "s:0") {
            page.events.pop();
        }
        Ok(page)
    }
    async fn resolve(&self, call: Call<'_>, object: &str) -> Result<Option<(Owner, Observation)>, NotDone> {
        Sound.resolve(call, object).await
    }
}

/// Runs a check that has to fail, and reads why.
fn fails(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check sees nothing");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default()
}

/// Waits for a check.
fn wait(check: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check);
}

/// What a check says of a connector that is broken in its way.
macro_rules! seen {
    ($($name:ident: $check:expr, $says:literal;)+) => {$(
        #[test]
        fn $name() {
            let said = fails(|| $check);
            assert!(said.contains($says), "it failed for another reason: {said}");
        }
    )+};
}

seen! {
    an_action_that_is_not_declared_is_seen:
        declared::actions::<Cybersource<HIDES_AN_ACTION>>(), "the kit drives every action";
    a_currency_that_is_refused_and_not_declared_is_seen:
        declared::amounts::<Cybersource<HIDES_CURRENCIES>>(), "left";
    a_signature_that_is_not_checked_is_seen:
        wait(signatures::flips::<Cybersource<BELIEVES_ANYBODY>>()), "of the body";
    a_time_that_is_not_checked_is_seen:
        wait(signatures::times_and_keys::<Cybersource<KNOWS_NO_TIME>>()), "left";
    a_status_nobody_knows_that_is_taken_for_done_is_seen:
        wait(statuses::total::<Cybersource<BELIEVES_ANSWERS>>()), "cybersource.authorize";
    a_status_nobody_knows_anywhere_that_is_taken_for_done_is_seen:
        wait(statuses::unheard_of::<Cybersource<BELIEVES_ANSWERS>>()), "settled";
    an_answer_about_something_else_that_is_believed_is_seen:
        wait(echo::lies::<Cybersource<BELIEVES_ANSWERS>>()), "with another";
    a_command_that_is_done_twice_is_seen:
        wait(once::twice::<Cybersource<SENDS_ANEW>>()), "again after";
    a_look_that_finds_nothing_is_seen:
        wait(once::twice::<Cybersource<LOOKS_AWAY>>()), "is found";
    a_lost_answer_that_is_sent_again_blindly_is_seen:
        wait(once::lost::<Cybersource<SENDS_BLINDLY>>()), "under";
    what_a_sweep_leaves_out_is_seen:
        wait(sweeps::cut::<Cybersource<LEAVES_SOME_OUT>>()), "is told once";
    a_rate_limit_that_is_taken_for_a_refusal_is_seen:
        wait(throttled::all::<Cybersource<GIVES_UP>>()), "gave_up";
    what_is_sent_and_shown_is_seen:
        wait(redaction::outcomes::<Cybersource<TALKS>>()), "as it is";
    a_parameter_that_is_refused_and_shown_is_seen:
        redaction::parameters::<Cybersource<TALKS_OF_PARAMETERS>>(), "parameter";
}

/// The vendor's vectors lie in the shared folder; without it nothing is asked.
#[test]
fn a_vector_of_another_key_that_is_believed_is_seen() {
    use crate::world::System as _;
    if Cybersource::<0>::vectors().is_empty() {
        return;
    }
    let said = fails(signatures::vectors::<Cybersource<BELIEVES_ANYBODY>>);
    assert!(said.contains("another key"), "it failed for another reason: {said}");
}
