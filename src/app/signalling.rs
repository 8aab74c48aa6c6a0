//! Wires the media plane, the shards, the recorder and the trunk table together.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::{interval, timeout};

use super::StartError;
use super::addresses::{advertised, main_address};
use super::media::{MediaPlane, processors};
use super::trunk_faults::TrunkFaults;
use crate::call::config::{CallConfig, MenuConfig, RecordingRules, WhisperConfig};
use crate::config::{Config, Listener, PerSubject, SHARDS_MAX, SoftphoneDigest, Softphones};
use crate::domain::cap::{self, CapLimits, CapSubject};
use crate::domain::network;
use crate::media::FreePorts;
use crate::media::sounds::Library;
use crate::media::tape::Recorder;
use crate::policy::caps::Ledger;
use crate::relay::caps::Caps;
use crate::relay::dns::{NameServers, Names};
use crate::relay::follow::{TRUNKS_EVERY, follow_changes, keep_trunks};
use crate::relay::handle::Handle;
use crate::relay::loopback::Loopback;
use crate::relay::now::now;
use crate::relay::sip_udp::SipSocket;
use crate::relay::start::{Parts, Prepared, Relay, StreamParts};
use crate::relay::stored::{StoreRecords, StoreRoutes};
use crate::relay::stream::{self, Limits};
use crate::relay::tls::{Tls, TlsFiles};
use crate::relay::trunks::{TrunkEntry, TrunkTable};
use crate::sip::digest::Algorithm;
use crate::sip::transport::Transport;
use crate::store::trunk::TrunkFault;
use crate::store::{Database, RelayPool, Store, StoreError};
use crate::vault::Vault;

/// Signalling and media at work.
pub(super) struct Signalling {
    /// Where SIP is served.
    pub(super) address: SocketAddr,
    /// Where it is served by UDP of the other family.
    pub(super) more: Vec<SocketAddr>,
    /// Where it is served over streams.
    pub(super) streams: Vec<(Transport, SocketAddr)>,
    relay: Relay,
    plane: Arc<MediaPlane>,
    recorder: Option<Recorder>,
}

/// Everything that SIP is served on, bound, the certificate of TLS, and what can be played.
pub(super) struct Bound {
    /// Those of each shard, in the order of the settings.
    udp: Vec<Vec<SipSocket>>,
    streams: Vec<(Transport, TcpListener)>,
    tls: Tls,
    library: Library,
}

/// Binds the addresses of the settings, and reads the files that they name.
pub(super) fn bind(config: &Config) -> Result<Bound, StartError> {
    let library = Library::load(config.media.prompts.as_deref())?;
    let sip = &config.sip;
    let files = TlsFiles {
        certificate: sip.tls_certificate.clone(),
        key: sip.tls_key.clone(),
        ca: sip.tls_ca.clone(),
    };
    let tls = Tls::open(files).map_err(|error| StartError::Tls(error.to_string()))?;
    let refused = |address, error| StartError::Listen { key: "sip.listen", address, error };
    let shards = shards(config);
    let mut udp: Vec<_> = std::iter::repeat_with(Vec::new).take(shards).collect();
    let mut streams = Vec::new();
    for Listener { transport, address } in &sip.listen.0 {
        let (transport, address) = (sip_transport(*transport), *address);
        if transport == Transport::Udp {
            let sockets = bind_shards(address, shards).map_err(|it| refused(address, it))?;
            udp.iter_mut().zip(sockets).for_each(|(shard, socket)| shard.push(socket));
        } else {
            let listener = stream::listen(address).map_err(|error| refused(address, error))?;
            streams.push((transport, listener));
        }
    }
    Ok(Bound { udp, streams, tls, library })
}

/// How many shards there are: 0 means one for each processor.
pub(super) fn shards(config: &Config) -> usize {
    match config.sip.shards {
        0 => processors().min(SHARDS_MAX),
        count => count,
    }
}

/// One socket for each shard, all on one port: the system shares out what arrives.
fn bind_shards(address: SocketAddr, shards: usize) -> io::Result<Vec<SipSocket>> {
    let first = SipSocket::bind(address)?;
    let address = first.local_address()?;
    let others = (1..shards).map(|_| SipSocket::join(address));
    iter::once(Ok(first)).chain(others).collect()
}

const fn sip_transport(transport: network::Transport) -> Transport {
    match transport {
        network::Transport::Udp => Transport::Udp,
        network::Transport::Tcp => Transport::Tcp,
        network::Transport::Tls => Transport::Tls,
    }
}

const fn softphone_transports(softphones: Softphones) -> &'static [Transport] {
    match softphones {
        Softphones::Off => &[],
        Softphones::Tls => &[Transport::Tls],
        Softphones::Streams => &[Transport::Tls, Transport::Tcp],
    }
}

/// Where SIP is served, as the system gave it.
struct Served {
    udp: Vec<SocketAddr>,
    streams: Vec<(Transport, SocketAddr)>,
}

impl Served {
    fn of(sockets: &[Vec<SipSocket>], streams: &[(Transport, TcpListener)]) -> io::Result<Self> {
        let first = sockets.first().expect("there is at least one shard");
        let local = |(transport, listener): &(Transport, TcpListener)| {
            Ok((*transport, listener.local_addr()?))
        };
        Ok(Self {
            udp: first.iter().map(SipSocket::local_address).collect::<io::Result<_>>()?,
            streams: streams.iter().map(local).collect::<io::Result<_>>()?,
        })
    }

    /// Every address of ours that is a particular one.
    fn sources(&self) -> Vec<IpAddr> {
        let streams = self.streams.iter().map(|(_, address)| address);
        let all = self.udp.iter().chain(streams).map(SocketAddr::ip);
        all.filter(|ip| !ip.is_unspecified()).collect()
    }

    /// All but the first one of UDP, as peers see them.
    fn more(&self, config: &Config) -> Vec<(Transport, SocketAddr)> {
        let udp = self.udp.iter().skip(1).map(|at| (Transport::Udp, *at));
        udp.chain(self.streams.iter().copied())
            .map(|(transport, at)| (transport, advertised_stream(config, at)))
            .collect()
    }
}

impl Signalling {
    /// Opens everything and loads the trunks, so that the first datagram is served.
    pub(super) async fn start(
        bound: Bound,
        config: &Config,
        handle: &Handle,
        pool: &RelayPool,
        vault: &Arc<Vault>,
        recorder: Option<Recorder>,
    ) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let tape = recorder.as_ref().and_then(Recorder::tape);
        let Bound { udp: sockets, streams, tls, library } = bound;
        let served = Served::of(&sockets, &streams).map_err(system("the SIP listeners"))?;
        let address = *served.udp.first().expect("the settings were checked: one listener is UDP");
        let advertise = advertised(config, address);
        let names = Arc::new(Names::new(name_servers()));
        let faults = Arc::new(Mutex::new(TrunkFaults::default()));
        let loopback =
            Loopback::bind(address, config.media.bind).map_err(system("the peer of test mode"))?;
        let own = loopback.entry();
        let (entries, _) = load_trunks(pool, vault, &names, &faults, &own).await?;
        let table = TrunkTable::new(entries, &TrunkTable::default());
        handle.shared().trunk_states.follow(&table.reach());
        let trunks = Arc::new(ArcSwap::from_pointee(table));
        let prepared = Prepared::new(sockets, handle).map_err(system("a shard"))?;
        let (plane, links) =
            MediaPlane::start(config, advertise.ip(), library.sounds, tape, prepared.wakers())?;
        let more_addresses = served.more(config);
        let parts = Parts {
            gather: config.sip.gather,
            call: CallConfig {
                media_other: media_other(config, advertise, &more_addresses),
                more_addresses,
                insurers: library.insurers,
                clip_hashes: library.hashes,
                clip_times: library.times,
                ..call_config(config, advertise)
            },
            media: links,
            routes: Arc::new(StoreRoutes::new(
                pool.clone(),
                Arc::clone(vault),
                !config.recording.purposes.0.is_empty(),
            )),
            caps: caps_of(config, pool).await?,
            records: StoreRecords::new(pool.clone()),
            trunks: Arc::clone(&trunks),
            streams: StreamParts {
                listeners: streams,
                sources: served.sources(),
                tls,
                limits: Limits::with_failover(config.sip.failover_timeout),
                softphones: softphone_transports(config.sip.softphones),
            },
        };
        let mut relay = prepared.start(parts).map_err(system("a shard"))?;
        let follow = follow_changes(pool.clone(), handle.clone());
        relay.adopt(tokio::spawn(follow).abort_handle());
        let (pool, vault) = (pool.clone(), Arc::clone(vault));
        let keep = keep_trunks(Arc::clone(handle.shared()), trunks, move || {
            let pool = pool.clone();
            let (vault, names) = (Arc::clone(&vault), Arc::clone(&names));
            let (faults, own) = (Arc::clone(&faults), own.clone());
            async move { load_trunks(&pool, &vault, &names, &faults, &own).await }
        });
        relay.adopt(tokio::spawn(keep).abort_handle());
        relay.adopt(tokio::spawn(loopback.run()).abort_handle());
        let more = served.udp.into_iter().skip(1).collect();
        let (streams, plane) = (served.streams, Arc::new(plane));
        Ok(Self { address, more, streams, relay, plane, recorder })
    }

    /// Reads the certificates again.
    pub(super) fn reload_certificates(&self) {
        self.relay.post().reload();
    }

    /// Attempts whose record has not come yet.
    pub(super) fn calls(&self) -> u64 {
        self.relay.calls()
    }

    /// Comes to an end only when a shard did.
    pub(super) async fn failed(&self) {
        self.relay.failed().await;
    }

    /// Ends the shards, then the recorder, then the media plane; `true` when records are left.
    pub(super) async fn stop(self, flush: Duration) -> bool {
        let unwritten = self.relay.stop(flush).await;
        let (plane, recorder) = (self.plane, self.recorder);
        // Recordings end when the media threads have.
        let ended = tokio::task::spawn_blocking(move || drop((plane, recorder)));
        // A thread that panicked has said so already.
        let _ = ended.await;
        unwritten
    }

    /// Looks every second at what readiness depends on.
    pub(super) fn watch(
        &self,
        handle: &Handle,
        store: Store,
        pools: Database,
        page: PrometheusHandle,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (shared, plane) = (Arc::clone(handle.shared()), Arc::downgrade(&self.plane));
        async move {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let answers = matches!(timeout(ANSWER_WITHIN, store.ping()).await, Ok(Ok(())));
                shared.checks.database.store(answers, Ordering::SeqCst);
                let has_room = plane
                    .upgrade()
                    .is_some_and(|plane| plane.is_running() && is_enough(plane.free_ports()));
                shared.checks.media_ports.store(has_room, Ordering::SeqCst);
                show_pool("app", pools.app.counts());
                show_pool("relay", pools.relay.counts());
                page.run_upkeep();
            }
        }
    }
}

/// The caps against fraud, and what was done under them before this process began.
async fn caps_of(config: &Config, pool: &RelayPool) -> Result<Caps, StoreError> {
    let caps = &config.caps;
    let limits = |subject: CapSubject| {
        let of = |limits: &PerSubject| limits.0.get(subject as usize).copied().flatten();
        cap::Limits {
            calls_max: of(&caps.calls_max),
            calls_per_minute_max: of(&caps.calls_per_minute_max),
            minutes_per_day_max: of(&caps.minutes_per_day_max),
        }
    };
    let mut ledger = Ledger::new(CapLimits(CapSubject::COUNTED.map(limits)));
    if !ledger.is_open() {
        let now = now();
        ledger.restore(now.unix_ms(), pool.load_cap_usage(now.wall).await?);
    }
    Ok(Caps::new(ledger))
}

/// The name servers of this machine. Without any, trunks are reached by their addresses.
fn name_servers() -> Option<NameServers> {
    NameServers::of_system()
        .inspect_err(|error| tracing::warn!(%error, "No name servers: {error}"))
        .ok()
}

/// All trunks, and how long that holds.
async fn load_trunks(
    pool: &RelayPool,
    vault: &Vault,
    names: &Arc<Names<NameServers>>,
    faults: &Mutex<TrunkFaults>,
    own: &TrunkEntry,
) -> Result<(Vec<TrunkEntry>, Duration), StoreError> {
    let access = pool.load_trunk_access(vault).await?;
    let mut access: BTreeMap<_, _> = access.into_iter().map(|it| (it.trunk, it)).collect();
    let mut entries = Vec::new();
    let mut found = BTreeMap::new();
    for trunk in pool.load_trunks().await? {
        let (id, fault) = (trunk.id, trunk.fault());
        let entry = match access.remove(&id) {
            None => Some(TrunkEntry::from(trunk)),
            Some(access) => TrunkEntry::from(trunk).with_access(access),
        };
        let fault = entry.is_none().then_some(TrunkFault::BadSecret).or(fault);
        fault.map(|fault| found.insert(id, fault));
        if fault != Some(TrunkFault::NotTls) {
            entries.extend(entry);
        }
    }
    faults.lock().unwrap_or_else(PoisonError::into_inner).tell(found);
    let places = |entry: &TrunkEntry| (entry.places.clone(), sip_transport(entry.transport));
    let found = names.find_all(entries.iter().map(places).collect()).await;
    for (entry, targets) in entries.iter_mut().zip(found) {
        entry.listens_at(targets);
    }
    entries.push(own.clone());
    Ok((entries, names.next_in(TRUNKS_EVERY)))
}

/// How often readiness is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A database slower than this is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// With a smaller share of its RTP ports free, new calls should go elsewhere.
const FREE_PORTS_PERCENT_MIN: usize = 10;

const fn is_enough(ports: FreePorts) -> bool {
    ports.free * 100 >= ports.all * FREE_PORTS_PERCENT_MIN
}

fn show_pool(pool: &'static str, (open, idle): (u32, usize)) {
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    let gauge =
        |state: &'static str| metrics::gauge!("maskline_db_pool", "pool" => pool, "state" => state);
    gauge("idle").set(f64::from(idle));
    gauge("busy").set(f64::from(open.saturating_sub(idle)));
}

impl fmt::Debug for Signalling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signalling({})", self.address)
    }
}

fn call_config(config: &Config, advertise: SocketAddr) -> CallConfig {
    let sip = &config.sip;
    let source_cps_max = u32::try_from(sip.source_cps_max).ok().filter(|max| *max > 0);
    CallConfig {
        country_code: sip.country_code.as_str().into(),
        calls_max: sip.calls_max,
        queue_delay_max: sip.queue_delay_max,
        source_cps_max,
        softphone_cps_max: source_cps_max,
        recorder_credits: u32::try_from(config.recorder.queue_max).unwrap_or(u32::MAX),
        route_deadline: sip.route_deadline,
        failover_timeout: sip.failover_timeout,
        session_expires_s: u32::try_from(sip.session_expires.as_secs()).unwrap_or(u32::MAX),
        probe_interval: sip.probe_interval,
        softphone_digest: match sip.softphone_digest {
            SoftphoneDigest::All => Algorithm::Md5..=Algorithm::Sha512T256,
            SoftphoneDigest::Sha256 => Algorithm::Sha256..=Algorithm::Sha512T256,
            SoftphoneDigest::Md5 => Algorithm::Md5..=Algorithm::Md5,
        },
        ring_timeout: sip.ring_timeout,
        duration_max: sip.duration_max,
        keys_to_insurer: config.dtmf.to_insurer.0.clone(),
        recording: RecordingRules {
            purposes: config.recording.purposes.0.clone(),
            required: config.recording.required.0.clone(),
            retention: config.recording.retention,
        },
        announce_refusals: config.media.announce_refusals,
        ring: config.media.ring,
        hold_tone: config.media.hold_tone,
        whisper: WhisperConfig {
            policy: config.whisper.mode,
            timeout: config.whisper.timeout,
            on_silence: config.whisper.on_timeout,
            speaks_code: config.whisper.code,
        },
        menu: MenuConfig { is_enabled: config.menu.enabled, timeout: config.menu.timeout },
        ..CallConfig::new(advertise)
    }
}

/// What legs of the other family are told of media, where its sockets are of both.
fn media_other(
    config: &Config,
    advertise: SocketAddr,
    more: &[(Transport, SocketAddr)],
) -> Option<IpAddr> {
    if config.media.bind != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return None;
    }
    let main = config.media.advertise.unwrap_or(advertise.ip());
    let all = || std::iter::once(advertise.ip()).chain(more.iter().map(|(_, at)| at.ip()));
    config.media.advertise_other.or_else(|| all().find(|ip| ip.is_ipv4() != main.is_ipv4()))
}

/// The same for a stream: the address of the setting where it is of that family, the port in use.
fn advertised_stream(config: &Config, bound: SocketAddr) -> SocketAddr {
    let setting = config.sip.advertise.map(|advertised| advertised.0.ip());
    let fitting = setting.filter(|ip| ip.is_ipv4() == bound.is_ipv4());
    let ip = match fitting {
        Some(ip) => ip,
        None if bound.ip().is_unspecified() => main_address(bound),
        None => bound.ip(),
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_timer_is_as_the_settings_say() {
        let mut config = Config::default();
        let asked = |config: &Config| {
            call_config(config, "192.0.2.1:5060".parse().expect("an address")).session_expires_s
        };
        assert_eq!(asked(&config), 1_800);
        config.sip.session_expires = Duration::from_secs(600);
        assert_eq!(asked(&config), 600);
    }

    #[test]
    fn a_tenth_of_the_ports_is_enough_and_less_is_not() {
        assert!(is_enough(FreePorts { free: 100, all: 1_000 }));
        assert!(!is_enough(FreePorts { free: 99, all: 1_000 }));
    }
}
