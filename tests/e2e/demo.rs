//! `maskline demo` ends cleanly wherever it is told to.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::peers::Process;

/// Tells the demo to end once it says `words`; the folder for its temporary files stays empty.
fn told_at(words: &str, signal: Signal) {
    let name = format!("maskline-e2e-{}-demo-{}", std::process::id(), signal.as_raw());
    let folder = std::env::temp_dir().join(name);
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).expect("a writable folder for temporary files");
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskline"));
    command.arg("demo").env("TMPDIR", &temporary);
    let mut demo = Process::start(command, folder.join("demo.txt"));
    demo.await_words(words);
    demo.signal(signal);
    let status = demo.wait();
    let text = demo.text();
    assert_eq!(status.code(), Some(1), "it says that it did not come to its end:\n{text}");
    assert!(text.contains("error: the demo was told to stop before its end"), "{text}");
    let left: Vec<_> = fs::read_dir(&temporary).expect("a readable folder").collect();
    assert!(left.is_empty(), "{left:?}");
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn a_demo_that_is_terminated_cleans_up() {
    told_at("Agent 4821 dials", Signal::TERM);
}

#[test]
fn a_demo_whose_terminal_goes_away_cleans_up() {
    told_at("Starting PostgreSQL", Signal::HUP);
}
