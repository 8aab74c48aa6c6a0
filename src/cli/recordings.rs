//! `maskline recordings`: what was recorded, and links that fetch it once.

use super::Outcome;
use super::noun::{Common, Noun, One, Rows};
use super::output::Column;
use crate::client::with_query;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("CALL", "call_id"),
    ("STARTED", "started_at"),
    ("MS", "duration_ms"),
    ("COMPLETE", "complete"),
    ("UNTIL", "retain_until"),
    ("ERASED", "erased_at"),
];

/// Arguments of `maskline recordings`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List recordings, newest first.
    List {
        /// Of this call only, `cal_…`.
        #[arg(long)]
        call: Option<String>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Make a link that fetches a recording once within 15 minutes. It is written down who did.
    Link(One),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let recordings = Noun::new(&args.common, "/v1/recordings", COLUMNS)?;
    match &args.action {
        Action::List { call, rows } => {
            let path = with_query("/v1/recordings", &[("call_id", call.as_deref())]);
            recordings.list_of(&path, COLUMNS, rows.rows)
        }
        Action::Link(one) => {
            recordings.order(one, "/links", &[("PATH", "path"), ("UNTIL", "expires_at")])
        }
    }
}
