//! `maskline media`: the media plane as a process of its own, so that calls speak on when
//! `maskline serve` crashes.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::Outcome;
use super::config_check::ConfigFile;
use crate::app;
use crate::config::Config;
use crate::telemetry;

/// Forward the sound of calls for `maskline serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// How often its threads are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// The settings are wrong, the plane cannot start, or one of its threads ended by itself.
pub fn run(args: &Args) -> Outcome {
    let config = args.file.load()?;
    telemetry::init(&config.log)?;
    app::hide_memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Outcome {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let page = telemetry::metrics_page()?;
    let service = app::start_media(config).await?;
    let socket = config.media.socket.as_deref().unwrap_or_else(|| "".as_ref()).display();
    let admin = service.admin().map(|admin| format!(", admin on {admin}")).unwrap_or_default();
    tracing::info!("Serving the media plane on {socket}{admin}");
    let mut looks = interval(LOOK_EVERY);
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break false,
            _ = interrupt.recv() => break false,
            _ = looks.tick() => {
                page.run_upkeep();
                if !service.is_running() {
                    break true;
                }
            }
        }
    };
    service.stop().await;
    if failed { Err("a media thread ended by itself; see the log".into()) } else { Ok(()) }
}
