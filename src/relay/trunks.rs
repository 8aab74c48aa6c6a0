//! Who may talk to us: the trunk of a source address, before a byte of the message is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::dns::Located;
use super::tls::TrunkTls;
use super::trunk_states::Reach;
use crate::call::io::{Peer, PeerRole};
use crate::call::pick::Weighed;
use crate::call::trunks::{Login, TrunkBook, TrunkTerms};
use crate::domain::id::TrunkId;
use crate::domain::magic::LOOPBACK;
use crate::domain::network::{self, Network, TrunkPlace};
use crate::domain::route::TrunkTarget;
use crate::sip::digest::{Account, Algorithm, Secret};
use crate::sip::transport::{Hop, Transport};
use crate::store::trunk::{Trunk, TrunkSide};
use crate::store::trunk_access::OpenTrunkAccess;

/// One configured SIP peer, as far as its source addresses go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrunkEntry {
    /// Which.
    pub(crate) trunk: TrunkId,
    /// Which side of the relay it is on.
    pub(crate) role: PeerRole,
    /// Where it listens, as that is written.
    pub(crate) places: Vec<TrunkPlace>,
    /// The same as addresses: among several trunks of one network, this tells it.
    pub(crate) targets: Vec<SocketAddr>,
    /// Where it sends from.
    pub(crate) sources: Vec<Network>,
    /// How SIP travels to it.
    pub(crate) transport: network::Transport,
    /// What its certificate must hold.
    pub(crate) tls: TrunkTls,
    /// What the brain knows of it.
    pub(crate) terms: TrunkTerms,
}

impl From<Trunk> for TrunkEntry {
    fn from(trunk: Trunk) -> Self {
        let role = match trunk.side {
            TrunkSide::Insurer { tenant } => PeerRole::Insurer { tenant },
            TrunkSide::Carrier => PeerRole::Carrier,
        };
        Self {
            trunk: trunk.id,
            role,
            targets: Vec::new(),
            places: trunk.targets,
            sources: trunk.source_networks,
            transport: trunk.transport,
            tls: TrunkTls {
                ca: trunk.tls_ca.map(Into::into),
                name: trunk.tls_name.map(Into::into),
            },
            terms: TrunkTerms {
                channels_max: trunk.channels_max,
                cps_max: trunk.cps_max,
                identity: trunk.identity,
                media: trunk.media,
                priority: trunk.priority,
                weight: trunk.weight,
                ..TrunkTerms::default()
            },
        }
    }
}

impl TrunkEntry {
    /// Adds what the trunk and we prove to each other. What cannot be read shuts the trunk out
    /// rather than let it in without a proof.
    pub(crate) fn with_access(mut self, access: OpenTrunkAccess) -> Option<Self> {
        let least = |refuses_md5| if refuses_md5 { Algorithm::Sha256 } else { Algorithm::Md5 };
        if let Some((account, password)) = access.account {
            let password = std::str::from_utf8(&password).ok()?.into();
            let least = least(account.refuses_md5);
            self.terms.registers = account.register_s.map(|s| Duration::from_secs(s.into()));
            self.terms.account = Some((Account { user: account.user.into(), password }, least));
        }
        if let Some((login, secret)) = access.login {
            let secret = Secret::from_bytes(&secret)?;
            let least = least(login.refuses_md5);
            self.terms.login = Some(Login { user: login.user.into(), secret, least });
        }
        Some(self)
    }
}

impl TrunkEntry {
    /// Whether it may come this way. A trunk of TLS comes by nothing else: its certificate would
    /// prove nothing. Nobody else is it over TLS: perhaps a softphone beside it.
    fn is_heard_over(&self, transport: Transport) -> bool {
        (self.transport == network::Transport::Tls) == (transport == Transport::Tls)
    }

    /// How closely this source fits, if it does. The peer within this process is at its own port
    /// only: others on this machine are not it.
    fn fits(&self, source: SocketAddr) -> Option<(bool, u8)> {
        let is_target = self.targets.contains(&source);
        if self.trunk == LOOPBACK && !is_target {
            return None;
        }
        let networks = self.sources.iter().filter(|block| block.contains(source.ip()));
        networks.map(|block| block.prefix()).max().map(|prefix| (is_target, prefix))
    }

    /// Takes where its places lead. An address outside its networks is somebody else's.
    pub(crate) fn listens_at(&mut self, mut targets: Vec<Weighed<Located>>) {
        let is_name = |it: &TrunkPlace| matches!(it, TrunkPlace::Name { .. });
        let is_own = |ip| self.sources.iter().any(|block| block.contains(ip));
        if self.places.iter().any(is_name) {
            let written = |address| self.places.contains(&TrunkPlace::Address(address));
            targets.retain(|Weighed { item: Located { address, .. }, .. }| {
                written(*address) || is_own(address.ip())
            });
        }
        // Two names may lead to one address: it is asked once, by the first of them.
        let mut seen = BTreeSet::new();
        targets.retain(|it| seen.insert(it.item.address));
        self.targets = targets.iter().map(|it| it.item.address).collect();
        let (trunk, transport) = (self.trunk, self.transport);
        let target = |it: Weighed<Located>| {
            let Weighed { item: Located { address, name }, priority, weight } = it;
            let item = TrunkTarget { trunk, name, address, transport };
            Weighed { item, priority, weight }
        };
        self.terms.targets = targets.into_iter().map(target).collect();
    }
}

/// All trunks, searched by source address. Replaced as a whole when a trunk changes.
#[derive(Debug, Default)]
pub(crate) struct TrunkTable {
    entries: Vec<TrunkEntry>,
    book: Arc<TrunkBook>,
}

impl TrunkTable {
    /// A table that comes after `before`; `None` when nothing has changed, so that nobody has to
    /// follow.
    pub(crate) fn after(before: &Self, mut entries: Vec<TrunkEntry>) -> Option<Self> {
        entries.sort_by_key(|entry| entry.trunk);
        (entries != before.entries).then(|| Self::new(entries, before))
    }

    /// A table that comes after `before`.
    pub(crate) fn new(mut entries: Vec<TrunkEntry>, before: &Self) -> Self {
        entries.sort_by_key(|entry| entry.trunk);
        let terms = entries.iter().map(|entry| (entry.trunk, entry.terms.clone())).collect();
        Self { entries, book: Arc::new(TrunkBook::new(terms, &before.book)) }
    }

    /// What the brain knows of all trunks.
    pub(crate) fn book(&self) -> Arc<TrunkBook> {
        Arc::clone(&self.book)
    }

    /// The trunk of a source: the one that listens there, else the one with the closest network.
    /// Where two of different owners fit equally well, it is nobody's.
    pub(crate) fn find(&self, source: impl Into<Hop>) -> Option<Peer> {
        self.find_among(source, |_| true)
    }

    /// The same among the trunks whose certificate may be theirs.
    pub(crate) fn find_among(
        &self,
        source: impl Into<Hop>,
        may_be: impl Fn(&TrunkTls) -> bool,
    ) -> Option<Peer> {
        let Hop { transport, address: source, .. } = source.into();
        let mut best: Option<((bool, u8), &TrunkEntry)> = None;
        let mut ambiguous = false;
        for entry in &self.entries {
            if !entry.is_heard_over(transport) {
                continue;
            }
            let Some(rank) = entry.fits(source) else { continue };
            if !may_be(&entry.tls) {
                continue;
            }
            match best {
                Some((highest, _)) if highest > rank => {}
                Some((highest, first)) if highest == rank => ambiguous |= first.role != entry.role,
                Some(_) | None => (best, ambiguous) = (Some((rank, entry)), false),
            }
        }
        let (_, entry) = best.filter(|_| !ambiguous)?;
        Some(Peer { address: source, transport, trunk: entry.trunk, role: entry.role })
    }

    /// The trunk that owns a place, if it may come from there: nothing is sent to another's.
    pub(crate) fn owner_of(&self, place: Hop) -> Option<Peer> {
        let Hop { transport, address, owner, .. } = place;
        let entry = self.entry(TrunkId::from_u128(owner))?;
        let is_own = entry.sources.iter().any(|block| block.contains(address.ip()));
        let peer = Peer { address, transport, trunk: entry.trunk, role: entry.role };
        (is_own && entry.is_heard_over(transport)).then_some(peer)
    }

    fn entry(&self, trunk: TrunkId) -> Option<&TrunkEntry> {
        let found = self.entries.binary_search_by_key(&trunk, |entry| entry.trunk);
        self.entries.get(found.ok()?)
    }

    /// Who a TLS client at this address may be, before its certificate is known: any of them, and
    /// what certificates may have to hold. `None` for a stranger.
    pub(crate) fn suspects(&self, source: SocketAddr) -> Option<(Peer, Vec<&TrunkTls>)> {
        let lets_in = |entry: &&TrunkEntry| {
            entry.is_heard_over(Transport::Tls)
                && entry.sources.iter().any(|it| it.contains(source.ip()))
        };
        let mut entries = self.entries.iter().filter(lets_in);
        let TrunkEntry { trunk, role, tls, .. } = entries.next()?;
        let peer = Peer { address: source, transport: Transport::Tls, trunk: *trunk, role: *role };
        Some((peer, std::iter::once(tls).chain(entries.map(|entry| &entry.tls)).collect()))
    }

    /// What the certificate of a trunk must hold.
    pub(crate) fn tls_of(&self, trunk: TrunkId) -> &TrunkTls {
        static NOTHING: TrunkTls = TrunkTls::NOTHING;
        self.entry(trunk).map_or(&NOTHING, |entry| &entry.tls)
    }

    /// The name by which a trunk is configured that has led to this address: what its certificate
    /// has to hold (RFC 5922 §7.2). An address that none has led to is one of its domain too.
    pub(crate) fn host_of(&self, trunk: TrunkId, address: SocketAddr) -> Option<&str> {
        let targets = &self.entry(trunk)?.terms.targets;
        match targets.iter().find(|it| it.item.address == address) {
            Some(it) => it.item.host(),
            None => targets.iter().find_map(|it| it.item.host()),
        }
    }

    /// How each trunk is to be reached.
    pub(crate) fn reach(&self) -> BTreeMap<TrunkId, Reach> {
        let reach = |entry: &TrunkEntry| Reach {
            targets: entry.terms.targets.len(),
            wants_registration: entry.terms.registers.is_some(),
        };
        self.real().map(|entry| (entry.trunk, reach(entry))).collect()
    }

    /// There is somebody to reach subscribers by.
    pub(crate) fn has_carrier(&self) -> bool {
        self.real().any(|entry| entry.role == PeerRole::Carrier)
    }

    /// Those of other machines.
    fn real(&self) -> impl Iterator<Item = &TrunkEntry> {
        self.entries.iter().filter(|entry| entry.trunk != LOOPBACK)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// A shard's own memory of the sources it has met, so that a known peer costs one hash.
#[derive(Debug, Default)]
pub(crate) struct KnownPeers(hashbrown::HashMap<SocketAddr, Peer>);

/// Sources remembered; beyond it the memory starts anew.
const PEERS_MAX: usize = 4_096;

impl KnownPeers {
    /// The peer of a source; strangers are not remembered.
    pub(crate) fn find(&mut self, table: &TrunkTable, source: SocketAddr) -> Option<Peer> {
        if let Some(peer) = self.0.get(&source) {
            return Some(*peer);
        }
        let peer = table.find(source)?;
        if self.0.len() >= PEERS_MAX {
            self.0.clear();
        }
        self.0.insert(source, peer);
        Some(peer)
    }

    /// The table has changed.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TenantId;

    fn entry(n: u64, role: PeerRole, target: &str, block: &str) -> TrunkEntry {
        TrunkEntry {
            trunk: TrunkId::new(n, 0),
            role,
            places: Vec::new(),
            targets: vec![target.parse().expect("an address and port")],
            sources: vec![Network::parse(block).expect("a network")],
            transport: network::Transport::Udp,
            tls: TrunkTls::default(),
            terms: TrunkTerms::default(),
        }
    }

    fn table_of(entries: Vec<TrunkEntry>) -> TrunkTable {
        TrunkTable::new(entries, &TrunkTable::default())
    }

    fn insurer(n: u64) -> PeerRole {
        PeerRole::Insurer { tenant: TenantId::new(n, 0) }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address and port")
    }

    fn trunk_of(table: &TrunkTable, source: &str) -> Option<TrunkId> {
        table.find(address(source)).map(|peer| peer.trunk)
    }

    #[test]
    fn the_closest_network_wins_and_strangers_have_none() {
        let table = table_of(vec![
            entry(1, insurer(1), "198.51.100.1:5060", "198.51.100.0/24"),
            entry(2, PeerRole::Carrier, "198.51.100.9:5060", "198.51.100.8/29"),
            entry(3, PeerRole::Carrier, "[2001:db8::9]:5060", "2001:db8::/32"),
        ]);
        assert_eq!(trunk_of(&table, "198.51.100.200:4000"), Some(TrunkId::new(1, 0)));
        assert_eq!(trunk_of(&table, "198.51.100.12:4000"), Some(TrunkId::new(2, 0)));
        assert_eq!(trunk_of(&table, "[2001:db8:1::5]:5060"), Some(TrunkId::new(3, 0)));
        assert_eq!(trunk_of(&table, "203.0.113.1:5060"), None);
        assert_eq!(trunk_of(&table, "[2001:db9::1]:5060"), None);
    }

    #[test]
    fn several_trunks_on_one_host_are_told_by_their_ports() {
        let table = table_of(vec![
            entry(1, insurer(1), "127.0.0.1:5070", "127.0.0.1/32"),
            entry(2, PeerRole::Carrier, "127.0.0.1:5080", "127.0.0.1/32"),
        ]);
        assert_eq!(trunk_of(&table, "127.0.0.1:5070"), Some(TrunkId::new(1, 0)));
        assert_eq!(trunk_of(&table, "127.0.0.1:5080"), Some(TrunkId::new(2, 0)));
    }

    #[test]
    fn a_source_that_may_be_either_of_two_tenants_is_nobody() {
        let table = table_of(vec![
            entry(1, insurer(1), "192.0.2.1:5060", "192.0.2.0/24"),
            entry(2, insurer(2), "192.0.2.2:5060", "192.0.2.0/24"),
        ]);
        assert_eq!(trunk_of(&table, "192.0.2.77:5060"), None);
        assert_eq!(trunk_of(&table, "192.0.2.2:5060"), Some(TrunkId::new(2, 0)));
    }

    #[test]
    fn the_peer_within_this_process_is_at_its_own_port_and_no_carrier() {
        let mut own = entry(0, PeerRole::Carrier, "127.0.0.1:5080", "127.0.0.1/32");
        own.trunk = LOOPBACK;
        let alone = table_of(vec![own.clone()]);
        assert_eq!(trunk_of(&alone, "127.0.0.1:5080"), Some(LOOPBACK));
        assert_eq!(trunk_of(&alone, "127.0.0.1:5081"), None, "another program of this machine");
        assert!(!alone.has_carrier() && alone.reach().is_empty());
        let pbx = entry(1, insurer(1), "127.0.0.1:5070", "127.0.0.1/32");
        let both = table_of(vec![own, pbx]);
        assert_eq!(trunk_of(&both, "127.0.0.1:5099"), Some(TrunkId::new(1, 0)));
    }

    #[test]
    fn two_gateways_of_one_owner_share_a_network() {
        let table = table_of(vec![
            entry(2, PeerRole::Carrier, "192.0.2.1:5060", "192.0.2.0/24"),
            entry(1, PeerRole::Carrier, "192.0.2.2:5060", "192.0.2.0/24"),
        ]);
        assert_eq!(trunk_of(&table, "192.0.2.77:5060"), Some(TrunkId::new(1, 0)));
    }

    #[test]
    fn a_trunk_of_tls_is_heard_over_tls_alone() {
        let mut trunk = entry(1, PeerRole::Carrier, "192.0.2.1:5061", "192.0.2.0/24");
        trunk.transport = network::Transport::Tls;
        trunk.tls.name = Some("carrier.example".into());
        let table = table_of(vec![trunk]);
        let peer = |transport| table.find(Hop::new(transport, address("192.0.2.1:40000")));
        assert_eq!((peer(Transport::Udp), peer(Transport::Tcp)), (None, None));
        assert_eq!(peer(Transport::Tls).map(|peer| peer.transport), Some(Transport::Tls));
        assert_eq!(table.tls_of(TrunkId::new(1, 0)).name.as_deref(), Some("carrier.example"));
        assert_eq!(table.tls_of(TrunkId::new(2, 0)), &TrunkTls::default());
    }

    #[test]
    fn a_name_leads_to_no_address_outside_the_networks() {
        let mut trunk = entry(1, PeerRole::Carrier, "192.0.2.1:5060", "192.0.2.0/24");
        trunk.places = vec![TrunkPlace::parse("c.example").expect("a name")];
        let found = ["192.0.2.7:5060", "203.0.113.7:5060"];
        let weighed = |text| {
            let item = Located { address: address(text), name: Some("c.example".into()) };
            Weighed { item, priority: 1, weight: 2 }
        };
        trunk.listens_at(found.map(weighed).to_vec());
        assert_eq!(trunk.targets, [address("192.0.2.7:5060")]);
        assert_eq!(trunk.terms.targets.len(), 1);
    }

    #[test]
    fn a_certificate_has_to_hold_the_name_that_has_led_to_the_address() {
        let mut trunk = entry(1, PeerRole::Carrier, "192.0.2.1:5061", "192.0.2.0/24");
        trunk.places = ["c.example:5061", "192.0.2.9:5061"]
            .map(|text| TrunkPlace::parse(text).expect("a place"))
            .to_vec();
        let at = |text, name: Option<&str>| {
            let item = Located { address: address(text), name: name.map(Into::into) };
            Weighed { item, priority: 1, weight: 2 }
        };
        let places = vec![at("192.0.2.7:5061", Some("c.example:5061")), at("192.0.2.9:5061", None)];
        trunk.listens_at(places);
        let table = table_of(vec![trunk]);
        let host = |text| table.host_of(TrunkId::new(1, 0), address(text));
        assert_eq!(host("192.0.2.7:5061"), Some("c.example"));
        assert_eq!(host("192.0.2.9:5061"), None, "by its address");
        assert_eq!(host("192.0.2.77:5061"), Some("c.example"), "whence it has called us");
    }

    #[test]
    fn a_table_that_is_read_again_unchanged_is_no_new_one() {
        let read = || {
            let mut trunk = entry(1, PeerRole::Carrier, "192.0.2.1:5060", "192.0.2.0/24");
            let account = Account { user: "u".into(), password: "p".into() };
            trunk.terms.account = Some((account, Algorithm::Md5));
            vec![trunk, entry(2, PeerRole::Carrier, "192.0.2.2:5060", "192.0.2.0/24")]
        };
        let table = table_of(read());
        let mut turned = read();
        turned.reverse();
        assert!(TrunkTable::after(&table, turned).is_none());
        let changes: [fn(&mut TrunkEntry); 4] = [
            |it| it.terms.account = None,
            |it| it.terms.registers = Some(Duration::from_secs(60)),
            |it| it.tls.name = Some("c.example".into()),
            |it| it.targets.clear(),
        ];
        for change in changes {
            let mut other = read();
            change(&mut other[0]);
            assert!(TrunkTable::after(&table, other).is_some());
        }
        assert!(TrunkTable::after(&table, read().into_iter().take(1).collect()).is_some());
    }

    #[test]
    fn a_listening_address_outside_the_networks_may_not_send() {
        let table =
            table_of(vec![entry(1, PeerRole::Carrier, "203.0.113.5:5060", "198.51.100.0/24")]);
        assert_eq!(trunk_of(&table, "203.0.113.5:5060"), None);
    }
}
