//! `maskline doctor`: looks at the machine and the settings for what would go wrong later. It looks
//! only: nothing is started, made or changed.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Outcome;
use super::config_check::ConfigFile;
use crate::app::{self, DatabaseSeen, StartError};
use crate::config::Config;
use crate::media::sounds::Library;
use crate::relay::sip_udp::RECEIVE_BUFFER;
use crate::store::StoreError;
use crate::store::root_key::Belonging;
use crate::store::server::{ServerFacts, TrunkCounts};
use crate::vault::RootKey;

/// Find out what would go wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// What one look came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Health {
    Good,
    /// It will work, but not as well as it could.
    Advice,
    /// It will not work.
    Bad,
}

#[derive(Debug)]
struct Finding {
    health: Health,
    about: &'static str,
    text: String,
}

fn finding(health: Health, about: &'static str, text: impl Into<String>) -> Finding {
    Finding { health, about, text: text.into() }
}

/// Runs the command.
///
/// # Errors
/// Something will not work.
pub fn run(args: &Args) -> Outcome {
    let config = args.file.load()?;
    let mut findings = vec![
        finding(Health::Good, "settings", "valid"),
        root_key(&config),
        prompts(&config),
        receive_buffer(&read_number("/proc/sys/net/core/rmem_max")),
        port_range(&config, &read_text("/proc/sys/net/ipv4/ip_local_port_range")),
        file_limit(&config, rustix::process::getrlimit(rustix::process::Resource::Nofile)),
        connection_tracking(Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists()),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    findings.extend(runtime.block_on(database(&config)));
    let mut out = std::io::stdout().lock();
    for Finding { health, about, text } in &findings {
        let word = match health {
            Health::Good => "ok    ",
            Health::Advice => "advice",
            Health::Bad => "BAD   ",
        };
        writeln!(out, "{word} {about}: {text}")?;
    }
    match findings.iter().filter(|finding| finding.health == Health::Bad).count() {
        0 => Ok(()),
        bad => Err(format!("{bad} of {} findings are bad", findings.len()).into()),
    }
}

fn root_key(config: &Config) -> Finding {
    let file = &config.keys.root_file;
    match RootKey::load(file) {
        Ok(_) => finding(Health::Good, "root key", format!("{} is good", file.display())),
        Err(error) => finding(Health::Bad, "root key", error.to_string()),
    }
}

fn prompts(config: &Config) -> Finding {
    let about = "prompts";
    match Library::load(config.media.prompts.as_deref()) {
        Ok(Library { replaced, names, .. }) if config.media.prompts.is_some() => {
            let text = format!("{replaced} of the folder, and {names} names of insurers");
            finding(Health::Good, about, text)
        }
        Ok(_) => finding(Health::Good, about, "the built-in ones"),
        Err(error) => finding(Health::Bad, about, error.to_string()),
    }
}

fn receive_buffer(rmem_max: &Option<usize>) -> Finding {
    let about = "receive buffer";
    match rmem_max {
        Some(max) if *max >= RECEIVE_BUFFER => finding(Health::Good, about, format!("{max}")),
        Some(max) => finding(
            Health::Advice,
            about,
            format!(
                "net.core.rmem_max is {max}: bursts may be lost; \
                 sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"
            ),
        ),
        None => finding(Health::Advice, about, "net.core.rmem_max cannot be read"),
    }
}

/// The system may take a port of our range for a connection of its own.
fn port_range(config: &Config, ephemeral: &Option<String>) -> Finding {
    let about = "media ports";
    let ours = config.media.ports;
    let theirs = ephemeral.as_ref().and_then(|text| {
        let mut ports = text.split_whitespace().map(str::parse::<u16>);
        Some((ports.next()?.ok()?, ports.next()?.ok()?))
    });
    match theirs {
        Some((first, last)) if first <= ours.last && ours.first <= last => finding(
            Health::Advice,
            about,
            format!(
                "{}-{} overlaps the system's own {first}-{last}; \
                 sysctl -w net.ipv4.ip_local_reserved_ports={}-{}",
                ours.first, ours.last, ours.first, ours.last
            ),
        ),
        Some(_) | None => {
            let calls = usize::from(ours.last - ours.first).div_ceil(4);
            finding(Health::Good, about, format!("room for {calls} calls at one time"))
        }
    }
}

/// Four descriptors a call, and some for everything else.
const DESCRIPTORS_BESIDE_CALLS: u64 = 1_024;

fn file_limit(config: &Config, limit: rustix::process::Rlimit) -> Finding {
    let about = "file limit";
    let ports = u64::from(config.media.ports.last - config.media.ports.first);
    let wanted = ports.min(config.sip.calls_max as u64 * 4) + DESCRIPTORS_BESIDE_CALLS;
    match limit.maximum {
        Some(hard) if hard < wanted => finding(
            Health::Advice,
            about,
            format!("at most {hard} files: too few for all ports; set LimitNOFILE={wanted}"),
        ),
        Some(hard) => finding(Health::Good, about, format!("up to {hard} files")),
        None => finding(Health::Good, about, "unlimited"),
    }
}

fn connection_tracking(tracks: bool) -> Finding {
    let about = "connection tracking";
    if tracks {
        let advice = "is on: exempt the media ports (nft: notrack), it costs on every packet";
        finding(Health::Advice, about, advice)
    } else {
        finding(Health::Good, about, "off")
    }
}

/// The farthest that the clocks may differ before quiet hours and expiry are in doubt.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(2);

async fn database(config: &Config) -> Vec<Finding> {
    let about = "database";
    match app::look_at_database(config).await {
        Ok(DatabaseSeen::Answers { facts, our_now, trunks }) => {
            let mut findings = vec![schema(&facts), clock(facts.now, our_now)];
            findings.extend(belonging(facts.root_key));
            findings.extend(trunks.into_iter().flat_map(count));
            findings
        }
        Ok(DatabaseSeen::Stopped { folder, major }) => {
            let text = format!(
                "PostgreSQL {major} in {} does not run: start `maskline serve`, then look again",
                folder.display()
            );
            vec![finding(Health::Advice, about, text)]
        }
        Ok(DatabaseSeen::NotYet { folder, major }) => {
            let folder = folder.display();
            let text =
                format!("none yet: `maskline serve` makes one in {folder}, of PostgreSQL {major}");
            vec![finding(Health::Advice, about, text)]
        }
        Err(error) => vec![finding(Health::Bad, about, error.to_string())],
    }
}

fn schema(facts: &ServerFacts) -> Finding {
    let (about, version) = ("database", &facts.version);
    let pending = &facts.applied.pending;
    if facts.applied.is_later {
        let text = format!("PostgreSQL {version}; a later maskline has migrated it, update this");
        finding(Health::Bad, about, text)
    } else if pending.is_empty() {
        finding(Health::Good, about, format!("PostgreSQL {version}, the schema is ours"))
    } else {
        let (count, names) = (pending.len(), pending.join(", "));
        let text = format!(
            "PostgreSQL {version}; {count} migrations are pending ({names}): the next start \
             applies them"
        );
        finding(Health::Advice, about, text)
    }
}

fn belonging(root_key: Belonging) -> Option<Finding> {
    let about = "root key";
    match root_key {
        Belonging::Ours => Some(finding(Health::Good, about, "the database belongs to it")),
        Belonging::Foreign => {
            Some(finding(Health::Bad, about, StoreError::RootKeyForeign.to_string()))
        }
        // Migrations are pending, or there is no root key: either is told already.
        Belonging::Unknown => None,
    }
}

fn clock(theirs: SystemTime, ours: SystemTime) -> Finding {
    let (about, apart) = ("clock", apart(theirs, ours));
    if apart <= CLOCK_DIFFERENCE_MAX {
        finding(Health::Good, about, format!("{} ms apart", apart.as_millis()))
    } else {
        finding(Health::Bad, about, format!("the database's differs by {} s", apart.as_secs()))
    }
}

fn count(trunks: Result<TrunkCounts, StartError>) -> Vec<Finding> {
    let about = "trunks";
    let TrunkCounts { insurers, carriers, faults } = match trunks {
        Ok(counts) => counts,
        Err(error) => {
            let text = format!("the relay cannot look: {error}; a start sets its password");
            return vec![finding(Health::Bad, about, text)];
        }
    };
    let text = format!("{insurers} of insurers, {carriers} of carriers");
    let mut findings = vec![if insurers > 0 && carriers > 0 {
        finding(Health::Good, about, text)
    } else {
        finding(Health::Advice, about, format!("{text}: no call is possible"))
    }];
    for (trunk, fault) in faults {
        findings.push(finding(Health::Bad, about, format!("{trunk} {}", fault.text())));
    }
    findings
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|earlier| earlier.duration())
}

fn read_text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn read_number(path: &str) -> Option<usize> {
    read_text(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TrunkId;
    use crate::store::trunk::TrunkFault;

    #[test]
    fn overlapping_ports_are_found_with_the_way_out() {
        let config = Config::default();
        let overlap = port_range(&config, &Some("25000\t60999\n".to_owned()));
        assert_eq!(overlap.health, Health::Advice);
        assert!(overlap.text.contains("ip_local_reserved_ports=20000-29999"), "{}", overlap.text);
        let apart = port_range(&config, &Some("32768\t60999\n".to_owned()));
        assert_eq!(apart.health, Health::Good);
    }

    #[test]
    fn a_small_receive_buffer_is_advised_against() {
        assert_eq!(receive_buffer(&Some(212_992)).health, Health::Advice);
        assert_eq!(receive_buffer(&Some(RECEIVE_BUFFER)).health, Health::Good);
    }

    #[test]
    fn a_trunk_that_will_not_work_is_named() {
        let trunk = TrunkId::from_u128(7);
        let faults = vec![(trunk, TrunkFault::NoRoots)];
        let findings = count(Ok(TrunkCounts { insurers: 1, carriers: 1, faults }));
        let [counted, bad] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!((counted.health, bad.health), (Health::Good, Health::Bad));
        assert!(bad.text.starts_with(&trunk.to_string()) && bad.text.contains("no tls_ca"));
    }

    #[tokio::test]
    async fn a_first_look_makes_no_database() {
        let folder =
            std::env::temp_dir().join(format!("maskline-doctor-{}/pg", std::process::id()));
        let mut config = Config::default();
        config.database.data_dir = Some(folder.clone());
        let findings = database(&config).await;
        let [Finding { health: Health::Advice, text, .. }] = findings.as_slice() else {
            panic!("{findings:?}");
        };
        assert!(text.starts_with("none yet"), "{text}");
        assert!(!folder.exists() && !folder.parent().is_some_and(Path::exists));
    }
}
