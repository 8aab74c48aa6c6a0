//! `maskline subscribers`: whom virtual numbers protect. A real number goes in on standard input
//! and never comes out.

use serde_json::{Map, Value};

use super::noun::{Common, Fields, Noun, One, Rows};
use super::output::Column;
use super::secret::ask;
use super::{Failure, Outcome};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NUMBER", "masked"),
    ("LANGUAGE", "language"),
    ("AGE BAND", "age_band"),
    ("TIME ZONE", "time_zone"),
];

/// Of the times for which there was one number.
const PERIOD_COLUMNS: &[Column] =
    &[("SINCE", "since"), ("UNTIL", "until"), ("COMMITMENT TO THE NUMBER", "commitment")];

/// Arguments of `maskline subscribers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show one subscriber.
    Get(One),
    /// Add a subscriber; the real number is read from standard input. Such as `language=en`.
    Create(Fields),
    /// Give a subscriber another number, read from standard input.
    Number(One),
    /// Show when the number was changed, newest first, with a commitment to each number.
    NumberHistory {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        rows: Rows,
    },
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let subscribers = Noun::new(&args.common, "/v1/subscribers", COLUMNS)?;
    match &args.action {
        Action::Get(one) => subscribers.show(one),
        Action::Create(fields) => subscribers.create_with(fields, real_number()?, COLUMNS),
        Action::NumberHistory { one, rows } => {
            subscribers.list_part(one, "/number-history", PERIOD_COLUMNS, rows)
        }
        Action::Number(one) => subscribers.put(one, "/number", real_number()?, COLUMNS),
    }
}

fn real_number() -> Result<Map<String, Value>, Failure> {
    let number = ask("the real number, as + and digits,")?;
    Ok(Map::from_iter([("real_number".to_owned(), Value::from(number))]))
}
