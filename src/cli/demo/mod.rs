//! `maskline demo`: one call through the whole service on this machine, shown and proven.

pub mod interrupt;
pub mod ladder;
pub mod leak;
pub mod progress;
pub mod provision;
mod report;
mod setting;
pub mod stage;
pub mod talk;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Failure, Outcome};
use crate::api::bootstrap::issue_first_key;
use crate::app::{self, RootKeyFile, Running};
use crate::config::{Log, LogFormat};
use crate::phone::{CallState, Ending};
use crate::relay::now::now;
use crate::telemetry;
use interrupt::Interrupt;
use ladder::Column;
use progress::Progress;
use provision::Provisioned;
use report::Report;
use setting::{COUNTRY, NATIONAL, Seats, Setting};
use talk::{Cast, Places};

/// How long the record of a call may take to be readable.
const RECORD_TIME_MAX: Duration = Duration::from_secs(10);
const RECORD_LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a stop of the demo waits for calls.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// Arguments of `maskline demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Leave the service up afterwards, on the usual ports where they are free, and say what can
    /// be tried.
    #[arg(long)]
    stay: bool,
    /// The address of a softphone that may dial as agent 4821; this machine when absent.
    #[arg(long, requires = "stay")]
    softphone: Option<IpAddr>,
}

/// Runs the command. It succeeds only if everything was as promised.
///
/// # Errors
/// When a step fails, or a promise was not kept.
pub fn run(args: &Args) -> Outcome {
    let progress = Progress::begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let interrupt = Interrupt::listen(&runtime)?;
    // Who knocks in vain may be the softphone of whoever looks here.
    let door = Log { filter: "maskline::security=warn".to_owned(), format: LogFormat::Pretty };
    telemetry::init(&door)?;
    let setting = Setting::new(args.stay, args.softphone)?;
    let seats = Seats::take()?;
    progress.step("Starting PostgreSQL in a private directory, and the service on it")?;
    let service = runtime.block_on(app::start(setting.config()?, RootKeyFile::Ephemeral))?;
    let shown = show(&runtime, &service, &setting, seats, (&progress, &interrupt));
    // The terminal may be gone; what was started is stopped all the same.
    let told = progress.step("Stopping");
    runtime.block_on(service.stop(STOP_TIME_MAX, CancellationToken::new()));
    shown.and(told.map_err(Into::into))
}

fn show(
    runtime: &Runtime,
    service: &Running,
    setting: &Setting,
    seats: Seats,
    (progress, interrupt): (&Progress, &Interrupt),
) -> Outcome {
    interrupt.check()?;
    let url = format!("http://{}", service.api);
    progress.note(&format!("SIP {}, control API {url}, admin {}", service.sip, service.admin))?;

    progress.step("Making tenant, trunks, pool, numbers, keys and agent over the control API")?;
    let first = runtime.block_on(issue_first_key(&service.store, now()))?;
    let first = first.ok_or("a new database has a key already")?;
    let operator_key = SecretString::from(first.expose());
    let sides = setting.sides(&seats);
    let made = runtime.block_on(provision::provision(&url, operator_key.clone(), sides))?;

    interrupt.check()?;
    progress.step("Binding policy P-2026-0001 to a virtual number")?;
    let real = format!("+{COUNTRY}{NATIONAL}");
    let binding = runtime.block_on(provision::bind(&made.crm, &made.pool, "demo-1", &real))?;
    let x = text(&binding, "virtual_number");
    let masked = text(&binding, "masked");
    progress.note(&format!("X is {x}; of the real number the API says {masked}"))?;

    progress.step(&format!(
        "Agent 4821 dials {x}; the subscriber hears who calls and presses 1; both talk"
    ))?;
    let places = places(service, seats);
    let mut cast = Cast::enter(places, COUNTRY, NATIONAL)?;
    cast.stop_at(interrupt);
    let call = cast.talk(&x)?;
    let state = cast.state(Column::Agent, call);
    let record = runtime.block_on(record_of_call(&made))?;

    let mut report = Report::new(progress);
    report.ladder(&cast, &x)?;
    report.promise("the agent's phone was answered and hung up", state == over(Ending::HungUp))?;
    report.heard(&cast)?;
    report.leaks(&cast)?;
    report.record(&record)?;

    progress.step("Ending the binding, and dialling X once more")?;
    let unbind = format!("/v1/bindings/{}/unbind", text(&binding, "id"));
    runtime.block_on(made.crm.post(&unbind, &serde_json::json!({})))?;
    let again = cast.talk(&x)?;
    let refused = cast.state(Column::Agent, again);
    report.promise("the number is dead: 404", refused == over(Ending::Refused(404)))?;
    report.leaks(&cast)?;
    report.verdict()?;
    match setting.reached_at() {
        Some(ip) => {
            let sip = SocketAddr::new(ip, service.sip.port());
            report::what_next(service, sip, &made, &operator_key)?;
            // The subscriber's phone goes on answering.
            Ok(cast.serve(|| interrupt.is_told())?)
        }
        None => Ok(()),
    }
}

/// The phones reach a relay that listens everywhere over loopback.
fn places(service: &Running, seats: Seats) -> Places {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let everywhere = service.sip.ip().is_unspecified();
    let relay_ip = if everywhere { loopback } else { service.sip.ip() };
    let relay = SocketAddr::new(relay_ip, service.sip.port());
    Places { insurer: seats.insurer, carrier: seats.carrier, relay }
}

const fn over(ending: Ending) -> Option<CallState> {
    Some(CallState::Over(ending))
}

fn text(resource: &Value, field: &str) -> String {
    resource[field].as_str().unwrap_or_default().to_owned()
}

/// The recorder writes in batches: a record is there a moment after the call.
async fn record_of_call(made: &Provisioned) -> Result<Value, Failure> {
    let end = now().monotonic + RECORD_TIME_MAX;
    loop {
        let calls = made.crm.list("/v1/calls", 1).await?;
        if let Some(call) = calls.into_iter().next() {
            return Ok(call);
        }
        if now().monotonic > end {
            return Err("the call was not recorded".into());
        }
        tokio::time::sleep(RECORD_LOOK_EVERY).await;
    }
}
