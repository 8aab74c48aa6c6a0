//! What a 1.2 kB INVITE costs: scan and validation, then everything the brain reads of it. The
//! budget is 1.5 us for both together.

use std::hint::black_box;
use std::net::SocketAddr;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use maskline::sip::header::HeaderId;
use maskline::sip::ids::{Shard, Tag};
use maskline::sip::message::Message;
use maskline::sip::write::{ResponseWriter, new_buffer};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// An INVITE as a PBX behind one proxy sends it, with the usual SDP.
const INVITE: &str = "INVITE sip:+8613800000001@192.0.2.10:5060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK8d4f.7c1d2aa53bb1f0e8.0;rport\r\n\
Via: SIP/2.0/UDP 192.0.2.21:5062;received=192.0.2.21;\
branch=z9hG4bK-524287-1---a9f04e3b;rport=5062\r\n\
Record-Route: <sip:192.0.2.20;lr;ftag=as6f2c1d9e>\r\n\
Max-Forwards: 69\r\n\
From: \"Claims desk 7\" <sip:1007@pbx.insurer.example>;tag=as6f2c1d9e\r\n\
To: <sip:+8613800000001@192.0.2.10;user=phone>\r\n\
Contact: <sip:1007@192.0.2.21:5062;transport=udp>\r\n\
Call-ID: 5e3b1f8a77d9412c9b0e6a2d4c8f1b30@pbx.insurer.example\r\n\
CSeq: 102 INVITE\r\n\
User-Agent: Example PBX 18.2.1 (x86_64, Debian 12)\r\n\
Date: Mon, 06 Jul 2026 08:12:31 GMT\r\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n\
Supported: replaces, timer\r\n\
P-Asserted-Identity: \"Claims desk 7\" <sip:1007@pbx.insurer.example>\r\n\
X-Queue: claims-motor\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 301\r\n\r\n\
v=0\r\n\
o=root 1821530407 1821530407 IN IP4 192.0.2.21\r\n\
s=Example PBX\r\n\
c=IN IP4 192.0.2.21\r\n\
t=0 0\r\n\
m=audio 14862 RTP/AVP 8 0 9 101\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=maxptime:150\r\n\
a=rtcp:14863\r\n\
a=sendrecv\r\n";

/// Everything the brain reads of an INVITE before it asks for a route.
fn extract(message: &Message) -> usize {
    let uri = message.request_uri().expect("was checked");
    let dialled = uri.number().map_or(0, |number| number.len());
    let from = message.from();
    let caller = from.parse_uri().ok().and_then(|uri| uri.user).map_or(0, str::len);
    let contact = message.contact().ok().flatten().map_or(0, |contact| contact.uri.len());
    let via = message.top_via();
    dialled
        + caller
        + contact
        + from.tag.map_or(0, <[u8]>::len)
        + message.to().tag.map_or(0, <[u8]>::len)
        + via.branch.map_or(0, <[u8]>::len)
        + message.call_id().len()
        + message.cseq() as usize
        + usize::from(message.max_forwards().unwrap_or(70))
        + message.values(HeaderId::RecordRoute).count()
        + message.values(HeaderId::Require).count()
        + message.content_type().map_or(0, <[u8]>::len)
        + message.body().len()
}

fn benches(criterion: &mut Criterion) {
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let parsed = Message::parse(bytes.clone()).expect("a valid INVITE");
    assert!(parsed.body().ends_with(b"a=sendrecv\r\n") && (1_200..1_500).contains(&bytes.len()));
    criterion.bench_function("scan_and_validate", |bencher| {
        bencher.iter(|| Message::parse(black_box(bytes.clone())).is_ok());
    });
    criterion.bench_function("scan_and_extract", |bencher| {
        bencher.iter(|| Message::parse(black_box(bytes.clone())).map(|message| extract(&message)));
    });
    let shard = Shard::new(0).expect("below the maximum");
    let tag = Tag::new(shard, &mut ChaCha8Rng::seed_from_u64(1));
    let source = SocketAddr::from(([192, 0, 2, 20], 5060));
    let mut out = new_buffer();
    criterion.bench_function("write_ringing", |bencher| {
        bencher.iter(|| {
            let writer =
                ResponseWriter::start(&mut out, black_box(&parsed), source, 180, Some(&tag));
            writer.header("Contact", "<sip:192.0.2.10>").finish()
        });
    });
}

criterion_group!(group, benches);
criterion_main!(group);
