//! Joins SDP and media: what a side's description means for the packets to and from it. Neither
//! `sdp` nor `rtp` knows the other.

use crate::rtp::plane::{PayloadMap, RemoteMedia};
use crate::rtp::srtp::{LegKeys, MasterKey};
use crate::sdp::{Codec, CodecSet, Direction, Ours, Payloads, Session, SrtpKey};

/// The media of a side that has described itself with `theirs` and was told the numbers `told`,
/// while the other side wants `far`.
#[must_use]
pub fn remote_media(
    theirs: &Session,
    told: Payloads,
    agreed: CodecSet,
    far: Direction,
) -> RemoteMedia {
    let direction = theirs.direction.and(far.reversed());
    RemoteMedia {
        rtp: theirs.rtp,
        rtcp: theirs.rtcp,
        payloads_to: payload_map(&theirs.payloads.only(agreed)),
        payloads_from: payload_map(&told.only(agreed)),
        receives: direction.receives(),
        sends: direction.sends(),
        learning: false,
    }
}

/// The media of a side: where it is, and with what it is encrypted, if it is.
pub type Media = (RemoteMedia, Option<Box<LegKeys>>);

/// The keys of a leg on which both sides have agreed on some.
#[must_use]
pub fn leg_keys(ours: &Ours) -> Option<Box<LegKeys>> {
    let (own, theirs) = ours.keys()?;
    let key = |key: &SrtpKey| MasterKey::new(key.secret());
    Some(Box::new(LegKeys { ours: key(own), theirs: key(theirs) }))
}

fn payload_map(payloads: &Payloads) -> PayloadMap {
    let mut map = PayloadMap::default();
    for (position, codec) in map.0.iter_mut().zip(Codec::ALL) {
        *position = payloads.of(codec);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::plane::EVENT_POSITION;
    use crate::sdp;

    const ANSWER: &[u8] =
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 6000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n";

    #[test]
    fn telephone_events_stand_where_the_media_plane_expects_them() {
        assert_eq!(Codec::TelephoneEvent.index(), EVENT_POSITION);
    }

    #[test]
    fn an_answer_in_numbers_of_its_own_is_sent_those_and_heard_in_ours() {
        let answer = sdp::parse(ANSWER).expect("a valid answer");
        let media = remote_media(&answer, Payloads::ours(), answer.codecs(), Direction::SendRecv);
        assert_eq!(media.payloads_to.0[EVENT_POSITION], Some(96));
        assert_eq!(media.payloads_from.0[EVENT_POSITION], Some(101));
        assert_eq!(media.payloads_to.0[Codec::Pcmu.index()], None);
        assert!(media.receives);
    }

    #[test]
    fn nobody_hears_a_side_that_says_it_only_listens() {
        let theirs = sdp::parse(ANSWER).expect("a valid answer");
        let codecs = theirs.codecs();
        let media = remote_media(&theirs, Payloads::ours(), codecs, Direction::RecvOnly);
        assert!(!media.receives && media.sends);
    }

    #[test]
    fn nothing_is_expected_of_a_side_that_says_it_only_listens_or_is_not_heard() {
        let listens = [ANSWER, b"a=recvonly\r\n"].concat();
        for (text, far) in [(&listens[..], Direction::SendRecv), (ANSWER, Direction::SendOnly)] {
            let theirs = sdp::parse(text).expect("a valid answer");
            let media = remote_media(&theirs, Payloads::ours(), theirs.codecs(), far);
            assert!(media.receives && !media.sends);
        }
    }
}
