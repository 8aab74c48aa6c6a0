//! What the relay plays on real sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maskline::rtp::header::Header;
use maskline::rtp::plane::{Command, RemoteMedia, Report, Side};
use maskline::rtp::sound::{ClipId, Playlist, Sound, Sounds, Step, Tone};

use crate::peers::{World, payload, socket};

/// A clip of so many frames, each of which says its number.
fn counting(frames: u8) -> Arc<[u8]> {
    (1..=frames).flat_map(|frame| [frame; 160]).collect()
}

fn world(frames: u8) -> (World, Sound) {
    let mut sounds = Sounds::default();
    sounds.insert(ClipId(3), counting(frames));
    let mut playlist = Playlist::new();
    playlist.push(Step::Clip(ClipId(3))).expect("room");
    let world = World::with(|config| config.sounds = Arc::new(sounds));
    (world, Sound::Prompt(playlist))
}

#[test]
fn a_prompt_is_heard_whole_and_then_the_other_side_again() {
    let (mut world, sound) = world(10);
    let mut call = world.call(1);
    call.talk(3);
    let (session, side) = (call.session, Side::A);
    world.send(Command::Play { session, side, play: 5, sound, until_key: false });
    let heard: Vec<Vec<u8>> = (0..10).map(|_| call.a.hear()).collect();
    assert_eq!(world.report(), Report::PlayDone { session, side, play: 5, was_sent: true });
    let said = call.b.speak();
    let after = call.a.hear();
    assert_eq!(payload(&after), said);
    let headers: Vec<Header> = heard
        .iter()
        .chain([&after])
        .map(|packet| Header::parse(packet).expect("valid RTP"))
        .collect();
    for (at, pair) in headers.windows(2).enumerate() {
        assert_eq!(payload(&heard[at]), [at as u8 + 1; 160]);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) >= 160);
    }
}

#[test]
fn a_caller_whose_call_is_not_joined_hears_a_prompt_until_it_is_stopped() {
    let (mut world, sound) = world(250);
    let call = world.open(1);
    let (session, side) = (call.session, Side::A);
    world.send(Command::Update { session, side, remote: call.a.remote(), keys: None });
    world.send(Command::Play { session, side, play: 1, sound, until_key: false });
    assert_eq!(payload(&call.a.hear()), [1; 160]);
    assert_eq!(payload(&call.a.hear()), [2; 160]);
    world.send(Command::Stop { session, side });
    world.send(Command::Close { session });
    assert!(matches!(world.report(), Report::Closed { .. }), "no end of what was stopped");
}

/// Times between the frames of 500 ring tones that begin together. One socket for all of them would
/// lose what comes at once: it has room for some 270 datagrams. Whoever reads does not sleep, since
/// the time that it takes to wake up is none of the relay's.
#[test]
#[ignore = "a figure that wants a quiet machine: run it alone, in release, with --ignored"]
#[expect(clippy::disallowed_methods, reason = "it measures when packets arrive")]
#[expect(clippy::print_stdout, reason = "it is for the figure it prints")]
fn five_hundred_prompts_at_once_keep_their_twenty_milliseconds() {
    let mut world = World::with(|config| config.ports = 50_000..=54_999);
    let receivers: Vec<_> = (0..10).map(|_| socket(world.ip)).collect();
    receivers.iter().for_each(|it| it.set_nonblocking(true).expect("an option"));
    let calls: Vec<_> = (0..500).map(|number| world.open(number)).collect();
    for (call, receiver) in calls.iter().zip(receivers.iter().cycle()) {
        let (session, side) = (call.session, Side::A);
        let rtp = receiver.local_addr().expect("bound");
        let remote = RemoteMedia { rtp, rtcp: call.a.remote().rtcp, ..call.a.remote() };
        world.send(Command::Update { session, side, remote, keys: None });
    }
    for call in &calls {
        let (session, side, sound) = (call.session, Side::A, Sound::Tone(Tone::Ring));
        world.send(Command::Play { session, side, play: 1, sound, until_key: false });
    }
    let mut last = BTreeMap::new();
    let mut off_us = Vec::new();
    let mut buffer = [0; 256];
    let begun = Instant::now();
    while off_us.len() < 500 * 150 {
        assert!(begun.elapsed() < Duration::from_secs(60), "frames are missing");
        for receiver in &receivers {
            while let Ok((_, from)) = receiver.recv_from(&mut buffer) {
                let now = Instant::now();
                if let Some(before) = last.insert(from, now) {
                    off_us.push((now - before).as_micros().abs_diff(20_000));
                }
            }
        }
    }
    off_us.sort_unstable();
    let [p50, p99] = [50, 99].map(|part| off_us[off_us.len() * part / 100]);
    println!("500 prompts: frames are {p50} us (p50) and {p99} us (p99) from their 20 ms");
    assert!(p99 <= 2_000);
}
