//! `maskline webhooks`: where an insurer is told of its events, and what became of each telling.

use serde_json::Map;

use super::Outcome;
use super::noun::{Change, Common, Fields, Noun, One, Rows};
use super::output::Column;
use crate::client::{escape, with_query};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("URL", "url"),
    ("STATE", "state"),
    ("BECAUSE", "disabled_reason"),
    ("EVENTS", "event_types"),
    ("FAILING SINCE", "failing_since"),
];
const SECRET_COLUMNS: &[Column] = &[("ID", "id"), ("URL", "url"), ("SECRET, SHOWN ONCE", "secret")];
const DELIVERY_COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("EVENT", "event_type"),
    ("SEQUENCE", "sequence"),
    ("STATE", "state"),
    ("NEXT TRY", "next_attempt_at"),
    ("DONE", "done_at"),
];

/// Arguments of `maskline webhooks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List endpoints, newest first.
    List(Rows),
    /// Show one endpoint.
    Get(One),
    /// Make an endpoint and show its secret once, such as `url=https://crm.example.com/maskline`.
    Create(Fields),
    /// Change an endpoint, such as `state=enabled`.
    Set(Change),
    /// Remove an endpoint, and what waits for it.
    Delete(One),
    /// Make a new secret and show it once; for 24 hours the one before signs too.
    RotateSecret(One),
    /// Tell an endpoint a `webhook.ping`.
    Ping(One),
    /// List what was and will be told to an endpoint, newest first.
    Deliveries(Deliveries),
    /// Tell an event once more; the identifier is that of a delivery.
    Replay(One),
}

#[derive(Debug, clap::Args)]
struct Deliveries {
    /// `whe_…`
    id: String,
    /// `pending`, `delivered` or `dead` ones only.
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    rows: Rows,
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let webhooks = Noun::new(&args.common, "/v1/webhook-endpoints", COLUMNS)?;
    match &args.action {
        Action::List(rows) => webhooks.list(rows),
        Action::Get(one) => webhooks.show(one),
        Action::Create(fields) => webhooks.create_with(fields, Map::new(), SECRET_COLUMNS),
        Action::Set(change) => webhooks.change(change),
        Action::Delete(one) => webhooks.delete(one, ""),
        Action::RotateSecret(one) => webhooks.order(one, "/rotate-secret", SECRET_COLUMNS),
        Action::Ping(one) => webhooks.order(one, "/ping", &[("EVENT", "event_id")]),
        Action::Deliveries(list) => {
            let path = format!("/v1/webhook-endpoints/{}/deliveries", escape(&list.id));
            let path = with_query(&path, &[("state", list.state.as_deref())]);
            webhooks.list_of(&path, DELIVERY_COLUMNS, list.rows.rows)
        }
        Action::Replay(one) => {
            let deliveries = Noun::new(&args.common, "/v1/webhook-deliveries", DELIVERY_COLUMNS)?;
            deliveries.order(one, "/replay", DELIVERY_COLUMNS)
        }
    }
}
