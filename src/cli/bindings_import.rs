//! `maskline bindings import`: bindings from a file, sent a thousand at a time.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::Failure;
use super::output::{self, Column, Format};
use crate::client::Client;

/// The most rows of one request.
const BATCH_ROWS_MAX: usize = 1_000;
/// So much text is enough for one request, with room for its last row.
const BATCH_BYTES: usize = 1024 * 1024;
/// The longest line, which is the longest row of a request too.
const LINE_BYTES_MAX: usize = 128 * 1024;
const COLUMNS: &[Column] = &[
    ("LINE", "line"),
    ("STATUS", "status"),
    ("EXTERNAL ID", "binding.external_id"),
    ("NUMBER", "binding.virtual_number"),
    ("REFUSED", "problem.code"),
    ("PLACE", "place"),
];

/// A line of the file, and what it holds if it is JSON.
type Line = (usize, Option<Value>);

/// The file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read.
pub(super) fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let shown = |error| io::Error::other(format!("{}: {error}", file.display()));
    Ok(Box::new(io::BufReader::new(fs::File::open(file).map_err(shown)?)))
}

/// Sends all lines, and prints what became of each. The same file may be sent again: what there is
/// already stays.
///
/// # Errors
/// When the file cannot be read, the API fails, or it has refused lines.
pub(super) async fn import(
    client: &Client,
    source: &mut dyn BufRead,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (mut at, mut refused) = (0, 0);
    loop {
        let lines = next_batch(source, &mut at)?;
        if lines.is_empty() {
            break;
        }
        let rows: Vec<&Value> = lines.iter().filter_map(|(_, row)| row.as_ref()).collect();
        let mut results = Vec::new();
        if !rows.is_empty() {
            let answer = client.post("/v1/bindings:batch", &json!({"bindings": rows})).await;
            let answer = answer.map_err(|error| {
                let from = first_of(&lines);
                format!(
                    "{error}\n(whether line {from} and on were bound is unknown: send them again)"
                )
            })?;
            results = answer["results"].as_array().cloned().unwrap_or_default();
        }
        let mut results = results.into_iter();
        for (line, row) in lines {
            let no_json = || json!({"status": 400, "problem": {"code": "malformed_body"}});
            let mut told = row.map_or_else(no_json, |_| results.next().unwrap_or_default());
            told["place"] = told["problem"]["errors"][0]["pointer"].clone();
            told["line"] = json!(line);
            refused += usize::from(told["binding"].is_null());
            output::write_line(out, format, COLUMNS, &told)?;
        }
        out.flush()?;
    }
    match refused {
        0 => Ok(()),
        _ => Err(format!("{refused} of {at} lines were refused").into()),
    }
}

fn first_of(lines: &[Line]) -> usize {
    lines.first().map_or(0, |(line, _)| *line)
}

/// As many lines as one request takes; empty ones are passed over.
fn next_batch(source: &mut dyn BufRead, at: &mut usize) -> io::Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let mut text = Vec::new();
    while lines.len() < BATCH_ROWS_MAX && bytes < BATCH_BYTES {
        text.clear();
        let read = source.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if read == 0 {
            break;
        }
        *at += 1;
        if read > LINE_BYTES_MAX {
            return Err(io::Error::other(format!("line {at}: is longer than 128 KiB")));
        }
        if !text.trim_ascii().is_empty() {
            lines.push((*at, serde_json::from_slice(&text).ok()));
            bytes += read;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str) -> Vec<Vec<Line>> {
        let (mut source, mut at) = (text.as_bytes(), 0);
        let next = || next_batch(&mut source, &mut at).expect("a text");
        std::iter::repeat_with(next).take_while(|lines| !lines.is_empty()).collect()
    }

    #[test]
    fn lines_are_counted_and_what_is_no_json_is_one_too() {
        let read = batches("{\"a\":1}\n\n  \n{\"b\n{}");
        assert_eq!(read, [vec![(1, Some(json!({"a": 1}))), (4, None), (5, Some(json!({})))]]);
    }

    #[test]
    fn a_request_holds_a_thousand_lines_or_a_mebibyte() {
        let count = |text: &str| batches(text).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(count(&"{}\n".repeat(2_001)), [1_000, 1_000, 1]);
        let large = format!("{{\"a\":\"{}\"}}\n", "x".repeat(100 * 1024));
        assert_eq!(count(&large.repeat(25)), [11, 11, 3]);
    }

    #[test]
    fn a_line_without_an_end_is_no_row() {
        let (endless, mut at) = ("x".repeat(LINE_BYTES_MAX + 1), 0);
        let told = next_batch(&mut endless.as_bytes(), &mut at).expect_err("too long");
        assert_eq!(told.to_string(), "line 1: is longer than 128 KiB");
    }
}
