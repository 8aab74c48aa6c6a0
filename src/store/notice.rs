//! What nodes tell each other when a change of routes is committed: one NOTIFY for each changed
//! table, or for each binding that ended, with a version and the node that sends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgConnection;
use uuid::Uuid;

use super::binding::CallsUp;
use super::convert::uuid;
use super::error::StoreError;
use super::{ROUTES_CHANNEL, RouteTable};
use crate::domain::cause::Cause;
use crate::domain::id::BindingId;
use crate::vault::random_u128;

/// One opened database among all that other processes opened, by the word it signs its
/// notifications with.
#[derive(Clone, Debug)]
pub(super) struct Node(Arc<str>);

impl Node {
    pub(super) fn new() -> Self {
        // Without randomness all nodes are strangers to themselves: they forget more than they
        // must.
        Self(random_u128().map_or_else(|_| Arc::from("?"), |node| format!("{node:032x}").into()))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        word != "?" && word == &*self.0
    }
}

/// A binding that may no longer be used, as every node is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedBinding {
    /// Which.
    pub binding: BindingId,
    /// Why: ringing calls through it end with this.
    pub cause: Cause,
    /// What happens to calls that talk.
    pub calls: CallsUp,
}

impl EndedBinding {
    /// As it stands in a notification, after table, version and node.
    fn words(&self) -> String {
        let calls = match self.calls {
            CallsUp::GoOn => GO_ON,
            CallsUp::End => END,
        };
        format!("{} {} {calls}", uuid(self.binding.as_u128()).simple(), self.cause.label())
    }

    fn read<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let binding = Uuid::try_parse(words.next()?).ok()?;
        let cause = Cause::find_label(words.next()?)?;
        let calls = match words.next()? {
            GO_ON => CallsUp::GoOn,
            END => CallsUp::End,
            _ => return None,
        };
        Some(Self { binding: BindingId::from_u128(binding.as_u128()), cause, calls })
    }
}

/// As [`read_changed`] reads it.
fn changed_words(binding: BindingId) -> String {
    format!(" {} {CHANGED}", uuid(binding.as_u128()).simple())
}

fn read_changed<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<BindingId> {
    let binding = Uuid::try_parse(words.next()?).ok()?;
    (words.next()? == CHANGED).then(|| BindingId::from_u128(binding.as_u128()))
}

const CHANGED: &str = "changed";
const GO_ON: &str = "go_on";
const END: &str = "end";

/// A notification as it was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Notice<'a> {
    pub(super) table: Option<RouteTable>,
    pub(super) version: Option<i64>,
    pub(super) node: &'a str,
    pub(super) ended: Option<EndedBinding>,
    /// What is known of this binding alone has changed.
    pub(super) changed: Option<BindingId>,
}

impl<'a> Notice<'a> {
    /// Words that a later program adds are passed over; a word it does not know is none.
    pub(super) fn read(payload: &'a str) -> Self {
        let mut words = payload.split(' ');
        let [table, version, node] = [words.next(), words.next(), words.next()];
        let changed = read_changed(words.clone());
        Self {
            table: table.and_then(RouteTable::find_label),
            version: version.and_then(|word| word.parse().ok()),
            node: node.unwrap_or_default(),
            ended: EndedBinding::read(words),
            changed,
        }
    }
}

/// What a transaction will tell when it is committed.
#[derive(Debug)]
pub(super) struct Notices {
    node: Node,
    tables: BTreeSet<RouteTable>,
    ended: Vec<EndedBinding>,
    changed: BTreeSet<BindingId>,
}

impl Notices {
    pub(super) const fn new(node: Node) -> Self {
        Self { node, tables: BTreeSet::new(), ended: Vec::new(), changed: BTreeSet::new() }
    }

    pub(super) fn touch(&mut self, table: RouteTable) {
        self.tables.insert(table);
    }

    pub(super) fn end(&mut self, binding: EndedBinding) {
        self.ended.push(binding);
    }

    /// What is known of this binding has changed, and of no other.
    pub(super) fn change(&mut self, binding: BindingId) {
        self.changed.insert(binding);
    }

    /// Sends all of it with the commit that follows.
    pub(super) async fn send(&self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        if self.tables.is_empty() && self.ended.is_empty() && self.changed.is_empty() {
            return Ok(());
        }
        let mut subjects: Vec<(&str, String)> =
            self.tables.iter().map(|table| (table.label(), String::new())).collect();
        let table = RouteTable::Binding.label();
        subjects.extend(self.ended.iter().map(|ended| (table, format!(" {}", ended.words()))));
        subjects.extend(self.changed.iter().map(|binding| (table, changed_words(*binding))));
        let (tables, words): (Vec<&str>, Vec<String>) = subjects.into_iter().unzip();
        sqlx::query(
            "select pg_notify($1, told || ' ' || nextval('route_version') || ' ' || $2 || words)
             from unnest($3::text[], $4::text[]) as notice (told, words)",
        )
        .bind(ROUTES_CHANNEL)
        .bind(&*self.node.0)
        .bind(tables)
        .bind(words)
        .execute(transaction)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_binding_is_read_as_it_was_written() {
        for (cause, calls) in
            [(Cause::BindingSuspended, CallsUp::End), (Cause::BindingExpired, CallsUp::GoOn)]
        {
            let ended = EndedBinding { binding: BindingId::new(1, 7), cause, calls };
            let payload = format!("binding 12 abc {}", ended.words());
            let table = Some(RouteTable::Binding);
            let (version, node, changed) = (Some(12), "abc", None);
            let heard = Notice { table, version, node, ended: Some(ended), changed };
            assert_eq!(Notice::read(&payload), heard);
        }
    }

    #[test]
    fn a_changed_binding_is_no_ended_one() {
        let binding = BindingId::new(1, 7);
        let words = format!("binding 12 ? {} changed", uuid(binding.as_u128()));
        let heard = Notice::read(&words);
        assert_eq!((heard.changed, heard.ended), (Some(binding), None));
    }

    #[test]
    fn what_is_not_understood_is_a_change_of_the_table_at_least() {
        for payload in ["binding 12 abc", "binding 12 abc xyz", "binding 12 abc xyz no_cause end"] {
            let heard = Notice::read(payload);
            assert_eq!((heard.table, heard.ended), (Some(RouteTable::Binding), None), "{payload}");
        }
        assert_eq!(Notice::read("").table, None);
    }
}
