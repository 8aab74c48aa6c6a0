//! Where mutations begin: the torture messages and the values in them.

use std::fs;
use std::path::Path;

/// The texts that one property begins with.
pub(crate) fn of(property: &str) -> Vec<Vec<u8>> {
    let messages = torture();
    match property {
        "message" => messages,
        "stream" => {
            let mut streams = messages.clone();
            streams.extend(messages.windows(3).map(<[_]>::concat));
            streams.push(b"\r\n\r\n".to_vec());
            // The first bytes say where the stream is cut.
            streams.into_iter().map(|stream| [&[3, 1, 40, 255], &*stream].concat()).collect()
        }
        "uri" => {
            let inside = |value: &String| value.split(['<', '>']).nth(1).map(str::to_owned);
            let uris = values(&messages, ADDRESSES).into_iter().filter_map(|text| inside(&text));
            with(uris, URIS)
        }
        "name_addr" => with(values(&messages, ADDRESSES).into_iter(), &["<sip:a@b>;tag=c"]),
        "via" => with(values(&messages, &["via", "v"]).into_iter(), &["SIP/2.0/TLS [::1]:1;rport"]),
        "sdp" => {
            let bodies = messages.iter().filter_map(|message| {
                let at = message.windows(7).position(|words| words == b"\r\n\r\nv=0")?;
                message.get(at + 4..).map(<[u8]>::to_vec)
            });
            bodies.chain([SDP.as_bytes().to_vec()]).collect()
        }
        "digest" => {
            with(values(&messages, &["authorization", "proxy-authorization"]).into_iter(), DIGESTS)
        }
        "dtmf" => KEYS.iter().map(|body| body.as_bytes().to_vec()).collect(),
        other => panic!("no seeds for {other}"),
    }
}

fn with(values: impl Iterator<Item = String>, more: &[&str]) -> Vec<Vec<u8>> {
    let more = more.iter().map(|text| (*text).to_owned());
    values.chain(more).map(String::into_bytes).collect()
}

/// All messages of both sets.
fn torture() -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = here.ancestors().map(|folder| folder.join("tests/torture"));
    let root = folders.find(|folder| folder.is_dir()).expect("the torture messages");
    let mut messages = vec![];
    for set in ["rfc4475", "rfc5118"] {
        let table = fs::read_to_string(root.join(set).join("expect.tsv")).expect("a table");
        for line in table.lines().skip(1) {
            let file = line.split('\t').next().expect("a file name");
            messages.push(fs::read(root.join(set).join(file)).expect("a message"));
        }
    }
    messages
}

/// The values of some headers in all messages.
fn values(messages: &[Vec<u8>], names: &[&str]) -> Vec<String> {
    let mut values = vec![];
    for message in messages {
        let text = String::from_utf8_lossy(message);
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if names.contains(&name.trim().to_lowercase().as_str()) {
                values.push(value.trim().to_owned());
            }
        }
    }
    values
}

const ADDRESSES: &[&str] =
    &["from", "f", "to", "t", "contact", "m", "route", "record-route", "p-asserted-identity"];
const URIS: &[&str] = &[
    "sip:user:word@host.example:5060;user=phone;lr?Subject=x",
    "sips:%61%62@[2001:db8::1]",
    "tel:+12125550100;phone-context=example",
    "sip:192.0.2.1",
    "urn:service:sos",
];
const DIGESTS: &[&str] = &[
    "Digest realm=\"a b\", nonce=\"c\\\"d\", algorithm=SHA-256, qop=\"auth,auth-int\", stale=true",
    "Digest realm=\"x\", nonce=\"y\", opaque=\"z\", algorithm=MD5, qop=\"auth\"",
    "Digest realm=\"x\", nonce=\"y\"",
    "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"0011\", \
     algorithm=SHA-512-256, cnonce=\"c\", qop=auth, nc=00000001, opaque=\"o\"",
];
const KEYS: &[&str] = &[
    "Signal=5\r\nDuration=160\r\n",
    "Signal= 11 \r\nDuration=65535\r\nOwner=x",
    "signal=d\nduration=1",
    "Signal=1\r\nSignal=2",
    "Signal=*",
    "#\r\n",
    "15",
];
const SDP: &str = "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 8 0 9 101\r\na=rtpmap:8 PCMA/8000/1\r\na=rtcp:4007\r\n\
                   a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:40\r\n\
                   a=sendonly\r\nm=video 0 RTP/AVP 31\r\na=inactive\r\n";
