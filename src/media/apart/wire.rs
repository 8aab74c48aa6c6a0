//! What the two processes say to each other: frames of a length (16 bits, little end first) and a
//! message in postcard's format.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::rtp::plane::{Command, Report, SessionId};

/// Changes whenever a message does: the two processes have to be of the same kind. A test holds the
/// bytes of this version.
pub(super) const VERSION: u16 = 8;
/// The longest message. A prompt of all its steps has less than half of that.
pub(super) const FRAME_BYTES_MAX: usize = 1_024;
const LENGTH_BYTES: usize = 2;

/// From signalling to the media plane.
#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Down {
    /// The first frame of a connection.
    Hello(Hello),
    Command(Command),
}

/// Who wants to be connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`VERSION`].
    pub(super) version: u16,
    /// Which of the shards.
    pub(super) shard: u16,
    /// How many there are.
    pub(super) shards: u16,
    /// The process was connected before, and knows its sessions.
    pub(super) is_known: bool,
    /// Of the clips that its prompts are made of: both have to mean the same by a number.
    pub(super) sounds: [u8; 32],
}

/// What does not fit. The connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Unfit {
    #[error("maskline media is of another version")]
    Version,
    #[error("maskline media has other sip.shards")]
    Shards,
    #[error("maskline media has read other files of media.prompts; it has to be restarted first")]
    Sounds,
}

/// From the media plane to signalling.
#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Up {
    /// The answer to a hello that does not fit.
    Refused(Unfit),
    /// A session of this shard that is open. All of them follow the hello.
    Known(SessionId),
    /// All have been named.
    Settled,
    Report(Report),
    /// Port pairs that a new call can take, and all; every second.
    Ports {
        free: u32,
        all: u32,
    },
}

/// What has come is no frame of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the peer of the media socket has sent what is no message")]
pub(super) struct Broken;

/// Adds a frame.
pub(super) fn put<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    // It may hold keys.
    let mut body = Zeroizing::new([0; FRAME_BYTES_MAX]);
    let body =
        postcard::to_slice(message, &mut body[..]).expect("messages are shorter than frames");
    out.extend_from_slice(body);
    let length = (body.len() as u16).to_le_bytes();
    out[start..start + LENGTH_BYTES].copy_from_slice(&length);
}

/// Takes the first whole frame from the front of `bytes`: its message, and how long it was.
pub(super) fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, Broken> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_le_bytes(*length));
    if length > FRAME_BYTES_MAX {
        return Err(Broken);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(Some((message, LENGTH_BYTES + length))),
        Ok(_) | Err(_) => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::rtp::key::Key;
    use crate::rtp::plane::{KeyMode, PayloadMap, RecordAs, RemoteMedia, Side, TapeKey};
    use crate::rtp::sound::{ClipId, KeyAs, Playlist, STEPS_MAX, Sound, Step, Tone};

    fn longest() -> Down {
        let mut playlist = Playlist::new();
        for _ in 0..STEPS_MAX {
            playlist.push(Step::Clip(ClipId(u16::MAX))).expect("room");
        }
        Down::Command(Command::Play {
            session: SessionId(u128::MAX),
            side: Side::B,
            play: u32::MAX,
            sound: Sound::Prompt(playlist),
            until_key: true,
        })
    }

    /// Its wrapped key is as long as one may be.
    fn recording() -> Box<RecordAs> {
        let key = TapeKey { key: [5; 32].into(), wrapped: [9; 256].into() };
        let (recording, tenant, call) = (1, 2, u128::MAX);
        Box::new(RecordAs { recording, tenant, call, started_ms: u64::MAX, retention: 1, key })
    }

    #[test]
    fn a_message_comes_out_as_it_went_in_and_only_when_it_is_whole() {
        let opened = Report::Opened {
            session: SessionId(7),
            local: ["127.0.0.1:20000", "[::1]:20002"].map(|at| at.parse().expect("an address")),
        };
        let mut bytes = Vec::new();
        put(&Up::Report(opened), &mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(take::<Up>(&bytes[..length]), Ok(None), "{length} bytes");
        }
        let length = bytes.len();
        bytes.push(0);
        assert_eq!(take::<Up>(&bytes), Ok(Some((Up::Report(opened), length))));
    }

    /// Two builds that greet each other as equal have to mean the same by the same bytes. Where
    /// this fails, a message has changed: raise [`VERSION`], and put the new sum here.
    #[test]
    fn the_bytes_of_this_version_are_as_they_were() {
        let session = SessionId(1);
        let side = Side::B;
        let at = SocketAddr::from(([192, 0, 2, 1], 20_000));
        let payloads = PayloadMap([Some(8), None, None, Some(101), None, None, None, None]);
        let remote = RemoteMedia {
            rtp: at,
            rtcp: at,
            payloads_to: payloads,
            payloads_from: payloads,
            receives: true,
            sends: true,
            learning: false,
        };
        let mode = KeyMode { report: true, pass: false, inband: false };
        let tone = Sound::Tone(Tone::Hold);
        let key = Key::of_event(11).expect("a key");
        let [event, tones] = [KeyAs::Event, KeyAs::Tones].map(|key_as| Sound::Key(key, key_as));
        let mut bytes = Vec::new();
        for command in [
            Command::Open { session },
            Command::Update { session, side, remote, keys: None },
            Command::Bridge { session },
            Command::Hold { session },
            Command::Play { session, side, play: 7, sound: tone, until_key: true },
            Command::Play { session, side, play: 8, sound: event, until_key: false },
            Command::Play { session, side, play: 9, sound: tones, until_key: false },
            Command::Stop { session, side },
            Command::Keys { session, side, mode },
            Command::Record { session, recording: recording() },
            Command::Close { session },
        ] {
            put(&Down::Command(command), &mut bytes);
        }
        put(&longest(), &mut bytes);
        let (is_known, sounds) = (true, [7; 32]);
        let hello = Hello { version: 0, shard: 1, shards: 2, is_known, sounds };
        put(&Down::Hello(hello), &mut bytes);
        for report in [
            Report::Opened { session, local: [at, at] },
            Report::Failed { session },
            Report::Silent { session },
            Report::PlayDone { session, side, play: 7, was_sent: true },
            Report::Key { session, side, key },
            Report::Latched { session, side },
            Report::OneWay { session, side },
            Report::Lost { session },
            Report::Recording { session, begun: true },
            Report::Closed { session, counts: Default::default() },
        ] {
            put(&Up::Report(report), &mut bytes);
        }
        let refused = Up::Refused(Unfit::Sounds);
        for up in [refused, Up::Known(session), Up::Settled, Up::Ports { free: 1, all: 2 }] {
            put(&up, &mut bytes);
        }
        // FNV-1a.
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!((VERSION, bytes.len(), sum), (8, 774, 18_106_866_371_413_274_839));
    }

    #[test]
    fn the_longest_message_has_room() {
        let mut bytes = Vec::new();
        put(&longest(), &mut bytes);
        assert!(bytes.len() < FRAME_BYTES_MAX / 2, "{} bytes", bytes.len());
        assert_eq!(take::<Down>(&bytes), Ok(Some((longest(), bytes.len()))));
    }

    #[test]
    fn a_playlist_with_too_many_steps_is_no_message() {
        let mut bytes = Vec::new();
        put(&longest(), &mut bytes);
        let count = bytes.iter().position(|byte| usize::from(*byte) == STEPS_MAX).expect("there");
        bytes[count] += 1;
        bytes.extend_from_slice(&[1, 0]);
        let length = (bytes.len() - LENGTH_BYTES) as u16;
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        assert_eq!(take::<Down>(&bytes), Err(Broken));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let down = take::<Down>(&bytes);
            let up = take::<Up>(&bytes);
            for length in [down.ok().flatten().map(|it| it.1), up.ok().flatten().map(|it| it.1)] {
                prop_assert!(length.is_none_or(|length| length <= bytes.len()));
            }
        }
    }
}
