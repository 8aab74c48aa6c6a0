//! `maskline test-clock`: the clock of a tenant that is there for tests.

use serde_json::json;

use super::Outcome;
use super::noun::{Common, Noun};
use super::output::Column;

const COLUMNS: &[Column] =
    &[("BINDINGS", "bindings"), ("INTENTS", "intents"), ("REFUSALS", "refusals")];

/// Arguments of `maskline test-clock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Draw all times that lie ahead of the tenant's things nearer, and say of how many.
    Advance {
        /// Seconds.
        seconds: u32,
    },
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let clock = Noun::new(&args.common, "/v1/test-clock/advance", COLUMNS)?;
    let Action::Advance { seconds } = &args.action;
    clock.send(json!({"by_s": seconds}))
}
