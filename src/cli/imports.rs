//! `maskline imports`: files of bindings that the service binds in the background.

use std::fs;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream as _;
use http_body::{Body, Frame};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::output::{self, Column, Format};
use super::{Failure, Outcome, on_runtime};
use crate::client::{BodyDigest, BodyHasher, Client, Endpoint, escape};

const PATH: &str = "/v1/jobs/imports";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("READ", "rows_read"),
    ("CREATED", "rows_created"),
    ("EXISTING", "rows_existing"),
    ("FAILED", "rows_failed"),
    ("BEGUN", "created_at"),
    ("ENDED", "ended_at"),
];
/// How often an import is asked how far it has come.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `maskline imports`.
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
    /// Send a file of bindings: `.csv`, or one JSON object in a line. Waits for its end, and tells
    /// on standard error how far it has come; what it binds goes on when this is interrupted.
    Create {
        /// The file.
        file: PathBuf,
        /// Do not wait for its end.
        #[arg(long)]
        no_wait: bool,
    },
    /// List imports, newest first.
    List {
        /// At most so many rows.
        #[arg(long, default_value_t = 100)]
        rows: usize,
    },
    /// Show how far an import has come.
    Get {
        /// `imp_…`
        id: String,
    },
    /// Print a line of JSON for each row that was refused.
    Errors {
        /// `imp_…`
        id: String,
    },
    /// Stop an import: what is bound stays bound.
    Cancel {
        /// `imp_…`
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the API refuses or cannot be reached, or rows of a file were refused.
pub fn run(args: &Args) -> Outcome {
    let client = Client::new(&args.endpoint)?;
    let mut out = io::stdout().lock();
    match &args.action {
        Action::Create { file, no_wait } => {
            let import = on_runtime(create(&client, file, !no_wait))?;
            output::write_one(&mut out, args.output, COLUMNS, &import)?;
            told(&import)?;
        }
        Action::List { rows } => {
            let imports = on_runtime(client.list(PATH, *rows))?;
            output::write_rows(&mut out, args.output, COLUMNS, &imports)?;
        }
        Action::Get { id } => {
            let import = on_runtime(client.get(&of(id, "")))?;
            output::write_one(&mut out, args.output, COLUMNS, &import)?;
        }
        Action::Errors { id } => on_runtime(errors(&client, id, &mut out))?,
        Action::Cancel { id } => {
            let import = on_runtime(client.post(&of(id, "/cancel"), &serde_json::json!({})))?;
            output::write_one(&mut out, args.output, COLUMNS, &import)?;
        }
    }
    Ok(())
}

fn of(id: &str, part: &str) -> String {
    format!("{PATH}/{}{part}", escape(id))
}

/// Refused rows make the command fail, as they do wherever bindings are made.
fn told(import: &Value) -> Outcome {
    let (failed, id) = (&import["rows_failed"], import["id"].as_str().unwrap_or_default());
    match failed.as_u64() {
        Some(0) | None => Ok(()),
        Some(_) => {
            Err(format!("{failed} rows were refused: `maskline imports errors {id}`").into())
        }
    }
}

async fn create(client: &Client, file: &Path, waits: bool) -> Result<Value, Failure> {
    let is_csv = file.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("csv"));
    let kind = if is_csv { "text/csv" } else { "application/x-ndjson" };
    let shown = |error| io::Error::other(format!("{}: {error}", file.display()));
    let mut opened = fs::File::open(file).map_err(shown)?;
    let digest = match client.signs() {
        true => Some(digest_of_file(&mut opened).map_err(shown)?),
        false => None,
    };
    let body = FileBody(ReaderStream::new(tokio::fs::File::from_std(opened)));
    let mut import = client.upload(PATH, kind, reqwest::Body::wrap(body), digest).await?;
    let id = import["id"].as_str().unwrap_or_default().to_owned();
    while waits && import["state"] == "running" {
        tokio::time::sleep(LOOK_EVERY).await;
        import = client.get(&of(&id, "")).await?;
        // Standard error may be closed; then nobody wants to know.
        let _ = writeln!(io::stderr(), "{}", progress(&import));
    }
    Ok(import)
}

/// The digest of a file, which is at its beginning again afterwards.
fn digest_of_file(file: &mut fs::File) -> io::Result<BodyDigest> {
    let mut hashing = BodyHasher::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => hashing.update(piece.get(..length).unwrap_or_default()),
        }
    }
    file.rewind()?;
    Ok(hashing.finish())
}

/// A file that is read while it is sent.
struct FileBody(ReaderStream<tokio::fs::File>);

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.0).poll_next(context).map_ok(Frame::data)
    }
}

fn progress(import: &Value) -> String {
    let count = |name: &str| import[name].as_u64().unwrap_or_default();
    let (read, failed) = (count("rows_read"), count("rows_failed"));
    let done = count("rows_created") + count("rows_existing") + failed;
    format!("{done} of {read} rows, {failed} refused")
}

async fn errors(client: &Client, id: &str, out: &mut impl Write) -> Result<(), Failure> {
    let mut answer = client.open(&of(id, "/errors")).await?;
    while let Some(piece) = answer.chunk().await? {
        out.write_all(&piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_counts_what_has_an_outcome() {
        let import = json!({"id": "imp_1", "rows_read": 10, "rows_created": 3, "rows_existing": 2,
            "rows_failed": 1});
        assert_eq!(progress(&import), "6 of 10 rows, 1 refused");
        let error = told(&import).expect_err("a row was refused").to_string();
        assert_eq!(error, "1 rows were refused: `maskline imports errors imp_1`");
        assert!(told(&json!({"rows_failed": 0})).is_ok());
    }
}
