//! What the OpenAPI file shows is true: its examples are taken by the handlers, and nothing is left
//! unexplained.

use std::collections::BTreeMap;

use maskline::api::roles::{BASE, Role, find_operation};
use serde_json::Value;

use crate::test_mode::tester;
use crate::world::World;

/// Prefix, underscore and 32 digits.
const ID_CHARS: usize = 36;

fn document() -> Value {
    serde_json::to_value(maskline::api::openapi::document()).expect("JSON")
}

/// Method, path and example of every operation that takes a body.
fn examples() -> Vec<(String, String, Value)> {
    let document = document();
    let mut examples = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if body.is_null() {
                continue;
            }
            // A body that may be missing is one of two.
            let reference = body["$ref"].as_str().or_else(|| body["oneOf"][0]["$ref"].as_str());
            let name = reference.and_then(|it| it.strip_prefix("#/components/schemas/"));
            let name = name.unwrap_or_else(|| panic!("{method} {path}: {body}"));
            let example = document["components"]["schemas"][name]["example"].clone();
            assert!(example.is_object(), "{name} has no example");
            examples.push((method.to_uppercase(), path.clone(), example));
        }
    }
    examples
}

/// The example with the things that there are in place of those it names.
fn fitting(example: &Value, world: &World, made: &BTreeMap<String, String>) -> Value {
    let mut text = example.to_string();
    let things = [("ten", Some(&world.tenant)), ("trk", made.get("trunks"))];
    let more = [("pol", "pools"), ("bnd", "bindings"), ("agt", "agents")];
    let more = more.map(|(prefix, noun)| (prefix, made.get(noun)));
    for (prefix, id) in things.into_iter().chain(more) {
        let named = text.find(&format!("{prefix}_")).and_then(|at| text.get(at..at + ID_CHARS));
        if let (Some(named), Some(id)) = (named.map(str::to_owned), id) {
            text = text.replace(&named, id);
        }
    }
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn every_example_of_the_file_is_taken() {
    let world = World::new().await;
    let (tester, _) = tester(&world).await;
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    let mut examples = examples();
    // What others name comes first; what changes a thing comes after what makes it.
    let rank = |path: &str| {
        let first = ["tenants", "trunks", "pools", "numbers:import"];
        let noun = path.trim_start_matches(BASE).trim_start_matches('/');
        let at = first.iter().position(|it| *it == noun);
        at.unwrap_or(first.len() + usize::from(path.contains('{')))
    };
    examples.sort_by_key(|(_, path, _)| rank(path));
    for (method, path, example) in examples {
        let noun = path.split('/').nth(2).expect("a noun").to_owned();
        let place = match made.get(&noun) {
            Some(id) => path.replace("{id}", id).replace("{x}", "17000001001"),
            // Calls, recordings and deliveries come from elsewhere; their bodies are read all the
            // same.
            None if path.contains('{') => path.replace("{id}", &nobody(&noun)),
            None => path.clone(),
        };
        let row = find_operation(&method, &path).expect("a row");
        let client = match noun.as_str() {
            "test-clock" => &tester,
            _ if row.permits(Role::Operator) => &world.operator,
            _ => &world.admin,
        };
        let body = fitting(&example, &world, &made);
        let answer = client.json(&method, &place, body, &[]).await;
        let status = answer.status.as_u16();
        if path.contains('{') {
            let is_read = answer.status.is_success() || [404, 409].contains(&status);
            assert!(is_read, "{method} {path}: {:#}", answer.body);
        } else {
            assert!(answer.status.is_success(), "{method} {path}: {:#}", answer.body);
            let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
            made.insert(noun.trim_end_matches(":import").to_owned(), id);
        }
    }
    for noun in ["agents", "bindings", "numbers", "pools", "subscribers", "tenants", "trunks"] {
        assert!(made.contains_key(noun), "{noun} has no example");
    }
}

fn nobody(noun: &str) -> String {
    let prefix = match noun {
        "calls" => "cal",
        "jobs" => "imp",
        "recordings" => "rec",
        "webhook-deliveries" => "dlv",
        other => panic!("nothing was made of {other}"),
    };
    format!("{prefix}_01977420a1b27c3d8e4f5a6b7c8d9e0f")
}

#[test]
fn every_field_and_parameter_of_the_file_is_described() {
    let document = document();
    let mut silent = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        // A body that holds another one in its own fields has its parts.
        let parts = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        for (field, it) in parts.iter().filter_map(|it| it["properties"].as_object()).flatten() {
            if it["description"].as_str().is_none_or(str::is_empty) {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["description"].as_str().is_none_or(str::is_empty) {
                    silent.push(format!("{method} {path} {}", parameter["name"]));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
