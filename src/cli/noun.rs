//! What the nouns of the control API have in common on the command line: they are listed, shown,
//! made, changed and removed, and what comes back is printed.

use std::io::{self, Write as _};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::output::{self, Column, Format};
use super::{Failure, Outcome, on_runtime};
use crate::client::{Client, Endpoint, escape};

/// Fields that stand in no process list and in no shell's history: they are read from standard
/// input.
const UNSPEAKABLE: [&str; 2] = ["real_number", "password"];

/// Options of every noun.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    endpoint: Endpoint,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

/// How much of a list.
#[derive(Debug, clap::Args)]
pub(super) struct Rows {
    /// At most so many rows.
    #[arg(long, default_value_t = 100)]
    pub(super) rows: usize,
}

/// Which one.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Its identifier.
    id: String,
}

/// What a new one is like.
#[derive(Debug, clap::Args)]
pub(super) struct Fields {
    /// Fields of the API's body: `name=text`, or `name:=JSON` for what is no text.
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
}

/// Which one, and what it shall be like.
#[derive(Debug, clap::Args)]
pub(super) struct Change {
    /// Its identifier.
    id: String,
    /// Fields of the API's body: `name=text`, or `name:=JSON` for what is no text.
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
}

impl Change {
    /// Asks for it; what has become of the thing.
    pub(super) fn send(&self, client: &Client, noun: &str) -> Result<Value, Failure> {
        let body = Value::Object(parse_fields(&self.fields)?);
        let path = format!("{noun}/{}", escape(&self.id));
        on_runtime(client.send(Method::PATCH, &path, Some(&body)))
    }
}

/// A noun of the API as one command uses it.
pub(super) struct Noun {
    client: Client,
    format: Format,
    path: &'static str,
    columns: &'static [Column],
}

impl Noun {
    pub(super) fn new(
        common: &Common,
        path: &'static str,
        columns: &'static [Column],
    ) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(&common.endpoint)?, format: common.output, path, columns })
    }

    pub(super) fn list(&self, rows: &Rows) -> Outcome {
        self.list_of(self.path, self.columns, rows.rows)
    }

    /// Another list, or a part of one.
    pub(super) fn list_of(&self, path: &str, columns: &[Column], rows_max: usize) -> Outcome {
        let rows = on_runtime(self.client.list(path, rows_max))?;
        output::write_rows(&mut io::stdout().lock(), self.format, columns, &rows)?;
        Ok(())
    }

    /// A list that belongs to one of them.
    pub(super) fn list_part(
        &self,
        one: &One,
        part: &str,
        columns: &[Column],
        rows: &Rows,
    ) -> Outcome {
        self.list_of(&self.of(one, part), columns, rows.rows)
    }

    pub(super) fn show(&self, one: &One) -> Outcome {
        self.show_of(one, "", self.columns)
    }

    /// Something that belongs to one of them.
    pub(super) fn show_of(&self, one: &One, part: &str, columns: &[Column]) -> Outcome {
        self.ask(Method::GET, &self.of(one, part), None, columns)
    }

    pub(super) fn create(&self, fields: &Fields) -> Outcome {
        self.create_with(fields, Map::new(), self.columns)
    }

    /// With what stands in no argument, and an answer of its own.
    pub(super) fn create_with(
        &self,
        fields: &Fields,
        more: Map<String, Value>,
        columns: &[Column],
    ) -> Outcome {
        let mut body = parse_fields(&fields.fields)?;
        body.extend(more);
        self.ask(Method::POST, self.path, Some(Value::Object(body)), columns)
    }

    /// Posts a whole body.
    pub(super) fn send(&self, body: Value) -> Outcome {
        self.ask(Method::POST, self.path, Some(body), self.columns)
    }

    pub(super) fn change(&self, change: &Change) -> Outcome {
        let changed = change.send(&self.client, self.path)?;
        output::write_one(&mut io::stdout().lock(), self.format, self.columns, &changed)?;
        Ok(())
    }

    /// Puts a part in its place.
    pub(super) fn put(
        &self,
        one: &One,
        part: &str,
        body: Map<String, Value>,
        columns: &[Column],
    ) -> Outcome {
        self.ask(Method::PUT, &self.of(one, part), Some(Value::Object(body)), columns)
    }

    /// Removes it, or a part of it.
    pub(super) fn delete(&self, one: &One, part: &str) -> Outcome {
        on_runtime(self.client.send(Method::DELETE, &self.of(one, part), None))?;
        writeln!(io::stdout(), "removed")?;
        Ok(())
    }

    /// Gives an order that has no fields.
    pub(super) fn order(&self, one: &One, verb: &str, columns: &[Column]) -> Outcome {
        self.ask(Method::POST, &self.of(one, verb), Some(json!({})), columns)
    }

    fn of(&self, one: &One, part: &str) -> String {
        format!("{}/{}{part}", self.path, escape(&one.id))
    }

    fn ask(&self, method: Method, path: &str, body: Option<Value>, columns: &[Column]) -> Outcome {
        let answer = on_runtime(self.client.send(method, path, body.as_ref()))?;
        output::write_one(&mut io::stdout().lock(), self.format, columns, &answer)?;
        Ok(())
    }
}

/// Fields of a body, as they were typed.
pub(super) fn parse_fields(texts: &[String]) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    for text in texts {
        // What is wrong may be a secret: only its place is told.
        let place = fields.len() + 1;
        let wrong = |what: &str| format!("field {place}: {what}");
        let (name, value) =
            text.split_once('=').ok_or_else(|| wrong("is not of the form name=value"))?;
        let (name, value) = match name.strip_suffix(':') {
            None => (name, Value::from(value)),
            Some(name) => {
                let value = serde_json::from_str(value).map_err(|_| wrong("is not JSON"))?;
                (name, value)
            }
        };
        if UNSPEAKABLE.contains(&name) || UNSPEAKABLE.iter().any(|it| holds(&value, it)) {
            return Err(wrong("belongs on standard input, where nobody else can read it"));
        }
        if fields.insert(name.to_owned(), value).is_some() {
            return Err(wrong("was given before"));
        }
    }
    Ok(fields)
}

fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(field, value)| field == name || holds(value, name))
        }
        Value::Array(items) => items.iter().any(|item| holds(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Value, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse_fields(&texts).map(Value::Object)
    }

    #[test]
    fn a_field_is_a_text_or_json() {
        let wanted = json!({"name": "a=b", "cooling_days": 365, "trunks": ["trk_1"], "city": null});
        let texts = ["name=a=b", "cooling_days:=365", "trunks:=[\"trk_1\"]", "city:=null"];
        assert_eq!(parsed(&texts), Ok(wanted));
    }

    #[test]
    fn wrong_fields_are_told_by_their_place_alone() {
        for (texts, told) in [
            (vec!["name"], "field 1: is not of the form name=value"),
            (vec!["a=1", "b:=x"], "field 2: is not JSON"),
            (vec!["a=1", "a=2"], "field 2: was given before"),
        ] {
            assert_eq!(parsed(&texts), Err(told.to_owned()));
        }
    }

    #[test]
    fn a_real_number_or_a_password_is_no_argument() {
        for text in [
            "real_number=+8613800001234",
            "password=secret",
            "subscriber:={\"real_number\": \"+8613800001234\"}",
            "list:=[{\"password\": 1}]",
        ] {
            let told = parsed(&[text]).expect_err("refused");
            assert!(told.contains("standard input") && !told.contains("1380000"), "{told}");
        }
    }
}
