//! `maskline numbers`: brings virtual numbers into a pool, and keeps them back.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Outcome;
use super::noun::{Change, Common, Noun, One, Rows};
use super::output::Column;
use crate::client::with_query;
use crate::domain::number::VirtualNumber;

/// The most numbers one import takes; larger lists go in several.
const IMPORT_NUMBERS_MAX: usize = 10_000;
/// The largest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const COLUMNS: &[Column] = &[
    ("NUMBER", "number"),
    ("STATE", "state"),
    ("POOL", "pool_id"),
    ("TENANT", "tenant_id"),
    ("COOLS UNTIL", "cooling_until"),
];
const IMPORT_COLUMNS: &[Column] = &[
    ("IMPORTED", "imported"),
    ("KNOWN", "known"),
    ("OTHER POOL", "other_pool"),
    ("INVALID", "invalid"),
];

/// Arguments of `maskline numbers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Import virtual numbers: one a line, or the first column of a CSV; `-` reads standard input.
    Import {
        /// The file.
        file: PathBuf,
        /// The pool, `pol_…`.
        #[arg(long)]
        pool: String,
    },
    /// List numbers, newest first.
    List {
        /// Those of this pool only, `pol_…`.
        #[arg(long)]
        pool: Option<String>,
        /// Those in this state only.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Show one number, named by its digits.
    Get(One),
    /// Keep a number back or give it back, such as `17000000001 state=reserved`.
    Set(Change),
}

/// Runs the command.
///
/// # Errors
/// When the file is wrong (every wrong line is named) or the API refuses.
pub fn run(args: &Args) -> Outcome {
    let known = |columns| Noun::new(&args.common, "/v1/numbers", columns);
    match &args.action {
        Action::Import { file, pool } => {
            let numbers = read_numbers(&read_file(file)?)?;
            let import = Noun::new(&args.common, "/v1/numbers:import", IMPORT_COLUMNS)?;
            import.send(json!({"pool": pool, "numbers": numbers}))
        }
        Action::List { pool, state, rows } => {
            let filters = [("pool", pool.as_deref()), ("state", state.as_deref())];
            let path = with_query("/v1/numbers", &filters);
            known(COLUMNS)?.list_of(&path, COLUMNS, rows.rows)
        }
        Action::Get(one) => known(COLUMNS)?.show(one),
        Action::Set(change) => known(COLUMNS)?.change(change),
    }
}

fn read_file(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        return read_all(io::stdin().lock());
    }
    let shown = |error| io::Error::other(format!("{}: {error}", file.display()));
    fs::File::open(file).and_then(read_all).map_err(shown)
}

/// All of it: a list that is cut would lack numbers, and its last one could be another's.
fn read_all(source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("more than 1 MiB: split it"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8 text"))
}

/// The numbers of a text; empty lines, `#` comments and a header line are passed over.
fn read_numbers(text: &str) -> Result<Vec<Value>, String> {
    let mut numbers = Vec::new();
    let mut wrong = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(first) = first_cell(line) else {
            wrong.push(format!("line {}: has a quotation mark without its pair", at + 1));
            continue;
        };
        let is_header = at == 0 && !first.chars().any(|c| c.is_ascii_digit());
        if first.is_empty() || first.starts_with('#') || is_header {
            continue;
        }
        match VirtualNumber::parse(first) {
            Ok(number) => numbers.push(Value::from(number.as_str())),
            Err(rule) => wrong.push(format!("line {}: {rule}", at + 1)),
        }
    }
    if numbers.len() > IMPORT_NUMBERS_MAX {
        wrong.push(format!("more than {IMPORT_NUMBERS_MAX} numbers: import them in several files"));
    }
    if numbers.is_empty() && wrong.is_empty() {
        wrong.push("no numbers in it".to_owned());
    }
    if wrong.is_empty() { Ok(numbers) } else { Err(wrong.join("\n")) }
}

/// The first cell of a line, without its quotation marks; `None` when they are no pair. A reader
/// of CSV takes `"1700"3` as 17003, and a quote that is never closed as if it were: here either
/// may be a number that is not ours.
fn first_cell(line: &str) -> Option<&str> {
    let first = line.split(',').next().unwrap_or_default().trim();
    match first.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comments_and_empty_lines_are_passed_over() {
        let text = "number,city\n95001,Shanghai\n\n# more\n\"700123456789012\",\n";
        assert_eq!(read_numbers(text), Ok(vec![json!("95001"), json!("700123456789012")]));
    }

    #[test]
    fn every_wrong_line_is_named_at_once() {
        let told = read_numbers("95001\n9x\n1\n").expect_err("two wrong lines");
        assert_eq!(told, "line 2: has a character that is not a digit\nline 3: has too few digits");
    }

    #[test]
    fn a_stray_quote_is_a_wrong_line() {
        for wrong in ["\"17000000012", "17000000012\"", "\"17000000012\"3", "\"\"17000000012\""] {
            let told = read_numbers(&format!("{wrong}\n95001\n")).expect_err("a wrong line");
            assert!(told.starts_with("line 1: "), "{told}");
        }
        let told = read_numbers("95001\n\"17000000012,Shanghai\n").expect_err("a wrong line");
        assert_eq!(told, "line 2: has a quotation mark without its pair");
    }

    #[test]
    fn a_first_line_with_digits_is_no_header() {
        let told = read_numbers("9500l\n95001\n").expect_err("a wrong line");
        assert!(told.starts_with("line 1: "), "{told}");
    }

    #[test]
    fn a_large_file_is_refused_and_never_cut() {
        let line = b"95001\n".iter().copied().cycle();
        let text: Vec<u8> = line.take(FILE_BYTES_MAX as usize + 1).collect();
        assert!(read_all(&text[..]).is_err_and(|told| told.to_string().contains("split it")));
        assert!(read_all(&text[1..]).is_ok());
    }

    #[test]
    fn an_empty_file_is_an_error() {
        assert!(read_numbers("number\n").is_err());
    }
}
