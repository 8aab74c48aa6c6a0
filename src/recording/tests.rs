//! What is written comes back; what was changed, cut or moved does not.

use std::io::Cursor;

use super::format::{FRAMES_MAX, HEADER_BYTES};
use super::*;
use crate::domain::id::{CallId, RecordingId, TenantId};
use crate::rtp::g711::{Law, encode_a_law};
use crate::rtp::plane::Side;
use crate::vault::SecretKey;

const WRAPPED: &[u8] = b"wrapped by the tenant's key";

fn key() -> SecretKey {
    SecretKey::from_bytes(&[7; 32]).expect("32 bytes")
}

fn about(recording: u128) -> About {
    About {
        tenant: TenantId::from_u128(1),
        recording: RecordingId::from_u128(recording),
        call: CallId::from_u128(3),
        started_ms: 1_800_000_000_000,
    }
}

/// 20 ms of a level, in order.
fn frame(side: Side, number: u32, samples: &[u8]) -> Frame<'_> {
    let (at_ms, timestamp) = (number * 20, 4_294_967_000_u32.wrapping_add(number * 160));
    Frame { track: Track(side), law: Law::A, at_ms, timestamp, samples }
}

fn level(level: i16) -> [u8; 160] {
    [encode_a_law(level); 160]
}

fn written(recording: u128, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut writer =
        Writer::begin(Vec::new(), &about(recording), &key(), WRAPPED).expect("a header");
    frames.iter().for_each(|frame| writer.add(frame).expect("a frame"));
    writer.finish().expect("an end").out
}

type Heard = Vec<(Side, u32, i16)>;

/// Who spoke when how loudly, and the end.
fn read(file: &[u8]) -> Result<(Heard, Outcome), RecordingError> {
    read_as(file, Extent::Whole)
}

fn read_as(file: &[u8], extent: Extent) -> Result<(Heard, Outcome), RecordingError> {
    let mut reader = Reader::open(file)?;
    reader.unlock(&key(), extent)?;
    let mut heard = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        heard.push((frame.track.0, frame.at_ms, frame.law.decode(frame.samples[0])));
    }
    Ok((heard, reader.outcome().expect("an end")))
}

/// Where each frame begins, and the end of the file.
fn seams(file: &[u8]) -> Vec<usize> {
    let mut seams = vec![HEADER_BYTES + WRAPPED.len()];
    while let Some(length) = file.get(seams[seams.len() - 1]..).and_then(|it| it.first_chunk()) {
        seams.push(seams[seams.len() - 1] + 2 + usize::from(u16::from_be_bytes(*length)));
    }
    seams
}

fn three() -> Vec<u8> {
    let (loud, low) = (level(8_000), level(500));
    written(2, &[frame(Side::A, 0, &loud), frame(Side::B, 1, &low), frame(Side::A, 2, &low)])
}

#[test]
fn what_was_written_is_read_back_with_its_totals() {
    let file = three();
    let reader = Reader::open(file.as_slice()).expect("a header");
    assert_eq!((reader.about(), reader.wrapped_key()), (&about(2), WRAPPED));
    let (heard, outcome) = read(&file).expect("a good file");
    let low = Law::A.decode(level(500)[0]);
    assert_eq!(heard[0].0, Side::A);
    assert_eq!(heard[1..], [(Side::B, 20, low), (Side::A, 40, low)]);
    let totals = Totals { frames: [2, 1], lost: 0, duration_ms: 60 };
    assert_eq!(outcome, Outcome::Complete(totals));
}

#[test]
fn no_sample_and_no_repetition_shows_in_the_file() {
    let said = level(8_000);
    let file = written(2, &[frame(Side::A, 0, &said), frame(Side::A, 1, &said)]);
    assert!(!file.windows(8).any(|bytes| bytes == &said[..8]));
    let seams = seams(&file);
    let cipher = |at: usize| &file[seams[at] + 12..seams[at + 1] - 16];
    assert_ne!(cipher(0), cipher(1));
}

#[test]
fn a_file_cut_anywhere_gives_what_is_whole_and_says_that_it_was_cut() {
    let file = three();
    let (all, _) = read(&file).expect("a good file");
    let seams = seams(&file);
    for length in seams[0]..file.len() {
        let whole = seams.iter().filter(|seam| **seam <= length).count() - 1;
        let (heard, outcome) = read(&file[..length]).expect("a prefix");
        assert_eq!((heard.as_slice(), outcome), (&all[..whole], Outcome::CutOff), "{length}");
    }
    for length in 0..seams[0] {
        assert!(matches!(read(&file[..length]), Err(RecordingError::NotOurs)), "{length}");
    }
}

#[test]
fn every_changed_byte_is_found() {
    let file = three();
    let (all, _) = read(&file).expect("a good file");
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x01;
        match read(&changed) {
            Err(_) => {}
            // A longer length reads as a file that was cut; what is given out is still right.
            Ok((heard, Outcome::CutOff)) => assert!(all.starts_with(&heard), "byte {at}"),
            Ok((_, Outcome::Complete(_))) => panic!("byte {at} was changed, and nobody saw"),
        }
    }
}

#[test]
fn what_was_said_before_a_change_is_read_where_a_prefix_is_wanted_and_no_more() {
    let file = three();
    let (all, _) = read(&file).expect("a good file");
    let seams = seams(&file);
    for at in seams[0]..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x80;
        let whole = seams.iter().filter(|seam| **seam <= at).count() - 1;
        match read_as(&changed, Extent::Prefix) {
            Ok((heard, outcome)) => {
                assert_eq!((heard.as_slice(), outcome), (&all[..whole], Outcome::CutOff), "{at}");
            }
            Err(error) => assert_eq!(whole, 0, "byte {at}: {error}"),
        }
    }
    let longer = [&file[..], b"more"].concat();
    let (heard, outcome) = read_as(&longer, Extent::Prefix).expect("all of it");
    assert_eq!((heard, outcome), (all, Outcome::CutOff));
}

#[test]
fn frames_that_were_swapped_left_out_repeated_or_brought_from_another_file_are_found() {
    let (file, other) = (three(), written(9, &[frame(Side::B, 0, &level(500))]));
    let (seams, others) = (seams(&file), seams(&other));
    let part = |at: usize| &file[seams[at]..seams[at + 1]];
    let header = &file[..seams[0]];
    let foreign = &other[others[0]..others[1]];
    let joined = |parts: &[&[u8]]| [&[header], parts].concat().concat();
    let forged = [
        joined(&[part(1), part(0), part(2), part(3)]),
        joined(&[part(0), part(2), part(3)]),
        joined(&[part(0), part(0), part(1), part(2), part(3)]),
        joined(&[foreign, part(1), part(2), part(3)]),
        joined(&[part(0), part(1), part(2), part(3), part(3)]),
        joined(&[part(3)]),
    ];
    for (at, file) in forged.iter().enumerate() {
        assert!(matches!(read(file), Err(RecordingError::Changed(_))), "forgery {at}");
    }
    assert!(read(&joined(&[part(0), part(1), part(2), part(3)])).is_ok());
}

#[test]
fn a_packet_that_is_too_long_is_counted_and_not_written() {
    let long = [0xd5; PAYLOAD_BYTES_MAX + 1];
    let mut writer = Writer::begin(Vec::new(), &about(2), &key(), WRAPPED).expect("a header");
    writer.add(&frame(Side::A, 0, &long)).expect("counted");
    writer.add_lost(4);
    let finished = writer.finish().expect("an end");
    assert_eq!(finished.totals, Totals { frames: [0, 0], lost: 5, duration_ms: 0 });
    assert_eq!(finished.bytes, finished.out.len() as u64);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &finished.out);
    assert_eq!(finished.sha256, hash.as_ref());
}

/// Who fills it with tiny packets shall not go on unheard in silence.
#[test]
fn a_recording_that_is_full_breaks_off() {
    let mut writer = Writer::begin(Vec::new(), &about(2), &key(), WRAPPED).expect("a header");
    writer.jump_to(FRAMES_MAX - 1);
    writer.add(&frame(Side::A, 0, &[0xd5; 160])).expect("the last one");
    assert!(writer.add(&frame(Side::A, 20, &[0xd5; 160])).is_err());
}

/// The WAV file as both channels.
fn channels(file: Vec<u8>) -> [Vec<i16>; 2] {
    let wav = Wav::measure(Cursor::new(file), key(), Extent::Whole).expect("a good file");
    let (bytes, mut out) = (wav.bytes(), Vec::new());
    let mut pieces = wav.pieces().expect("a good file");
    loop {
        let piece = pieces.next_piece().expect("a piece");
        assert!(piece.len() <= PIECE_BYTES_MAX);
        if piece.is_empty() {
            break;
        }
        out.extend(piece);
    }
    assert_eq!(out.len() as u64, bytes);
    let mut reader = hound::WavReader::new(Cursor::new(out)).expect("a WAV file");
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8_000, 16));
    let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("a sample")).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

#[test]
fn a_wav_file_has_each_side_in_its_channel_and_silence_in_the_gaps() {
    let loud = level(8_000);
    let said = Law::A.decode(loud[0]);
    let frames = [frame(Side::A, 0, &loud), frame(Side::B, 1, &loud), frame(Side::A, 3, &loud)];
    let [left, right] = channels(written(2, &frames));
    assert_eq!((left.len(), right.len()), (640, 640));
    let loud_in = |channel: &[i16]| -> Vec<usize> {
        let frames = channel.chunks(160).enumerate();
        let loud = frames.filter(|(_, samples)| samples.iter().all(|sample| *sample == said));
        loud.map(|(at, _)| at).collect()
    };
    assert_eq!((loud_in(&left), loud_in(&right)), (vec![0, 3], vec![1]));
    assert!(left[160..480].iter().chain(&right[..160]).all(|sample| *sample == 0));
}

#[test]
fn speech_stays_even_when_packets_come_unevenly_and_jumps_with_a_new_beginning() {
    let loud = level(8_000);
    let late = |number: u32, by_ms: u32| {
        let frame = frame(Side::A, number, &loud);
        Frame { at_ms: frame.at_ms + by_ms, ..frame }
    };
    // Late, early, and then a stream with other timestamps, five seconds on.
    let moved = Frame { at_ms: 5_000, timestamp: 77, ..frame(Side::A, 0, &loud) };
    let [left, _] = channels(written(2, &[late(0, 0), late(1, 15), late(2, 3), moved]));
    let silent = left.iter().take_while(|sample| **sample != 0).count();
    assert_eq!(silent, 480, "three frames without a gap");
    assert_eq!(left.len(), 5 * 8_000 + 160);
    assert!(left[40_000..].iter().all(|sample| *sample != 0));
}

#[test]
fn a_recordings_key_opens_with_its_tenants_key_in_its_own_place_only() {
    use crate::vault::{KeyStore, RootKey, Vault};
    let root: std::sync::Arc<dyn KeyStore> =
        std::sync::Arc::new(RootKey::ephemeral().expect("a key"));
    let vault = Vault::new(root).expect("a vault");
    let open = |tenant: u128| {
        let tenant = TenantId::from_u128(tenant);
        let sealed = vault.create_tenant_keys(tenant).expect("keys");
        vault.open_tenant(tenant, &sealed).expect("keys")
    };
    let (ours, others) = (open(1), open(2));
    let recording = RecordingId::from_u128(5);
    let (key, wrapped) = ours.create_recording_key(recording).expect("a key");
    let opened = ours.open_recording_key(recording, &wrapped).expect("opens");
    assert_eq!(opened.as_bytes(), key.as_bytes());
    assert!(others.open_recording_key(recording, &wrapped).is_err());
    assert!(ours.open_recording_key(RecordingId::from_u128(6), &wrapped).is_err());
}
