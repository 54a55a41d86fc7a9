//! `tillway send`: signs a sample from events/ and posts it, as the provider would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tillway_connectors::Secret;
use tillway_connectors::http::Http as _;
use tillway_connectors::http::live::{AddressPolicy, LiveHttp};
use tillway_core::http::{Method, Request};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::Clock as _;
use tillway_local::clock::SystemClock;
use tillway_sandbox::cybersource::Encryption;

use crate::machine;
use crate::open::say;

/// Arguments of `send`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tillway send events/stripe/charge.succeeded.json --to http://127.0.0.1:8080 --config shop/tillway.yaml"
)]
pub struct Args {
    /// The sample: a webhook body.
    pub file: PathBuf,
    /// Where Tillway listens.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// Configuration file, for the connection's name and its webhook secret.
    #[arg(long)]
    pub config: PathBuf,
    /// Secrets file [default: secrets beside the configuration].
    #[arg(long)]
    pub secrets: Option<PathBuf>,
    /// The connection to send as; where it is left out, the only one of the sample's system.
    #[arg(long)]
    pub connection: Option<String>,
    /// Keep the sample's event id (a second send is then a duplicate) instead of a fresh one. Events of Cybersource have
    /// none: what says the same is a duplicate.
    #[arg(long)]
    pub same_id: bool,
}

/// The topic of an event type, as the provider is told to use it.
fn topic(system: &str, kind: &str) -> &'static str {
    match (system, kind) {
        ("clarity", k) if k.starts_with("customer.") => "customers",
        ("clarity", k) if k.starts_with("inventory.") => "inventory",
        ("clarity", _) => "orders",
        ("cybersource", k) if k.starts_with("payments.refund.") => "refunds",
        ("cybersource", k) if k.starts_with("risk.") => "fraud-decisions",
        ("cybersource", _) => "payments",
        (_, k) if k.starts_with("charge.dispute.") => "disputes",
        (_, k) if k.starts_with("refund.") || k == "charge.refunded" => "refunds",
        (_, k) if k.starts_with("customer.subscription.") || k.starts_with("invoice.") => "billing",
        (_, k) if k.starts_with("customer.") => "customers",
        (_, k) if k.starts_with("payout.") => "payouts",
        _ => "payments",
    }
}

/// Puts the encrypted text in place of the payload. What a provider draws comes from the clock here: a sample has nothing
/// to hide.
fn encrypt(event: &mut Value, private_key: &Secret, now: Timestamp) -> anyhow::Result<()> {
    let private = tillway_connectors::cybersource::private_key(private_key);
    let private = private.context("mle_private_key is no private key: PEM, PKCS#8 or PKCS#1")?;
    let key = Encryption { key_id: "sample".to_owned(), key: private.to_public_key() };
    let members = event.as_object_mut().context("the sample is no JSON object")?;
    let payload = members.remove("payload").context("the sample has no `payload`")?;
    let seed = format!("send {}", now.0);
    let sealed = key.seal(payload.to_string().as_bytes(), now.unix(), seed.as_bytes());
    members.insert("encData".to_owned(), sealed.context("mle_private_key is too short")?.into());
    Ok(())
}

/// Signs and posts.
///
/// # Errors
/// A sample that is no event, a missing secret, an answer that is not 2xx.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut event: Value = serde_json::from_str(&text).context("the sample is not JSON")?;
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let kind = text("type").or_else(|| text("eventType"));
    let kind = kind.context("the sample has neither `type` nor `eventType`")?.to_owned();
    let system = match (text("object"), text("eventType")) {
        (Some("event"), _) => "stripe",
        (_, Some(_)) => "cybersource",
        _ => "clarity",
    };
    let (config, _) = machine::read_config(&args.config)?;
    let mut fitting =
        config.connections.values().filter(|(c, _)| c.system == system).map(|(c, _)| c.name.clone());
    let connection = match args.connection {
        Some(name) => name,
        None => match (fitting.next(), fitting.next()) {
            (Some(one), None) => one.to_string(),
            _ => bail!("name the connection with --connection: there is not exactly one of system {system}"),
        },
    };
    let secrets = crate::serve::secrets_of(&args.config, args.secrets)?;
    let secrets = secrets.secrets(&connection, false).await?;
    let secret = secrets
        .newest("webhook_secret")
        .with_context(|| format!("the secrets hold no {connection}.webhook_secret"))?
        .expose()
        .to_owned();
    let (settings, connector) =
        config.connection(&connection).with_context(|| format!("there is no connection `{connection}`"))?;
    let setting = |name: &'static str| {
        let default = connector.settings().iter().find(|(n, _, _)| *n == name).map_or("", |(_, d, _)| d);
        settings.setting(name, default)
    };
    let now = SystemClock.now();
    let id = format!("evt_sent{}", now.0);
    if system == "stripe"
        && !args.same_id
        && let Some(object) = event.as_object_mut()
    {
        object.insert("id".to_owned(), id.clone().into());
        object.insert("created".to_owned(), now.unix().into());
    }
    if system == "cybersource" && kind.starts_with("payments.") {
        let key = secrets.newest("mle_private_key");
        let key = key.with_context(|| {
            format!("the secrets hold no {connection}.mle_private_key, for which events about payments are encrypted")
        })?;
        encrypt(&mut event, key, now)?;
    }
    let body = serde_json::to_vec(&event)?;
    let url = format!("{}/webhooks/{connection}/{}", args.to.trim_end_matches('/'), topic(system, &kind));
    let mut request = Request::new(Method::Post, url.clone()).with_body("application/json", body.clone());
    if system == "stripe" {
        let signature = tillway_sandbox::stripe::sign(&body, &secret, now.unix());
        request = request.with_header("stripe-signature", signature);
    } else if system == "cybersource" {
        let (key_id, key) = secret.split_once(':').unwrap_or(("", &secret));
        let signature = tillway_sandbox::cybersource::sign(&body, key_id, key, now.0);
        request =
            request.with_header("v-c-signature", signature).with_header("v-c-event-type", kind.as_str());
    } else if setting("webhook.scheme") == "shared_header" {
        request = request.with_header(setting("webhook.header"), secret);
    } else {
        let id = if args.same_id { "msg_sample".to_owned() } else { format!("msg_sent{}", now.0) };
        let signature = tillway_sandbox::clarity::sign_standard(&secret, &id, now.unix(), &body);
        request = request
            .with_header(setting("webhook.id_header"), id)
            .with_header(setting("webhook.timestamp_header"), now.unix().to_string())
            .with_header(setting("webhook.signature_header"), signature);
    }
    let http = LiveHttp::new(AddressPolicy::AllowLoopback)?;
    let answer = http
        .send(request, Millis::secs(10))
        .await
        .with_context(|| format!("no answer from {url}; is `tillway serve` running there?"))?;
    say(format!("{kind} → {url}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
    Ok(if answer.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
