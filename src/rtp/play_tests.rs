//! What is played to one side, and how its stream goes on before and after.

use super::*;
use crate::rtp::g711::Law;
use crate::rtp::key::Key;
use crate::rtp::sound::{ClipId, KeyAs, Playlist, Sound, Step, Tone};

/// A prompt of so many frames whose bytes are 1.
fn prompt(sounds: &mut Sounds, frames: usize) -> Sound {
    sounds.insert(ClipId(1), vec![1; frames * 160].into());
    let mut playlist = Playlist::new();
    playlist.push(Step::Clip(ClipId(1))).expect("room");
    Sound::Prompt(playlist)
}

/// What packets of sound hold.
pub(super) fn samples_of(packets: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    packets.iter().filter(|it| header(it).payload_type == 8).map(|it| &it[12..])
}

impl Story {
    pub(super) fn play(&mut self, at: Moment, side: Side, play: u32, sound: Sound) {
        let wanted = Play { play, sound, until_key: false };
        self.session.play(at, side, wanted, &mut self.rng);
    }

    /// Runs everything up to `until`: when each frame left for `side`, and what was told.
    pub(super) fn listen(
        &mut self,
        side: Side,
        sounds: &Sounds,
        until: Moment,
    ) -> (Vec<(u64, Vec<u8>)>, Vec<News>) {
        let (mut frames, mut told) = (Vec::new(), Vec::new());
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            self.session.handle_timeout(at, &mut self.rng);
            let mut packet = [0; FRAME_BYTES];
            while let Some((to, length)) = self.session.poll_frame(at, side, sounds, &mut packet) {
                assert_eq!(to, remote(side).rtp);
                frames.push((at.micros() / 1_000, packet[..length].to_vec()));
            }
            told.extend(std::iter::from_fn(|| self.session.poll_news()));
        }
        (frames, told)
    }
}

#[test]
fn a_prompt_needs_one_side_alone_leaves_every_20_ms_and_tells_its_end() {
    let (mut story, mut sounds) = (Story::open(1), Sounds::default());
    let sound = prompt(&mut sounds, 3);
    story.session.update(ms(0), Side::A, &remote(Side::A));
    story.play(ms(100), Side::A, 7, sound);
    let (frames, told) = story.listen(Side::A, &sounds, ms(1_000));
    let times: Vec<u64> = frames.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [100, 120, 140]);
    let first = header(&frames[0].1);
    for (at, (_, packet)) in frames.iter().enumerate() {
        let this = header(packet);
        assert_eq!((this.payload_type, this.marker, this.ssrc), (8, at == 0, first.ssrc));
        assert_eq!(this.sequence, first.sequence.wrapping_add(at as u16));
        assert_eq!(this.timestamp, first.timestamp.wrapping_add(at as u32 * 160));
        assert_eq!(packet[12..], [1; 160]);
    }
    assert_eq!(told, [News::PlayDone { side: Side::A, play: 7, was_sent: true }]);
}

#[test]
fn the_stream_goes_on_without_a_jump_into_a_prompt_and_out_of_it() {
    let (mut story, mut sounds) = (Story::bridged(1), Sounds::default());
    let said = |at: u16| packet(8, 500 + at, u32::from(at) * 160, 9);
    let before = header(&story.send(ms(0), Side::B, &said(0)).expect("relayed"));
    let sound = prompt(&mut sounds, 2);
    story.play(ms(20), Side::A, 1, sound);
    assert_eq!(story.send(ms(20), Side::B, &said(1)), Err(Dropped::Playing));
    assert!(story.send(ms(20), Side::A, &packet(8, 1, 1, 1)).is_ok(), "B hears A all the time");
    let (frames, _) = story.listen(Side::A, &sounds, ms(60));
    assert_eq!(story.send(ms(61), Side::B, &said(0)), Err(Dropped::OutOfOrder), "too late");
    let after = header(&story.send(ms(80), Side::B, &said(4)).expect("relayed"));
    let again = header(&story.send(ms(100), Side::B, &said(5)).expect("relayed"));
    let steps: Vec<(u16, u32, u32)> = [header(&frames[0].1), header(&frames[1].1), after, again]
        .map(|h| (h.sequence, h.timestamp, h.ssrc))
        .into_iter()
        .map(|(sequence, timestamp, ssrc)| {
            let step = timestamp.wrapping_sub(before.timestamp);
            (sequence.wrapping_sub(before.sequence), step, ssrc ^ before.ssrc)
        })
        .collect();
    assert_eq!(steps, [(1, 160, 0), (2, 320, 0), (3, 640, 0), (4, 800, 0)]);
    assert!(after.marker && !again.marker);
    assert_eq!(story.session.counts()[1].packets, 3, "what was played is not B's");
    assert_eq!(story.session.counts()[1].dropped, 0);
}

#[test]
fn a_peer_of_the_other_law_hears_the_same_sound() {
    let (mut story, mut sounds) = (Story::open(1), Sounds::default());
    let sound = prompt(&mut sounds, 1);
    let mut payloads = PayloadMap::default();
    payloads.0[1] = Some(0);
    story.session.update(ms(0), Side::A, &RemoteMedia { payloads_to: payloads, ..remote(Side::A) });
    story.play(ms(0), Side::A, 1, sound);
    let (frames, _) = story.listen(Side::A, &sounds, ms(20));
    let mut expected = [1];
    Law::A.turn(&mut expected);
    assert_eq!(header(&frames[0].1).payload_type, 0);
    assert_eq!(frames[0].1[12..], [expected[0]; 160]);
}

#[test]
fn a_side_that_has_no_codec_of_ours_is_told_off_as_done() {
    let mut story = Story::open(1);
    let mut payloads = PayloadMap::default();
    payloads.0[2] = Some(9);
    story.session.update(ms(0), Side::A, &RemoteMedia { payloads_to: payloads, ..remote(Side::A) });
    story.play(ms(0), Side::A, 3, Sound::Tone(Tone::Ring));
    let (frames, told) = story.listen(Side::A, &Sounds::default(), ms(5_000));
    let done = News::PlayDone { side: Side::A, play: 3, was_sent: false };
    assert_eq!((frames.len(), told), (0, vec![done]));
}

#[test]
fn a_side_on_hold_hears_nothing_and_its_prompt_goes_on_in_time() {
    let (mut story, mut sounds) = (Story::open(1), Sounds::default());
    let sound = prompt(&mut sounds, 10);
    let held = RemoteMedia { receives: false, ..remote(Side::A) };
    story.session.update(ms(0), Side::A, &held);
    story.play(ms(0), Side::A, 1, sound);
    assert_eq!(story.listen(Side::A, &sounds, ms(99)).0.len(), 0);
    story.session.update(ms(100), Side::A, &remote(Side::A));
    let (frames, told) = story.listen(Side::A, &sounds, ms(500));
    let done = News::PlayDone { side: Side::A, play: 1, was_sent: false };
    assert_eq!((frames.len(), told), (5, vec![done]));
    assert_eq!(frames[0].0, 100);
}

#[test]
fn what_is_stopped_or_replaced_tells_no_end() {
    let (mut story, mut sounds) = (Story::bridged(1), Sounds::default());
    let sound = prompt(&mut sounds, 5);
    story.play(ms(0), Side::A, 1, Sound::Tone(Tone::Ring));
    assert_eq!(story.listen(Side::A, &sounds, ms(49)).0.len(), 3);
    story.play(ms(50), Side::A, 2, sound);
    let (frames, told) = story.listen(Side::A, &sounds, ms(1_000));
    let done = News::PlayDone { side: Side::A, play: 2, was_sent: true };
    assert_eq!((frames.len(), told), (5, vec![done]));
    story.play(ms(1_000), Side::A, 3, Sound::Tone(Tone::Busy));
    story.session.stop(Side::A);
    let (frames, told) = story.listen(Side::A, &sounds, ms(2_000));
    assert_eq!((frames.len(), told.len()), (0, 0));
    assert!(story.send(ms(2_000), Side::B, &packet(8, 1, 1, 1)).is_ok());
}

#[test]
fn our_report_counts_what_was_played() {
    let (mut story, mut sounds) = (Story::open(1), Sounds::default());
    let sound = prompt(&mut sounds, 4);
    story.session.update(ms(0), Side::A, &remote(Side::A));
    story.play(ms(0), Side::A, 1, sound);
    let last = header(&story.listen(Side::A, &sounds, ms(80)).0[3].1);
    let mut buffer = [0; REPORT_BYTES_MAX];
    story.session.write_report(ms(100), Side::A, &mut buffer).expect("somewhere to go");
    assert_eq!(buffer[1], 200, "a sender report");
    assert_eq!(buffer[16..20], last.timestamp.wrapping_add(40 * 8).to_be_bytes());
    assert_eq!(buffer[20..28], [0, 0, 0, 4, 0, 0, 2, 0x80]);
}

#[test]
fn parted_sides_do_not_hear_each_other_and_are_not_waited_for() {
    let mut story = Story::bridged(1);
    let first = header(&story.send(ms(0), Side::A, &packet(8, 10, 0, 1)).expect("relayed"));
    story.session.hold();
    assert_eq!(story.send(ms(20), Side::A, &packet(8, 11, 160, 1)), Err(Dropped::NotBridged));
    assert_eq!(story.silences(ms(100_000)), [0; 0]);
    story.session.bridge(ms(100_000), &mut story.rng);
    let next = story.send(ms(100_000), Side::A, &packet(8, 12, 320, 1)).expect("relayed");
    assert_eq!(header(&next).sequence, first.sequence.wrapping_add(1));
    assert_eq!(header(&next).timestamp, first.timestamp.wrapping_add(800_000));
    assert_eq!(story.silences(ms(130_000)), [130_000]);
}

proptest! {
    #[test]
    fn whatever_is_played_and_held_no_number_is_missed_or_used_twice(
        steps in proptest::collection::vec((0_u8..10, 1_u64..90), 1..200),
    ) {
        let (mut story, mut sounds) = (Story::bridged(3), Sounds::default());
        let sound = prompt(&mut sounds, 3);
        let (mut now, mut sequence, mut ssrc) = (0, 65_500_u16, 1);
        let mut sent: Vec<Header> = Vec::new();
        for (step, pause) in steps {
            now += pause;
            let (frames, _) = story.listen(Side::A, &sounds, ms(now));
            sent.extend(frames.iter().map(|(_, packet)| header(packet)));
            match step {
                0 => story.play(ms(now), Side::A, 1, sound),
                1 => story.session.stop(Side::A),
                2 => story.session.hold(),
                3 => story.session.bridge(ms(now), &mut story.rng),
                4 => (ssrc, sequence) = (ssrc + 1, sequence.wrapping_mul(7)),
                _ => {
                    sequence = sequence.wrapping_add(1);
                    // A codec that was not agreed is left out.
                    let codec = if step == 5 { 13 } else { 8 };
                    let packet = packet(codec, sequence, now as u32 * 8, ssrc);
                    let out = story.send(ms(now), Side::B, &packet);
                    sent.extend(out.iter().map(|packet| header(packet)));
                }
            }
        }
        for pair in sent.windows(2) {
            prop_assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            prop_assert!((1..8 * 90 * 250).contains(&step), "{} units", step);
            prop_assert_eq!(pair[1].ssrc, pair[0].ssrc);
        }
    }
}

/// RFC 4733: one time for all packets of a press, which grows, and whose end is told three times.
#[test]
fn a_key_that_we_press_is_one_event_in_the_stream_of_the_other_side() {
    let mut story = Story::bridged(3);
    let before = header(&story.send(ms(0), Side::B, &packet(8, 7, 160, 1)).expect("relayed"));
    let sound = Sound::Key(Key::of_sign('5').expect("a key"), KeyAs::Event);
    story.play(ms(100), Side::A, 9, sound);
    let (frames, told) = story.listen(Side::A, &Sounds::default(), ms(1_000));
    assert_eq!(told, [News::PlayDone { side: Side::A, play: 9, was_sent: true }]);
    let times: Vec<u64> = frames.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [100, 120, 140, 160, 180, 200, 220, 240]);
    let rows = [160_u16, 320, 480, 640, 800, 800, 800, 800];
    for (at, ((_, packet), duration)) in frames.iter().zip(rows).enumerate() {
        let this = header(packet);
        assert_eq!((this.payload_type, this.marker, this.ssrc), (97, at == 0, before.ssrc));
        assert_eq!(this.sequence, before.sequence.wrapping_add(1 + at as u16));
        assert_eq!(this.timestamp, before.timestamp.wrapping_add(800));
        let [high, low] = duration.to_be_bytes();
        assert_eq!(packet[12..], [5, if at < 5 { 0x0a } else { 0x8a }, high, low]);
    }
    // The other side's voice goes on behind it.
    let after = story.send(ms(300), Side::B, &packet(8, 22, 2_560, 1)).expect("relayed");
    let after = header(&after);
    assert_eq!(after.sequence, before.sequence.wrapping_add(9));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(2_400));
}

#[test]
fn a_pause_in_the_middle_of_a_key_makes_no_second_press_of_it() {
    let (mut story, sounds) = (Story::bridged(3), Sounds::default());
    let sound = Sound::Key(Key::of_sign('5').expect("a key"), KeyAs::Event);
    story.play(ms(100), Side::A, 9, sound);
    let (mut frames, _) = story.listen(Side::A, &sounds, ms(130));
    assert_eq!(frames.len(), 2);
    for at in (300..600).step_by(20) {
        story.session.handle_timeout(ms(at), &mut story.rng);
        let mut packet = [0; FRAME_BYTES];
        while let Some((_, length)) =
            story.session.poll_frame(ms(at), Side::A, &sounds, &mut packet)
        {
            frames.push((at, packet[..length].to_vec()));
        }
    }
    let headers: Vec<_> = frames.iter().map(|(_, packet)| header(packet)).collect();
    assert_eq!(headers.len(), 8);
    for (at, this) in headers.iter().enumerate() {
        assert_eq!((this.marker, this.timestamp), (at == 0, headers[0].timestamp));
    }
}

#[test]
fn a_key_cannot_be_pressed_for_who_has_agreed_on_no_events() {
    let mut story = Story::bridged(3);
    let mut deaf = remote(Side::A);
    deaf.payloads_to.0[3] = None;
    story.session.update(ms(0), Side::A, &deaf);
    let key = Key::of_sign('5').expect("a key");
    story.play(ms(100), Side::A, 9, Sound::Key(key, KeyAs::Event));
    let (frames, told) = story.listen(Side::A, &Sounds::default(), ms(1_000));
    assert_eq!(told, [News::PlayDone { side: Side::A, play: 9, was_sent: false }]);
    assert!(frames.is_empty());
    story.play(ms(2_000), Side::A, 10, Sound::Key(key, KeyAs::Tones));
    let (frames, told) = story.listen(Side::A, &Sounds::default(), ms(3_000));
    assert_eq!(told, [News::PlayDone { side: Side::A, play: 10, was_sent: true }]);
    assert_eq!(frames.len(), 8);
}
