//! `maskline calls`: what was and is being said through the relay, without any real number.

use std::io;

use serde_json::json;

use super::output::{self, Column, Format};
use super::watch::watch;
use super::{Outcome, on_runtime};
use crate::client::{Client, Endpoint, escape, with_query};

const CDR_COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NUMBER", "virtual_number"),
    ("DIRECTION", "direction"),
    ("STARTED", "started_at"),
    ("SECONDS", "duration_s"),
    ("CAUSE", "cause"),
    ("ENDED BY", "ended_by"),
    ("SIP", "sip_status"),
];
const LIVE_COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NUMBER", "virtual_number"),
    ("DIRECTION", "direction"),
    ("STATUS", "status"),
    ("STARTED", "started_at"),
    ("ANSWERED", "answered_at"),
];

/// Arguments of `maskline calls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    endpoint: Endpoint,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List calls, newest first.
    List {
        /// Those that are up now.
        #[arg(long)]
        live: bool,
        /// Of this tenant, `ten_…`; for live calls and keys of the platform.
        #[arg(long, requires = "live")]
        tenant: Option<String>,
        /// At most so many rows.
        #[arg(long, default_value_t = 100)]
        rows: usize,
    },
    /// Show the record of one call.
    Get {
        /// `cal_…`
        id: String,
    },
    /// Print live calls as they go, a line for each change, until it is interrupted.
    Watch {
        /// Of this tenant, `ten_…`; for keys of the platform.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// End a call now.
    Terminate {
        /// `cal_…`
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let client = Client::new(&args.endpoint)?;
    let mut out = io::stdout().lock();
    match &args.action {
        Action::List { live, tenant, rows } => {
            let (path, columns) = if *live {
                (with_query("/v1/calls/live", &[("tenant_id", tenant.as_deref())]), LIVE_COLUMNS)
            } else {
                ("/v1/calls".to_owned(), CDR_COLUMNS)
            };
            let calls = on_runtime(client.list(&path, *rows))?;
            output::write_rows(&mut out, args.output, columns, &calls)?;
        }
        Action::Get { id } => {
            let call = on_runtime(client.get(&format!("/v1/calls/{}", escape(id))))?;
            output::write_one(&mut out, args.output, CDR_COLUMNS, &call)?;
        }
        Action::Watch { tenant } => {
            // It takes the output for each line, as long as it has some.
            drop(out);
            let path = with_query("/v1/calls/events", &[("tenant_id", tenant.as_deref())]);
            on_runtime(watch(&client, &path, args.output, LIVE_COLUMNS))?;
        }
        Action::Terminate { id } => {
            let path = format!("/v1/calls/{}/terminate", escape(id));
            let answer = on_runtime(client.post(&path, &json!({})))?;
            output::write_one(
                &mut out,
                args.output,
                &[("ID", "id"), ("STATUS", "status")],
                &answer,
            )?;
        }
    }
    Ok(())
}
