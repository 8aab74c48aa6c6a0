//! `maskline trunks`: the SIP peers, and what they and we prove to each other. The operator's work.

use serde_json::Value;

use super::Outcome;
use super::agents::LOGIN_COLUMNS;
use super::noun::{Change, Common, Fields, Noun, One, Rows, parse_fields};
use super::output::Column;
use super::secret::ask;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("TENANT", "tenant_id"),
    ("ENABLED", "enabled"),
    ("TRANSPORT", "transport"),
    ("TARGETS", "targets"),
    ("SOURCES", "source_networks"),
];
const ACCESS_COLUMNS: &[Column] = &[
    ("OUR ACCOUNT", "account.username"),
    ("REGISTERED", "account.registered"),
    ("ITS LOGIN", "login.username"),
    ("TARGETS DOWN", "targets_down"),
];

/// Arguments of `maskline trunks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List trunks, newest first.
    List(Rows),
    /// Show one trunk.
    Get(One),
    /// Make a trunk, such as `name=c role=carrier 'targets:=["sip.carrier.example"]' …`.
    Create(Fields),
    /// Change a trunk, such as `enabled:=false`; calls that are up go on.
    Set(Change),
    /// Remove a trunk.
    Delete(One),
    /// Show what it and we prove to each other, and which targets answer no probe.
    Access(One),
    /// Set our account at it; the password is read from standard input.
    Account(Account),
    /// Answer its challenges no more.
    EndAccount(One),
    /// Make a login for it, and show it once; from then on its calls are challenged.
    Login(One),
    /// Let its address alone let it in again.
    EndLogin(One),
}

#[derive(Debug, clap::Args)]
struct Account {
    #[command(flatten)]
    trunk: One,
    /// Such as `username=relay-1 register:=true`.
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let trunks = Noun::new(&args.common, "/v1/trunks", COLUMNS)?;
    match &args.action {
        Action::List(rows) => trunks.list(rows),
        Action::Get(one) => trunks.show(one),
        Action::Create(fields) => trunks.create(fields),
        Action::Set(change) => trunks.change(change),
        Action::Delete(one) => trunks.delete(one, ""),
        Action::Access(one) => trunks.show_of(one, "/access", ACCESS_COLUMNS),
        Action::Account(account) => {
            let mut body = parse_fields(&account.fields)?;
            let password = ask("the password of the account")?;
            body.insert("password".to_owned(), Value::from(password));
            trunks.put(&account.trunk, "/account", body, ACCESS_COLUMNS)
        }
        Action::EndAccount(one) => trunks.delete(one, "/account"),
        Action::Login(one) => trunks.order(one, "/login", LOGIN_COLUMNS),
        Action::EndLogin(one) => trunks.delete(one, "/login"),
    }
}
