//! `maskline pools`: virtual numbers of one class and city. The operator's work.

use super::Outcome;
use super::noun::{Change, Common, Fields, Noun, One, Rows};
use super::output::Column;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("CLASS", "class"),
    ("CITY", "city"),
    ("COOLING DAYS", "cooling_days"),
    ("TRUNKS", "trunks"),
];
const CAPACITY_COLUMNS: &[Column] = &[
    ("AVAILABLE", "available"),
    ("BOUND", "bound"),
    ("DRAINING", "draining"),
    ("COOLING", "cooling"),
    ("RESERVED", "reserved"),
    ("SICK", "sick"),
    ("RETIRED", "retired"),
    ("TOTAL", "total"),
    ("LOW SINCE", "low_since"),
    ("DAYS LEFT", "forecast.days_left"),
];

/// Arguments of `maskline pools`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List pools, newest first.
    List(Rows),
    /// Show one pool.
    Get(One),
    /// Make a pool, such as `name=mobile class=mobile 'trunks:=["trk_…"]'`.
    Create(Fields),
    /// Change a pool, such as `cooling_days:=365`.
    Set(Change),
    /// Count the numbers of a pool by their states.
    Capacity(One),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let pools = Noun::new(&args.common, "/v1/pools", COLUMNS)?;
    match &args.action {
        Action::List(rows) => pools.list(rows),
        Action::Get(one) => pools.show(one),
        Action::Create(fields) => pools.create(fields),
        Action::Set(change) => pools.change(change),
        Action::Capacity(one) => pools.show_of(one, "/capacity", CAPACITY_COLUMNS),
    }
}
