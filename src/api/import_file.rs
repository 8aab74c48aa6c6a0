//! The body of an import in pieces, as they come: where one row ends and the next begins, and one
//! JSON text for each row, whatever the form of the file. No more than a chunk of it is held.

use axum::http::{HeaderMap, header};
use zeroize::{Zeroize as _, Zeroizing};

use super::binding_batch::ROW_BYTES_MAX;
use super::error::ApiError;
use super::import_columns::{Columns, no_header};

/// The most rows of a chunk: what one transaction binds.
pub const CHUNK_ROWS_MAX: u32 = 500;
/// A chunk of so much text takes no more rows.
const CHUNK_BYTES: usize = 512 * 1024;
/// A character of a CSV file may take so many bytes of JSON.
const ESCAPED_BYTES_MAX: usize = 6;
/// The mark of UTF-8 that some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How a body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileForm {
    /// One JSON object in a line.
    Ndjson,
    /// A header line, then one row for each binding (RFC 4180).
    Csv,
}

impl FileForm {
    /// Reads `Content-Type`; `None` for anything else.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Some(Self::Ndjson)
            }
            "text/csv" => Some(Self::Csv),
            _ => None,
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// Where in a row of a CSV file the last byte was.
#[derive(Clone, Copy)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote that ends a field, or is the first of two.
    Quote,
}

impl Place {
    /// Where `byte` leads; `None` at the end of the row.
    const fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) | (Self::FieldStart | Self::Quote, b'"') => Self::Quoted,
            (Self::FieldStart | Self::Plain | Self::Quote, b'\n') => return None,
            (Self::FieldStart | Self::Plain | Self::Quote, b',') => Self::FieldStart,
            (Self::FieldStart | Self::Plain | Self::Quote, _) => Self::Plain,
        })
    }
}

/// A file on its way. What it holds are real numbers: it is wiped.
pub(super) struct ImportFile {
    form: FileForm,
    is_begun: bool,
    place: Place,
    /// The row that has begun, and no more than one byte more than a row may have.
    row: Zeroizing<Vec<u8>>,
    columns: Option<Columns>,
    /// One line for each row that has ended; an empty one for what is no row at all.
    chunk: Zeroizing<Vec<u8>>,
    count: u32,
}

impl ImportFile {
    pub(super) fn new(form: FileForm) -> Self {
        // Reserved in one piece, so that growing leaves no copy behind.
        let chunk_bytes_max = CHUNK_BYTES + ESCAPED_BYTES_MAX * ROW_BYTES_MAX;
        Self {
            form,
            is_begun: false,
            place: Place::FieldStart,
            row: Zeroizing::new(Vec::with_capacity(ROW_BYTES_MAX + 1)),
            columns: None,
            chunk: Zeroizing::new(Vec::with_capacity(chunk_bytes_max)),
            count: 0,
        }
    }

    /// Takes a piece up to the end of a row, and gives the rest of it back.
    ///
    /// # Errors
    /// When the header of a CSV file is none.
    pub(super) fn take<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], ApiError> {
        let end = self.find_end(piece);
        let (row, rest) = piece.split_at(end.unwrap_or(piece.len()));
        let room = ROW_BYTES_MAX + 1 - self.row.len();
        self.row.extend_from_slice(row.get(..room).unwrap_or(row));
        if end.is_none() {
            return Ok(rest);
        }
        self.end_row()?;
        Ok(rest.get(1..).unwrap_or_default())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// When the header of a CSV file is missing or none.
    pub(super) fn finish(&mut self) -> Result<(), ApiError> {
        self.end_row()?;
        match (self.form, &self.columns) {
            (FileForm::Csv, None) => Err(no_header()),
            (FileForm::Csv, Some(_)) | (FileForm::Ndjson, _) => Ok(()),
        }
    }

    /// No more rows are to be taken before [`Self::clear`].
    pub(super) fn is_full(&self) -> bool {
        self.count >= CHUNK_ROWS_MAX || self.chunk.len() >= CHUNK_BYTES
    }

    /// The rows that have ended, one in a line, and how many they are.
    pub(super) fn chunk(&self) -> (&[u8], u32) {
        (&self.chunk, self.count)
    }

    /// The rows that have ended are kept elsewhere.
    pub(super) fn clear(&mut self) {
        wipe(&mut self.chunk);
        self.count = 0;
    }

    fn find_end(&mut self, piece: &[u8]) -> Option<usize> {
        match self.form {
            FileForm::Ndjson => piece.iter().position(|byte| *byte == b'\n'),
            FileForm::Csv => piece.iter().position(|byte| {
                let place = self.place.after(*byte);
                self.place = place.unwrap_or(Place::FieldStart);
                place.is_none()
            }),
        }
    }

    fn end_row(&mut self) -> Result<(), ApiError> {
        let mut text = self.row.as_slice();
        if !self.is_begun {
            self.is_begun = true;
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        let is_header = self.form == FileForm::Csv && self.columns.is_none();
        let is_too_long = self.row.len() > ROW_BYTES_MAX;
        let text = text.trim_ascii();
        if is_header && is_too_long {
            return Err(no_header());
        }
        if text.is_empty() && !is_too_long {
            // An empty line is no row.
        } else if is_header {
            self.columns = Some(Columns::read(text)?);
        } else {
            match &self.columns {
                // Too long to be a row, and told as such when it is read.
                _ if is_too_long => {
                    let length = self.chunk.len() + ROW_BYTES_MAX + 1;
                    self.chunk.resize(length, b' ');
                }
                Some(columns) => columns.write(text, &mut self.chunk),
                None => self.chunk.extend_from_slice(text),
            }
            self.chunk.push(b'\n');
            self.count += 1;
        }
        wipe(&mut self.row);
        Ok(())
    }
}

/// What was used of it, and no more: there is room for a long row, and most are short.
fn wipe(text: &mut Vec<u8>) {
    text.as_mut_slice().zeroize();
    text.clear();
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::*;

    /// The rows of a file that comes in pieces of so many bytes.
    fn rows(form: FileForm, text: &[u8], piece: usize) -> Result<Vec<String>, Code> {
        let mut file = ImportFile::new(form);
        for piece in text.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = file.take(rest).map_err(|error| error.code())?;
            }
        }
        file.finish().map_err(|error| error.code())?;
        let (chunk, count) = file.chunk();
        let text = String::from_utf8(chunk.to_vec()).expect("UTF-8");
        let rows: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(rows.len(), count as usize);
        Ok(rows)
    }

    #[test]
    fn lines_are_rows_however_they_come() {
        let text = "\u{feff}{\"a\":1}\r\n\n  \n{\"b\n{}".as_bytes();
        for piece in [1, 2, 3, 7, 100] {
            let read = rows(FileForm::Ndjson, text, piece).expect("rows");
            assert_eq!(read, ["{\"a\":1}", "{\"b", "{}"], "{piece}");
        }
    }

    #[test]
    fn a_quoted_field_of_a_csv_file_may_hold_lines() {
        let text = "external_id,mode,policy.ref,subscriber.id,city\r\n\
                    a,ax,\"P,\"\"1\"\"\n\",sub_1,\n\
                    \n\
                    b,ax,P\"2,sub_2,\"Shanghai\"\n\
                    c,ax,P\n";
        for piece in [1, 2, 5, 1_000] {
            let read = rows(FileForm::Csv, text.as_bytes(), piece).expect("rows");
            let [one, two, none] = read.as_slice() else { panic!("{read:?}") };
            assert!(one.ends_with(r#""policy":{"ref":"P,\"1\""},"subscriber":{"id":"sub_1"}}"#));
            assert!(
                two.ends_with(r#"{"ref":"P\"2"},"subscriber":{"id":"sub_2"},"city":"Shanghai"}"#)
            );
            assert_eq!(none, "", "{piece}");
        }
    }

    #[test]
    fn a_row_that_is_too_long_is_one_row_and_not_kept() {
        let long = "x".repeat(3 * ROW_BYTES_MAX);
        let text = format!("{{}}\n{long}\n{{}}\n");
        let read = rows(FileForm::Ndjson, text.as_bytes(), 10_000).expect("rows");
        assert_eq!((read.len(), read[1].len()), (3, ROW_BYTES_MAX + 1));
        assert!(read[1].trim().is_empty());
    }

    #[test]
    fn a_csv_file_begins_with_its_columns() {
        let of = |text: &str| rows(FileForm::Csv, text.as_bytes(), 100).err();
        assert_eq!(of(""), Some(Code::ValidationFailed));
        assert_eq!(of("a,ax,P,sub_1\n"), Some(Code::ValidationFailed));
        assert_eq!(of(&"x".repeat(ROW_BYTES_MAX + 1)), Some(Code::ValidationFailed));
    }

    #[test]
    fn a_chunk_is_full_by_its_rows_or_by_its_text() {
        let mut file = ImportFile::new(FileForm::Ndjson);
        for nth in 1..=CHUNK_ROWS_MAX {
            assert_eq!(file.take(b"{}\n").expect("a row"), b"");
            assert_eq!(file.is_full(), nth == CHUNK_ROWS_MAX);
        }
        file.clear();
        assert_eq!((file.chunk(), file.is_full()), ((&b""[..], 0), false));
        let row = [&[b'1'; CHUNK_BYTES / 5][..], b"\n"].concat();
        for nth in 1..=5 {
            file.take(&row).expect("a row");
            assert_eq!(file.is_full(), nth == 5);
        }
    }
}
