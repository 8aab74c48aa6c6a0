//! `maskline bindings`: ties a policy to a virtual number, shows and ends it.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::bindings_import;
use super::noun::Change;
use super::output::{self, Column, Format};
use super::secret::ask;
use super::{Outcome, on_runtime};
use crate::client::{Client, ClientError, Endpoint, escape, with_query};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NUMBER", "virtual_number"),
    ("MODE", "mode"),
    ("STATE", "state"),
    ("SUBSCRIBER", "masked"),
    ("POLICY", "policy.ref"),
    ("EXTERNAL ID", "external_id"),
    ("UNTIL", "valid_until"),
];

/// Arguments of `maskline bindings`.
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
    /// Bind a policy to a virtual number.
    Create(Create),
    /// Bind what a file holds, one JSON object in a line as the API's body has it; `-` reads
    /// standard input. The same file may be sent again.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Show one binding.
    Get {
        /// `bnd_…`
        id: String,
    },
    /// List bindings.
    List {
        /// Only those in this state.
        #[arg(long)]
        state: Option<String>,
        /// Only the one of this external id.
        #[arg(long)]
        external_id: Option<String>,
        /// Only pairs with this agent, `agt_…`.
        #[arg(long)]
        agent: Option<String>,
        /// At most so many rows.
        #[arg(long, default_value_t = 100)]
        rows: usize,
    },
    /// Change its end, what becomes of its calls then, or your notes.
    Set(Change),
    /// Put its end off: that of the policy where the binding follows it.
    Renew {
        /// `bnd_…`
        id: String,
        /// The new end, RFC 3339.
        #[arg(long)]
        until: String,
    },
    /// Connect no calls until it is resumed.
    Suspend {
        /// `bnd_…`
        id: String,
        /// End talking calls too, not only ringing ones.
        #[arg(long)]
        drop_calls: bool,
    },
    /// Connect calls again.
    Resume {
        /// `bnd_…`
        id: String,
    },
    /// End a binding; its virtual number cools down.
    Unbind {
        /// `bnd_…`
        id: String,
        /// End talking calls too, not only ringing ones.
        #[arg(long)]
        drop_calls: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Your own id of this binding: the same one again gives the same binding.
    #[arg(long)]
    external_id: String,
    /// Policy reference.
    #[arg(long)]
    policy: String,
    /// The subscriber, `sub_…`; without it the real number is read from standard input, so that it
    /// stands neither in the process list nor in the shell's history, and is not shown when typed.
    #[arg(long)]
    subscriber: Option<String>,
    /// The agent, `agt_…`, who alone reaches the subscriber and is reached; without it any agent.
    #[arg(long)]
    agent: Option<String>,
    /// The pool to take the virtual number from.
    #[arg(long)]
    pool: Option<String>,
    /// When it ends, RFC 3339.
    #[arg(long)]
    valid_until: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached.
pub fn run(args: &Args) -> Outcome {
    let client = Client::new(&args.endpoint)?;
    let mut out = io::stdout().lock();
    match &args.action {
        Action::List { state, external_id, agent, rows } => {
            let filters = [
                ("state", state.as_deref()),
                ("external_id", external_id.as_deref()),
                ("agent_id", agent.as_deref()),
            ];
            let path = with_query("/v1/bindings", &filters);
            let bindings = on_runtime(client.list(&path, *rows))?;
            output::write_rows(&mut out, args.output, COLUMNS, &bindings)?;
        }
        Action::Create(create) => {
            let number = || ask("the real number, as + and digits, or --subscriber,");
            let body = create_body(create, number)?;
            let binding = on_runtime(client.post("/v1/bindings", &body))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Import { file } => {
            let mut source = bindings_import::open(file)?;
            let sent = bindings_import::import(&client, &mut source, args.output, &mut out);
            on_runtime(sent)?;
        }
        Action::Get { id } => {
            let path = format!("/v1/bindings/{}", escape(id));
            let binding = on_runtime(client.get(&path))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Set(change) => {
            let binding = change.send(&client, "/v1/bindings")?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Renew { id, until } => {
            let binding = on_runtime(order(&client, id, "renew", json!({"until": until})))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Suspend { id, drop_calls } => {
            let body = json!({"drop_calls": drop_calls});
            let binding = on_runtime(order(&client, id, "suspend", body))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Resume { id } => {
            let binding = on_runtime(order(&client, id, "resume", json!({})))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
        Action::Unbind { id, drop_calls } => {
            let body = json!({"drop_calls": drop_calls});
            let binding = on_runtime(order(&client, id, "unbind", body))?;
            output::write_one(&mut out, args.output, COLUMNS, &binding)?;
        }
    }
    Ok(())
}

async fn order(client: &Client, id: &str, verb: &str, body: Value) -> Result<Value, ClientError> {
    let path = format!("/v1/bindings/{}/{verb}", escape(id));
    client.post(&path, &body).await
}

fn create_body(
    create: &Create,
    real_number: impl FnOnce() -> io::Result<String>,
) -> io::Result<Value> {
    let subscriber = match &create.subscriber {
        Some(id) => json!({"id": id}),
        None => json!({"real_number": real_number()?.trim()}),
    };
    let mut body = json!({
        "external_id": create.external_id,
        "mode": "ax",
        "policy": {"ref": create.policy},
        "subscriber": subscriber,
    });
    let optional = [("pool", &create.pool), ("valid_until", &create.valid_until)];
    for (name, value) in optional.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        body[*name] = json!(value);
    }
    if let Some(agent) = &create.agent {
        body["mode"] = json!("axb");
        body["agents"] = json!([agent]);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(subscriber: Option<&str>) -> Create {
        Create {
            external_id: "E-1".to_owned(),
            policy: "P-1".to_owned(),
            subscriber: subscriber.map(str::to_owned),
            agent: None,
            pool: None,
            valid_until: None,
        }
    }

    fn nobody() -> io::Result<String> {
        Err(io::Error::other("nothing was typed"))
    }

    #[test]
    fn the_real_number_is_asked_for() {
        let typed = || Ok(" +8613800001234 ".to_owned());
        let body = create_body(&create(None), typed).expect("a body");
        assert_eq!(body["subscriber"], json!({"real_number": "+8613800001234"}));
        assert!(create_body(&create(None), nobody).is_err());
    }

    #[test]
    fn a_known_subscriber_needs_no_number() {
        let body = create_body(&create(Some("sub_1")), nobody).expect("a body");
        assert_eq!(body["subscriber"], json!({"id": "sub_1"}));
        assert_eq!(body.get("pool"), None);
        assert_eq!((&body["mode"], body.get("agents")), (&json!("ax"), None));
    }

    #[test]
    fn an_agent_makes_it_a_pair() {
        let agent = Some("agt_1".to_owned());
        let pair = Create { agent, ..create(Some("sub_1")) };
        let body = create_body(&pair, nobody).expect("a body");
        assert_eq!((&body["mode"], &body["agents"]), (&json!("axb"), &json!(["agt_1"])));
    }
}
