//! `maskline serve`: runs until it is told to stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::config_check::ConfigFile;
use crate::app::{self, RootKeyFile, Running};
use crate::config::Config;
use crate::telemetry::{self, Telemetry};

/// Serve calls and the API.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// How long a stop in a hurry waits.
const HURRY: Duration = Duration::from_secs(5);

/// Runs the command.
///
/// # Errors
/// The settings are wrong, the service cannot start, or it ended by itself.
pub fn run(args: &Args) -> Outcome {
    let config = args.file.load()?;
    let telemetry = telemetry::init(&config.log)?;
    app::hide_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, config, telemetry))
}

async fn serve(args: &Args, config: Config, telemetry: Telemetry) -> Outcome {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let drain_timeout = config.drain_timeout;
    let running = app::start(config.clone(), RootKeyFile::MustExist).await?;
    announce(&running);
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break false,
            _ = interrupt.recv() => break false,
            _ = hang_up.recv() => {
                running.reload_certificates();
                reload(args, &config, &telemetry);
            }
            () = running.failed() => break true,
        }
    };
    let patience = if failed { HURRY } else { drain_timeout };
    tracing::info!(patience_s = patience.as_secs(), "Draining; a second signal hurries");
    let hurry = CancellationToken::new();
    let stopping = running.stop(patience, hurry.clone());
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
            hurry.cancel();
            stopping.await;
        }
    }
    if failed { Err("a part of the service ended by itself; see the log".into()) } else { Ok(()) }
}

fn announce(running: &Running) {
    let (sip, api, admin) = (running.sip, running.api, running.admin);
    tracing::info!(%sip, %api, %admin, "Serving: SIP on {sip}, API on {api}, admin on {admin}");
}

/// Applies what can change while calls run, and names what cannot.
fn reload(args: &Args, running: &Config, telemetry: &Telemetry) {
    let new = match args.file.load() {
        Ok(new) => new,
        Err(invalid) => {
            tracing::error!(%invalid, "The new settings are wrong; the old ones stay");
            return;
        }
    };
    if let Err(error) = telemetry.set_filter(&new.log.filter) {
        tracing::error!(%error, "The log filter stays: {error}");
    }
    let mut applied = running.clone();
    applied.log.filter.clone_from(&new.log.filter);
    if applied == new {
        tracing::info!("Reloaded the settings");
    } else {
        tracing::warn!("Reloaded the log filter; the other changes need a restart");
    }
}
