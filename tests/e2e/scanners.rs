//! The scanners of sipvicious against the running binary. `scripts/scan` installs them first.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;

use crate::peers::{INSURER, STRANGER};
use crate::service::Service;
use crate::softphone::login;
use crate::torture_streams::connect;

const REAL: &str = "+8613800001234";
/// Wrong passwords before the right one: more than anybody is let try.
const GUESSES: usize = 20;

/// Everything that one of the tools says of our UDP port.
fn scan(service: &Service, tool: &str, from: &str, arguments: &[&str]) -> String {
    let (port, ip) = (service.sip.port().to_string(), service.sip.ip().to_string());
    let own = ["-b", from, "-x", from, "-p", &port];
    run(service, tool, &[&own, arguments, &[&ip]].concat())
}

fn run(service: &Service, tool: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["60", tool, "-v"]).args(arguments).env("HOME", &service.folder);
    let output = command.output().expect("`timeout` of coreutils");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("No such file"), "{tool} is missing; `scripts/scan` installs it");
    said
}

/// A file of words, one a line.
fn write_words(service: &Service, name: &str, words: &[&str]) -> String {
    let file = service.folder.join(name);
    std::fs::write(&file, words.join("\n") + "\n").expect("a writable folder");
    file.display().to_string()
}

fn says_nothing_of_us(said: &str) {
    let words = said.to_lowercase().replace("maskline-e2e", "");
    for word in ["maskline", "user-agent: m", "server:", "rust"] {
        assert!(!words.contains(word), "`{word}` in {said}");
    }
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
    // Not even with the right password: softphones are off, and nobody is asked for one.
    let (_, user, password) = login(&service);
    let known = write_words(&service, "known", &[&password]);
    let crack = scan(&service, "svcrack", STRANGER, &["-u", &user, "-d", &known]);
    assert!(!crack.contains(&password), "{crack}");
    // Whoever is in a trunk is answered, and learns nothing of what answers.
    let map = scan(&service, "svmap", INSURER, &["-d"]);
    assert!(map.contains("SIP/2.0 200"), "the scan has not reached us: {map}");
    says_nothing_of_us(&map);
    let log = String::from_utf8_lossy(&service.log()).into_owned();
    assert!(!log.contains("panicked at"), "something panicked; see the log");
}

/// A port of UDP whose datagrams go on by a connection, and its answers back: softphones come by
/// streams only, of which sipvicious knows nothing.
fn bridge_to_stream(to: SocketAddr) -> SocketAddr {
    let outside = UdpSocket::bind((STRANGER, 0)).expect("a free port");
    let address = outside.local_addr().expect("bound");
    let mut stream = connect(STRANGER, to);
    let (mut back, answers) = (stream.try_clone().expect("a handle"), outside.try_clone());
    let answers = answers.expect("a handle");
    let mut buffer = [0; 65_535];
    // Both threads end with the connection, at the latest when the service ends.
    thread::spawn(move || {
        while let Ok((count, from)) = outside.recv_from(&mut buffer) {
            let text =
                String::from_utf8_lossy(&buffer[..count]).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
            if outside.connect(from).and_then(|()| stream.write_all(text.as_bytes())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok(count) = back.read(&mut buffer) {
            if count == 0 || answers.send(&buffer[..count]).is_err() {
                break;
            }
        }
    });
    address
}

#[test]
#[ignore = "needs the Debian package sipvicious; scripts/scan runs it"]
fn scanners_find_no_agent_where_softphones_register() {
    let more = "softphones = \"streams\"\nsoftphone_digest = \"md5\"\n";
    let service = Service::start_with("scanned-softphones", more);
    let (_, user, password) = login(&service);
    let names = write_words(&service, "names", &["nobody", &user, "admin"]);
    let known = write_words(&service, "known", &[&password]);
    // The right one is among those that are tried, but late.
    let wrong: Vec<_> = (1..=GUESSES).map(|number| format!("secret{number}")).collect();
    let words: Vec<_> = wrong.iter().chain([&password]).map(String::as_str).collect();
    let words = write_words(&service, "words", &words);
    let scan = |tool: &str, arguments: &[&str]| {
        let to = format!("udp://{}", bridge_to_stream(service.sip));
        run(&service, tool, &[&["-b", STRANGER, "-x", STRANGER], arguments, &[&to]].concat())
    };
    let crack = scan("svcrack", &["-u", &user, "-d", &known]);
    assert!(crack.contains(&password), "the scan has not reached us: {crack}");
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let war = scan("svwar", &["-m", method, "-d", &names, "--force"]);
        assert!(war.contains("found nothing"), "{war}");
        says_nothing_of_us(&war);
    }
    let crack = scan("svcrack", &["-u", &user, "-d", &words]);
    assert!(!crack.contains(&password), "{crack}");
}
