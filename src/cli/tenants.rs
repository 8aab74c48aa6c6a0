//! `maskline tenants`: the insurers of the platform. The operator's work.

use super::Outcome;
use super::noun::{Change, Common, Fields, Noun, One, Rows};
use super::output::Column;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("DESK", "desk_user"),
    ("LANGUAGE", "language"),
    ("TIME ZONE", "time_zone"),
];

/// Arguments of `maskline tenants`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List tenants, newest first.
    List(Rows),
    /// Show one tenant.
    Get(One),
    /// Make a tenant, such as `name="First Insurance" desk_user=4000`.
    Create(Fields),
    /// Change a tenant, such as `state=suspended`.
    Set(Change),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let tenants = Noun::new(&args.common, "/v1/tenants", COLUMNS)?;
    match &args.action {
        Action::List(rows) => tenants.list(rows),
        Action::Get(one) => tenants.show(one),
        Action::Create(fields) => tenants.create(fields),
        Action::Set(change) => tenants.change(change),
    }
}
