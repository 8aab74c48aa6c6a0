//! The columns of a CSV file of bindings: each is named for a field of the JSON form, and every row
//! becomes the JSON text that it stands for.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::error::ApiError;
use super::field_error::{FieldError, Rule, Segment};

/// The most columns of a file.
const COLUMNS_MAX: usize = 100;

/// How a cell is written in JSON. What does not fit is a text, and is told as that.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// `true` or `false`
    Flag,
    Count,
    /// Texts between semicolons.
    List,
}

/// What a column may be called.
const KNOWN: [(&str, Kind); 20] = [
    ("external_id", Kind::Text),
    ("mode", Kind::Text),
    ("term", Kind::Text),
    ("policy.ref", Kind::Text),
    ("policy.product", Kind::Text),
    ("policy.ends_at", Kind::Text),
    ("subscriber.id", Kind::Text),
    ("subscriber.real_number", Kind::Text),
    ("agents", Kind::List),
    ("group", Kind::Text),
    ("pool", Kind::Text),
    ("city", Kind::Text),
    ("city_fallback", Kind::Flag),
    ("virtual_number", Kind::Text),
    ("valid_from", Kind::Text),
    ("valid_until", Kind::Text),
    ("follow_policy", Kind::Flag),
    ("idle_ttl", Kind::Count),
    ("on_expiry", Kind::Text),
    ("max_duration_s", Kind::Count),
];
/// Without these no row could be good.
const WANTED: [&str; 3] = ["external_id", "mode", "policy.ref"];
/// Behind this a name is the tenant's own.
const METADATA: &str = "metadata.";

/// A field of the object itself, or an object with fields of its own.
struct Group {
    name: Option<String>,
    cells: Vec<Cell>,
}

struct Cell {
    /// Its place in the row.
    at: usize,
    name: String,
    kind: Kind,
}

/// What each place of a row is.
pub(super) struct Columns {
    width: usize,
    groups: Vec<Group>,
}

impl Columns {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is no header, a name is unknown or comes twice, or one is missing.
    pub(super) fn read(text: &[u8]) -> Result<Self, ApiError> {
        let header = read_record(text).ok_or_else(no_header)?;
        if let Some(missing) = WANTED.iter().find(|name| !header.iter().any(|it| it == **name)) {
            return Err(column_error(missing, Rule::Missing));
        }
        if header.len() > COLUMNS_MAX {
            return Err(FieldError::new("", Rule::Length(1, COLUMNS_MAX)).into());
        }
        let mut columns = Self { width: header.len(), groups: Vec::new() };
        let mut seen: Vec<&str> = Vec::new();
        for (at, name) in header.iter().enumerate() {
            if seen.contains(&name) {
                return Err(column_error(name, Rule::Duplicate));
            }
            seen.push(name);
            let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
            let own = name.strip_prefix(METADATA).filter(|own| !own.is_empty());
            let kind = known.or(own.map(|_| Kind::Text));
            let kind = kind.ok_or_else(|| column_error(name, Rule::UnknownField))?;
            columns.add(at, name, kind);
        }
        if !seen.iter().any(|name| name.starts_with("subscriber.")) {
            return Err(FieldError::new("/subscriber", Rule::ExactlyOne).into());
        }
        Ok(columns)
    }

    fn add(&mut self, at: usize, name: &str, kind: Kind) {
        let (group, name) = match name.split_once('.') {
            Some((group, name)) => (Some(group.to_owned()), name),
            None => (None, name),
        };
        let cell = Cell { at, name: name.to_owned(), kind };
        match self.groups.iter_mut().find(|it| group.is_some() && it.name == group) {
            Some(group) => group.cells.push(cell),
            None => self.groups.push(Group { name: group, cells: vec![cell] }),
        }
    }

    /// Writes a row as JSON; nothing when it is no row of this header. Empty cells say nothing.
    pub(super) fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        let Some(record) = read_record(text).filter(|record| record.len() == self.width) else {
            return;
        };
        let mut is_first = true;
        out.push(b'{');
        for group in &self.groups {
            let cell = |cell: &Cell| record.get(cell.at).is_some_and(|text| !text.is_empty());
            if !group.cells.iter().any(cell) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            match &group.name {
                None => write_cells(&group.cells, &record, out),
                Some(name) => {
                    write_text(name, out);
                    out.extend_from_slice(b":{");
                    write_cells(&group.cells, &record, out);
                    out.push(b'}');
                }
            }
        }
        out.push(b'}');
    }
}

/// What is no header does not have the first column either.
pub(super) fn no_header() -> ApiError {
    column_error("external_id", Rule::Missing)
}

/// One record and nothing behind it.
fn read_record(text: &[u8]) -> Option<StringRecord> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .trim(Trim::All)
        .buffer_capacity(text.len() + 1)
        .from_reader(text);
    let mut records = reader.records();
    let record = records.next()?.ok()?;
    records.next().is_none().then_some(record)
}

fn column_error(name: &str, rule: Rule) -> ApiError {
    FieldError::at_path(name.split('.').map(Segment::Name), rule).into()
}

fn write_cells(cells: &[Cell], record: &StringRecord, out: &mut Vec<u8>) {
    let mut is_first = true;
    for cell in cells {
        let text = record.get(cell.at).unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        write_text(&cell.name, out);
        out.push(b':');
        match cell.kind {
            Kind::Flag if matches!(text, "true" | "false") => {
                out.extend_from_slice(text.as_bytes())
            }
            Kind::Count if text.parse::<u32>().is_ok_and(|count| count.to_string() == text) => {
                out.extend_from_slice(text.as_bytes());
            }
            Kind::List => {
                let mut before = b'[';
                for item in text.split(';') {
                    out.push(before);
                    write_text(item.trim(), out);
                    before = b',';
                }
                out.push(b']');
            }
            Kind::Text | Kind::Flag | Kind::Count => write_text(text, out),
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text is written to memory");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HEADER: &str = "external_id,mode,policy.ref,subscriber.real_number";

    fn row(more: &str, cells: &str) -> Value {
        let columns = Columns::read(format!("{HEADER}{more}").as_bytes()).expect("columns");
        let mut out = Vec::new();
        columns.write(format!("a,axb,P,+8613800000001{cells}").as_bytes(), &mut out);
        serde_json::from_slice(&out).unwrap_or_default()
    }

    #[test]
    fn a_cell_is_written_as_its_field_wants_it() {
        let more = ",agents,follow_policy,policy.ends_at,idle_ttl,metadata.branch,city";
        let cells = ",agt_1; agt_2,true,2030-01-01T00:00:00Z,86400,\"East, \u{4e0a}\u{6d77}\",";
        let wanted = json!({
            "external_id": "a", "mode": "axb",
            "policy": {"ref": "P", "ends_at": "2030-01-01T00:00:00Z"},
            "subscriber": {"real_number": "+8613800000001"}, "agents": ["agt_1", "agt_2"],
            "follow_policy": true, "idle_ttl": 86_400,
            "metadata": {"branch": "East, \u{4e0a}\u{6d77}"},
        });
        assert_eq!(row(more, cells), wanted);
        // What does not fit stays what it is, for the problem of the row to name.
        let wrong = row(",follow_policy,idle_ttl", ",yes,007");
        assert_eq!((&wrong["follow_policy"], &wrong["idle_ttl"]), (&json!("yes"), &json!("007")));
    }

    #[test]
    fn a_row_with_other_cells_than_the_header_is_nothing() {
        assert_eq!(row("", ",more"), Value::Null);
        assert_eq!(row(",city", ""), Value::Null);
        assert_eq!(row("", "\r\nb,ax,P,+8613800000002"), Value::Null);
    }

    #[test]
    fn a_header_is_judged_before_any_row() {
        let place = |header: &str| {
            let error = Columns::read(header.as_bytes()).err().expect("refused");
            let field = error.fields().first().expect("a place").clone();
            (field.pointer().to_owned(), field.rule().code())
        };
        let of = |pointer: &str, code| (pointer.to_owned(), code);
        assert_eq!(place(&format!("{HEADER},colour")), of("/colour", "unknown_field"));
        assert_eq!(place(&format!("{HEADER},metadata.")), of("/metadata", "unknown_field"));
        assert_eq!(place(&format!("{HEADER},13800000001")), of("", "unknown_field"));
        assert_eq!(place(&format!("{HEADER},policy.ref")), of("/policy/ref", "duplicate"));
        assert_eq!(place("external_id,mode,subscriber.id"), of("/policy/ref", "missing"));
        assert_eq!(place("external_id,mode,policy.ref"), of("/subscriber", "exactly_one"));
        let many: Vec<String> = (0..97).map(|n| format!("metadata.m{n}")).collect();
        assert_eq!(place(&format!("{HEADER},{}", many.join(","))), of("", "length"));
    }
}
