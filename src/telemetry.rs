//! Log lines, metrics, and what a panic may say. Bytes from outside never get into any of them.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::config::{Log, LogFormat};

/// The lines of this process can be filtered anew while it runs.
#[derive(Clone, Debug)]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Telemetry could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is no list of directives.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// There is a subscriber already.
    #[error("log lines are set up already: {0}")]
    Twice(#[from] TryInitError),
    /// There is no subscriber any more.
    #[error("log.filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
    /// The metrics recorder was refused.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Starts writing log lines to standard error, and installs the metrics recorder and the panic
/// hook. Once in a process.
///
/// # Errors
/// The filter is wrong, or it was done before.
pub fn init(log: &Log) -> Result<Telemetry, TelemetryError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&log.filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Pretty => lines.with_target(true).compact().boxed(),
    };
    let lines = lines.with_filter(FilterFn::new(may_be_written));
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    install_panic_hook();
    metrics_page()?;
    Ok(Telemetry { filter: handle })
}

impl Telemetry {
    /// Changes which lines are written, from the next line on.
    ///
    /// # Errors
    /// The filter is wrong; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        Ok(self.filter.reload(EnvFilter::try_new(filter)?)?)
    }
}

/// Libraries may put bytes from outside into their debug lines, and a real number may be among
/// them; whatever the filter says, only our own lines go below `info`.
fn may_be_written(line: &Metadata<'_>) -> bool {
    line.target().starts_with("maskline") || *line.level() <= Level::INFO
}

/// The metrics of this process, ready to be rendered; installs the recorder at the first call.
///
/// # Errors
/// Another recorder is installed.
pub fn metrics_page() -> Result<PrometheusHandle, TelemetryError> {
    static PAGE: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(page) = PAGE.get() {
        return Ok(page.clone());
    }
    let page = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("maskline_call_duration_seconds".into()), CALL_S)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), LATENCY_S)?
        .set_buckets_for_metric(Matcher::Full("maskline_rtp_mos".into()), OPINION)?
        .install_recorder()?;
    describe();
    Ok(PAGE.get_or_init(|| page).clone())
}

/// Bounds of histograms of work, in seconds.
const LATENCY_S: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Mean opinion scores: below 3.6 many are dissatisfied, G.107 annex B.
const OPINION: &[f64] = &[1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.2, 4.3, 4.35, 4.4];
/// Bounds of histograms of calls, in seconds.
const CALL_S: &[f64] = &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];

fn describe() {
    metrics::describe_gauge!("maskline_build_info", "Always 1; the version is a label.");
    metrics::gauge!("maskline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::describe_counter!("maskline_panics_total", "Panics of any thread: each is a bug.");
    metrics::counter!("maskline_panics_total").absolute(0);
}

/// A panic says where it happened. What it says may hold bytes from outside, so it is not repeated.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        metrics::counter!("maskline_panics_total").increment(1);
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(%place, thread, "Panic in thread {thread} at {place}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_page_exists_once_and_knows_the_build() {
        let page = metrics_page().expect("a recorder");
        let again = metrics_page().expect("the same recorder");
        assert!(page.render().contains("maskline_build_info"));
        assert_eq!(page.render().is_empty(), again.render().is_empty());
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let wrong = Log { filter: "maskline=loud".to_owned(), format: LogFormat::Json };
        assert!(matches!(init(&wrong), Err(TelemetryError::Filter(_))));
    }
}
