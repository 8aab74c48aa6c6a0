//! The security log: stable lines for whoever watches the door. `docs/security-log.md` says what
//! each of them means, and `deploy/fail2ban` reads them; a test holds all three together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::call::io::SecurityEvent;
use crate::domain::cap::CapReached;
use crate::domain::id::{AgentId, BindingId, TenantId, TrunkId};

/// Under this target and no other.
const TARGET: &str = "maskline::security";

/// Something to be written down. It holds nothing that a message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// A datagram of somebody who is no trunk; it was dropped.
    Stranger { source: IpAddr },
    /// A connection that was closed before anything of it was read.
    ConnectionRefused { source: IpAddr, why: &'static str },
    /// A wrong answer to a challenge.
    LoginFailed { source: IpAddr },
    /// The password of an agent is being guessed.
    LoginGuessed { agent: AgentId, source: IpAddr },
    /// A cap against fraud is reached.
    CapReached {
        /// Whose, and which.
        reached: CapReached,
        tenant: TenantId,
        binding: BindingId,
        agent: Option<AgentId>,
    },
    /// A peer that knows of a call which is not its own.
    ForeignDialog { source: IpAddr, trunk: Option<TrunkId> },
    /// A source that has been refused too often; it meets silence for a while.
    Silenced { source: IpAddr },
}

impl From<SecurityEvent> for Line {
    fn from(event: SecurityEvent) -> Self {
        match event {
            SecurityEvent::LoginFailed { source } => Self::LoginFailed { source },
            SecurityEvent::LoginGuessed { agent, source } => Self::LoginGuessed { agent, source },
            SecurityEvent::CapReached { reached, tenant, binding, agent } => {
                Self::CapReached { reached, tenant, binding, agent }
            }
            SecurityEvent::ForeignDialog { source, trunk } => Self::ForeignDialog { source, trunk },
            SecurityEvent::Silenced { source } => Self::Silenced { source },
        }
    }
}

impl Line {
    /// Who causes it as often as it likes, and is told from others by its address.
    const fn knocker(self) -> Option<IpAddr> {
        match self {
            Self::Stranger { source }
            | Self::ConnectionRefused { source, .. }
            | Self::ForeignDialog { source, .. } => Some(source),
            // Whoever finds these counts them before.
            Self::LoginFailed { .. }
            | Self::LoginGuessed { .. }
            | Self::CapReached { .. }
            | Self::Silenced { .. } => None,
        }
    }

    fn write(self) {
        match self {
            Self::Stranger { source } => tracing::warn!(
                target: TARGET,
                event = "sip_stranger",
                %source,
                "Dropped a datagram from {source}, which is no trunk"
            ),
            Self::ConnectionRefused { source, why } => tracing::warn!(
                target: TARGET,
                event = "sip_connection_refused",
                %source,
                why,
                "Refused a connection from {source}: {why}"
            ),
            Self::LoginFailed { source } => tracing::warn!(
                target: TARGET,
                event = "sip_login_failed",
                %source,
                "Refused {source}, which answered a challenge wrongly"
            ),
            Self::LoginGuessed { agent, source } => tracing::warn!(
                target: TARGET,
                event = "sip_login_guessed",
                %source,
                agent.id = %agent,
                "The password of agent {agent} is being guessed, last by {source}"
            ),
            Self::CapReached { reached, tenant, binding, agent } => {
                write_cap(reached, tenant, binding, agent);
            }
            Self::ForeignDialog { source, trunk } => tracing::warn!(
                target: TARGET,
                event = "sip_foreign_dialog",
                %source,
                trunk.id = trunk.map(tracing::field::display),
                "Refused {source}, which spoke in a call that is not its own"
            ),
            Self::Silenced { source } => tracing::warn!(
                target: TARGET,
                event = "sip_silenced",
                %source,
                "Silence for {source}, which was refused too often"
            ),
        }
    }
}

fn write_cap(reached: CapReached, tenant: TenantId, binding: BindingId, agent: Option<AgentId>) {
    let (subject, measure) = (reached.subject.label(), reached.measure.label());
    metrics::counter!("maskline_caps_reached_total", "subject" => subject, "measure" => measure)
        .increment(1);
    tracing::warn!(
        target: TARGET,
        event = "cap_reached",
        subject,
        measure,
        tenant.id = %tenant,
        binding.id = %binding,
        agent.id = agent.map(tracing::field::display),
        "A cap of {measure} is reached by the {subject} of a call through binding {binding}"
    );
}

/// Sources whose lines are counted at one time; with more, counting starts anew.
const SOURCES_MAX: usize = 1_024;
/// Lines about one source in [`MEMORY`]: enough for a filter that wants to see it more than once.
const LINES_PER_SOURCE: u32 = 5;
const MEMORY: Duration = Duration::from_secs(60);
/// Lines about all sources in one [`SECOND`]: whoever forges addresses does not fill the disk.
const LINES_MAX: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// How often who knocks in vain has been written down.
#[derive(Debug)]
pub(crate) struct Knocks {
    sources: BTreeMap<IpAddr, (u32, Instant)>,
    lines: (u32, Instant),
}

impl Knocks {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { sources: BTreeMap::new(), lines: (0, now) }
    }

    /// Writes a line, unless there are enough of its kind of source.
    pub(crate) fn write(&mut self, now: Instant, line: Line) {
        if line.knocker().is_none_or(|source| self.is_worth_a_line(now, source)) {
            line.write();
        }
    }

    /// Whether one more line about this source should be written.
    fn is_worth_a_line(&mut self, now: Instant, source: IpAddr) -> bool {
        if !count(&mut self.lines, now, SECOND, LINES_MAX) {
            return false;
        }
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.clear();
        }
        let own = self.sources.entry(source).or_insert((0, now + MEMORY));
        let is_worth = count(own, now, MEMORY, LINES_PER_SOURCE);
        if !is_worth {
            // Its silence leaves room for others.
            self.lines.0 = self.lines.0.saturating_sub(1);
        }
        is_worth
    }
}

/// Counts one more until the time is over and counting starts anew; false beyond the maximum.
fn count(counted: &mut (u32, Instant), now: Instant, time: Duration, max: u32) -> bool {
    if counted.1 <= now {
        *counted = (0, now + time);
    }
    let has_room = counted.0 < max;
    counted.0 += u32::from(has_room);
    has_room
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::cap::{CapMeasure, CapSubject};
    use crate::relay::now::now;

    const LINES: [fn(IpAddr) -> Line; 7] = [
        |source| Line::Stranger { source },
        |source| Line::ConnectionRefused { source, why: "stranger" },
        |source| Line::LoginFailed { source },
        |source| Line::LoginGuessed { agent: AgentId::from_u128(0xa9), source },
        |source| Line::ForeignDialog { source, trunk: Some(TrunkId::from_u128(0x7a)) },
        |source| Line::ForeignDialog { source, trunk: None },
        |source| Line::Silenced { source },
    ];

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written about this source, as JSON lines.
    fn written(source: &str) -> Vec<String> {
        let source = source.parse().expect("an address");
        written_by(|| LINES.iter().for_each(|line| line(source).write()))
    }

    fn written_by(write: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(lines, write);
        let text = String::from_utf8(page.0.lock().expect("no panic").clone()).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    fn file(path: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(root.join(path)).expect("a file of the project")
    }

    /// A filter, in the words of this language: fail2ban takes the time stamp out and puts its own
    /// pattern for an address in.
    fn filter(name: &str) -> regex::Regex {
        let text = file(&format!("deploy/fail2ban/filter.d/{name}.conf"));
        let found = text.lines().find_map(|line| line.strip_prefix("failregex = "));
        let pattern = found.expect("a failregex").replace("<ADDR>", r"(?P<addr>[0-9a-fA-F.:]+)");
        regex::Regex::new(&pattern).expect("a regular expression")
    }

    /// The jails: each with its name, its filter, and for which transports it bans.
    fn jails() -> Vec<(String, regex::Regex, String)> {
        let text = file("deploy/fail2ban/jail.d/maskline.conf");
        let jails = text.split("\n[").skip(1).map(|jail| {
            let setting = |key: &str| {
                let found = jail.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
                found.unwrap_or_else(|| panic!("no {key} in {jail}")).to_owned()
            };
            let (name, _) = jail.split_once(']').expect("the head of a section");
            (name.to_owned(), filter(&setting("filter")), setting("protocol"))
        });
        jails.collect()
    }

    /// Once a stranger's datagram, which anybody can send in the name of a home office, had the
    /// softphones there banned by every transport.
    #[test]
    fn every_line_leads_to_one_ban_and_what_can_be_forged_to_one_for_udp_alone() {
        let jails = jails();
        for source in ["192.0.2.77", "2001:db8::77"] {
            let lines = written(source);
            assert_eq!(lines.len(), LINES.len());
            for line in &lines {
                let finds = jails.iter().filter_map(|(_, filter, protocol)| {
                    let found = filter.captures(line)?;
                    assert_eq!(&found["addr"], source, "{line}");
                    Some(protocol.as_str())
                });
                let is_forgeable =
                    ["sip_stranger", "sip_foreign_dialog"].iter().any(|event| line.contains(event));
                let wanted = if is_forgeable { "udp" } else { "all" };
                assert_eq!(finds.collect::<Vec<_>>(), [wanted], "{line}");
            }
        }
    }

    #[test]
    fn lines_about_anything_else_are_none_of_the_filters() {
        for rest in [
            r#""event":"sip_stranger","source":"192.0.2.1","target":"maskline::relay"}"#,
            r#""message":"sip_stranger 192.0.2.1","target":"maskline"}"#,
        ] {
            let line = format!(r#"{{"timestamp":"2026-01-01T00:00:00Z","level":"WARN",{rest}"#);
            for (name, filter, _) in jails() {
                assert!(filter.captures(&line).is_none(), "{name}: {line}");
            }
        }
    }

    #[test]
    fn a_cap_that_is_reached_names_whose_and_which_and_no_number_and_bans_nobody() {
        let [line] = &written_by(|| cap().write())[..] else { panic!("one line") };
        assert!(jails().iter().all(|(_, filter, _)| filter.captures(line).is_none()), "{line}");
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let agent = AgentId::from_u128(0xa9).to_string();
        for (field, value) in [
            ("event", "cap_reached"),
            ("subject", "agent"),
            ("measure", "minutes_per_day"),
            ("agent.id", &agent),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
    }

    fn cap() -> Line {
        Line::CapReached {
            reached: CapReached { subject: CapSubject::Agent, measure: CapMeasure::MinutesPerDay },
            tenant: TenantId::from_u128(1),
            binding: BindingId::from_u128(2),
            agent: Some(AgentId::from_u128(0xa9)),
        }
    }

    #[test]
    fn every_line_is_explained() {
        let page = file("docs/security-log.md");
        for line in written("192.0.2.77").into_iter().chain(written_by(|| cap().write())) {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(line["target"], TARGET);
            let event = line["event"].as_str().expect("a word");
            assert!(page.contains(&format!("| `{event}` |")), "{event} is not explained");
        }
    }

    /// S18: an alarm for each minute, and no log full of them.
    #[test]
    fn a_peer_that_speaks_in_calls_of_others_gets_few_lines_however_often_it_does() {
        let start = now().monotonic;
        let mut knocks = Knocks::new(start);
        let line = Line::ForeignDialog { source: IpAddr::from([192, 0, 2, 77]), trunk: None };
        let lines = written_by(|| (0..1_000).for_each(|_| knocks.write(start, line)));
        assert_eq!(lines.len(), LINES_PER_SOURCE as usize);
    }

    #[test]
    fn one_knocker_gets_few_lines_and_many_get_no_more_than_the_disk_can_bear() {
        let start = now().monotonic;
        let mut knocks = Knocks::new(start);
        let mut lines = |at, source: u32| knocks.is_worth_a_line(at, IpAddr::V4(source.into()));
        assert_eq!((0..1_000).filter(|_| lines(start, 7)).count(), LINES_PER_SOURCE as usize);
        let many = (0..5_000).filter(|n| lines(start, 100 + n)).count();
        assert_eq!(many, (LINES_MAX - LINES_PER_SOURCE) as usize);
        assert!(lines(start + SECOND, 9_999), "the next second has room again");
        assert!(lines(start + MEMORY, 7));
        assert!(knocks.sources.len() <= SOURCES_MAX);
    }
}
