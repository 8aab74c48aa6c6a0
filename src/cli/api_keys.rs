//! `maskline api-keys`: who may use the control API. The first key of all is made by
//! `maskline key create`.

use serde_json::Map;

use super::Outcome;
use super::noun::{Common, Fields, Noun, One, Rows};
use super::output::Column;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("TENANT", "tenant_id"),
    ("SCOPES", "scopes"),
    ("HINT", "hint"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
];
const ISSUED_COLUMNS: &[Column] =
    &[("ID", "id"), ("NAME", "name"), ("ROLE", "role"), ("KEY, SHOWN ONCE", "key")];

/// Arguments of `maskline api-keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List keys, newest first.
    List(Rows),
    /// Make a key and show it once, such as `name=CRM role=insurer_crm tenant_id=ten_…`.
    Create(Fields),
    /// Make a key in place of this one, and show it once.
    Roll(One),
    /// Take a key back.
    Delete(One),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let keys = Noun::new(&args.common, "/v1/api-keys", COLUMNS)?;
    match &args.action {
        Action::List(rows) => keys.list(rows),
        Action::Create(fields) => keys.create_with(fields, Map::new(), ISSUED_COLUMNS),
        Action::Roll(one) => keys.order(one, "/roll", ISSUED_COLUMNS),
        Action::Delete(one) => keys.delete(one, ""),
    }
}
