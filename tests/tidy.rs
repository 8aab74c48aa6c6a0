//! The house rules that no compiler checks: layers, sizes, and what may be named where. Each rule
//! is one function from a file to its problems; the fixtures at the end show that each can fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use table::*;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// One text file of the project.
struct Source {
    path: String,
    text: String,
}

type Problems = Vec<String>;

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines above the file's own unit tests, with their numbers.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_crate_code = self.path.starts_with("src/");
        // Long unit tests have a file of their own: `src/sdp/tests.rs`, `src/rtp/session_tests.rs`.
        let is_tests = is_crate_code && self.path.ends_with("tests.rs");
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.take_while(move |(_, line)| !is_tests && (!is_crate_code || *line != "#[cfg(test)]"))
    }

    /// The production lines without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production().map(|(at, line)| {
            let start = line.trim_start();
            (at, if start.starts_with("//") { "" } else { line })
        })
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The top module of a file under `src`, without `src/` and `.rs`.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }
}

fn module_doc(source: &Source) -> Problems {
    let starts_well = source.text.starts_with("//!");
    if source.is_rust() && !starts_well {
        vec![source.at(1, "starts without `//!`")]
    } else {
        vec![]
    }
}

fn file_length(source: &Source) -> Problems {
    let lines = source.production().count();
    if source.is_rust() && lines > FILE_LINES_MAX {
        return vec![source.at(lines, &format!("{lines} production lines, at most 500"))];
    }
    vec![]
}

fn line_width(source: &Source) -> Problems {
    let too_wide = |line: &str| line.chars().count() > COLUMNS_MAX;
    let lines = source.text.lines().enumerate().filter(|(_, line)| too_wide(line));
    let problem = |(at, _)| source.at(at + 1, "wider than 100 columns");
    if source.is_rust() { lines.map(problem).collect() } else { vec![] }
}

/// rustfmt puts the end of a function under its beginning, so indentation finds it.
fn function_length(source: &Source) -> Problems {
    let mut problems = vec![];
    let lines: Vec<&str> = source.text.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|_| source.is_rust()) {
        let start = line.trim_start();
        let is_function = begins_function(start);
        let indent = &line[..line.len() - start.len()];
        let ends = |line: &&&str| {
            line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest.ends_with(") {}"))
        };
        let length = lines[at..].iter().position(|line| ends(&line)).map_or(0, |end| end + 1);
        let one_line = line.ends_with('}') || line.ends_with(';');
        if is_function && !one_line && length > FUNCTION_LINES_MAX {
            problems.push(source.at(at + 1, &format!("a function of {length} lines, at most 70")));
        }
    }
    problems
}

/// Whether a line begins a function, whatever stands before `fn`: who sees it, and what kind it is.
fn begins_function(line: &str) -> bool {
    let mut rest = line;
    if let Some(path) = rest.strip_prefix("pub(") {
        rest = path.split_once(") ").map_or("", |(_, rest)| rest);
    }
    let words = ["pub", "default", "const", "async", "unsafe", "extern", "\"C\""];
    rest.split(' ').find(|word| !words.contains(word)) == Some("fn")
}

fn layers(source: &Source, packages: &BTreeSet<String>) -> Problems {
    let Some(layer) = LAYERS.iter().find(|layer| Some(layer.module) == source.module()) else {
        return vec![];
    };
    let mut problems = vec![];
    let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
    for path in crate_paths(&code) {
        let own = path == layer.module || path.starts_with(&format!("{}::", layer.module));
        let allowed = |module: &&str| path == *module || path.starts_with(&format!("{module}::"));
        if !own && !layer.modules.iter().any(allowed) {
            problems.push(source.at(1, &format!("`{}` may not name crate::{path}", layer.module)));
        }
    }
    for (at, line) in source.code() {
        for package in words_before_path(line).filter(|word| packages.contains(*word)) {
            if !layer.packages.contains(&package) {
                problems.push(source.at(at, &format!("`{}` may not name {package}", layer.module)));
            }
        }
    }
    problems
}

/// What follows `crate::`, two steps deep; `crate::{a::b, c}` gives both.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = vec![];
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            paths.push(two_steps(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => paths.push(two_steps(&std::mem::take(&mut item))),
                '{' => depth += 1,
                '}' => depth -= 1,
                ' ' | '\n' => {}
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        paths.push(two_steps(&item));
    }
    paths.retain(|path| !path.is_empty());
    paths
}

fn two_steps(path: &str) -> String {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let path = path.split(ends).next().unwrap_or_default();
    path.split("::").take(2).collect::<Vec<_>>().join("::")
}

/// Words that start a path: `tokio` in `tokio::spawn`, nothing in `a::tokio::b`.
fn words_before_path(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("::").filter_map(|(end, _)| {
        let head = &line[..end];
        let start = head.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        let inner = head[..start].ends_with("::");
        (!inner && start < end).then(|| &head[start..])
    })
}

fn purity(source: &Source) -> Problems {
    let is_pure = |layer: &Layer| layer.pure && Some(layer.module) == source.module();
    if !LAYERS.iter().any(is_pure) {
        return vec![];
    }
    let found = |line: &str| IMPURE_WORDS.iter().find(|word| line.contains(**word)).copied();
    let problem = |(at, line)| Some(source.at(at, &format!("pure code has `{}`", found(line)?)));
    source.code().filter_map(problem).collect()
}

fn sql_only_in_store(source: &Source) -> Problems {
    if source.module().is_none_or(|module| module == "store") {
        return vec![];
    }
    let starts = ["\"select ", "\"insert into ", "\"delete from ", "\"update ", "sqlx::query"];
    let has_sql = |line: &str| starts.iter().any(|start| line.to_lowercase().contains(start));
    let lines = source.code().filter(|(_, line)| has_sql(line));
    lines.map(|(at, _)| source.at(at, "SQL outside of src/store")).collect()
}

fn guarded_words(source: &Source) -> Problems {
    let listed = |files: &[&str]| files.iter().any(|file| source.path.starts_with(file));
    let mut problems = vec![];
    for (at, line) in source.code().filter(|_| source.is_rust()) {
        let in_crate = source.path.starts_with("src/");
        if in_crate && line.contains(".reveal(") && !listed(REVEAL_FILES) {
            problems.push(source.at(at, "`reveal` outside of the listed files"));
        }
        if line.contains("AssertSqlSafe") && !listed(SQL_SAFE_FILES) {
            problems.push(source.at(at, "`AssertSqlSafe` outside of the listed files"));
        }
    }
    problems
}

fn machine_paths(source: &Source) -> Problems {
    let roots = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let starts_path = |line: &str, root: &String| {
        line.match_indices(root.as_str()).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || "._-}*".contains(c)))
        })
    };
    let bad = |line: &str| roots.iter().any(|root| starts_path(line, root));
    let lines = source.text.lines().enumerate().filter(|(_, line)| bad(line));
    lines.map(|(at, _)| source.at(at + 1, "a path of one machine")).collect()
}

/// A mobile number of mainland China, bare or with its country code, must be of the made-up ranges.
fn phone_numbers(source: &Source) -> Problems {
    let mut problems = vec![];
    for (at, line) in source.text.lines().enumerate() {
        for run in line.split(|c: char| !c.is_ascii_digit()) {
            let national = [("86", 13), ("086", 14), ("0086", 15), ("0", 12), ("", 11)]
                .iter()
                .find(|(prefix, length)| run.len() == *length && run.starts_with(prefix))
                .map_or("", |(prefix, _)| &run[prefix.len()..]);
            let mobile = national.starts_with('1') && national.as_bytes()[1] >= b'3';
            let made_up =
                national.starts_with(FICTITIOUS_REAL) || national.starts_with(FICTITIOUS_VIRTUAL);
            let in_hex = line.contains("checksum") || line.contains("0x");
            if mobile && !made_up && !in_hex {
                problems.push(source.at(at + 1, "a number that may be somebody's"));
            }
        }
    }
    problems
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Names in the dependency tables of Cargo.toml, as code spells them.
fn packages(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut in_table = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_table = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (in_table, line.split_once('=')) {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    names
}

/// Every text file of the project but foreign texts and what is built.
fn sources() -> Vec<Source> {
    let mut folders = vec![root()];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
            if path.is_dir() {
                if !skipped(&inside) {
                    folders.push(path);
                }
            } else if let Some(text) = read_text(&path) {
                found.push(Source { path: inside, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn skipped(folder: &str) -> bool {
    folder == ".git" || folder == "target" || folder.ends_with("torture")
}

/// `None` for pictures, sounds and the lock file (its hashes look like anything).
fn read_text(path: &Path) -> Option<String> {
    if path.file_name().is_some_and(|name| name == "Cargo.lock" || name == ".git") {
        return None;
    }
    String::from_utf8(fs::read(path).ok()?).ok()
}

/// Runs one rule over the project.
fn check(rule: impl Fn(&Source) -> Problems) {
    let sources = sources();
    assert!(sources.len() > 10, "the project's files were not found");
    let problems: Problems = sources.iter().flat_map(rule).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    check(module_doc);
}

#[test]
fn files_stay_short() {
    check(file_length);
}

#[test]
fn functions_stay_short() {
    check(function_length);
}

#[test]
fn lines_stay_narrow() {
    check(line_width);
}

#[test]
fn modules_name_only_what_lies_below() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let packages = packages(&manifest);
    check(|source| layers(source, &packages));
}

#[test]
fn pure_code_has_no_clock_chance_or_io() {
    check(purity);
}

#[test]
fn sql_lives_in_the_store() {
    check(sql_only_in_store);
}

#[test]
fn real_numbers_and_built_sql_stay_in_listed_files() {
    check(guarded_words);
}

#[test]
fn no_path_of_one_machine() {
    check(machine_paths);
}

#[test]
fn phone_numbers_are_made_up() {
    check(phone_numbers);
}

#[path = "tidy/fixtures.rs"]
mod fixtures;
#[path = "tidy/table.rs"]
mod table;
