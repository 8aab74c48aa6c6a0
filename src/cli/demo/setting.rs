//! Where the demo plays: a private folder, free ports (or the usual ones when it stays up), and an
//! address of its own on loopback for each side.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::provision::Sides;
use crate::config::{Advertised, Config, Listeners};
use crate::domain::network::Transport;
use crate::relay::ports::Ports;

/// The subscriber's number, made up.
pub(super) const COUNTRY: &str = "86";
pub(super) const NATIONAL: &str = "13800001234";
/// The two sides are told apart by their source addresses, as in a real network.
const INSURER: [u8; 4] = [127, 0, 0, 2];
const CARRIER: [u8; 4] = [127, 0, 0, 3];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
/// An address that is nobody's (RFC 5737): the way there begins at the network of this machine.
const ELSEWHERE: [u8; 4] = [203, 0, 113, 1];

/// One place to play.
pub(super) struct Setting {
    folder: Folder,
    reached_at: Option<IpAddr>,
    softphones: [Option<IpAddr>; 2],
}

/// The ports where the phones of the demo take SIP.
pub(super) struct Seats {
    pub(super) insurer: Ports,
    pub(super) carrier: Ports,
}

impl Seats {
    /// # Errors
    /// When no port is free.
    pub(super) fn take() -> io::Result<Self> {
        let seat = |ip: [u8; 4]| Ports::free(IpAddr::from(ip), 1);
        Ok(Self { insurer: seat(INSURER)?, carrier: seat(CARRIER)? })
    }
}

impl Setting {
    pub(super) fn new(stay: bool, softphone: Option<IpAddr>) -> io::Result<Self> {
        let (reached_at, softphones) = match (stay, softphone) {
            (false, _) => (None, [None; 2]),
            (true, Some(ip)) => (Some(own_address_towards(ip)?), [Some(ip), None]),
            (true, None) => own_machine(),
        };
        Ok(Self { folder: Folder::new()?, reached_at, softphones })
    }

    /// Both sides, as the API is told of them.
    pub(super) const fn sides(&self, seats: &Seats) -> Sides {
        let (insurer, carrier) = (seats.insurer.first(), seats.carrier.first());
        Sides { insurer, carrier, softphones: self.softphones }
    }

    /// The address of this machine as the softphone sees it, when the demo stays up for one.
    pub(super) const fn reached_at(&self) -> Option<IpAddr> {
        self.reached_at
    }

    /// The settings of the service: on the usual ports when it stays up, or on others where
    /// somebody has those.
    ///
    /// # Errors
    /// When no port is left.
    pub(super) fn config(&self) -> io::Result<Config> {
        let mut config = Config::default();
        config.database.data_dir = Some(self.folder.0.join("pg"));
        config.drain_timeout = Duration::from_secs(2);
        config.log.filter = "warn".to_owned();
        config.media.threads = 1;
        if let Some(ip) = self.reached_at {
            let usual = config.sip.listen.of(Transport::Udp).next();
            let usual = usual.ok_or_else(|| io::Error::other("no address for SIP"))?;
            let udp = |at| UdpSocket::bind(at)?.local_addr();
            let tcp = |at| TcpListener::bind(at)?.local_addr();
            let sip = usual_or_other(usual, udp)?;
            config.sip.listen = Listeners::udp(sip);
            config.sip.advertise = Some(Advertised(SocketAddr::new(ip, sip.port())));
            config.api.listen = usual_or_other(config.api.listen, tcp)?;
            config.admin.listen = usual_or_other(config.admin.listen, tcp)?;
        } else {
            let any_port = SocketAddr::from((LOOPBACK, 0));
            config.sip.listen = Listeners::udp(any_port);
            // The phones of the demo answer calls alone.
            config.sip.probe_interval = Duration::ZERO;
            (config.api.listen, config.admin.listen) = (any_port, any_port);
            config.media.bind = any_port.ip();
        }
        Ok(config)
    }
}

/// This address, or one with a free port when the usual one is taken. `bind` takes it and lets go.
fn usual_or_other(
    usual: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<SocketAddr>,
) -> io::Result<SocketAddr> {
    bind(usual).or_else(|_| bind(SocketAddr::new(usual.ip(), 0)))
}

/// A folder among temporary files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    /// Under a name that no other demo takes, wherever it runs.
    fn new() -> io::Result<Self> {
        let mut name = [0; 8];
        aws_lc_rs::rand::fill(&mut name).map_err(io::Error::other)?;
        let name = format!("maskline-demo-{:016x}", u64::from_be_bytes(name));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0)?;
        // Under root, PostgreSQL runs as another user and has to reach its directory in here.
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies among temporary files in any case.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a softphone on this machine reaches the relay, and where it may dial from. Most take the
/// address of the machine's network, whomever they dial; without a network there is one alone.
fn own_machine() -> (Option<IpAddr>, [Option<IpAddr>; 2]) {
    let loopback = IpAddr::from(LOOPBACK);
    match own_address_towards(IpAddr::from(ELSEWHERE)).ok().filter(|ip| *ip != loopback) {
        Some(ip) => (Some(ip), [Some(ip), Some(loopback)]),
        None => (Some(loopback), [Some(loopback), None]),
    }
}

/// The address of this machine that `peer` sees. Nothing is sent.
fn own_address_towards(peer: IpAddr) -> io::Result<IpAddr> {
    let look = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect((peer, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    look().map_err(|_: io::Error| {
        io::Error::other("there is no route to the softphone: it cannot be reached over IPv4")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_have_folders_of_their_own_and_leave_none_behind() {
        let one = Setting::new(false, None).expect("a setting");
        let two = Setting::new(false, None).expect("another");
        let folders = [&one, &two].map(|setting| setting.folder.0.clone());
        assert_ne!(folders[0], folders[1]);
        assert!(folders.iter().all(|folder| folder.is_dir()));
        drop((one, two));
        assert!(!folders.iter().any(|folder| folder.exists()));
    }

    #[test]
    fn who_has_a_usual_port_keeps_it() {
        let staying = Setting::new(true, None).expect("a setting");
        let taken = TcpListener::bind((IpAddr::from(LOOPBACK), 0)).expect("a free port");
        let usual = taken.local_addr().expect("bound");
        let tcp = |at| TcpListener::bind(at)?.local_addr();
        let other = usual_or_other(usual, tcp).expect("another");
        assert!(other.ip() == usual.ip() && other.port() != usual.port());
        drop(taken);
        assert_eq!(usual_or_other(usual, tcp).expect("the usual one"), usual);
        let at = staying.config().expect("ports").sip.advertise.expect("it stays").0;
        assert!(at.port() != 0 && Some(at.ip()) == staying.reached_at());
        assert!(staying.softphones.contains(&Some(IpAddr::from(LOOPBACK))));
    }

    #[test]
    fn without_a_route_to_the_softphone_nothing_begins() {
        let softphone = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1_u16]);
        let error = Setting::new(true, Some(softphone)).err().expect("no route over IPv4");
        assert!(error.to_string().starts_with("there is no route to the softphone"), "{error}");
    }
}
