//! What the single keys cannot know: bounds, and settings that do not fit together.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::load::{Loading, Problem};
use super::{Config, Listener, Listeners, PortRange, SHARDS_MAX};
use crate::domain::network::Transport;
use crate::domain::whisper::WhisperPolicy;

/// The fewest ports that make a relay: one call.
const PORTS_MIN: u16 = 4;
/// The most addresses that SIP is served on.
const LISTENERS_MAX: usize = 16;
/// Ports below are the system's.
const PORT_FIRST_MIN: u16 = 1_024;

/// Adds what is wrong with the whole.
pub(super) fn check(loading: &mut Loading) {
    let mut found = Vec::new();
    durations(&loading.config, &mut found);
    numbers(&loading.config, &mut found);
    addresses(&loading.config, &mut found);
    for (path, what) in found {
        let place = loading.place(path);
        // A key that could not be read has been reported already.
        if !loading.problems.iter().any(|problem| problem.key == path) {
            loading.problems.push(Problem { place, key: path.to_owned(), what });
        }
    }
}

type Found = Vec<(&'static str, String)>;

fn durations(config: &Config, found: &mut Found) {
    let second = Duration::from_secs(1);
    let bounds = [
        ("drain_timeout", config.drain_timeout, Duration::ZERO, second * 86_400),
        ("sip.ring_timeout", config.sip.ring_timeout, second * 5, second * 180),
        ("sip.route_deadline", config.sip.route_deadline, second / 20, second * 10),
        ("sip.duration_max", config.sip.duration_max, second * 10, second * 86_400),
        ("sip.session_expires", config.sip.session_expires, second * 90, second * 86_400),
        ("sip.failover_timeout", config.sip.failover_timeout, second / 2, second * 32),
        ("sip.queue_delay_max", config.sip.queue_delay_max, second / 1_000, second),
        ("sip.probe_interval", config.sip.probe_interval, Duration::ZERO, second * 3_600),
        ("sip.gather", config.sip.gather, Duration::ZERO, second / 50),
        ("media.port_quarantine", config.media.port_quarantine, Duration::ZERO, second * 3_600),
        ("media.silence_timeout", config.media.silence_timeout, second, second * 3_600),
        ("whisper.timeout", config.whisper.timeout, second, second * 30),
        (
            "bindings.expiry_notice",
            config.bindings.expiry_notice,
            Duration::ZERO,
            second * 7_776_000,
        ),
        ("menu.timeout", config.menu.timeout, second, second * 30),
    ];
    for (path, value, least, most) in bounds {
        if value < least || most < value {
            found.push((path, format!("must be between {least:?} and {most:?}")));
        }
    }
}

fn numbers(config: &Config, found: &mut Found) {
    let bounds = [
        ("api.key_rps_max", config.api.key_rps_max, 0, 1_000_000),
        ("api.tenant_rps_max", config.api.tenant_rps_max, 0, 1_000_000),
        ("sip.calls_max", config.sip.calls_max, 1, 200_000),
        ("sip.source_cps_max", config.sip.source_cps_max, 0, 1_000_000),
        ("sip.shards", config.sip.shards, 0, SHARDS_MAX),
        ("recorder.queue_max", config.recorder.queue_max, 100, 1_000_000),
        ("database.connections_max", config.database.connections_max as usize, 2, 500),
        ("media.threads", config.media.threads, 0, 256),
    ];
    for (path, value, least, most) in bounds {
        if value < least || most < value {
            found.push((path, format!("must be between {least} and {most}")));
        }
    }
    let code = &config.sip.country_code;
    if !(1..=3).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        found.push(("sip.country_code", "must be one to three digits".to_owned()));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.filter) {
        found.push(("log.filter", format!("{error}")));
    }
    let urls = [
        ("database.url", &config.database.url),
        ("database.app_url", &config.database.app_url),
        ("database.relay_url", &config.database.relay_url),
    ];
    for (path, url) in urls {
        let Some(url) = url else { continue };
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            found.push((path, "must start with postgres://".to_owned()));
        }
    }
    if config.database.url.is_none()
        && (config.database.app_url.is_some() || config.database.relay_url.is_some())
    {
        found.push(("database.url", "is needed beside app_url and relay_url".to_owned()));
    }
}

fn addresses(config: &Config, found: &mut Found) {
    if overlap(config.api.listen, config.admin.listen) {
        found.push(("admin.listen", "is the same as api.listen".to_owned()));
    }
    let PortRange { first, last } = config.media.ports;
    if last < first || last - first < PORTS_MIN - 1 {
        found.push(("media.ports", format!("must hold at least {PORTS_MIN} ports, low to high")));
    } else if first < PORT_FIRST_MIN {
        found.push(("media.ports", format!("must begin at {PORT_FIRST_MIN} or above")));
    } else if first % 2 == 1 || last % 2 == 0 {
        found.push(("media.ports", "must begin with an even port and end with an odd one".into()));
    }
    listeners(config, found);
    api(config, found);
    recording(config, found);
    if config.sip.advertise.is_some_and(|address| address.0.ip().is_unspecified()) {
        found.push(("sip.advertise", "must be an address that trunks can reach".to_owned()));
    }
    media_addresses(config, found);
}

fn media_addresses(config: &Config, found: &mut Found) {
    let media = &config.media;
    let main = media.advertise.or(config.sip.advertise.map(|advertised| advertised.0.ip()));
    let settings =
        [("media.advertise", media.advertise), ("media.advertise_other", media.advertise_other)];
    for (path, address) in settings {
        if address.is_some_and(|address| address.is_unspecified()) {
            found.push((path, "must be an address that trunks can reach".to_owned()));
        }
    }
    let Some(other) = media.advertise_other else { return };
    if main.is_some_and(|main| main.is_ipv4() == other.is_ipv4()) {
        let what = "must be IPv6 where media.advertise is IPv4, or the reverse";
        found.push(("media.advertise_other", what.to_owned()));
    }
    if media.bind != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        let what = "needs media.bind = \"::\", whose sockets are of both families";
        found.push(("media.advertise_other", what.to_owned()));
    }
}

fn listeners(config: &Config, found: &mut Found) {
    let sip = &config.sip;
    let Listeners(all) = &sip.listen;
    let mut wrong = |what: &str| found.push(("sip.listen", what.to_owned()));
    let udp = |is_v4| sip.listen.of(Transport::Udp).filter(|it| it.is_ipv4() == is_v4).count();
    if udp(true) > 1 || udp(false) > 1 || udp(true) + udp(false) == 0 {
        wrong("must hold one UDP address, or one of IPv4 and one of IPv6");
    }
    if all.len() > LISTENERS_MAX {
        wrong("holds too many addresses");
    }
    let in_media = |it: &Listener| {
        it.transport == Transport::Udp && config.media.ports.contains(it.address.port())
    };
    if all.iter().any(in_media) {
        wrong("its port is one of media.ports");
    }
    let clash = |one: &Listener, other: &Listener| {
        let same_socket = (one.transport == Transport::Udp) == (other.transport == Transport::Udp);
        // An IPv6 listener takes no IPv4.
        let same_family = one.address.is_ipv4() == other.address.is_ipv4();
        same_socket && same_family && overlap(one.address, other.address)
    };
    if all.iter().enumerate().any(|(n, one)| all.iter().skip(n + 1).any(|it| clash(one, it))) {
        wrong("two of its addresses are the same");
    }
    let tcp_taken = |it: &Listener| {
        it.transport != Transport::Udp
            && [config.api.listen, config.admin.listen].iter().any(|at| overlap(it.address, *at))
    };
    if all.iter().any(tcp_taken) {
        wrong("one of its addresses is that of api.listen or admin.listen");
    }
    let needs_key = sip.listen.of(Transport::Tls).next().is_some() || sip.tls_key.is_some();
    if needs_key && sip.tls_certificate.is_none() {
        found.push(("sip.tls_certificate", "is needed for TLS".to_owned()));
    }
    if sip.tls_certificate.is_some() && sip.tls_key.is_none() {
        found.push(("sip.tls_key", "is needed beside tls_certificate".to_owned()));
    }
}

fn api(config: &Config, found: &mut Found) {
    let api = &config.api;
    let is_tls_meant = api.tls_key.is_some() || api.tls_client_ca.is_some();
    if is_tls_meant && api.tls_certificate.is_none() {
        found.push(("api.tls_certificate", "is needed for TLS".to_owned()));
    }
    if api.tls_certificate.is_some() && api.tls_key.is_none() {
        found.push(("api.tls_key", "is needed beside tls_certificate".to_owned()));
    }
    if api.tls_client_required && api.tls_client_ca.is_none() {
        found.push(("api.tls_client_ca", "is needed beside tls_client_required".to_owned()));
    }
}

fn recording(config: &Config, found: &mut Found) {
    let is_wanted = !config.recording.purposes.0.is_empty();
    let has_folder = config.recording.folder.is_some();
    if is_wanted && !has_folder {
        found.push(("recording.folder", "is needed beside recording.purposes".to_owned()));
    }
    let recorded = &config.recording.purposes.0;
    if config.recording.required.0.iter().any(|purpose| !recorded.contains(purpose)) {
        let what = "may name none that is not in recording.purposes";
        found.push(("recording.required", what.to_owned()));
    }
    if is_wanted && config.whisper.mode == WhisperPolicy::Off {
        let what = "nothing is recorded unannounced: whisper.mode must not be off";
        found.push(("recording.purposes", what.to_owned()));
    }
}

/// The two cannot be listened on at once. Port 0 is any free port.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (any || one.ip() == other.ip())
}
