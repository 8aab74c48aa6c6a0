//! What the commands of operators and insurers print, in every form of their answers.

use std::fs;

use serde_json::Value;

use crate::commands::{config_of, maskline};
use crate::service::Service;

const FORMS: [&str; 3] = ["table", "json", "csv"];

/// A command, and what it printed on either output.
type Surface = (String, Vec<u8>);

/// What is printed of the tenant's bindings and calls, and of the installation.
pub(crate) fn outputs(service: &Service, crm: &str) -> Vec<Surface> {
    let ids = |path: &str| -> Vec<String> {
        let list = service.get(path);
        let rows = list["data"].as_array().expect("a list").iter();
        rows.map(|row| row["id"].as_str().expect("an identifier").to_owned()).collect()
    };
    let mut outputs = vec![];
    for form in FORMS {
        let mut run = |words: &[&str]| outputs.push(at_api(service, crm, words, form, ""));
        run(&["bindings", "list"]);
        run(&["calls", "list"]);
        for id in ids("/v1/bindings") {
            run(&["bindings", "get", &id]);
        }
        for id in ids("/v1/calls") {
            run(&["calls", "get", &id]);
        }
    }
    outputs.extend(of_installation(service));
    outputs
}

/// The calls that are up.
pub(crate) fn live(service: &Service, crm: &str) -> Vec<Surface> {
    FORMS.map(|form| at_api(service, crm, &["calls", "list", "--live"], form, "")).into()
}

/// A number where it belongs, and where it does not: bound twice, ended, and refused.
pub(crate) fn with_number(service: &Service, crm: &str, number: &str) -> Vec<Surface> {
    let mut outputs = vec![];
    let mut run = |words: &[&str], input: &str, is_good: bool| {
        let at = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let (printed, good) = print(service, crm, words, "json", input);
        assert_eq!(good, is_good, "{at}");
        let made: Value = serde_json::from_str(&printed).unwrap_or_default();
        outputs.push((format!("maskline {at} of a number"), printed.into_bytes()));
        made["id"].as_str().unwrap_or_default().to_owned()
    };
    let create = ["bindings", "create", "--policy", "P-1", "--external-id"];
    let create = |id| [&create[..], &[id]].concat();
    let id = run(&create("C-1"), number, true);
    run(&create("C-1"), number, true);
    run(&["bindings", "unbind", &id], "", true);
    run(&create("C-2"), &format!("{number}x"), false);
    run(&create(number), number, false);
    run(&["bindings", "get", number], "", false);
    run(&["bindings", "list", "--external-id", number], "", false);
    run(&["calls", "get", number], "", false);
    run(&["calls", "terminate", number], "", false);
    outputs
}

fn of_installation(service: &Service) -> Vec<Surface> {
    let good = config_of(&service.folder);
    let wrong = service.folder.join("wrong.toml");
    fs::write(&wrong, "drain_timeout = \"soon\"\n").expect("a writable folder");
    let wrong = wrong.display().to_string();
    let words: [&[&str]; 3] = [&["doctor"], &["config", "dump"], &["config", "check"]];
    let files = [&good, &good, &wrong];
    let print = |(words, file): (&[&str], &String)| {
        let said = maskline(&[words, &["--config", file]].concat(), "", &[]);
        (format!("maskline {}", words.join(" ")), said.all().into_bytes())
    };
    words.into_iter().zip(files).map(print).collect()
}

fn at_api(service: &Service, key: &str, words: &[&str], form: &str, input: &str) -> Surface {
    let (printed, good) = print(service, key, words, form, input);
    assert!(good, "{words:?}: {printed}");
    let at = words.iter().filter(|word| !word.contains('_')).copied().collect::<Vec<_>>();
    (format!("maskline {} as {form}", at.join(" ")), printed.into_bytes())
}

/// What a command at the API printed, and whether it ended well.
fn print(service: &Service, key: &str, words: &[&str], form: &str, input: &str) -> (String, bool) {
    let url = format!("http://{}", service.api);
    let at = [("MASKLINE_URL", url.as_str()), ("MASKLINE_KEY", key)];
    let said = maskline(&[words, &["-o", form]].concat(), input, &at);
    (said.all(), said.good)
}
