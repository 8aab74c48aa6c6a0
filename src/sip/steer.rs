//! To which shard a message belongs. It says so itself: what answers us, or is in a dialog of ours,
//! carries the number of its shard, and everything else goes by its Call-ID. No table is shared.

use super::address::Address;
use super::header::HeaderId;
use super::ids::{Branch, Shard, Tag};
use super::parse::{Fault, Lines, split_header};
use super::via::Via;

/// The number of the shard, out of `shards`, that a message belongs to. The same bytes always
/// belong to the same one, however broken they are.
#[must_use]
pub fn shard_of(message: &[u8], shards: u16) -> u16 {
    if shards <= 1 {
        return 0;
    }
    let Marks { ours, call_id } = look(message, shards);
    ours.unwrap_or_else(|| spread(call_id, shards))
}

/// The branch of ours in a request of which only the beginning is known, as ICMP repeats it to
/// show what it means. Nobody else can name one: it is random. The first line is passed over: its
/// URI is the peer's, and may have any parameter.
#[must_use]
pub fn branch_in(beginning: &[u8]) -> Option<Branch> {
    const NAME: &[u8] = b";branch=";
    let headers = beginning.get(memchr::memchr(b'\n', beginning)?..)?;
    let at = headers.windows(NAME.len()).position(|part| part == NAME)?;
    let rest = headers.get(at + NAME.len()..)?;
    Branch::parse(rest.get(..Branch::LENGTH)?)
}

/// Whether a request belongs to a dialog: its To has a tag (RFC 3261 section 12.2.1.1). Not when it
/// cannot be read so far.
#[must_use]
pub fn is_in_dialog(request: &[u8]) -> bool {
    to_tag_of(request).is_some()
}

/// The tag in To of a request, which is read no further. Absent when it cannot be read so far.
#[must_use]
pub fn to_tag_of(request: &[u8]) -> Option<&[u8]> {
    let mut lines = Lines::new(request);
    lines.start_line().ok()?;
    while let Ok(Some(line)) = lines.next_header() {
        match split_header(line) {
            Ok((HeaderId::To, _, value)) => return Address::parse(value).ok()?.tag,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    None
}

/// What tells the shard of a message.
#[derive(Default)]
struct Marks<'a> {
    ours: Option<u16>,
    call_id: &'a [u8],
}

fn look(message: &[u8], shards: u16) -> Marks<'_> {
    let mut lines = Lines::new(message);
    let mut marks = Marks::default();
    let Ok(start) = lines.start_line() else { return marks };
    let is_response = start.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"SIP/"));
    // What cannot be read on is looked at as far as it can.
    read(&mut lines, is_response, shards, &mut marks).ok();
    marks
}

/// Reads no further than needed: in what most peers write, that is not far.
fn read<'a>(
    lines: &mut Lines<'a>,
    is_response: bool,
    shards: u16,
    marks: &mut Marks<'a>,
) -> Result<(), Fault> {
    let (mut has_mark, mut has_call_id) = (false, false);
    // A number beyond the last shard only looks like one of ours.
    let number = |shard: Shard| Some(shard.number()).filter(|number| *number < shards);
    while !(has_mark && has_call_id) {
        let Some(line) = lines.next_header()? else { break };
        let (id, _, value) = split_header(line)?;
        if id == HeaderId::CallId && !has_call_id {
            (marks.call_id, has_call_id) = (value, true);
        } else if id == HeaderId::Via && is_response && !has_mark {
            let branch = Via::parse(value).ok().and_then(|via| Branch::parse(via.branch?));
            (marks.ours, has_mark) = (branch.and_then(|it| number(it.shard())), true);
        } else if id == HeaderId::To && !is_response && !has_mark {
            let tag = Address::parse(value).ok().and_then(|to| Tag::parse(to.tag?));
            (marks.ours, has_mark) = (tag.and_then(|it| number(it.shard())), true);
        }
        if marks.ours.is_some() {
            break;
        }
    }
    Ok(())
}

/// FNV-1a, and then the high bits of a product: short values that differ little go far apart.
fn spread(call_id: &[u8], shards: u16) -> u16 {
    let hash = call_id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u16::try_from((mixed * u64::from(shards)) >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn request(to: &str, call_id: &str) -> String {
        format!(
            "BYE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n\r\n"
        )
    }

    fn response(branch: &str) -> String {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch={branch};rport\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n"
        )
    }

    fn of(text: &str) -> u16 {
        shard_of(text.as_bytes(), 8)
    }

    #[test]
    fn a_branch_of_ours_is_that_of_the_via_and_no_parameter_of_the_peers_contact() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let branch = Branch::new(Shard::new(1).expect("below the maximum"), &mut rng);
        for uri in ["sip:a@h", "sip:a@h;branch=x", &format!("sip:a@h;branch={branch}x")] {
            let request = format!("INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\n");
            assert_eq!(branch_in(request.as_bytes()), Some(branch), "{uri}");
        }
        assert_eq!(branch_in(b"INVITE sip:a@h;branch=x SIP/2.0"), None);
    }

    #[test]
    fn a_tag_of_the_to_tells_a_request_in_a_dialog() {
        assert!(is_in_dialog(request("<sip:b@h>;tag=2", "c").as_bytes()));
        assert!(!is_in_dialog(request("<sip:b@h;tag=2>", "c").as_bytes()));
        assert!(!is_in_dialog(request("<sip:b@h>", "c").as_bytes()));
        for text in ["", "INVITE", "INVITE sip:x SIP/2.0\r\nVia", "INVITE sip:x SIP/2.0\r\n: :\r\n"]
        {
            assert!(!is_in_dialog(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn answers_to_us_and_requests_in_our_dialogs_go_to_the_shard_that_they_name() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for number in 0..8 {
            let shard = Shard::new(number).expect("below the maximum");
            let (tag, branch) = (Tag::new(shard, &mut rng), Branch::new(shard, &mut rng));
            assert_eq!(of(&request(&format!("<sip:b@h>;tag={tag}"), "c")), number);
            assert_eq!(of(&request(&format!("B <sip:b@h> ; x=1;TAG={tag}"), "c")), number);
            assert_eq!(of(&response(branch.as_str())), number);
            assert_eq!(of(&response(branch.as_str()).replace("Via:", "v :")), number);
        }
    }

    #[test]
    fn everything_of_one_call_id_goes_to_one_shard_and_many_spread_evenly() {
        let mut counts = [0_u32; 8];
        for call in 0..8_000 {
            let call_id = format!("{call}-1234@192.0.2.1");
            let number = of(&request("<sip:b@h>", &call_id));
            assert_eq!(of(&request("<sip:other@h>;tag=theirs", &call_id)), number);
            let compact = request("<sip:b@h>", &call_id).replace("Call-ID: ", "i:");
            assert_eq!(of(&compact), number);
            counts[usize::from(number)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_number_beyond_the_last_shard_is_another_partys() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let tag = Tag::new(Shard::new(8).expect("below the maximum"), &mut rng);
        let marked = request(&format!("<sip:b@h>;tag={tag}"), "c");
        assert_eq!(of(&marked), of(&request("<sip:b@h>", "c")));
    }

    #[test]
    fn with_one_shard_and_without_a_readable_head_there_is_still_an_answer() {
        assert_eq!(shard_of(request("<sip:b@h>", "c").as_bytes(), 1), 0);
        for text in ["", "\r\n", "x", "BYE sip:x SIP/2.0\r\nVia", "SIP/2.0 200 OK\r\n: :\r\n\r\n"] {
            assert!(of(text) < 8, "{text}");
            assert_eq!(of(text), of(text));
        }
    }
}
