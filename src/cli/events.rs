//! `maskline events`: what has happened to an insurer's things, in order.

use std::io::{self, Write as _};
use std::time::Duration;

use super::output::{self, Column, Format};
use super::{Failure, Outcome, on_runtime};
use crate::client::{Client, Endpoint, escape, with_query};

const COLUMNS: &[Column] = &[
    ("SEQUENCE", "sequence"),
    ("TIME", "timestamp"),
    ("TYPE", "type"),
    ("ID", "id"),
    ("ABOUT", "data"),
];
const TYPE_COLUMNS: &[Column] = &[("TYPE", "type"), ("WHEN", "description")];
/// How often a follower looks for what is new.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `maskline events`.
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
    /// List events, oldest first.
    List {
        #[command(flatten)]
        wanted: Wanted,
        /// At most so many rows.
        #[arg(long, default_value_t = 100)]
        rows: usize,
    },
    /// Print events as they come, a line each, until it is interrupted.
    Follow(Wanted),
    /// List the kinds of events.
    Types,
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// These kinds only, with commas between them.
    #[arg(long = "type")]
    kinds: Option<String>,
    /// Behind this place, the `next_cursor` of an answer; without it from the oldest one on.
    #[arg(long)]
    cursor: Option<String>,
}

impl Wanted {
    /// The query, without a place.
    fn path(&self) -> String {
        with_query("/v1/events", &[("type", self.kinds.as_deref())])
    }
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let client = Client::new(&args.endpoint)?;
    match &args.action {
        Action::List { wanted, rows } => {
            let cursor = wanted.cursor.as_deref();
            let events = on_runtime(client.list_from(&wanted.path(), cursor, *rows))?;
            output::write_rows(&mut io::stdout().lock(), args.output, COLUMNS, &events)?;
            Ok(())
        }
        Action::Follow(wanted) => on_runtime(follow(&client, wanted, args.output)),
        Action::Types => {
            let answer = on_runtime(client.get("/v1/event-types"))?;
            let kinds = answer["data"].as_array().cloned().unwrap_or_default();
            output::write_rows(&mut io::stdout().lock(), args.output, TYPE_COLUMNS, &kinds)?;
            Ok(())
        }
    }
}

async fn follow(client: &Client, wanted: &Wanted, format: Format) -> Result<(), Failure> {
    let path = wanted.path();
    let join = if path.contains('?') { '&' } else { '?' };
    let mut cursor = wanted.cursor.clone();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let place = cursor.as_deref().map(|at| format!("&cursor={}", escape(at)));
        let page = format!("{path}{join}limit=200{}", place.unwrap_or_default());
        let answer = client.get(&page).await?;
        let mut out = io::stdout().lock();
        for event in answer["data"].as_array().into_iter().flatten() {
            output::write_line(&mut out, format, COLUMNS, event)?;
        }
        out.flush()?;
        drop(out);
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
        if answer["has_more"] != true {
            looks.tick().await;
        }
    }
}
