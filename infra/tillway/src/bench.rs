//! `tillway bench`: orders per second through the whole of one machine, sandboxes on.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tillway_core::money::Currency;
use tillway_engine::ports::Clock;
use tillway_local::clock::SystemClock;
use tillway_local::notify::LogNotify;
use tillway_local::runtime::{EngineFront, Options, Runtime};
use tillway_local::secrets::FileSecrets;
use tillway_local::server::{Limits, serve};
use tillway_sandbox::clarity::{Auth, ClarityConfig, ClaritySandbox, NewLine, NewOrder, WebhookScheme};
use tillway_sandbox::server::{SandboxClock, SandboxServer};
use tillway_sandbox::stripe::{StripeConfig, StripeSandbox};

use crate::machine;
use crate::open::say;

const HOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo run --release -- bench --orders 5000\n\n\
Sandboxes, HTTP both ways, signatures, SQLite with synchronous=FULL: everything that serve does, on this machine.")]
pub struct Args {
    /// Only the small figures: signature checks, decisions, mappings.
    #[arg(long)]
    pub micro: bool,
    /// Only routing: so many orders through a simulated market of three merchant ids, against fixed choices and hindsight.
    #[arg(long, value_name = "ORDERS", num_args = 0..=1, default_missing_value = "40000")]
    pub routing: Option<u32>,
    /// Seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// Orders to place.
    #[arg(long, default_value_t = 3000)]
    pub orders: usize,
    /// Orders open at a time.
    #[arg(long, default_value_t = 400)]
    pub open: usize,
    /// Workers on each queue.
    #[arg(long, default_value_t = 32)]
    pub workers: usize,
}

/// Places orders and measures until the shop shows each of them paid.
///
/// # Errors
/// What could not be started; orders that were not paid in time.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.micro {
        crate::micro::run()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(orders) = args.routing {
        for line in crate::market::report(orders, args.seed)? {
            say(line);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let folder = std::env::temp_dir().join(format!("tillway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&args, &folder).await;
    // The folder is scratch; a leftover harms nobody.
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

async fn measure(args: &Args, folder: &std::path::Path) -> anyhow::Result<ExitCode> {
    let clock = Arc::new(SystemClock);
    let now: SandboxClock = Arc::new(|| SystemClock.now());
    let stripe = Arc::new(Mutex::new(StripeSandbox::new(StripeConfig::new("sk_test_bench", HOOK, 1))));
    let clarity = Arc::new(Mutex::new(ClaritySandbox::new(ClarityConfig {
        auth: Auth::OAuth { client_id: "tillway".into(), client_secret: "bench".into() },
        webhook: WebhookScheme::StandardWebhooks { secrets: vec![HOOK.into()] },
        seed: 1,
        ..ClarityConfig::default()
    })));
    let stripe_server = SandboxServer::start(stripe.clone(), now.clone(), None).await?;
    let clarity_server = SandboxServer::start(clarity.clone(), now, None).await?;
    let text = format!(
        "connections:\n  shop: {{ system: clarity, base_url: \"{}/api/v1\", rate_limit: {{ per_second: 10000 }} }}\n  \
         stripe: {{ system: stripe, base_url: \"{}\", rate_limit: {{ per_second: 10000 }} }}\npairs:\n  main: {{ flow: \
         stripe-clarity, shop: shop, gateway: stripe, return_url: \"https://shop.example.com/return\" }}\n",
        clarity_server.url(),
        stripe_server.url()
    );
    let (config, extras) = tillway_engine::settings::load(
        "bench.yaml",
        &text,
        &tillway_templates::sources(),
        &[],
        tillway_templates::notices(),
    )
    .map_err(|p| machine::problems(&p))?;
    let variables = [
        ("TILLWAY_SECRET__TILLWAY__MASTER_KEY", "6d".repeat(32)),
        ("TILLWAY_SECRET__STRIPE__API_KEY", "sk_test_bench".to_owned()),
        ("TILLWAY_SECRET__STRIPE__WEBHOOK_SECRET", HOOK.to_owned()),
        ("TILLWAY_SECRET__SHOP__CLIENT_ID", "tillway".to_owned()),
        ("TILLWAY_SECRET__SHOP__CLIENT_SECRET", "bench".to_owned()),
        ("TILLWAY_SECRET__SHOP__WEBHOOK_SECRET", HOOK.to_owned()),
    ];
    let secrets = FileSecrets::new(folder.join("secrets"), variables.map(|(n, v)| (n.to_owned(), v)))?;
    let machine = machine::assemble(
        config,
        extras,
        folder,
        clock.clone(),
        Arc::new(secrets),
        Some(Arc::new(LogNotify)),
    )
    .await?;
    let options =
        Options { deciders: args.workers, actors: args.workers, settle: None, ..Options::default() };
    let runtime = Runtime::start(&machine.engine, &machine.queue, options);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let front = Arc::new(EngineFront { engine: machine.engine.clone(), alerts: machine.alerts.clone() });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let until = async {
            // Dropped or told: either way it is over.
            let _ = stopped.await;
        };
        serve(listener, front, Limits::default(), until).await
    });
    stripe_server.set_webhook_base(Some(format!("http://{address}/webhooks/stripe")));
    clarity_server.set_webhook_base(Some(format!("http://{address}/webhooks/shop")));

    let usd = Currency::parse("USD").context("USD")?;
    let begun = clock.now();
    let mut waits: Vec<i64> = Vec::with_capacity(args.orders);
    let mut open: Vec<(String, tillway_core::time::Timestamp)> = Vec::new();
    let mut placed = 0_usize;
    let mut last_progress = begun;
    while waits.len() < args.orders {
        let at = clock.now();
        {
            let mut shop = clarity.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(id, since)| {
                let paid = shop.order(id).is_some_and(|o| o.status_text == "Paid");
                if paid {
                    waits.push(at.since(*since).0);
                    last_progress = at;
                }
                !paid
            });
            while open.len() < args.open && placed < args.orders {
                let mut order = NewOrder::new(usd);
                order.order_id = Some(format!("B-{placed}"));
                order.customer.email = Some(format!("shopper{placed}@example.com"));
                order.lines = vec![NewLine {
                    sku: "TEA".into(),
                    name: "Tea".into(),
                    quantity: "2".into(),
                    unit_price: 1950,
                    discount: 0,
                    tax: 312,
                }];
                order.shipping = 500;
                order.payment_token = Some(format!("pm_card_visa_x{placed}"));
                open.push((shop.place_order(at, order)?, at));
                placed = placed.saturating_add(1);
            }
        }
        if at.since(last_progress).0 > 60_000 {
            bail!("{} of {} orders were not paid within a minute", open.len(), args.orders);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = clock.now().since(begun).0.max(1);
    waits.sort_unstable();
    let at = |percent: usize| {
        waits.get(waits.len().saturating_mul(percent) / 100).or(waits.last()).copied().unwrap_or(0)
    };
    let orders = i64::try_from(args.orders).unwrap_or(i64::MAX);
    say(format!(
        "{} orders in {took} ms: {} orders/s; placed to paid in the shop: p50 {} ms, p99 {} ms ({} open at a time, rate \
         limits 10000/s, {} workers a queue)",
        args.orders,
        orders.saturating_mul(1000) / took,
        at(50),
        at(99),
        args.open,
        args.workers
    ));
    let twice = {
        let gateway = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        gateway.all_payments().filter(|p| p.charges_succeeded != 1).count()
    };
    say(format!(
        "charged other than exactly once: {twice}; parked: {}",
        machine.engine.parked().await?.len()
    ));
    // Whoever waits is gone already if this is not received.
    let _ = stop.send(());
    serving.await??;
    runtime.stop().await;
    stripe_server.shutdown().await;
    clarity_server.shutdown().await;
    Ok(if twice == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
