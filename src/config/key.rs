//! The table of all keys: name, explanation, and how each is read and shown.

use std::fmt::Write as _;

use super::Config;
use super::setting::{Raw, Setting};

/// One key of the file.
pub(super) struct Key {
    /// The section, empty for the top of the file.
    pub(super) section: &'static str,
    /// The name within the section.
    pub(super) name: &'static str,
    /// One line of explanation.
    pub(super) explanation: &'static str,
    /// Puts a value in its place, or says what was expected.
    pub(super) read: fn(&mut Config, &Raw<'_>) -> Result<(), String>,
    /// The value as TOML; secrets are not shown.
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// `section.name`, as problems name it.
    pub(super) fn path(&self) -> String {
        match self.section {
            "" => self.name.to_owned(),
            section => format!("{section}.{}", self.name),
        }
    }
}

macro_rules! key {
    ($section:ident . $name:ident, $explanation:literal) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            explanation: $explanation,
            read: |config, raw| {
                config.$section.$name = Setting::read(raw)?;
                Ok(())
            },
            show: |config| config.$section.$name.show(),
        }
    };
}

/// In the order of the file.
pub(super) const KEYS: &[Key] = &[
    Key {
        section: "",
        name: "drain_timeout",
        explanation: "a graceful stop waits this long for calls to end by themselves",
        read: |config, raw| {
            config.drain_timeout = Setting::read(raw)?;
            Ok(())
        },
        show: |config| config.drain_timeout.show(),
    },
    key!(database.url, "PostgreSQL as the owner; empty: start the system's own PostgreSQL"),
    key!(database.app_url, "PostgreSQL as maskline_app; empty: derived from url and the root key"),
    key!(database.relay_url, "PostgreSQL as maskline_relay; empty: derived the same way"),
    key!(database.data_dir, "files of the embedded PostgreSQL; empty: the usual state directory"),
    key!(database.bin_dir, "where initdb and postgres are; empty: searched for"),
    key!(database.connections_max, "connections of each of the two pools"),
    key!(keys.root_file, "the root key, made once by `maskline key init`, mode 0400"),
    key!(api.listen, "the control API"),
    key!(
        api.tls_certificate,
        "PEM of its certificate and chain, for HTTPS; read again when it changes; empty: HTTP"
    ),
    key!(api.tls_key, "PEM of its private key"),
    key!(
        api.tls_client_ca,
        "PEM of roots that certificates of clients must chain to; empty: none is asked for"
    ),
    key!(api.tls_client_required, "clients that show no certificate are not served"),
    key!(
        api.key_rps_max,
        "requests a second of one key, and twice as many at once; each node counts; 0: no limit"
    ),
    key!(api.tenant_rps_max, "the same of all keys of one tenant together"),
    key!(admin.listen, "/healthz /readyz /metrics /version /debug/config; keep it private"),
    key!(
        sip.listen,
        "for trunks; or a list: [\"0.0.0.0:5060\", \"[::]:5060\", \"tls:0.0.0.0:5061\"]; \
         one UDP address each of IPv4 and IPv6"
    ),
    key!(sip.advertise, "IP or IP:port in Via and Contact; empty: this machine's main address"),
    key!(sip.tls_certificate, "PEM of our certificate and its chain; read again when it changes"),
    key!(sip.tls_key, "PEM of its private key"),
    key!(
        sip.softphones,
        "who may register as an agent: off, tls, or streams (TCP without TLS too)"
    ),
    key!(
        sip.softphone_digest,
        "what softphones answer with: all; sha-256 or better; md5 alone for old ones"
    ),
    key!(
        sip.tls_ca,
        "PEM of roots that servers of trunks without a tls_ca of their own must chain to"
    ),
    key!(sip.country_code, "calling code of national numbers that carriers write without +"),
    key!(sip.ring_timeout, "a callee rings this long"),
    key!(sip.route_deadline, "an attempt whose route is not known by then is refused"),
    key!(
        sip.duration_max,
        "the longest answered duration; both sides hear a beep half a minute before"
    ),
    key!(
        sip.session_expires,
        "a side that is not refreshed for so long is gone (RFC 4028); 90s to 24h"
    ),
    key!(
        sip.probe_interval,
        "each target of a trunk is asked so often whether it is there; 0s: never"
    ),
    key!(sip.failover_timeout, "a trunk silent for so long is given up for the next one"),
    key!(
        sip.gather,
        "a thread that takes over 2,500 datagrams a second lets them gather so long; 0s: never"
    ),
    key!(sip.calls_max, "calls at one time; more are refused with 503"),
    key!(sip.queue_delay_max, "new calls get 503 while all messages wait longer than this"),
    key!(sip.source_cps_max, "new calls a second from one address; 0: as many as its trunk may"),
    key!(
        sip.shards,
        "threads that signal, each with its share of the calls; 0: one for each processor"
    ),
    key!(media.bind, "local address of the RTP sockets"),
    key!(media.advertise, "address in SDP; empty: the address of sip.advertise"),
    key!(
        media.advertise_other,
        "the same for legs of the other of IPv4 and IPv6, with bind = \"::\"; empty: as sip.listen"
    ),
    key!(media.ports, "even port RTP, odd port RTCP; four ports a call"),
    key!(media.port_quarantine, "a used port stays silent this long, so no call hears another"),
    key!(media.silence_timeout, "a call ends when both sides are silent this long"),
    key!(media.threads, "threads that forward packets; 0: one for each processor"),
    key!(
        media.prompts,
        "folder of prompts and insurers' names, see docs/prompts.md; empty: the built-in ones"
    ),
    key!(media.announce_refusals, "callers hear why they are refused, before the final status"),
    key!(
        media.ring,
        "whose ring tone agents hear: ours (relay) or that of their own phone (phone)"
    ),
    key!(
        media.hold_tone,
        "who is put on hold hears a beep of ours; false: what the holding side sends"
    ),
    key!(
        media.socket,
        "Unix socket of a `maskline media` that has the media plane; empty: this process has it"
    ),
    key!(media.admin, "/healthz and /metrics of `maskline media`; empty: none"),
    key!(
        whisper.mode,
        "subscribers hear who calls: by_purpose (some calls need a 1), announce, or off"
    ),
    key!(whisper.timeout, "a key is waited for so long, twice"),
    key!(whisper.on_timeout, "what silence means where a 1 is needed: refuse or connect"),
    key!(whisper.code, "with it a code of six digits is said, by which it is known again later"),
    key!(
        menu.enabled,
        "a subscriber who calls X and presses * or reaches nobody is answered by a menu of keys"
    ),
    key!(menu.timeout, "a key is waited for so long"),
    key!(
        caps.calls_max,
        "calls at once: \"number 2, agent 1, tenant 500, subscriber 1\"; empty: no limit"
    ),
    key!(caps.calls_per_minute_max, "the same for calls that begin in one minute of the clock"),
    key!(
        caps.minutes_per_day_max,
        "the same for begun minutes of talk in a day (UTC); a call is cut when they are used up"
    ),
    key!(
        bindings.expiry_notice,
        "binding.expiring comes so long before an end, or a tenth of the term; 0s: never"
    ),
    key!(recorder.queue_max, "CDRs that may wait for the store; beyond it new calls are refused"),
    key!(recording.folder, "where recordings are kept, encrypted; empty: nothing is recorded"),
    key!(
        recording.purposes,
        "what is recorded, and said to be: all, or words such as \"claim, complaint_reply\""
    ),
    key!(
        recording.required,
        "which of these calls end where they cannot be recorded; the others go on"
    ),
    key!(recording.retention, "how long they are kept: six_months, five_years, ten_years"),
    key!(
        dtmf.to_insurer,
        "calls whose insurer gets what the subscriber types: all, or words such as \"survey\""
    ),
    key!(
        webhooks.allow_http,
        "receivers without TLS, at any port; for trials only: what is told can be read on the way"
    ),
    key!(
        webhooks.allow_private,
        "receivers in private networks, this machine among them; for trials only"
    ),
    key!(log.filter, "which lines are written: a level, or target=level,.."),
    key!(log.format, "json or pretty"),
];

/// The whole file.
pub(super) fn dump(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text.push_str("\n[");
            text.push_str(section);
            text.push_str("]\n");
        }
        // Writing into a String cannot fail.
        let setting = format!("{} = {}", key.name, (key.show)(config));
        writeln!(text, "{setting:<34} # {}", key.explanation).ok();
    }
    text
}
