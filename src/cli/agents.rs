//! `maskline agents`: the people of an insurer who dial.

use super::Outcome;
use super::noun::{Change, Common, Fields, Noun, One, Rows};
use super::output::Column;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("EMPLOYEE", "employee_id"),
    ("NAME", "name"),
    ("DIALS AS", "caller_numbers"),
    ("STATE", "state"),
    ("FILING", "filing"),
    ("GROUP", "group"),
    ("MAY CALL FOR", "allowed_purposes"),
];
/// Of a login that is shown once.
pub(super) const LOGIN_COLUMNS: &[Column] =
    &[("USER", "username"), ("PASSWORD, SHOWN ONCE", "password"), ("REALM", "realm")];

/// Arguments of `maskline agents`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List agents, newest first.
    List(Rows),
    /// Show one agent.
    Get(One),
    /// Make an agent, such as `employee_id=A-1 name="Li Ming" 'caller_numbers:=["4821"]'`.
    Create(Fields),
    /// Change an agent, such as `state=disabled`.
    Set(Change),
    /// Remove an agent.
    Delete(One),
    /// Make a login for the agent's softphone, and show it once.
    SipLogin(One),
    /// Take the softphone's login back.
    EndSipLogin(One),
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let agents = Noun::new(&args.common, "/v1/agents", COLUMNS)?;
    match &args.action {
        Action::List(rows) => agents.list(rows),
        Action::Get(one) => agents.show(one),
        Action::Create(fields) => agents.create(fields),
        Action::Set(change) => agents.change(change),
        Action::Delete(one) => agents.delete(one, ""),
        Action::SipLogin(one) => agents.order(one, "/sip-login", LOGIN_COLUMNS),
        Action::EndSipLogin(one) => agents.delete(one, "/sip-login"),
    }
}
