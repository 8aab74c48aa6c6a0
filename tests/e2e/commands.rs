//! The commands that operators type, by the real binary: what they print, and with what they end.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::service::Service;

const REAL: &str = "+8613800004417";

/// What a command printed, on either output, and whether it ended well.
pub(crate) struct Said {
    pub(crate) good: bool,
    out: String,
    errors: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let good = output.status.success();
        Self { good, out: text(output.stdout), errors: text(output.stderr) }
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.errors)
    }

    pub(crate) fn json(&self) -> Value {
        assert!(self.good, "{}", self.all());
        serde_json::from_str(&self.out).expect("JSON")
    }

    pub(crate) fn refused(&self, words: &str) {
        assert!(!self.good && self.errors.contains(words), "{}", self.all());
    }
}

/// Runs the binary with this standard input and environment.
pub(crate) fn maskline(arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskline"));
    command.args(arguments).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the binary");
    // One that refuses its arguments does not read.
    let _ = process.stdin.take().expect("a pipe").write_all(input.as_bytes());
    Said::of(process.wait_with_output().expect("its end"))
}

/// The same at the API of a service, with a key of this role.
pub(crate) fn at<'a>(api: SocketAddr, key: &'a str) -> impl Fn(&[&str], &str) -> Said + 'a {
    let url = format!("http://{api}");
    move |arguments, input| {
        maskline(arguments, input, &[("MASKLINE_URL", &url), ("MASKLINE_KEY", key)])
    }
}

pub(crate) fn key_of(service: &Service, role: &str) -> String {
    let issued = service.administer("/v1/api-keys", &json!({"name": role, "role": role}));
    issued["key"].as_str().expect("a key, once").to_owned()
}

pub(crate) fn config_of(folder: &Path) -> String {
    folder.join("maskline.toml").display().to_string()
}

#[test]
fn policies_are_bound_looked_at_and_unbound_by_commands() {
    let service = Service::start("commands");
    let crm = key_of(&service, "insurer_crm");
    let run = at(service.api, &crm);

    let made = run(&["bindings", "create", "--external-id", "C-1", "--policy", "P-1"], REAL);
    assert!(made.good && made.out.contains("138****4417"), "{}", made.all());
    assert!(!made.all().contains(&REAL[3..]), "the command said the number");
    let listed = run(&["bindings", "list", "--external-id", "C-1", "-o", "json"], "").json();
    let id = listed[0]["id"].as_str().expect("a binding");
    let got = run(&["bindings", "get", id, "-o", "csv"], "");
    let mut lines = got.out.lines();
    assert!(lines.next().is_some_and(|titles| titles.starts_with("id,virtual_number,mode,state,")));
    assert!(lines.next().is_some_and(|row| row.starts_with(id) && row.contains(",active,")));
    let fields = ["max_duration_s:=600", "valid_until=2035-01-01T00:00:00Z", "-o", "json"];
    let set = run(&[&["bindings", "set", id], &fields[..]].concat(), "").json();
    assert_eq!(set["max_duration_s"], 600);
    let later = ["bindings", "renew", id, "--until", "2036-01-01T00:00:00Z", "-o", "json"];
    assert_eq!(run(&later, "").json()["valid_until"], "2036-01-01T00:00:00Z");
    run(&["bindings", "renew", id, "--until", "2020-01-01T00:00:00Z"], "").refused("/until");
    let ended = run(&["bindings", "unbind", id, "-o", "json"], "").json();
    assert_eq!(ended["state"], "released");

    run(&["bindings", "get", "bnd_0"], "").refused("404");
    let wrong =
        run(&["bindings", "create", "--external-id", "C-2", "--policy", "P"], "1380000441x");
    wrong.refused("real_number");
    assert!(!wrong.all().contains("1380000441"), "the refusal said the number");
    assert_eq!(run(&["calls", "list", "-o", "json"], "").json(), json!([]));
    assert_eq!(run(&["calls", "list", "--live", "-o", "json"], "").json(), json!([]));
    run(&["calls", "get", "cal_0"], "").refused("404");
    at(service.api, "mk_live_wrong")(&["calls", "list"], "").refused("401");
}

#[test]
fn a_key_or_an_address_that_cannot_be_one_is_said_so() {
    let list = |url: &str, key: &str| {
        maskline(&["calls", "list"], "", &[("MASKLINE_URL", url), ("MASKLINE_KEY", key)])
    };
    let told = list("http://127.0.0.1:1", "mk_live_abc\n");
    told.refused("the API key (MASKLINE_KEY or --key) is malformed");
    assert!(!told.all().contains("mk_live_abc"), "the key was said");
    list("foo", "mk_live_abc").refused("(MASKLINE_URL or --url) is malformed");
    list("http://127.0.0.1:1", "mk_live_abc").refused("nothing answers at http://127.0.0.1:1");
}

#[test]
fn numbers_are_imported_from_a_list_and_wrong_lines_are_all_named() {
    let service = Service::start("import");
    let issued = service.operate("/v1/api-keys", &json!({"name": "list", "role": "operator"}));
    let run = at(service.api, issued["key"].as_str().expect("a key, once"));
    let import = ["numbers", "import", "-", "--pool", &service.made.pool, "-o", "json"];
    let answer = run(&import, "number,city\n17000007001,Shanghai\n17000007002,\n").json();
    assert_eq!((&answer["imported"], &answer["known"]), (&json!(2), &json!(0)));
    let answer = run(&import, "17000007002\n17000007003\n").json();
    assert_eq!((&answer["imported"], &answer["known"]), (&json!(1), &json!(1)));
    let wrong = run(&import, "17000007004\n9x\n1\n");
    wrong.refused("line 2: ");
    wrong.refused("line 3: ");
    let answer = run(&import, "17000007004\n").json();
    assert_eq!(answer["imported"], json!(1), "a refused list left something behind");
}

#[test]
fn bindings_are_imported_from_a_file_and_what_was_refused_is_told() {
    let service = Service::start("import-bindings");
    let run = at(service.api, service.made.crm_key.expose_secret());
    let row = |n: usize| {
        json!({"external_id": format!("file-{n}"), "mode": "ax", "policy": {"ref": "P"},
            "subscriber": {"real_number": format!("+861380000{n:04}")}})
    };
    let file = format!("{}\n\n{{\n{}\n{{}}\n", row(8101), row(8102));
    let told = run(&["bindings", "import", "-", "-o", "csv"], &file);
    told.refused("2 of 5 lines were refused");
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("1,201,file-8101,"), "{}", told.all());
    assert_eq!(lines[1], "3,400,,,malformed_body,");
    assert!(lines[2].starts_with("4,201,file-8102,"), "{}", told.all());
    assert_eq!(lines[3], "5,422,,,validation_failed,/external_id");
    assert!(!told.all().contains("1380000"), "a real number came back");
    let again = run(&["bindings", "import", "-", "-o", "json"], &row(8101).to_string());
    assert!(again.good && again.out.contains("\"status\":200"), "{}", again.all());
}

#[test]
fn all_mistakes_of_the_settings_are_told_at_once_with_file_and_key() {
    let name = format!("maskline-e2e-{}-mistakes", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a writable folder for temporary files");
    let file = config_of(&folder);
    fs::write(&file, "drain_timeout = \"soon\"\n[sip]\ncalls_max = 0\nlisten_on = 1\n")
        .expect("a writable folder");
    for command in ["config", "doctor", "serve"] {
        let check = ["config", "check", "--config", &file];
        let other = [command, "--config", &file];
        let arguments: &[&str] = if command == "config" { &check } else { &other };
        let said = maskline(arguments, "", &[]);
        for key in ["drain_timeout", "sip.calls_max", "sip.listen_on"] {
            let line = said.errors.lines().find(|line| line.contains(key));
            assert!(line.is_some_and(|line| line.contains(&file)), "{key}: {}", said.all());
        }
        assert!(!said.good);
    }
    // The folder is temporary in any case.
    let _ = fs::remove_dir_all(&folder);
}

#[test]
fn the_doctor_sees_a_missing_key_and_a_good_service() {
    let service = Service::start("doctor");
    let file = config_of(&service.folder);
    let said = maskline(&["doctor", "--config", &file], "", &[]);
    assert!(
        said.good && said.out.contains("root key") && !said.out.contains("BAD"),
        "{}",
        said.all()
    );
    let elsewhere = [("MASKLINE__KEYS__ROOT_FILE", "/nowhere/root.key")];
    let said = maskline(&["doctor", "--config", &file], "", &elsewhere);
    assert!(!said.good && said.out.contains("BAD    root key"), "{}", said.all());
    assert!(said.out.contains("maskline key init"));
}

#[test]
fn a_database_of_another_root_key_is_not_touched_by_any_command() {
    let mut service = Service::start("other-key");
    let other = service.folder.join("other.key").display().to_string();
    let with_other = [("MASKLINE__KEYS__ROOT_FILE", other.as_str())];
    let file = config_of(&service.folder);
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--config", &file]].concat();
        maskline(&arguments, "", &with_other)
    };
    assert!(run(&["key", "init"]).good);
    let words = "this database belongs to another root key (keys.root_file)";
    // Beside the running service, then as the only process.
    run(&["key", "create"]).refused(words);
    let said = run(&["doctor"]);
    assert!(
        !said.good && said.out.contains(&format!("BAD    root key: {words}")),
        "{}",
        said.all()
    );
    service.stop();
    run(&["key", "create"]).refused(words);
    run(&["serve"]).refused(words);
}

#[test]
fn a_second_service_in_the_same_folder_says_so_and_the_first_goes_on() {
    let service = Service::start("second");
    let ports = [
        ("MASKLINE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("MASKLINE__API__LISTEN", "127.0.0.1:0"),
        ("MASKLINE__SIP__LISTEN", "127.0.0.1:0"),
    ];
    let said = maskline(&["serve", "--config", &config_of(&service.folder)], "", &ports);
    said.refused("another maskline runs on");
    assert_eq!(service.get("/v1/calls")["data"], json!([]));
}

#[test]
fn every_line_of_the_log_is_one_json_object() {
    let mut service = Service::start("log");
    service.bind("L-1", REAL);
    service.refused("/v1/bindings", &json!({"external_id": "a\u{1b}[31m\nb", "mode": "ax"}));
    service.stop();
    let log = String::from_utf8(service.log()).expect("UTF-8");
    assert!(log.lines().count() > 10);
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(object["timestamp"].is_string() && object["level"].is_string(), "{line}");
        assert!(!line.contains('\u{1b}'));
    }
}
