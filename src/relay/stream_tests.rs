//! Connections over real sockets: what is cut, what is answered where, and who is let in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::call::io::{NO_TRUNK, PeerRole};
use crate::call::trunks::TrunkTerms;
use crate::domain::id::TrunkId;
use crate::domain::network::{self, Network};
use crate::relay::certificates;
use crate::relay::handle::Handle;
use crate::relay::tls::{TlsFiles, TrunkTls};
use crate::relay::trunks::TrunkEntry;
use crate::sip::transport::Hop;

pub(super) const OPTIONS: &[u8] =
    b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.2;branch=z9hG4bK1\r\n\
    From: <sip:a@h>;tag=1\r\nTo: <sip:x@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
pub(super) const PBX: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// No wait in these tests is longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A shard that only listens.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) inputs: Mutex<Vec<Input>>,
    pub(super) more: Condvar,
    /// Whether the next input is the last that fits.
    pub(super) is_small: AtomicBool,
    pub(super) is_full: AtomicBool,
    pub(super) has_refused: AtomicBool,
    /// The next input is too much for the thread.
    panics: AtomicBool,
}

impl TakesInputs for Inbox {
    fn has_room(&self) -> bool {
        let is_full = self.is_full.load(Ordering::SeqCst);
        if is_full {
            let _inputs = self.inputs.lock().expect("no panic");
            self.has_refused.store(true, Ordering::SeqCst);
            self.more.notify_all();
        }
        !is_full
    }

    fn bring(&self, input: Input) {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        self.is_full.fetch_or(self.is_small.swap(false, Ordering::SeqCst), Ordering::SeqCst);
        self.inputs.lock().expect("no panic").push(input);
        self.more.notify_all();
    }
}

/// The thread of connections at work, with one trunk at 127.0.0.2.
pub(super) struct World {
    pub(super) address: SocketAddr,
    /// Another listener of the same transport.
    other: SocketAddr,
    pub(super) post: Arc<Post>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) trunks: Arc<ArcSwap<TrunkTable>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn any_port(ip: Ipv4Addr) -> SocketAddr {
    SocketAddrV4::new(ip, 0).into()
}

pub(super) fn trunk(transport: Transport, tls: TrunkTls) -> TrunkEntry {
    TrunkEntry {
        trunk: TrunkId::new(1, 0),
        role: PeerRole::Carrier,
        places: Vec::new(),
        targets: vec![SocketAddr::new(PBX.into(), 5060)],
        sources: vec![Network::parse("127.0.0.2").expect("a network")],
        transport: match transport {
            Transport::Udp => network::Transport::Udp,
            Transport::Tcp => network::Transport::Tcp,
            Transport::Tls => network::Transport::Tls,
        },
        tls,
        terms: TrunkTerms::default(),
    }
}

/// A connection from one place to another. Several may come from one place, each to another.
pub(super) fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket option");
    socket.bind(&from.into()).expect("a loopback address");
    socket.connect(&to.into()).expect("a listener");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    socket.into()
}

/// What the thread of connections works with, and the shard that it speaks to.
pub(super) fn streams(
    transport: Transport,
    limits: Limits,
    entries: Vec<TrunkEntry>,
    files: TlsFiles,
    softphones: &'static [Transport],
) -> (Streams, Arc<Inbox>) {
    let listener = || (transport, listen(any_port(Ipv4Addr::LOCALHOST)).expect("a free port"));
    let inbox = Arc::new(Inbox::default());
    let table = TrunkTable::new(entries, &TrunkTable::default());
    let streams = Streams {
        listeners: vec![listener(), listener()],
        sources: vec![Ipv4Addr::LOCALHOST.into()],
        post: Arc::new(Post::new().expect("a descriptor")),
        inbox: Arc::clone(&inbox) as _,
        trunks: Arc::new(ArcSwap::from_pointee(table)),
        tls: Tls::open(files).expect("the certificates of the tests"),
        limits,
        softphones,
        shared: Arc::clone(Handle::detached().shared()),
    };
    (streams, inbox)
}

impl World {
    pub(super) fn tcp(limits: Limits) -> Self {
        Self::new(Transport::Tcp, limits, TrunkTls::default())
    }

    pub(super) fn new(transport: Transport, limits: Limits, terms: TrunkTls) -> Self {
        Self::open(transport, limits, terms, &[])
    }

    fn open(
        transport: Transport,
        limits: Limits,
        terms: TrunkTls,
        softphones: &'static [Transport],
    ) -> Self {
        let file = |name: &str| Some(certificates::folder().join(name));
        let files = TlsFiles { certificate: file("relay.pem"), key: file("relay.key"), ca: None };
        Self::of(transport, limits, vec![trunk(transport, terms)], files, softphones)
    }

    pub(super) fn of(
        transport: Transport,
        limits: Limits,
        entries: Vec<TrunkEntry>,
        files: TlsFiles,
        softphones: &'static [Transport],
    ) -> Self {
        let (streams, inbox) = streams(transport, limits, entries, files, softphones);
        let address = streams.listeners[0].1.local_addr().expect("bound");
        let other = streams.listeners[1].1.local_addr().expect("bound");
        let (post, trunks) = (Arc::clone(&streams.post), Arc::clone(&streams.trunks));
        let shared = Arc::clone(&streams.shared);
        let thread = Some(streams.start().expect("a thread"));
        Self { address, other, post, inbox, trunks, shared, thread }
    }

    pub(super) fn connect(&self, from: Ipv4Addr) -> TcpStream {
        connect(any_port(from), self.address)
    }

    /// Waits until `find` finds something in what has come, and takes all up to it.
    pub(super) fn until<T>(&self, find: impl Fn(&Input) -> Option<T>) -> T {
        let mut inputs = self.inbox.inputs.lock().expect("no panic");
        loop {
            while !inputs.is_empty() {
                if let Some(found) = find(&inputs.remove(0)) {
                    return found;
                }
            }
            let waited = self.inbox.more.wait_timeout(inputs, PATIENCE).expect("no panic");
            assert!(!waited.1.timed_out(), "nothing has come");
            inputs = waited.0;
        }
    }

    pub(super) fn message(&self) -> (Peer, Vec<u8>) {
        self.until(|input| {
            let Input::Datagram { peer, bytes } = input else { return None };
            Some((*peer, bytes.to_vec()))
        })
    }

    /// Says that a softphone has shown its login, and waits until that is known.
    fn believe(&self, phone: &mut TcpStream) {
        let hop = Hop::new(Transport::Tcp, phone.local_addr().expect("bound"));
        phone.write_all(OPTIONS).expect("taken");
        self.message();
        self.post.believe(hop);
        self.post.send(hop, bytes::Bytes::from_static(b"200"));
        phone.read_exact(&mut [0; 3]).expect("an answer");
    }

    pub(super) fn unreachable(&self) -> Hop {
        self.until(|input| {
            let Input::Unreachable { peer } = input else { return None };
            Some(*peer)
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.post.stop();
        let Some(thread) = self.thread.take() else { return };
        assert!(thread.join().is_ok() || std::thread::panicking());
    }
}

/// Everything until the end of the stream.
pub(super) fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    bytes
}

pub(super) fn quick(message_within: Duration) -> Limits {
    Limits { message_within, ..Limits::default() }
}

#[test]
fn a_message_arrives_whole_however_its_bytes_come_and_its_answer_goes_back_the_same_way() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    for byte in OPTIONS {
        pbx.write_all(&[*byte]).expect("taken");
    }
    pbx.write_all(&OPTIONS.repeat(2)).expect("taken");
    for _ in 0..3 {
        let (peer, bytes) = world.message();
        assert_eq!(bytes, OPTIONS);
        assert_eq!(peer.address, pbx.local_addr().expect("bound"));
        world.post.send(peer.hop(), bytes::Bytes::from_static(b"answer"));
    }
    let mut answers = [0; 18];
    pbx.read_exact(&mut answers).expect("three answers");
    assert_eq!(&answers, b"answeransweranswer");
}

#[test]
fn two_content_lengths_end_the_stream_after_one_answer_and_nothing_behind_is_served() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    let text = String::from_utf8_lossy(OPTIONS);
    let two = text.replace("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 0");
    pbx.write_all(&[two.as_bytes(), OPTIONS].concat()).expect("taken");
    let peer = world.until(|input| {
        let Input::Broken { peer, malformed } = input else { panic!("served: {input:?}") };
        assert_eq!(malformed.status(), 400);
        Some(*peer)
    });
    world.post.send(peer.hop(), bytes::Bytes::from_static(b"400"));
    pbx.write_all(OPTIONS).expect("taken");
    let began = now().monotonic;
    assert_eq!(rest(&mut pbx), b"400");
    assert!(now().monotonic - began < Duration::from_secs(1), "closed within a second");
    assert_eq!(world.unreachable(), peer.hop(), "and nothing more was served");
}

#[test]
fn a_softphone_is_heard_where_softphones_may_come_and_never_takes_the_room_of_trunks() {
    let limits = Limits { connections_max: 4, softphones_max: 2, ..Limits::default() };
    let by_tcp = &[Transport::Tcp];
    let world = World::open(Transport::Tcp, limits, TrunkTls::default(), by_tcp);
    let mut phones = [0, 1].map(|_| world.connect(STRANGER));
    for phone in &mut phones {
        phone.write_all(OPTIONS).expect("taken");
        let (peer, _) = world.message();
        assert_eq!((peer.trunk, peer.role), (NO_TRUNK, PeerRole::Softphone));
    }
    // Both agents have shown their logins. Without that, the later stranger has the place.
    for phone in &mut phones {
        world.believe(phone);
    }
    assert_eq!(rest(&mut world.connect(STRANGER)), b"", "one too many");
    let mut pbx = world.connect(PBX);
    pbx.write_all(OPTIONS).expect("taken");
    assert_eq!(world.message().0.role, PeerRole::Carrier);
    // A change of trunks is no reason to cut a softphone off.
    let table =
        TrunkTable::new(vec![trunk(Transport::Tcp, TrunkTls::default())], &TrunkTable::default());
    world.trunks.store(Arc::new(table));
    let [first, ..] = &mut phones;
    first.write_all(OPTIONS).expect("taken");
    assert_eq!(world.message().0.role, PeerRole::Softphone);
    drop(phones);
    for _ in 0..2 {
        assert_ne!(world.unreachable().address, pbx.local_addr().expect("bound"));
    }
    let mut later = world.connect(STRANGER);
    later.write_all(OPTIONS).expect("taken");
    assert_eq!(world.message().0.role, PeerRole::Softphone, "there is room again");
    let only_tls = &[Transport::Tls];
    let world = World::open(Transport::Tcp, Limits::default(), TrunkTls::default(), only_tls);
    assert_eq!(rest(&mut world.connect(STRANGER)), b"");
}

#[test]
fn a_stranger_that_shows_nothing_is_cut_in_time_whatever_it_sends() {
    assert_eq!(Limits::default().proof_within, Duration::from_secs(30));
    let limits = Limits { proof_within: Duration::from_secs(3), ..Limits::default() };
    let world = World::open(Transport::Tcp, limits, TrunkTls::default(), &[Transport::Tcp]);
    let mut agent = world.connect(STRANGER);
    world.believe(&mut agent);
    let mut pbx = world.connect(PBX);
    pbx.write_all(b"\r\n").expect("taken");
    let [mut idle, mut busy] = [0, 1].map(|_| world.connect(STRANGER));
    idle.write_all(b"\r\n").expect("taken");
    busy.write_all(OPTIONS).expect("taken");
    world.message();
    assert_eq!(rest(&mut idle), b"");
    assert_eq!(rest(&mut busy), b"");
    for known in [&mut agent, &mut pbx] {
        known.write_all(OPTIONS).expect("taken");
        assert_eq!(world.until(message_of), known.local_addr().expect("bound"));
    }
}

fn message_of(input: &Input) -> Option<SocketAddr> {
    let Input::Datagram { peer, .. } = input else { return None };
    Some(peer.address)
}

#[test]
fn strangers_do_not_keep_an_agent_out_the_oldest_gives_way() {
    let limits = Limits { softphones_max: 2, ..Limits::default() };
    let world = World::open(Transport::Tcp, limits, TrunkTls::default(), &[Transport::Tcp]);
    let mut strangers = [0, 1].map(|_| {
        let mut stranger = world.connect(STRANGER);
        stranger.write_all(OPTIONS).expect("taken");
        world.message();
        stranger
    });
    let mut agent = world.connect(STRANGER);
    agent.write_all(OPTIONS).expect("taken");
    let [first, second] = &mut strangers;
    assert_eq!(rest(first), b"");
    assert_eq!(world.message().0.address, agent.local_addr().expect("bound"));
    second.write_all(OPTIONS).expect("taken");
    assert_eq!(world.message().0.address, second.local_addr().expect("bound"));
}

#[test]
fn a_message_that_is_too_long_is_answered_513_and_ends_its_stream() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    let line = format!("X: {}\r\n", "x".repeat(8_000));
    let head = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.2;branch=z9hG4bK1\r\n";
    pbx.write_all(&[head, line.repeat(9).as_bytes()].concat()).expect("taken");
    let peer = world.until(|input| {
        let Input::Broken { peer, malformed } = input else { panic!("served: {input:?}") };
        assert_eq!(malformed.status(), 513);
        Some(*peer)
    });
    world.post.send(peer.hop(), bytes::Bytes::from_static(b"513"));
    assert_eq!(rest(&mut pbx), b"513");
}

#[test]
fn a_double_line_end_is_answered_by_a_single_one() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    pbx.write_all(b"\r\n\r\n\r\n\r\n").expect("taken");
    pbx.shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(rest(&mut pbx), b"\r\n\r\n");
}

#[test]
fn whoever_does_not_complete_a_message_in_time_is_cut_and_others_are_not() {
    assert_eq!(Limits::default().message_within, Duration::from_secs(30));
    let world = World::tcp(quick(Duration::from_millis(400)));
    let mut good = world.connect(PBX);
    good.write_all(OPTIONS).expect("taken");
    world.message();
    let (mut idle, mut slow) = (world.connect(PBX), world.connect(PBX));
    slow.write_all(&OPTIONS[..50]).expect("taken");
    assert_eq!(rest(&mut idle), b"");
    // Another byte gives no more time.
    slow.write_all(&OPTIONS[50..51]).ok();
    assert_eq!(rest(&mut slow), b"");
    good.write_all(&OPTIONS[..50]).expect("idle between messages is no fault");
    assert_eq!(rest(&mut good), b"", "a later message has no more time than the first");
}

#[test]
fn a_stranger_is_closed_without_a_byte() {
    let world = World::tcp(Limits::default());
    let mut stranger = world.connect(STRANGER);
    stranger.write_all(OPTIONS).ok();
    assert_eq!(rest(&mut stranger), b"");
    assert!(world.inbox.inputs.lock().expect("no panic").is_empty());
}

#[test]
fn the_connection_after_the_hundredth_of_a_source_is_refused() {
    let world = World::tcp(Limits::default());
    let mut hundred: Vec<_> = (0..100).map(|_| world.connect(PBX)).collect();
    let mut last = hundred.pop().expect("a hundred");
    last.write_all(OPTIONS).expect("taken");
    world.message();
    let mut refused = world.connect(PBX);
    assert_eq!(rest(&mut refused), b"");
    drop(last);
    world.unreachable();
    let mut next = world.connect(PBX);
    next.write_all(OPTIONS).expect("there is room again");
    world.message();
}

#[test]
fn when_the_connection_is_gone_the_answer_goes_to_the_listening_port_by_a_new_one() {
    let world = World::tcp(Limits::default());
    let listener = TcpListener::bind(any_port(PBX)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let mut pbx = world.connect(PBX);
    pbx.write_all(OPTIONS).expect("taken");
    let (peer, _) = world.message();
    drop(pbx);
    assert_eq!(world.unreachable(), peer.hop());
    let to = Hop { port, ..peer.hop() };
    world.post.send(to, bytes::Bytes::from_static(b"one"));
    world.post.send(to, bytes::Bytes::from_static(b"two"));
    let (mut again, from) = listener.accept().expect("a connection");
    assert_eq!(from.ip(), Ipv4Addr::LOCALHOST, "from where peers know us");
    let mut answers = [0; 6];
    again.read_exact(&mut answers).expect("both answers");
    assert_eq!(&answers, b"onetwo");
    again.write_all(OPTIONS).expect("it is a connection as any other");
    assert_eq!(world.message().1, OPTIONS);
}

#[test]
fn nobody_at_home_is_told_at_once_and_strangers_are_never_connected_to() {
    let world = World::tcp(Limits::default());
    let closed = TcpListener::bind(any_port(PBX)).and_then(|it| it.local_addr()).expect("a port");
    let stranger = TcpListener::bind(any_port(STRANGER)).expect("a port");
    for address in [closed, stranger.local_addr().expect("bound")] {
        let to = Hop::new(Transport::Tcp, address).of(TrunkId::new(1, 0).as_u128());
        world.post.send(to, bytes::Bytes::from_static(b"hello"));
        assert_eq!(world.unreachable(), to);
    }
    stranger.set_nonblocking(true).expect("a socket option");
    assert!(stranger.accept().is_err());
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    pbx.write_all(OPTIONS).expect("taken");
    let (peer, _) = world.message();
    let block = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
    // More than the system keeps for one connection.
    (0..400).for_each(|_| world.post.send(peer.hop(), block.clone()));
    assert_eq!(world.unreachable(), peer.hop());
}

#[test]
fn a_peer_that_leaves_a_little_unread_is_cut_in_time() {
    assert_eq!(Limits::default().read_within, Duration::from_secs(30));
    let limits = Limits { read_within: Duration::from_millis(500), ..Limits::default() };
    // It asks for more and more, and the bound of what waits for it is never reached.
    let world = World::tcp(limits);
    let mut greedy = world.connect(PBX);
    let began = now().monotonic;
    while greedy.write_all(&b"\r\n\r\n".repeat(4_096)).is_ok() {
        assert!(now().monotonic - began < PATIENCE, "it is never cut");
    }
    assert_eq!(world.unreachable().address, greedy.local_addr().expect("bound"));
    // The system holds all of it, and for us nothing waits.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2_048).expect("a socket option");
    socket.bind(&any_port(PBX).into()).expect("a loopback address");
    socket.connect(&world.address.into()).expect("a listener");
    let mut dozing: TcpStream = socket.into();
    dozing.write_all(OPTIONS).expect("taken");
    let (peer, _) = world.message();
    world.post.send(peer.hop(), bytes::Bytes::from(vec![b'x'; 32 * 1_024]));
    assert_eq!(world.unreachable(), peer.hop());
}

#[tokio::test]
async fn a_panic_of_the_thread_is_known_to_the_process() {
    let mut world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    pbx.write_all(OPTIONS).expect("taken");
    world.message();
    let running = || world.shared.checks.threads.load(Ordering::SeqCst);
    assert_eq!(running(), 1);
    world.inbox.panics.store(true, Ordering::SeqCst);
    pbx.write_all(OPTIONS).expect("taken");
    tokio::time::timeout(PATIENCE, world.shared.thread_gone.notified()).await.expect("told");
    assert_eq!(running(), 0);
    assert!(world.thread.take().expect("running").join().is_err());
}

/// A PBX may send from one port to each of our listeners.
#[test]
fn of_two_connections_from_one_place_each_is_found_when_the_other_is_gone() {
    for leaves in [0, 1] {
        let world = World::tcp(Limits::default());
        let first = world.connect(PBX);
        let place = first.local_addr().expect("bound");
        let mut both = vec![first, connect(place, world.other)];
        for one in &mut both {
            one.write_all(OPTIONS).expect("taken");
            assert_eq!(world.message().0.address, place);
        }
        drop(both.remove(leaves));
        let hop = world.unreachable();
        world.post.send(hop, bytes::Bytes::from_static(b"200"));
        let mut left = both.remove(0);
        left.read_exact(&mut [0; 3]).expect("what was sent");
        drop(left);
        world.unreachable();
        world.post.send(hop, bytes::Bytes::from_static(b"200"));
        assert_eq!(world.unreachable(), hop, "nobody is left");
    }
}

#[test]
fn a_softphone_at_the_place_of_another_one_is_turned_away() {
    let limits = Limits::default();
    let world = World::open(Transport::Tcp, limits, TrunkTls::default(), &[Transport::Tcp]);
    let mut phone = world.connect(STRANGER);
    world.believe(&mut phone);
    let place = phone.local_addr().expect("bound");
    let mut second = connect(place, world.other);
    second.write_all(OPTIONS).ok();
    assert_eq!(rest(&mut second), b"");
    world.post.send(Hop::new(Transport::Tcp, place), bytes::Bytes::from_static(b"200"));
    phone.read_exact(&mut [0; 3]).expect("what was sent");
    assert!(world.inbox.inputs.lock().expect("no panic").is_empty());
}

#[test]
fn connections_of_a_trunk_that_is_no_more_are_closed() {
    let world = World::tcp(Limits::default());
    let mut pbx = world.connect(PBX);
    pbx.write_all(OPTIONS).expect("taken");
    world.message();
    world.trunks.store(Arc::new(TrunkTable::default()));
    world.post.reload();
    assert_eq!(rest(&mut pbx), b"");
}
