//! Links of the OpenAPI file (3.1, "Link Object"): which operations take what an answer gives. A
//! tool can follow them from a thing that it has made to all that can be done with it.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr, Response};

/// An operation that takes one thing, by the last name in its path.
struct Taker {
    /// The path of the list that the thing is in.
    list: String,
    operation_id: String,
    parameter: &'static str,
}

/// The names of things in paths, and where a list and an answer that made one give them.
const NAMES: [(&str, &str, &str); 2] = [("id", "/data/0/id", "/id"), ("x", "/data/0/number", "")];

/// Links the answers of lists and of makers to what their things can be used for.
pub(super) fn link(document: &mut OpenApi) {
    let takers: Vec<Taker> =
        document.paths.paths.iter().flat_map(|(path, item)| takers_of(path, item)).collect();
    for (path, item) in &mut document.paths.paths {
        for taker in takers.iter().filter(|taker| taker.list == *path) {
            let name = NAMES.iter().find(|(name, ..)| *name == taker.parameter);
            let Some((_, listed, made)) = name else { continue };
            add(item.get.as_mut(), "200", taker, listed);
            add(item.post.as_mut(), "201", taker, made);
            add(item.post.as_mut(), "202", taker, made);
        }
        if let Some(list) = &mut item.get
            && has_parameter(list, "cursor")
            && let Some(operation_id) = list.operation_id.clone()
        {
            let next = Taker { list: path.clone(), operation_id, parameter: "cursor" };
            add(Some(list), "200", &next, "/next_cursor");
        }
    }
}

fn takers_of(path: &str, item: &PathItem) -> Vec<Taker> {
    let operations = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
    let named = NAMES.iter().find_map(|(parameter, ..)| {
        let (list, _) = path.split_once(&format!("/{{{parameter}}}"))?;
        Some((list.to_owned(), *parameter))
    });
    let ids = operations.into_iter().flatten().filter_map(|found| found.operation_id.clone());
    let taker = |operation_id| {
        named.clone().map(|(list, parameter)| Taker { list, operation_id, parameter })
    };
    ids.filter_map(taker).collect()
}

fn has_parameter(operation: &Operation, name: &str) -> bool {
    operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == name))
}

/// Leads from a place in the body of an answer to the operation; nowhere from no place.
fn add(operation: Option<&mut Operation>, status: &str, taker: &Taker, place: &str) {
    let response = operation.and_then(|found| found.responses.responses.get_mut(status));
    let Some(RefOr::T(Response { links, .. })) = response else { return };
    if place.is_empty() {
        return;
    }
    let link = LinkBuilder::new()
        .operation_id(&taker.operation_id)
        .parameter(taker.parameter, format!("$response.body#{place}"));
    links.insert(taker.operation_id.clone(), link.build().into());
}
