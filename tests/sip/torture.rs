//! The messages of RFC 4475 and RFC 5118 against the pure parser and its screen, by their tables.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use maskline::sip::message::Message;
use maskline::sip::write::new_buffer;

use crate::walk::{CAPABILITIES, SOURCE, assert_only_repeats, tag};

/// One row of a table.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
    pub(crate) is_valid: bool,
    allow: Vec<String>,
}

/// All rows of both tables.
pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut cases = vec![];
    for set in ["rfc4475", "rfc5118"] {
        let table = fs::read_to_string(root.join(set).join("expect.tsv")).expect("a table");
        for line in table.lines().skip(1) {
            let mut columns = line.split('\t');
            let file = columns.next().expect("a file name");
            let kind = columns.next().expect("a kind");
            let allow = columns.next().expect("what is allowed");
            cases.push(Case {
                name: format!("{set}/{file}"),
                bytes: fs::read(root.join(set).join(file)).expect("a message").into(),
                is_valid: kind == "valid",
                allow: allow.split(',').map(str::to_owned).collect(),
            });
        }
    }
    cases
}

impl Case {
    fn allows(&self, status: u16) -> bool {
        let has = |word: String| self.allow.contains(&word);
        !has(format!("-{status}"))
            && (has(status.to_string()) || has(format!("{}xx", status / 100)))
    }

    fn allows_silence(&self) -> bool {
        self.allow.iter().any(|word| word == "none")
    }
}

/// What the pure core makes of a message.
#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    /// Refused with this status, or by silence.
    Malformed(Option<u16>),
    /// Read, and refused before anybody looks at what it means.
    Screened(u16),
    /// Read; the layers above decide.
    Passed,
    /// A response that belongs to nothing: silence.
    StrayResponse,
}

fn outcome(bytes: &Bytes) -> Outcome {
    match Message::parse(bytes.clone()) {
        Ok(message) if !message.is_request() => Outcome::StrayResponse,
        Ok(message) => match CAPABILITIES.screen(&message) {
            Ok(()) => Outcome::Passed,
            Err(refusal) => Outcome::Screened(refusal.status),
        },
        Err(malformed) => {
            let answer = malformed.answer(SOURCE, &tag(), &mut new_buffer());
            let status = answer.map(|(_, bytes)| {
                assert_only_repeats(&bytes);
                let line = std::str::from_utf8(&bytes).expect("the values of this set are text");
                line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
            });
            Outcome::Malformed(status)
        }
    }
}

#[test]
fn every_torture_message_is_read_or_refused_as_its_table_allows() {
    let cases = cases();
    assert_eq!(cases.len(), 50 + 15);
    let mut wrong = vec![];
    for case in &cases {
        let outcome = outcome(&case.bytes);
        let right = match outcome {
            Outcome::Malformed(_) if case.is_valid => false,
            Outcome::Malformed(Some(status)) | Outcome::Screened(status) => case.allows(status),
            Outcome::Malformed(None) | Outcome::StrayResponse => case.allows_silence(),
            // What nobody knows is answered 404 or 403 further up.
            Outcome::Passed => case.allows(404) || case.allows(403),
        };
        if !right {
            wrong.push(format!("{}: {outcome:?}, allowed {:?}", case.name, case.allow));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_must_be_understood_reaches_the_layers_above() {
    let passed = |name: &str| {
        let cases = cases();
        let case = cases.iter().find(|case| case.name == name).expect("in the table");
        outcome(&case.bytes)
    };
    for name in ["wsinv", "longreq", "inv2543", "semiuri", "transports"] {
        assert_eq!(passed(&format!("rfc4475/{name}.dat")), Outcome::Passed, "{name}");
    }
    for name in ["via-received-param-no-delim", "ipv4-mapped-ipv6_cl"] {
        assert_eq!(passed(&format!("rfc5118/{name}")), Outcome::Passed, "{name}");
    }
    for (name, status) in [("badvers", 505), ("mcl01", 400), ("clerr", 400), ("multi01", 400)] {
        let expected = Outcome::Malformed(Some(status));
        assert_eq!(passed(&format!("rfc4475/{name}.dat")), expected, "{name}");
    }
    for (name, status) in [("unkscm", 416), ("bext01", 420), ("invut", 415), ("zeromf", 483)] {
        let expected = Outcome::Screened(status);
        assert_eq!(passed(&format!("rfc4475/{name}.dat")), expected, "{name}");
    }
}
