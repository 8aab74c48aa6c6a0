//! `maskline demo` shows a relayed call, and ends cleanly wherever it is told to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::commands::maskline;
use crate::peers::{Process, Softphone};
use crate::sound;

/// A demo with a folder of its own for its temporary files.
struct Demo {
    process: Process,
    folder: PathBuf,
    temporary: PathBuf,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let name = format!("maskline-e2e-{}-demo-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let temporary = folder.join("tmp");
        fs::create_dir_all(&temporary).expect("a writable folder for temporary files");
        let mut command = Command::new(env!("CARGO_BIN_EXE_maskline"));
        command.arg("demo").args(arguments).env("TMPDIR", &temporary);
        Self { process: Process::start(command, folder.join("demo.txt")), folder, temporary }
    }

    /// Its exit code and what it has said, once it has ended; it has left nothing.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.process.wait();
        let text = self.process.text();
        let left: Vec<_> = fs::read_dir(&self.temporary).expect("a readable folder").collect();
        assert!(left.is_empty(), "{left:?}\n{text}");
        fs::remove_dir_all(self.folder).expect("removed");
        (status.code(), text)
    }
}

/// Tells the demo to end once it says `words`.
fn told_at(words: &str, signal: Signal) {
    let mut demo = Demo::start(&signal.as_raw().to_string(), &[]);
    demo.process.await_words(words);
    demo.process.signal(signal);
    let (code, text) = demo.end();
    assert_eq!(code, Some(1), "it says that it did not come to its end:\n{text}");
    assert!(text.contains("error: the demo was told to stop before its end"), "{text}");
}

#[test]
fn a_demo_shows_a_call_whose_caller_never_learns_the_number_and_a_dead_number_after_it() {
    let (code, text) = Demo::start("whole", &[]).end();
    assert_eq!(code, Some(0), "{text}");
    let kept = |words: &str| assert!(text.contains(words), "{words:?} is missing:\n{text}");
    kept("INVITE");
    kept(" 0 hits");
    kept("the same search on the carrier's side");
    kept("the number is dead: 404");
    assert!(!text.contains("13800001234"), "{text}");
}

#[test]
fn a_demo_that_is_terminated_cleans_up() {
    told_at("Agent 4821 dials", Signal::TERM);
}

#[test]
fn a_demo_whose_terminal_goes_away_cleans_up() {
    told_at("Starting PostgreSQL", Signal::HUP);
}

/// What stands in a text behind these words, up to a space or a semicolon.
fn word_after<'t>(text: &'t str, words: &str) -> &'t str {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in:\n{text}"));
    rest.split([' ', ';', '\n']).next().unwrap_or_default()
}

#[test]
fn what_is_bound_at_a_demo_that_stays_is_dialled_with_a_softphone_that_was_told_nothing_else() {
    let mut demo = Demo::start("stays", &["--stay"]);
    demo.process.await_words("xdg-open");
    let text = demo.process.text();
    let environment =
        ["MASKLINE_URL", "MASKLINE_KEY"].map(|name| (name, word_after(&text, &format!("{name}="))));
    let bind = ["bindings", "create", "--external-id", "my-first", "--policy", "P-1", "-o", "json"];
    let binding = maskline(&bind, "+8613800005678\n", &environment).json();
    let x = binding["virtual_number"].as_str().expect("a number");
    let sip = word_after(&text, "no registration, UDP, to ");
    let account = format!("<sip:4821@{sip}>;regint=0;audio_codecs=PCMA\n");
    let dial = ["-e", &format!("/dial {x}"), "-t", "15"];
    let folder = demo.folder.join("phone");
    let mut phone = Softphone::launch_anywhere(folder, 440, "", &account, &dial);
    phone.process.await_words("Call established");
    phone.process.wait();
    let tone = sound::best_share(&phone.heard(), 880);
    assert!(tone > 0.9, "heard {tone:.2} of the subscriber's tone");
    demo.process.signal(Signal::TERM);
    let (code, text) = demo.end();
    assert_eq!(code, Some(0), "{text}");
}
