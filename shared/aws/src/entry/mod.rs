//! Entry points of the Lambda functions. Each runs until Lambda ends the process; a function whose environment,
//! configuration or secrets do not do stops at once with one line of the log that says which.

mod batch;
mod http;
mod start;
#[cfg(test)]
mod tests;
mod work;

use std::process::ExitCode;

use aws_lambda_events::event::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Context, Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::Value;
use tillway_core::time::Timestamp;
use tillway_engine::WorkError;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::http::Desk;
pub use self::start::StartError;
use self::start::{Function, Role};
#[cfg(feature = "desk")]
pub(crate) use self::start::{desk, systems};
use crate::env::Env;

/// Takes webhooks of a system's topics in: `POST /webhooks/{connection}/{topic}`.
#[must_use]
pub fn webhook(system: &'static str, topics: &'static [&'static str]) -> ExitCode {
    run(async |env: &Env| {
        let function = &start::receiver(env, system).await?;
        let desk = &Desk { system, topics, allow: env.allow()? };
        let serve = move |event: LambdaEvent<ApiGatewayV2httpRequest>| async move {
            let answer = desk.take(&function.engine, event.payload).await;
            function.alerts.flush();
            Ok::<_, Error>(answer)
        };
        lambda_runtime::run(service_fn(serve)).await.map_err(stopped)
    })
}

/// Works events.
#[must_use]
pub fn decide() -> ExitCode {
    batches(Role::Decide, async |function, event, deadline| function.decide(event, deadline).await)
}

/// Works the commands of a system (`notify`: notices).
#[must_use]
pub fn act(system: &'static str) -> ExitCode {
    let role = if system == "notify" { Role::Notify } else { Role::Act(system) };
    batches(role, async move |function, event, deadline| function.act(system, event, deadline).await)
}

/// Looks at dead letters.
#[must_use]
pub fn triage() -> ExitCode {
    batches(Role::Triage, async |function, event, deadline| function.triage(event, deadline).await)
}

/// Sends what is due.
#[must_use]
pub fn tick() -> ExitCode {
    schedule(Role::Tick, async |function, deadline| function.tick(deadline).await)
}

/// Asks a system for what was missed.
#[must_use]
pub fn sweep(system: &'static str) -> ExitCode {
    schedule(Role::Sweep(system), async move |function, deadline| function.sweep(system, deadline).await)
}

/// Settles what a system paid out.
#[must_use]
pub fn settle(system: &'static str) -> ExitCode {
    schedule(Role::Settle(system), async move |function, deadline| function.settle(system, deadline).await)
}

fn batches<W>(role: Role, work: W) -> ExitCode
where
    W: AsyncFn(&Function, SqsEvent, Timestamp) -> Result<SqsBatchResponse, WorkError>,
{
    run(async |env: &Env| {
        let (function, work) = (&start::worker(env, role).await?, &work);
        let serve = move |event: LambdaEvent<SqsEvent>| async move {
            let done = work(function, event.payload, deadline(&event.context)).await;
            function.alerts.flush();
            done.map_err(failed)
        };
        lambda_runtime::run(service_fn(serve)).await.map_err(stopped)
    })
}

fn schedule<W>(role: Role, work: W) -> ExitCode
where
    W: AsyncFn(&Function, Timestamp) -> Result<(), WorkError>,
{
    run(async |env: &Env| {
        let (function, work) = (&start::worker(env, role).await?, &work);
        let serve = move |event: LambdaEvent<Value>| async move {
            let done = work(function, deadline(&event.context)).await;
            function.alerts.flush();
            done.map_err(failed)
        };
        lambda_runtime::run(service_fn(serve)).await.map_err(stopped)
    })
}

fn deadline(context: &Context) -> Timestamp {
    Timestamp(i64::try_from(context.deadline).unwrap_or(i64::MAX))
}

/// The invocation fails as a whole: Lambda hands it out again, and the runtime logs it.
fn failed(error: WorkError) -> Diagnostic {
    Diagnostic { error_type: error.code().to_owned(), error_message: error.to_string() }
}

fn stopped(error: Error) -> StartError {
    StartError::Runtime(error.to_string())
}

/// One thread: a function works one invocation at a time, and what goes on side by side in it waits for others.
fn run<F>(function: F) -> ExitCode
where
    F: AsyncFnOnce(&Env) -> Result<(), StartError>,
{
    let env = Env::read();
    log(&env);
    tillway_host::panics::quiet();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(code = "start", "the function cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(function(&env)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Problems of a configuration are several lines; this has to be one.
            let said = error.to_string().replace('\n', "; ");
            tracing::error!(code = "start", "the function cannot start: {said}");
            ExitCode::FAILURE
        }
    }
}

/// JSON lines on standard output, which Lambda takes as the log.
fn log(env: &Env) {
    let levels: Targets = env.log().parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    // A second call in one process keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(lines).with(levels).try_init();
}
