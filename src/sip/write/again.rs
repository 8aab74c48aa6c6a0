//! A request of ours once more: what a challenge asks for, or a trunk with longer sessions.

use bytes::BytesMut;

use super::super::header::HeaderId;
use super::super::ids::Branch;
use super::super::message::Message;
use super::{Request, begin, put_decimal, put_header, put_value, take};

/// The same `request` as a new one: another branch and number, and more headers, which take the
/// places of any of their names.
pub fn again(
    out: &mut BytesMut,
    request: &Message,
    branch: Branch,
    cseq: u32,
    headers: &[(HeaderId, Vec<u8>)],
) -> Request {
    begin(out);
    out.extend_from_slice(request.method_name());
    out.extend_from_slice(b" ");
    put_value(out, request.request_uri_text());
    out.extend_from_slice(b" SIP/2.0\r\nVia: ");
    put_via(out, request, branch);
    out.extend_from_slice(b"\r\n");
    for (id, text, kept) in request.all_headers() {
        if id == HeaderId::CSeq {
            out.extend_from_slice(b"CSeq: ");
            put_decimal(out, u64::from(cseq));
            out.extend_from_slice(b" ");
            out.extend_from_slice(request.method_name());
            out.extend_from_slice(b"\r\n");
            for (name, value) in headers {
                put_header(out, name.name(), value);
            }
        } else if id != HeaderId::Via && headers.iter().all(|(name, _)| *name != id) {
            put_value(out, text);
            out.extend_from_slice(b": ");
            put_value(out, kept);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body());
    Request { method: request.method(), branch, bytes: take(out) }
}

/// Our own Via with another branch.
fn put_via(out: &mut BytesMut, request: &Message, branch: Branch) {
    let via = request.top_via();
    let old = via.branch.unwrap_or_default();
    let start = (old.as_ptr() as usize).saturating_sub(via.raw.as_ptr() as usize);
    out.extend_from_slice(via.raw.get(..start).unwrap_or_default());
    out.extend_from_slice(branch.as_bytes());
    out.extend_from_slice(via.raw.get(start + old.len()..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::new_buffer;
    use super::*;
    use bytes::Bytes;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn only_branch_number_and_credentials_of_the_second_request_differ() {
        let first = "INVITE sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP h:5060;branch=OLD;rport\r\n\
            Max-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:x@h>\r\nCall-ID: c\r\n\
            CSeq: 1 INVITE\r\nAuthorization: Digest stale\r\nX-Own: 1\r\n\
            Content-Length: 4\r\n\r\nbody";
        let shard = crate::sip::ids::Shard::new(0).expect("a shard");
        let [old, new] =
            [1, 2].map(|seed| Branch::new(shard, &mut ChaCha20Rng::seed_from_u64(seed)));
        let first = first.replace("OLD", old.as_str());
        let message = Message::parse(Bytes::from(first.clone())).expect("a request");
        let added = [
            (HeaderId::Authorization, b"Digest fresh".to_vec()),
            (HeaderId::ProxyAuthorization, b"Digest other".to_vec()),
        ];
        let second = again(&mut new_buffer(), &message, new, 2, &added);
        let wanted = first
            .replace(old.as_str(), new.as_str())
            .replace("Authorization: Digest stale\r\n", "")
            .replace(
                "CSeq: 1 INVITE\r\n",
                "CSeq: 2 INVITE\r\nAuthorization: Digest fresh\r\n\
                 Proxy-Authorization: Digest other\r\n",
            );
        assert_eq!(second.bytes, wanted.as_bytes());
    }
}
