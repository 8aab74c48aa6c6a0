//! Where the demo plays: a private folder, free ports (or the usual ones when it stays up), and an
//! address of its own on loopback for each side.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::provision::Sides;
use super::stage::free_ports;
use crate::config::{Advertised, Config};

/// The subscriber's number, made up.
pub(super) const COUNTRY: &str = "86";
pub(super) const NATIONAL: &str = "13800001234";
/// The two sides are told apart by their source addresses, as in a real network.
const INSURER: [u8; 4] = [127, 0, 0, 2];
const CARRIER: [u8; 4] = [127, 0, 0, 3];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// The folder is removed at the end.
pub(super) struct Setting {
    folder: PathBuf,
    stay: bool,
    softphone: Option<IpAddr>,
    sides: Sides,
}

impl Setting {
    pub(super) fn new(stay: bool, softphone: Option<IpAddr>) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("maskline-demo-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // Under root, PostgreSQL runs as another user and has to reach its directory in here.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let side = |ip: [u8; 4]| {
            let ip = IpAddr::from(ip);
            Ok::<_, io::Error>(SocketAddr::new(ip, free_ports(ip, 1)?))
        };
        // A softphone on this machine dials from 127.0.0.1.
        let own_machine = stay.then_some(IpAddr::from(LOOPBACK));
        let softphone = softphone.or(own_machine);
        let sides = Sides { insurer: side(INSURER)?, carrier: side(CARRIER)?, softphone };
        Ok(Self { folder, stay, softphone, sides })
    }

    pub(super) const fn sides(&self) -> Sides {
        self.sides
    }

    /// The address of this machine as the softphone sees it.
    pub(super) fn reached_at(&self) -> Option<IpAddr> {
        self.softphone.and_then(own_address_towards)
    }

    /// The settings of the service.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::default();
        config.database.data_dir = Some(self.folder.join("pg"));
        config.drain_timeout = Duration::from_secs(2);
        config.log.filter = "warn".to_owned();
        config.media.threads = 1;
        if self.stay {
            let port = config.sip.listen.port();
            config.sip.advertise =
                self.reached_at().map(|ip| Advertised(SocketAddr::new(ip, port)));
        } else {
            let any_port = SocketAddr::from((LOOPBACK, 0));
            (config.sip.listen, config.api.listen, config.admin.listen) =
                (any_port, any_port, any_port);
            config.media.bind = any_port.ip();
        }
        config
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // It lies among temporary files in any case.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The address of this machine that `peer` sees. Nothing is sent.
fn own_address_towards(peer: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect((peer, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
