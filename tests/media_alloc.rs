//! A packet that is relayed, recorded, searched for keys, or played costs no allocation: counted by
//! the allocator of this test's own process.
#![expect(unsafe_code, reason = "a counting allocator has to implement an unsafe trait")]

#[path = "support/tape.rs"]
mod tape;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use maskline::media::tape::{Recorder, TapeConfig};
use maskline::media::{Link, Plane, PlaneConfig};
use maskline::rtp::g711::encode_a_law;
use maskline::rtp::plane::{Command, KeyMode, PayloadMap, RemoteMedia, Report, SessionId, Side};
use maskline::rtp::sound::{Sound, Tone};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    socket
}

fn remote(phone: &UdpSocket) -> RemoteMedia {
    let rtp = phone.local_addr().expect("bound");
    let mut payloads = PayloadMap::default();
    payloads.0[0] = Some(8);
    payloads.0[3] = Some(101);
    RemoteMedia {
        rtp,
        rtcp: rtp,
        payloads_to: payloads,
        payloads_from: payloads,
        receives: true,
        sends: true,
        learning: false,
    }
}

/// One call, its phones, and where they stand in their streams.
struct Talk {
    links: Vec<Link>,
    local: [SocketAddr; 2],
    phones: [UdpSocket; 2],
    stranger: UdpSocket,
    sequence: [u16; 2],
    timestamp: u32,
    buffer: [u8; 256],
}

const SESSION: SessionId = SessionId(1);
const SIDES: [Side; 2] = [Side::A, Side::B];
/// Of the recorder's own thread, now and then; of each packet it would be thousands.
const SYNC_ALLOCATIONS_MAX: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(20);

impl Talk {
    fn begin(mut links: Vec<Link>) -> Self {
        let session = SESSION;
        let (phones, stranger) = ([phone(), phone()], phone());
        links[0].send(Command::Open { session }).expect("room");
        let opened = links[0].wait_report(PATIENCE);
        let Some(Report::Opened { local, .. }) = opened else { panic!("{opened:?}") };
        let (sequence, timestamp, buffer) = ([0; 2], 0, [0; 256]);
        let mut talk = Self { links, local, phones, stranger, sequence, timestamp, buffer };
        for side in SIDES {
            talk.update(side, false);
        }
        talk.order(Command::Bridge { session });
        // The commands may come after the first packet.
        talk.phones[1].set_read_timeout(Some(Duration::from_millis(5))).expect("an option");
        while talk.phones[1].recv(&mut [0; 256]).is_err() {
            talk.send(0, 8, &[0; 40]);
        }
        talk.phones[1].set_read_timeout(Some(PATIENCE)).expect("an option");
        talk
    }

    fn order(&mut self, command: Command) {
        self.links[0].send(command).expect("room");
    }

    fn update(&mut self, side: Side, learning: bool) {
        let remote = RemoteMedia { learning, ..remote(&self.phones[side.index()]) };
        self.order(Command::Update { session: SESSION, side, remote, keys: None });
    }

    fn keys(&mut self, side: Side, mode: KeyMode) {
        self.order(Command::Keys { session: SESSION, side, mode });
    }

    /// The next packet of a phone.
    fn send(&mut self, from: usize, payload_type: u8, payload: &[u8]) {
        self.sequence[from] = self.sequence[from].wrapping_add(1);
        let mut packet = [0; 256];
        packet[..2].copy_from_slice(&[0x80, payload_type]);
        packet[2..4].copy_from_slice(&self.sequence[from].to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[12..12 + payload.len()].copy_from_slice(payload);
        self.phones[from].send_to(&packet[..12 + payload.len()], self.local[from]).expect("sent");
    }

    /// Both speak, and each hears the other.
    fn speak(&mut self, payload: &[u8; 160]) {
        self.timestamp = self.timestamp.wrapping_add(160);
        for from in [0, 1] {
            self.send(from, 8, payload);
            self.hear(1 - from);
        }
    }

    fn hear(&mut self, to: usize) {
        while self.phones[to].recv(&mut self.buffer).expect("relayed") != 172 {}
    }
}

/// Nothing is allocated in the later ones of so many rounds.
fn count(what: &str, rounds: u32, round: impl FnMut(u32)) {
    let allocations = allocated(rounds, round);
    assert_eq!(allocations, 0, "allocations while {what}");
}

/// What is allocated in the later ones of so many rounds.
fn allocated(rounds: u32, mut round: impl FnMut(u32)) -> u64 {
    (0..rounds / 10).for_each(&mut round);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (rounds / 10..rounds).for_each(&mut round);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn relaying_allocates_nothing() {
    let folder = std::env::temp_dir().join(format!("maskline-alloc-{}", std::process::id()));
    let done = Box::new(|_| {});
    let recorder =
        Recorder::start(TapeConfig { folder: folder.clone(), done }).expect("a recorder");
    let mut config = PlaneConfig::on("127.0.0.1".parse().expect("an address"), [5; 32]);
    config.tape = recorder.tape();
    let (plane, links) = Plane::start(&config, vec![Box::new(|| {})]).expect("a plane");
    drop(config);
    let mut talk = Talk::begin(links);

    count("packets are relayed, cut short, and sent by a stranger", 5_000, |_| {
        for side in [0, 1] {
            talk.stranger.send_to(&[0x80; 172], talk.local[side]).expect("sent");
            talk.phones[side].send_to(&[0x80; 11], talk.local[side]).expect("sent");
        }
        talk.speak(&[0xd5; 160]);
    });

    count_keys(&mut talk);
    count_learning(&mut talk);
    count_recording(&mut talk);

    // What is played: a tone to both sides.
    for side in SIDES {
        let (play, sound, until_key) = (1, Sound::Tone(Tone::Ring), false);
        talk.order(Command::Play { session: SESSION, side, play, sound, until_key });
    }
    count("a tone is played", 100, |_| (0..2).for_each(|side| talk.hear(side)));
    plane.stop();
    drop(recorder);
    std::fs::remove_dir_all(folder).expect("removed");
}

fn count_keys(talk: &mut Talk) {
    // The agent's keys pass, and the subscriber's are told to the brain, as many as may be.
    let told = KeyMode { report: true, pass: false, inband: false };
    talk.keys(Side::B, told);
    count("keys are typed as events", 2_000, |round| {
        let key = u8::try_from(round / 5 % 12).expect("a key");
        for from in [0, 1] {
            // Five packets of each press.
            let at = talk.timestamp;
            talk.timestamp = round / 5 * 800;
            talk.send(from, 101, &[key, 10, 1, 0]);
            talk.timestamp = at;
        }
        talk.speak(&[0xd5; 160]);
    });
    let pressed = std::iter::from_fn(|| talk.links[0].try_report()).count();
    assert!(pressed > 10, "{pressed} keys");

    let tones = tones();
    for side in SIDES {
        talk.keys(side, KeyMode { inband: true, ..told });
    }
    count("keys are looked for and found in the sound", 2_000, |round| {
        let frame = usize::try_from(round).expect("small") % (2 * tones.len());
        talk.speak(tones.get(frame).unwrap_or(&[0xd5; 160]));
    });
    let pressed = std::iter::from_fn(|| talk.links[0].try_report()).count();
    assert!(pressed > 100, "{pressed} keys");
    for side in SIDES {
        talk.keys(side, KeyMode::at_open(side));
    }
}

fn count_learning(talk: &mut Talk) {
    talk.update(Side::A, true);
    count("the port of a peer is looked for", 2_000, |round| {
        // Never four of one stream: nothing is found.
        let mut packet = [0xd5; 172];
        packet[..2].copy_from_slice(&[0x80, 8]);
        packet[8..12].copy_from_slice(&round.to_be_bytes());
        talk.stranger.send_to(&packet, talk.local[0]).expect("sent");
        talk.send(1, 8, &[0xd5; 160]);
        talk.hear(0);
    });
    assert_eq!(talk.links[0].try_report(), None, "it still looks for it");
    count("the port of a peer was looked for, and it has spoken", 2_000, |_| {
        talk.speak(&[0xd5; 160]);
    });
    let found = std::iter::from_fn(|| talk.links[0].try_report()).count();
    assert_eq!(found, 1, "where it speaks from is its port now");
}

fn count_recording(talk: &mut Talk) {
    let recording = tape::as_recording();
    talk.order(Command::Record { session: SESSION, recording });
    let begun = talk.links[0].wait_report(PATIENCE);
    assert_eq!(begun, Some(Report::Recording { session: SESSION, begun: true }));
    // On a busy machine it lasts long enough for the recorder to hand its file over to be synced.
    let allocations = allocated(5_000, |_| talk.speak(&[0xd5; 160]));
    assert!(allocations <= SYNC_ALLOCATIONS_MAX, "{allocations} while a call is recorded");
}

/// 100 ms of the tones of `5`.
fn tones() -> [[u8; 160]; 5] {
    let sample = |at: usize| {
        let turn = at as f64 / 8_000.0 * std::f64::consts::TAU;
        5_000.0 * ((770.0 * turn).sin() + (1_336.0 * turn).sin())
    };
    std::array::from_fn(|frame| {
        std::array::from_fn(|at| encode_a_law(sample(frame * 160 + at) as i16))
    })
}
