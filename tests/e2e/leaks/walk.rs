//! Every operation that reads, as the served OpenAPI file names it, asked by every role that may,
//! for every thing of its kind that other answers name. A new operation is asked for by itself.

use std::collections::{BTreeMap, BTreeSet};

use maskline::api::roles::{OperationRow, Role, find_operation};
use serde_json::{Value, json};

use crate::http::{Answer, Request, ask};
use crate::service::Service;

/// More things of one kind than the tests make.
const THINGS_MAX: usize = 100;
/// Pages of one list that are read one row at a time.
const PAGES_MAX: usize = 3;

/// A key of each role.
pub(crate) fn keys(service: &Service) -> Vec<(Role, String)> {
    let issue = |role: Role| {
        let body = json!({"name": role.label(), "role": role.label()});
        let issued = if role.needs_tenant() {
            service.administer("/v1/api-keys", &body)
        } else {
            service.operate("/v1/api-keys", &body)
        };
        (role, issued["key"].as_str().expect("a key, once").to_owned())
    };
    Role::ALL.into_iter().map(issue).collect()
}

/// What the service says it can be asked.
pub(crate) fn document(service: &Service) -> Value {
    ask(service.api, &Request::get("/openapi.json")).json()
}

/// Asks for everything.
pub(crate) struct Walk<'a> {
    service: &'a Service,
    keys: &'a [(Role, String)],
    /// The good answers so far, by template.
    answers: BTreeMap<String, Vec<Value>>,
    /// Every byte of every answer, under the operation's template.
    pub(crate) surfaces: Vec<(String, Vec<u8>)>,
    /// Operations that gave no good answer to a role that may ask.
    pub(crate) missed: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    /// Asks for all operations of `document`: what needs no name of a thing first, since those
    /// answers name the things.
    pub(crate) fn new(service: &'a Service, keys: &'a [(Role, String)], document: &Value) -> Self {
        let (answers, surfaces, missed) = (BTreeMap::new(), vec![], BTreeSet::new());
        let mut walk = Self { service, keys, answers, surfaces, missed };
        let paths = document["paths"].as_object().expect("paths");
        let reading = paths.iter().filter(|(_, item)| item.get("get").is_some());
        let (named, plain): (Vec<_>, Vec<_>) = reading.partition(|(path, _)| path.contains('{'));
        for (template, item) in plain.into_iter().chain(named) {
            walk.operation(template, &item["get"]);
        }
        walk.surfaces.push(("/openapi.json".to_owned(), document.to_string().into_bytes()));
        walk
    }

    fn operation(&mut self, template: &str, operation: &Value) {
        let roles = find_operation("GET", template).map_or(vec![], roles_of);
        if roles.is_empty() {
            self.missed.insert(template.to_owned());
        }
        let paths = self.paths(template);
        for role in roles {
            let tenant = self.tenant(role, operation);
            let mut is_answered = false;
            for path in &paths {
                is_answered |= self.ask(template, &format!("{path}{tenant}"), role);
            }
            if !is_answered {
                self.missed.insert(template.to_owned());
            }
        }
    }

    /// The template for each thing of its kind: those that the list above it holds, or those that
    /// other things belong to.
    fn paths(&self, template: &str) -> Vec<String> {
        let Some((list, rest)) = template.split_once("/{") else {
            return vec![template.to_owned()];
        };
        let rest = rest.split_once('}').expect("its end").1;
        let noun = list.rsplit('/').next().expect("a noun").trim_end_matches('s');
        let mut names = BTreeSet::new();
        match self.answers.get(list) {
            Some(lists) => {
                for row in lists.iter().filter_map(|list| list["data"].as_array()).flatten() {
                    let name = row.get(noun).unwrap_or(&row["id"]);
                    names.insert(name.as_str().expect("a name").to_owned());
                }
            }
            None => {
                let field = format!("{noun}_id");
                self.answers.values().flatten().for_each(|it| collect(it, &field, &mut names));
            }
        }
        names.iter().take(THINGS_MAX).map(|name| format!("{list}/{name}{rest}")).collect()
    }

    /// Where the platform has to say whose things it wants.
    fn tenant(&self, role: Role, operation: &Value) -> String {
        let parameters = operation["parameters"].as_array();
        let is_asked = parameters.is_some_and(|all| all.iter().any(|it| it["name"] == "tenant_id"));
        if role.needs_tenant() || !is_asked {
            return String::new();
        }
        let tenants = self.service.operator_get("/v1/tenants");
        format!("?tenant_id={}", tenants["data"][0]["id"].as_str().expect("a tenant"))
    }

    /// One question, and where it is a list, some of its pages too.
    fn ask(&mut self, template: &str, path: &str, role: Role) -> bool {
        let answer = self.send(path, role);
        let is_good = answer.status == 200;
        let body = answer.json();
        self.surfaces.push((template.to_owned(), answer.bytes()));
        if is_good {
            if body["data"].is_array() {
                self.pages(template, path, role);
            }
            self.answers.entry(template.to_owned()).or_default().push(body);
        }
        is_good
    }

    fn pages(&mut self, template: &str, path: &str, role: Role) {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.send(&format!("{path}{join}limit=1{cursor}"), role);
            let next = page.json()["next_cursor"].as_str().map(|next| format!("&cursor={next}"));
            self.surfaces.push((template.to_owned(), page.bytes()));
            let Some(next) = next else { break };
            cursor = next;
        }
    }

    fn send(&self, path: &str, role: Role) -> Answer {
        let key = self.keys.iter().find(|(of, _)| *of == role).map(|(_, key)| key.as_str());
        ask(self.service.api, &Request { key, ..Request::get(path) })
    }
}

fn roles_of(row: &OperationRow) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| row.permits(*role)).collect()
}

/// All texts that stand under this name, however deep.
fn collect(value: &Value, field: &str, found: &mut BTreeSet<String>) {
    if let Some(text) = value[field].as_str() {
        found.insert(text.to_owned());
    }
    let (items, fields) = (value.as_array(), value.as_object());
    let inner = items.into_iter().flatten().chain(fields.into_iter().flat_map(|it| it.values()));
    inner.for_each(|value| collect(value, field, found));
}
