//! `maskline intents`: what an agent's next call is for, said before it is dialled.

use super::Outcome;
use super::noun::{Common, Fields, Noun, One, Rows};
use super::output::Column;
use crate::client::with_query;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("DIAL", "virtual_number"),
    ("STATE", "state"),
    ("PURPOSE", "purpose"),
    ("CASE", "case_ref"),
    ("AGENT", "agent"),
    ("BINDING", "binding"),
    ("EXPIRES", "expires_at"),
];

/// Arguments of `maskline intents`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what a call is for: `binding=bnd_... agent=agt_... purpose=claim mode=dial_in
    /// ttl_s:=120`.
    Create(Fields),
    /// Show one intent.
    Get(One),
    /// List intents, newest first.
    List {
        /// To this binding only, `bnd_…`.
        #[arg(long)]
        binding: Option<String>,
        /// Of this agent only, `agt_…`.
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Take an intent back that still waits.
    Cancel(One),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let intents = Noun::new(&args.common, "/v1/call-intents", COLUMNS)?;
    match &args.action {
        Action::Create(fields) => intents.create(fields),
        Action::Get(one) => intents.show(one),
        Action::List { binding, agent, rows } => {
            let filter = [("binding_id", binding.as_deref()), ("agent_id", agent.as_deref())];
            let path = with_query("/v1/call-intents", &filter);
            intents.list_of(&path, COLUMNS, rows.rows)
        }
        Action::Cancel(one) => intents.order(one, "/cancel", COLUMNS),
    }
}
