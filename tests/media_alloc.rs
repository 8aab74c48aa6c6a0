//! A packet that is relayed or played costs no allocation: counted by the allocator of this test's
//! own process.
#![expect(unsafe_code, reason = "a counting allocator has to implement an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use maskline::media::{Plane, PlaneConfig};
use maskline::rtp::plane::{Command, PayloadMap, RemoteMedia, Report, SessionId, Side};
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

#[test]
fn relaying_allocates_nothing() {
    let config = PlaneConfig::on("127.0.0.1".parse().expect("an address"), [5; 32]);
    let (plane, mut links) = Plane::start(&config, vec![Box::new(|| {})]).expect("a plane");
    let session = SessionId(1);
    let phones = [phone(), phone()];
    links[0].send(Command::Open { session }).expect("room");
    let opened = links[0].wait_report(Duration::from_secs(20));
    let Some(Report::Opened { local, .. }) = opened else { panic!("{opened:?}") };
    for (side, phone) in [Side::A, Side::B].into_iter().zip(&phones) {
        let remote = remote(phone);
        links[0].send(Command::Update { session, side, remote, keys: None }).expect("room");
    }
    links[0].send(Command::Bridge { session }).expect("room");
    let stranger = phone();

    let mut packet = [0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, 8]);
    let mut buffer = [0; 256];
    let mut relay = |rounds: u16| {
        for round in 0..rounds {
            packet[2..4].copy_from_slice(&round.to_be_bytes());
            for from in [0, 1] {
                stranger.send_to(&packet, local[from]).expect("sent");
                phones[from].send_to(&packet[..40], local[from]).expect("sent");
                phones[from].send_to(&packet, local[from]).expect("sent");
                while phones[1 - from].recv(&mut buffer).expect("relayed") != 172 {}
            }
        }
    };
    // The commands may come after the first packet.
    phones[1].set_read_timeout(Some(Duration::from_millis(5))).expect("an option");
    while phones[1].recv(&mut [0; 256]).is_err() {
        phones[0].send_to(&[[0x80, 8].as_slice(), &[0; 40]].concat(), local[0]).expect("sent");
    }
    phones[1].set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    relay(100);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    relay(5_000);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after - before, 0, "allocations while 20,000 packets were relayed");

    // The same for what is played: a tone to both sides.
    for side in [Side::A, Side::B] {
        let (play, sound, until_key) = (1, Sound::Tone(Tone::Ring), false);
        links[0].send(Command::Play { session, side, play, sound, until_key }).expect("room");
    }
    let mut listen = |frames: usize| {
        for _ in 0..frames {
            assert!(phones.iter().all(|phone| phone.recv(&mut buffer).is_ok_and(|n| n == 172)));
        }
    };
    listen(20);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    listen(100);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(after - before, 0, "allocations while 200 frames were played");
    plane.stop();
}
