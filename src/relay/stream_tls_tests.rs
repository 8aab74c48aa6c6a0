//! Connections over TLS: who is let in by which certificate, and which one of ours is shown.

use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;

use super::tests::*;
use super::*;
use crate::call::io::{NO_TRUNK, PeerRole};
use crate::domain::id::{TenantId, TrunkId};
use crate::domain::network::Network;
use crate::relay::certificates;
use crate::relay::tls::{TlsFiles, TrunkTls};
use crate::relay::trunks::TrunkEntry;

fn read_file(name: &str) -> Vec<u8> {
    std::fs::read(certificates::folder().join(name)).expect("a file of the tests")
}

/// A PBX that trusts the root of the tests and shows the certificate of this name.
pub(super) fn tls_peer(certificate: Option<&str>) -> rustls::ClientConnection {
    tls_peer_of("relay.test", certificate)
}

fn tls_peer_of(server: &str, certificate: Option<&str>) -> rustls::ClientConnection {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let roots = crate::relay::tls::read_roots(&read_file("root.pem")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::pem_slice_iter(&read_file(&format!("{name}.pem")))
                .collect::<Result<Vec<_>, _>>()
                .expect("certificates");
            let key = PrivateKeyDer::from_pem_slice(&read_file(&format!("{name}.key")));
            builder.with_client_auth_cert(chain, key.expect("a key")).expect("they fit")
        }
    };
    let name = server.to_owned().try_into().expect("a name");
    rustls::ClientConnection::new(Arc::new(config), name).expect("a connection")
}

fn mutual(name: Option<&str>) -> TrunkTls {
    let ca = String::from_utf8(read_file("root.pem")).expect("text");
    TrunkTls { ca: Some(ca.into()), name: name.map(Into::into) }
}

/// Sends one message over TLS; the trunk as which it arrived and was answered.
fn served_as(world: &World, certificate: Option<&str>) -> Option<TrunkId> {
    let mut tls = tls_peer(certificate);
    let mut socket = world.connect(PBX);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    // A double line end is answered to whoever is heard; nobody else learns anything.
    let said = stream.write_all(&[OPTIONS, b"\r\n\r\n"].concat()).and_then(|()| stream.flush());
    said.and_then(|()| stream.read_exact(&mut [0; 2])).ok()?;
    let (peer, _) = world.message();
    assert_eq!(peer.transport, Transport::Tls);
    world.post.send(peer.hop(), bytes::Bytes::from_static(b"answer"));
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"answer");
    drop(socket);
    assert_eq!(world.unreachable(), peer.hop());
    Some(peer.trunk)
}

fn is_served(world: &World, certificate: Option<&str>) -> bool {
    served_as(world, certificate).is_some()
}

#[test]
fn tls_carries_messages_both_ways() {
    let world = World::new(Transport::Tls, Limits::default(), TrunkTls::default());
    assert!(is_served(&world, None));
}

#[test]
fn what_tls_has_decrypted_is_served_when_a_full_shard_has_room_again() {
    let world = World::new(Transport::Tls, Limits::default(), TrunkTls::default());
    let mut tls = tls_peer(None);
    let mut socket = world.connect(PBX);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(OPTIONS).expect("taken");
    world.message();
    // One read takes a whole record; the short one behind it is decrypted at the same time.
    let head = String::from_utf8_lossy(OPTIONS).replace(": 0\r\n", ": 16150\r\n");
    let long = [head.as_bytes(), &[b'x'; 16_150]].concat();
    world.inbox.is_small.store(true, Ordering::SeqCst);
    stream.conn.writer().write_all(&[&long, OPTIONS].concat()).expect("room");
    stream.flush().expect("taken");
    assert_eq!(world.message().1, long);
    let inputs = world.inbox.inputs.lock().expect("no panic");
    let waits = |_: &mut _| !world.inbox.has_refused.load(Ordering::SeqCst);
    drop(world.inbox.more.wait_while(inputs, waits).expect("no panic"));
    world.inbox.is_full.store(false, Ordering::SeqCst);
    assert_eq!(world.message().1, OPTIONS);
}

#[test]
fn a_trunk_with_roots_needs_a_certificate_of_them_and_with_a_name_its_own() {
    let world = World::new(Transport::Tls, Limits::default(), mutual(None));
    assert!(is_served(&world, Some("pbx")));
    assert!(!is_served(&world, None), "no certificate");
    assert!(!is_served(&world, Some("impostor")), "of another root");
    let world = World::new(Transport::Tls, Limits::default(), mutual(Some("pbx.test")));
    assert!(is_served(&world, Some("pbx")));
    let world = World::new(Transport::Tls, Limits::default(), mutual(Some("other.test")));
    assert!(!is_served(&world, Some("pbx")), "of another name");
}

#[test]
fn a_trunk_may_show_the_certificate_of_a_server_but_no_other_and_none_that_has_ended() {
    let world = World::new(Transport::Tls, Limits::default(), mutual(Some("pbx.test")));
    assert!(is_served(&world, Some("server")), "public authorities give no other any more");
    assert!(!is_served(&world, Some("signer")), "made for signing code");
    assert!(!is_served(&world, Some("ended")), "its time is over");
}

#[test]
fn a_trunk_with_a_name_and_no_roots_lets_nobody_in() {
    let only_name = TrunkTls { ca: None, name: Some("pbx.test".into()) };
    let world = World::new(Transport::Tls, Limits::default(), only_name);
    assert!(!is_served(&world, None), "no certificate");
    assert!(!is_served(&world, Some("pbx")), "nothing says what it must chain to");
}

#[test]
fn a_half_open_handshake_is_cut_in_time() {
    let limits = quick(Duration::from_millis(300));
    let world = World::new(Transport::Tls, limits, TrunkTls::default());
    let mut silent = world.connect(PBX);
    assert_eq!(rest(&mut silent), b"");
    let mut plain = world.connect(PBX);
    plain.write_all(OPTIONS).expect("taken");
    assert!(rest(&mut plain).len() < 32, "an alert at most");
}

/// A trunk of a tenant of its own in this network.
fn of_tenant(number: u64, network: &str, tls: TrunkTls) -> TrunkEntry {
    TrunkEntry {
        trunk: TrunkId::new(number, 0),
        role: PeerRole::Insurer { tenant: TenantId::new(number, 0) },
        targets: vec!["192.0.2.1:5061".parse().expect("an address")],
        sources: vec![Network::parse(network).expect("a network")],
        ..trunk(Transport::Tls, tls)
    }
}

fn own_files() -> TlsFiles {
    let file = |name: &str| Some(certificates::folder().join(name));
    TlsFiles { certificate: file("relay.pem"), key: file("relay.key"), ca: None }
}

#[test]
fn a_source_that_has_its_share_has_no_handshake_prepared() {
    for per_source_max in [0, 1] {
        let limits = Limits { per_source_max, ..Limits::default() };
        let entries = vec![trunk(Transport::Tls, mutual(None))];
        let (streams, _inbox) = streams(Transport::Tls, limits, entries, own_files(), &[]);
        let address = streams.listeners[0].1.local_addr().expect("bound");
        let mut running = streams.open().expect("descriptors");
        let _peer = connect(any_port(PBX), address);
        running.accept(0);
        assert_eq!(running.streams.tls.prepared(), per_source_max);
    }
}

#[test]
fn trunks_of_one_network_are_told_apart_by_their_certificates() {
    let mut entries = vec![
        of_tenant(1, "127.0.0.0/8", mutual(Some("pbx.test"))),
        of_tenant(2, "127.0.0.0/8", mutual(Some("relay.test"))),
    ];
    let limits = Limits::default();
    let world = World::of(Transport::Tls, limits, entries.clone(), own_files(), &[]);
    assert_eq!(served_as(&world, Some("pbx")), Some(TrunkId::new(1, 0)));
    assert_eq!(served_as(&world, Some("relay")), Some(TrunkId::new(2, 0)));
    assert_eq!(served_as(&world, Some("impostor")), None, "of another root");
    assert_eq!(served_as(&world, None), None, "no certificate");
    // A certificate decides where there is one; without any, the address does.
    entries.push(of_tenant(3, "127.0.0.2", TrunkTls::default()));
    let world = World::of(Transport::Tls, limits, entries, own_files(), &[]);
    assert_eq!(served_as(&world, Some("pbx")), Some(TrunkId::new(1, 0)));
    assert_eq!(served_as(&world, None), Some(TrunkId::new(3, 0)));
    assert_eq!(served_as(&world, Some("impostor")), None, "not even as the third");
}

#[test]
fn a_certificate_that_fits_two_tenants_fits_none() {
    let entries = vec![
        of_tenant(1, "127.0.0.0/8", mutual(None)),
        of_tenant(2, "127.0.0.0/8", mutual(Some("pbx.test"))),
    ];
    let world = World::of(Transport::Tls, Limits::default(), entries, own_files(), &[]);
    assert_eq!(served_as(&world, Some("pbx")), None);
    assert_eq!(served_as(&world, Some("relay")), Some(TrunkId::new(1, 0)));
}

#[test]
fn a_softphone_beside_a_trunk_is_a_softphone_and_never_the_trunk() {
    let by_tls = &[Transport::Tls];
    let open = |entries| World::of(Transport::Tls, Limits::default(), entries, own_files(), by_tls);
    let tcp = Transport::Tcp;
    // Not of TLS: it is heard over UDP and TCP, and nobody is it over TLS.
    let world = open(vec![trunk(tcp, TrunkTls::default())]);
    assert_eq!(served_as(&world, None), Some(NO_TRUNK));
    // Of TLS, and with a certificate of its own that the softphone has not.
    let network = "127.0.0.0/8";
    let world = open(vec![of_tenant(1, network, mutual(Some("pbx.test")))]);
    assert_eq!(served_as(&world, None), Some(NO_TRUNK));
    assert_eq!(served_as(&world, Some("pbx")), Some(TrunkId::new(1, 0)));
    assert_eq!(served_as(&world, Some("relay")), Some(NO_TRUNK), "of its root, not of its name");
    // Of TLS without one: then the address says all.
    let world = open(vec![of_tenant(1, network, TrunkTls::default())]);
    assert_eq!(served_as(&world, None), Some(TrunkId::new(1, 0)));
}

/// A message for the trunk of this number at an address.
fn for_trunk(number: u64, at: SocketAddr) -> Hop {
    Hop::new(Transport::Tls, at).of(TrunkId::new(number, 0).as_u128())
}

#[test]
fn what_is_for_one_trunk_never_leaves_on_the_connection_of_another_peer_at_its_address() {
    let entries = vec![
        of_tenant(1, "127.0.0.0/8", mutual(Some("pbx.test"))),
        of_tenant(2, "127.0.0.0/8", mutual(Some("relay.test"))),
    ];
    let by_tls = &[Transport::Tls];
    let world = World::of(Transport::Tls, Limits::default(), entries, own_files(), by_tls);
    for (certificate, own) in [(Some("pbx"), 1), (None, 0)] {
        let (mut tls, mut socket) = (tls_peer(certificate), world.connect(PBX));
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(OPTIONS).expect("taken");
        let peer = world.message().0;
        assert_eq!(peer.trunk == NO_TRUNK, own == 0);
        for other in [1, 2].into_iter().filter(|other| *other != own) {
            let to = for_trunk(other, peer.address);
            world.post.send(to, bytes::Bytes::from_static(b"+861380000"));
            assert_eq!(world.unreachable(), to);
        }
        world.post.send(peer.hop(), bytes::Bytes::from_static(b"answer"));
        let mut first = [0; 6];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"answer");
        drop(socket);
        world.unreachable();
    }
}

#[test]
fn nothing_is_sent_on_a_connection_before_its_peer_is_known() {
    let world = World::new(Transport::Tls, Limits::default(), mutual(None));
    let (mut tls, mut socket) = (tls_peer(Some("pbx")), world.connect(PBX));
    tls.write_tls(&mut socket).expect("taken");
    socket.peek(&mut [0]).expect("the thread has begun to answer");
    let to = for_trunk(1, socket.local_addr().expect("bound"));
    world.post.send(to, bytes::Bytes::from_static(b"+861380000"));
    assert_eq!(world.unreachable(), to);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(OPTIONS).expect("taken");
    world.post.send(world.message().0.hop(), bytes::Bytes::from_static(b"answer"));
    let mut first = [0; 6];
    stream.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"answer");
}

#[test]
fn what_waits_for_a_connection_is_lost_before_another_carrier_is_asked_instead() {
    let failover = Duration::from_millis(400);
    let limits = Limits::with_failover(failover);
    assert!(limits.connect_within < failover);
    let usual = Duration::from_secs(2);
    assert!(Limits::with_failover(usual).connect_within < usual);
    let listener = TcpListener::bind(any_port(PBX)).expect("a free port");
    let world = World::new(Transport::Tls, limits, mutual(None));
    let to = for_trunk(1, listener.local_addr().expect("bound"));
    world.post.send(to, request("INVITE", "z9hG4bK000123456789abcdef"));
    // It takes the connection and says nothing.
    let (mut socket, _) = listener.accept().expect("a connection");
    assert_eq!(world.unreachable(), to);
    let hello = rest(&mut socket);
    assert!(!hello.is_empty(), "the handshake had begun");
}

fn request(method: &str, branch: &str) -> bytes::Bytes {
    let via = format!("SIP/2.0/TLS 127.0.0.1:5061;branch={branch};rport");
    format!("{method} sip:h SIP/2.0\r\nVia: {via}\r\n\r\n").into()
}

#[test]
fn what_is_of_a_call_waits_for_a_slow_handshake_and_a_new_invite_does_not() {
    let limits = Limits::with_failover(Duration::from_millis(400));
    let listener = TcpListener::bind(any_port(PBX)).expect("a free port");
    let world = World::new(Transport::Tls, limits, mutual(Some("relay.test")));
    let to = for_trunk(1, listener.local_addr().expect("bound"));
    let branches = ["z9hG4bK000123456789abcdef", "z9hG4bK000123456789abcdee"];
    let invites = branches.map(|branch| request("INVITE", branch));
    let bye = request("BYE", "z9hG4bK000123456789abcded");
    let again = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK000123456789abcdec\r\n\
                 To: <sip:h>;tag=1\r\n\r\n";
    world.post.send(to, invites[0].clone());
    world.post.send(to, bye.clone());
    world.post.send(to, again.into());
    let (mut socket, _) = listener.accept().expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let lost = || {
        world.until(|input| {
            let Input::Undelivered { peer, branch } = input else { return None };
            Some((*peer, branch.as_str().to_owned()))
        })
    };
    assert_eq!(lost(), (to, branches[0].to_owned()));
    world.post.send(to, invites[1].clone());
    assert_eq!(lost(), (to, branches[1].to_owned()), "nobody waits for who is late");
    let terms = TrunkTls::NOTHING;
    let mut own = Tls::open(own_files()).expect("the certificates of the tests");
    let mut tls = own.accept(&[&terms]).expect("a connection");
    let mut heard = vec![0; bye.len() + again.len()];
    rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut heard).expect("two messages");
    assert_eq!(heard, [bye.as_ref(), again.as_bytes()].concat());
}

#[test]
fn two_trunks_of_one_address_are_each_reached_by_a_connection_of_their_own() {
    let listener = TcpListener::bind(any_port(PBX)).expect("a free port");
    // Nobody waits for ever for a connection that does not come.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let at = listener.local_addr().expect("bound");
    let entry = |number| TrunkEntry {
        transport: crate::domain::network::Transport::Tcp,
        ..of_tenant(number, "127.0.0.2", TrunkTls::default())
    };
    let entries = vec![entry(1), entry(2)];
    let world = World::of(Transport::Tcp, Limits::default(), entries, own_files(), &[]);
    let peers = [1, 2].map(|number| {
        let to = Hop { transport: Transport::Tcp, ..for_trunk(number, at) };
        world.post.send(to, bytes::Bytes::from_static(b"hello"));
        let mut peer = listener.accept().expect("a connection").0;
        peer.read_exact(&mut [0; 5]).expect("a message");
        peer
    });
    drop(peers);
}

#[test]
fn a_softphone_beside_a_trunk_has_no_more_time_and_room_than_others() {
    let limits =
        Limits { proof_within: Duration::from_secs(1), softphones_max: 1, ..Limits::default() };
    let entries = vec![of_tenant(1, "127.0.0.0/8", mutual(None))];
    let world = World::of(Transport::Tls, limits, entries, own_files(), &[Transport::Tls]);
    let open = || {
        let (mut tls, mut socket) = (tls_peer(None), world.connect(PBX));
        rustls::Stream::new(&mut tls, &mut socket).write_all(OPTIONS).expect("taken");
        socket
    };
    let first = open();
    assert_eq!(world.message().0.role, PeerRole::Softphone);
    let second = open();
    assert_eq!(world.unreachable().address, first.local_addr().expect("bound"), "it gave way");
    assert_eq!(world.message().0.role, PeerRole::Softphone);
    assert_eq!(world.unreachable().address, second.local_addr().expect("bound"), "its time");
}

#[test]
fn a_connection_outlives_changes_of_trunks_but_not_those_of_its_own() {
    let terms = mutual(Some("pbx.test"));
    let world = World::new(Transport::Tls, Limits::default(), terms.clone());
    let mut tls = tls_peer(Some("pbx"));
    let mut socket = world.connect(PBX);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let mut say = || stream.write_all(OPTIONS).and_then(|()| stream.flush());
    say().expect("taken");
    world.message();
    let put = |entries| {
        let table = TrunkTable::new(entries, &world.trunks.load());
        world.trunks.store(Arc::new(table));
    };
    put(vec![trunk(Transport::Tls, terms), of_tenant(2, "192.0.2.0/24", TrunkTls::default())]);
    say().expect("taken");
    world.message();
    put(vec![trunk(Transport::Tls, mutual(Some("other.test")))]);
    say().ok();
    world.unreachable();
}

/// Whether a new connection is shown a certificate of this name.
fn is_shown(world: &World, name: &str) -> bool {
    let mut tls = tls_peer_of(name, None);
    let mut socket = world.connect(PBX);
    tls.complete_io(&mut socket).is_ok()
}

#[test]
fn a_new_certificate_is_shown_after_a_reload_and_a_broken_one_changes_nothing() {
    let folder = std::env::temp_dir().join(format!("maskline-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable folder");
    let put = |name: &str| {
        std::fs::write(folder.join("pem"), read_file(&format!("{name}.pem"))).expect("written");
        std::fs::write(folder.join("key"), read_file(&format!("{name}.key"))).expect("written");
    };
    put("relay");
    let (certificate, key) = (Some(folder.join("pem")), Some(folder.join("key")));
    let files = TlsFiles { certificate, key, ca: None };
    let entries = vec![trunk(Transport::Tls, TrunkTls::default())];
    let world = World::of(Transport::Tls, Limits::default(), entries, files, &[]);
    let mut tls = tls_peer(None);
    let mut socket = world.connect(PBX);
    let mut old = rustls::Stream::new(&mut tls, &mut socket);
    old.write_all(OPTIONS).expect("taken");
    world.message();
    // Orders to the thread are done one after the other: an answer comes after a reload.
    put("pbx");
    world.post.reload();
    while !is_shown(&world, "pbx.test") {}
    assert!(!is_shown(&world, "relay.test"));
    old.write_all(OPTIONS).expect("a connection that is up stays");
    world.message();
    std::fs::write(folder.join("pem"), b"nonsense").expect("written");
    world.post.reload();
    assert!((0..20).all(|_| is_shown(&world, "pbx.test")));
    std::fs::remove_dir_all(&folder).expect("ours");
}
