//! Small texts that break one rule each: a rule that cannot fail is no rule.

use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn layer_problems(path: &str, text: &str) -> usize {
    let packages = packages("[dependencies]\ntokio = \"1\"\nrand-core = \"1\"\naxum = \"1\"\n");
    layers(&source(path, text), &packages).len()
}

#[test]
fn a_file_without_its_sentence_is_found() {
    assert_eq!(module_doc(&source("src/a.rs", "use std::fmt;\n")).len(), 1);
    assert_eq!(module_doc(&source("src/a.rs", "//! Owns a.\n")).len(), 0);
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let long = "// line\n".repeat(501);
    assert_eq!(file_length(&source("src/a.rs", &long)).len(), 1);
    let tested = format!("{}#[cfg(test)]\n{long}", "// line\n".repeat(500));
    assert_eq!(file_length(&source("src/a.rs", &tested)).len(), 0);
}

#[test]
fn a_long_function_is_found() {
    for kind in [
        "fn",
        "pub fn",
        "pub const fn",
        "pub(crate) const fn",
        "pub(super) async fn",
        "pub(in crate::call) fn",
        "unsafe fn",
        "pub unsafe extern \"C\" fn",
    ] {
        let body = |lines| format!("    {kind} f() {{\n{}    }}\n", "        a();\n".repeat(lines));
        assert_eq!(function_length(&source("src/a.rs", &body(69))).len(), 1, "{kind}");
        assert_eq!(function_length(&source("src/a.rs", &body(68))).len(), 0, "{kind}");
    }
}

#[test]
fn a_wide_line_is_found_by_characters() {
    assert_eq!(line_width(&source("src/a.rs", &"x".repeat(101))).len(), 1);
    assert_eq!(line_width(&source("src/a.rs", &"隐".repeat(100))).len(), 0);
}

#[test]
fn a_wrong_direction_is_found() {
    assert_eq!(layer_problems("src/sip/parse.rs", "use crate::domain::id::CallId;\n"), 1);
    assert_eq!(layer_problems("src/call/core.rs", "use crate::{domain::id, store::route};\n"), 1);
    assert_eq!(layer_problems("src/call/core.rs", "let a = crate::store::open();\n"), 1);
    assert_eq!(layer_problems("src/domain/id.rs", "fn f(a: tokio::time::Instant) {}\n"), 1);
    assert_eq!(layer_problems("src/relay/shell.rs", "use axum::Router;\n"), 1);
    assert_eq!(layer_problems("src/api/calls.rs", "use crate::relay::{shell::Shell};\n"), 1);
}

#[test]
fn the_right_direction_passes() {
    assert_eq!(layer_problems("src/call/core.rs", "use crate::{domain::id, sip::parse};\n"), 0);
    assert_eq!(layer_problems("src/api/calls.rs", "use crate::relay::handle::Relay;\n"), 0);
    assert_eq!(layer_problems("src/sip/ids.rs", "use rand_core::Rng;\n// as in tokio::a\n"), 0);
    assert_eq!(layer_problems("src/app.rs", "use crate::{api, store};\nuse tokio::net;\n"), 0);
    let tests = "//! a\n#[cfg(test)]\nmod tests { use crate::domain::id::CallId; }\n";
    assert_eq!(layer_problems("src/sip/parse.rs", tests), 0);
}

#[test]
fn a_clock_or_a_socket_in_pure_code_is_found() {
    assert_eq!(purity(&source("src/call/core.rs", "let t = Instant::now();\n")).len(), 1);
    assert_eq!(purity(&source("src/rtp/a.rs", "use std::net::UdpSocket;\n")).len(), 1);
    assert_eq!(purity(&source("src/sip/a.rs", "pub async fn f() {}\n")).len(), 1);
    assert_eq!(purity(&source("src/relay/a.rs", "let t = Instant::now();\n")).len(), 0);
}

#[test]
fn sql_outside_of_the_store_is_found() {
    let query = "let q = \"SELECT id from tenant\";\n";
    assert_eq!(sql_only_in_store(&source("src/api/a.rs", query)).len(), 1);
    assert_eq!(sql_only_in_store(&source("src/store/a.rs", query)).len(), 0);
}

#[test]
fn a_number_read_in_clear_is_found() {
    let reveal = "let n = number.reveal(Reveal::Seal);\n";
    assert_eq!(guarded_words(&source("src/api/a.rs", reveal)).len(), 1);
    assert_eq!(guarded_words(&source("src/vault/seal.rs", reveal)).len(), 0);
    assert_eq!(guarded_words(&source("src/api/a.rs", "AssertSqlSafe(text)\n")).len(), 1);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let path = format!("cd /{}/me/src\n", "home");
    assert_eq!(machine_paths(&source("scripts/a", &path)).len(), 1);
    assert_eq!(machine_paths(&source("scripts/a", "cd \"$HOME/src\"; cd ./home/x\n")).len(), 0);
}

#[test]
fn a_number_that_may_be_somebodys_is_found() {
    for text in ["139", "+86139", "0086139", "0139"] {
        let line = format!("call {text}{}\n", "12345678");
        assert_eq!(phone_numbers(&source("docs/a.md", &line)).len(), 1, "{text}");
    }
    assert_eq!(phone_numbers(&source("docs/a.md", "call +8613800001234\n")).len(), 0);
    assert_eq!(phone_numbers(&source("docs/a.md", "at 1700000000123 ms\n")).len(), 0);
}
