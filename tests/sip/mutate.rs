//! Random changes of texts: cuts, repeats, swapped lines, and what has broken parsers before.

use bytes::Bytes;
use maskline::sip::limits::MESSAGE_MAX;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

/// Text that has broken parsers.
const NASTY: [&[u8]; 30] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\r\n ",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b";",
    b";;",
    b",",
    b":",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"=",
    b"\xff\xfe",
    b"\xc0\x80",
    b";tag=",
    b";rport;received=",
    b"sip:",
    b"4294967297",
    b"-1",
    b"Via: SIP/2.0/UDP h\r\n",
];

/// A number below the bound.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    rng.next_u32() as usize % bound.max(1)
}

/// One of these messages after a few changes.
pub(crate) fn mutated(valid: &[Bytes], rng: &mut ChaCha8Rng) -> Bytes {
    let mut text = valid[below(rng, valid.len())].to_vec();
    for _ in 0..=below(rng, 4) {
        mutate(&mut text, valid, rng);
    }
    text.truncate(MESSAGE_MAX);
    text.into()
}

/// Changes a text in one place; pieces of the others may come in.
pub(crate) fn mutate(text: &mut Vec<u8>, valid: &[Bytes], rng: &mut ChaCha8Rng) {
    let at = below(rng, text.len() + 1);
    let end = (at + below(rng, 64)).min(text.len());
    match below(rng, 10) {
        0 => text.truncate(at),
        1 => _ = text.drain(at..end),
        2 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = rng.next_u32() as u8;
            }
        }
        3 | 4 => _ = text.splice(at..at, NASTY[below(rng, NASTY.len())].iter().copied()),
        5 => {
            let piece = NASTY[below(rng, NASTY.len())];
            let room = MESSAGE_MAX.saturating_sub(text.len()) / piece.len();
            let many = piece.repeat(below(rng, room + 1));
            _ = text.splice(at..at, many);
        }
        6 => {
            let piece = text[at..end].to_vec();
            _ = text.splice(at..at, piece);
        }
        7 | 8 => {
            let mut lines: Vec<Vec<u8>> =
                text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let (one, other) = (below(rng, lines.len()), below(rng, lines.len()));
            match below(rng, 3) {
                _ if lines.is_empty() => {}
                0 => lines.swap(one, other),
                1 => _ = lines.remove(one),
                _ => lines.insert(other, lines[one].clone()),
            }
            *text = lines.concat();
        }
        _ => {
            let other = &valid[below(rng, valid.len())];
            let cut = below(rng, other.len());
            text.truncate(at);
            text.extend_from_slice(&other[cut..]);
        }
    }
}
