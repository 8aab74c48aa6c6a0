//! The scanners of sipvicious against the running binary. `scripts/scan` installs them first.

use std::process::Command;

use crate::peers::{INSURER, STRANGER};
use crate::service::Service;

const REAL: &str = "+8613800001234";

/// Everything that one of the tools says.
fn scan(service: &Service, tool: &str, from: &str, arguments: &[&str]) -> String {
    let port = service.sip.port().to_string();
    let mut command = Command::new("timeout");
    command.args(["60", tool, "-b", from, "-x", from, "-p", &port, "-v"]).args(arguments);
    command.arg(service.sip.ip().to_string()).env("HOME", &service.folder);
    let output = command.output().expect("`timeout` of coreutils");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("No such file"), "{tool} is missing; `scripts/scan` installs it");
    said
}

#[test]
#[ignore = "needs the Debian package sipvicious; scripts/scan runs it"]
fn scanners_find_no_number_and_no_banner() {
    let service = Service::start("scanners");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let near: u64 = x.parse().expect("digits");
    let range = format!("{}-{}", near - 20, near + 20);
    for method in ["OPTIONS", "INVITE", "REGISTER"] {
        let map = scan(&service, "svmap", STRANGER, &["-m", method]);
        assert!(map.contains("found nothing"), "{map}");
        let war = scan(&service, "svwar", STRANGER, &["-m", method, "-e", &range, "--force"]);
        assert!(!war.contains("| reqauth") && !war.contains("| noauth"), "{war}");
        assert!(!war.contains(&format!("| {x}")), "{war}");
    }
    let crack = scan(&service, "svcrack", STRANGER, &["-u", "8001", "-r", "1-20"]);
    assert!(!crack.contains("The password for"), "{crack}");
    // Whoever is in a trunk is answered, and learns nothing of what answers.
    let map = scan(&service, "svmap", INSURER, &["-d"]);
    assert!(map.contains("SIP/2.0 200"), "the scan has not reached us: {map}");
    let own_words = map.to_lowercase().replace("maskline-e2e", "");
    for word in ["maskline", "user-agent: m", "server:", "rust"] {
        assert!(!own_words.contains(word), "`{word}` in {map}");
    }
    let log = String::from_utf8_lossy(&service.log()).into_owned();
    assert!(!log.contains("panicked at"), "something panicked; see the log");
}
