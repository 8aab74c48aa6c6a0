//! What the commands print: a table for people, JSON or CSV for programs.

use std::io::{self, Write};

use serde_json::Value;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// As the API gave it.
    Json,
    /// Comma-separated, with a header line.
    Csv,
}

/// A column: its title, and the field of the row, with dots for inner fields.
pub type Column = (&'static str, &'static str);

/// Writes rows in `format`.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_rows(
    out: &mut impl Write,
    format: Format,
    columns: &[Column],
    rows: &[Value],
) -> io::Result<()> {
    match format {
        Format::Table => write_table(out, columns, rows),
        Format::Json => write_json(out, &Value::Array(rows.to_vec())),
        Format::Csv => write_csv(out, columns, rows),
    }
}

/// Writes one resource in `format`; a table has one line a field.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_one(
    out: &mut impl Write,
    format: Format,
    columns: &[Column],
    row: &Value,
) -> io::Result<()> {
    match format {
        Format::Table => {
            let width = columns.iter().map(|(title, _)| title.len()).max().unwrap_or_default();
            for (title, field) in columns {
                writeln!(out, "{title:<width$}  {}", cell(row, field))?;
            }
            Ok(())
        }
        Format::Json => write_json(out, row),
        Format::Csv => write_csv(out, columns, std::slice::from_ref(row)),
    }
}

/// Writes one row of many that come one after the other, on a line of its own.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_line(
    out: &mut impl Write,
    format: Format,
    columns: &[Column],
    row: &Value,
) -> io::Result<()> {
    match format {
        Format::Table => {
            let cells: Vec<_> = columns.iter().map(|(_, field)| cell(row, field)).collect();
            writeln!(out, "{}", cells.join("  "))
        }
        Format::Json => {
            serde_json::to_writer(&mut *out, row)?;
            writeln!(out)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(columns.iter().map(|(_, field)| raw_cell(row, field)))?;
            csv.flush()
        }
    }
}

fn write_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn write_csv(out: &mut impl Write, columns: &[Column], rows: &[Value]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(columns.iter().map(|(_, field)| field))?;
    for row in rows {
        csv.write_record(columns.iter().map(|(_, field)| raw_cell(row, field)))?;
    }
    csv.flush()
}

fn write_table(out: &mut impl Write, columns: &[Column], rows: &[Value]) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "(none)");
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, field)| cell(row, field)).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, (title, _))| {
            let longest =
                cells.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max();
            longest.unwrap_or_default().max(title.len())
        })
        .collect();
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    for line in std::iter::once(&titles).chain(&cells) {
        let padded = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A field as text; what is absent is a dash.
fn cell(row: &Value, field: &str) -> String {
    let text = raw_cell(row, field);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A field as text. Control characters are dropped: a name from the API may not steer the terminal.
fn raw_cell(row: &Value, field: &str) -> String {
    let value = field.split('.').fold(row, |value, name| &value[name]);
    text_of(value).chars().filter(|c| !c.is_control()).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[("ID", "id"), ("POLICY", "policy.ref"), ("STATE", "state")];

    fn written(format: Format, rows: &[Value]) -> String {
        let mut out = Vec::new();
        write_rows(&mut out, format, COLUMNS, rows).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [json!({"id": "bnd_1", "policy": {"ref": "P-100"}}), json!({"id": "b"})];
        let wanted = "ID     POLICY  STATE\nbnd_1  P-100   -\nb      -       -\n";
        assert_eq!(written(Format::Table, &rows), wanted);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let rows = [json!({"id": "a,b", "state": "active"})];
        assert_eq!(written(Format::Csv, &rows), "id,policy.ref,state\n\"a,b\",,active\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let rows = [json!({"id": "\u{1b}[31mred", "state": ["a", "b"]})];
        let wanted = "ID       POLICY  STATE\n[31mred  -       a b\n";
        assert_eq!(written(Format::Table, &rows), wanted);
    }

    #[test]
    fn a_row_of_many_is_one_line_in_every_format() {
        let row = json!({"id": "a,b\nc", "policy": {"ref": "P"}});
        for (format, wanted) in [
            (Format::Table, "a,bc  P  -\n"),
            (Format::Json, "{\"id\":\"a,b\\nc\",\"policy\":{\"ref\":\"P\"}}\n"),
            (Format::Csv, "\"a,bc\",P,\n"),
        ] {
            let mut out = Vec::new();
            write_line(&mut out, format, COLUMNS, &row).expect("a vector takes everything");
            assert_eq!(String::from_utf8(out).expect("text"), wanted);
        }
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(written(Format::Table, &[]), "(none)\n");
    }
}
