//! What waits to leave by a UDP socket: many datagrams by one system call, and many refusals of the
//! same length to the same peer as one packet that the system cuts into the datagrams they are
//! (generic segmentation, `UDP_SEGMENT` of udp(7)). A packet has one way through the system's
//! network layers instead of one for each refusal, which is most of what a refusal costs: a flood
//! that is turned away leaves more time for the calls that are served.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use bytes::Bytes;
use socket2::{SockAddr, Socket};

/// Datagrams that wait to be sent together. One more sends them: it saves most of the system calls,
/// and the first of a burst does not wait long for the last.
pub(super) const WAITING_MAX: usize = 64;
/// The fewest refusals that leave as one packet. A capture on this machine shows it uncut, so that
/// only a flood is sent like this.
const JOINED_MIN: usize = 8;
/// The longest of these: with its headers it is within what nearly every path takes.
const JOINED_LENGTH_MAX: usize = 1_200;
/// What a packet may have before it is cut (RFC 768, RFC 791).
const PACKET_MAX: usize = 65_507;
/// Each pending ICMP error costs one attempt.
const ATTEMPTS_MAX: usize = 3;

/// The start of what tells a caller to come again later.
const REFUSAL: &[u8] = b"SIP/2.0 503 ";

/// Datagrams that wait for the end of a round.
#[derive(Debug)]
pub(super) struct Outbox {
    /// In their order.
    waiting: Queue,
    /// They leave after all others: nothing of their calls follows them.
    refusals: Queue,
    /// Datagrams that the system would not take.
    unsent: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { waiting: Queue::new(1), refusals: Queue::new(JOINED_MIN), unsent: 0 }
    }

    /// One more waits; those before it leave if there is no room for it.
    pub(super) fn push(&mut self, socket: &Socket, to: SocketAddr, bytes: Bytes) {
        let is_refusal = bytes.starts_with(REFUSAL);
        let queue = if is_refusal { &mut self.refusals } else { &mut self.waiting };
        if queue.datagrams.len() == WAITING_MAX {
            self.flush(socket);
        }
        let queue = if is_refusal { &mut self.refusals } else { &mut self.waiting };
        queue.datagrams.push_back((to, bytes));
    }

    /// Sends all. What the system does not take is lost, as the network may lose it too.
    pub(super) fn flush(&mut self, socket: &Socket) {
        self.unsent += self.waiting.send_all(socket);
        if self.refusals.datagrams.len() >= JOINED_MIN {
            let refusals = self.refusals.datagrams.make_contiguous();
            refusals.sort_by_key(|(to, bytes)| (*to, bytes.len()));
        }
        self.unsent += self.refusals.send_all(socket);
    }

    /// How many datagrams the system would not take so far.
    pub(super) const fn unsent(&self) -> u64 {
        self.unsent
    }
}

/// Datagrams that leave in their order.
#[derive(Debug)]
struct Queue {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    /// The fewest that leave as one packet; with 1 none do.
    joined_min: usize,
    /// So many of the first have to leave one by one.
    apart: usize,
}

impl Queue {
    fn new(joined_min: usize) -> Self {
        Self { datagrams: VecDeque::with_capacity(WAITING_MAX), joined_min, apart: 0 }
    }

    /// Sends in order, in one system call where it can. How many were lost.
    fn send_all(&mut self, socket: &Socket) -> u64 {
        let (mut attempts, mut lost) = (0, 0);
        while !self.datagrams.is_empty() {
            match self.send_many(socket) {
                Ok(sent) => {
                    self.forget(sent.max(1));
                    attempts = 0;
                }
                // Interrupted, or the ICMP error of an earlier datagram: the first was not tried.
                Err(error)
                    if error.kind() != io::ErrorKind::WouldBlock && attempts < ATTEMPTS_MAX =>
                {
                    attempts += 1;
                }
                Err(_) => {
                    attempts = 0;
                    match self.joined_at(0) {
                        1 => {
                            self.forget(1);
                            lost += 1;
                        }
                        // A network card may be unable to have it cut, or the path too narrow.
                        joined => self.apart = joined,
                    }
                }
            }
        }
        lost
    }

    fn forget(&mut self, count: usize) {
        self.datagrams.drain(..count.min(self.datagrams.len()));
        self.apart = self.apart.saturating_sub(count);
    }

    /// How many of those from `start` on leave as one packet.
    fn joined_at(&self, start: usize) -> usize {
        let Some((to, bytes)) = self.datagrams.get(start).filter(|_| start >= self.apart) else {
            return 1;
        };
        if self.joined_min == 1 || bytes.is_empty() || bytes.len() > JOINED_LENGTH_MAX {
            return 1;
        }
        let alike = self.datagrams.range(start..).take(PACKET_MAX / bytes.len());
        let alike = alike.take_while(|(other, more)| other == to && more.len() == bytes.len());
        Some(alike.count()).filter(|count| *count >= self.joined_min).unwrap_or(1)
    }

    /// How many of those that wait were sent; an error is about the first packet of them.
    #[expect(unsafe_code, reason = "no safe wrapper in our crates sends several datagrams at once")]
    fn send_many(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut parts: OfAll<libc::iovec> = [const { EMPTY_PART }; WAITING_MAX];
        for ((_, bytes), part) in self.datagrams.iter().zip(&mut parts) {
            part.iov_base = bytes.as_ptr().cast_mut().cast();
            part.iov_len = bytes.len();
        }
        // SAFETY: the structure is plain numbers and pointers, for which all zeroes are valid.
        let mut headers: OfAll<libc::mmsghdr> = unsafe { std::mem::zeroed() };
        let mut addresses: OfAll<Option<SockAddr>> = [const { None }; WAITING_MAX];
        let mut controls = [[0_u64; CONTROL_WORDS]; WAITING_MAX / JOINED_MIN];
        let mut controls = controls.iter_mut();
        let mut joined: OfAll<usize> = [0; WAITING_MAX];
        let (mut start, mut packets) = (0, 0);
        for ((header, address), joined) in headers.iter_mut().zip(&mut addresses).zip(&mut joined) {
            let Some((to, bytes)) = self.datagrams.get(start) else { break };
            *joined = self.joined_at(start);
            let Some(parts) = parts.get_mut(start..start + *joined) else { break };
            let address = address.insert(SockAddr::from(*to));
            let header = &mut header.msg_hdr;
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
            header.msg_iov = parts.as_mut_ptr();
            header.msg_iovlen = parts.len();
            if *joined > 1
                && let Some(control) = controls.next()
            {
                put_segment_length(header, control, bytes.len());
            }
            start += *joined;
            packets += 1;
        }
        // SAFETY: the descriptor is open; the first `packets` headers point at addresses, parts,
        // control messages and bytes that outlive the call, and the system only reads those.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), packets, libc::MSG_DONTWAIT)
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(joined.iter().take(sent).sum())
    }
}

type OfAll<T> = [T; WAITING_MAX];
const EMPTY_PART: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
/// Room for one control message with a `u16`.
const CONTROL_WORDS: usize = 3;

/// Has the system cut the packet into datagrams of this length.
#[expect(unsafe_code, reason = "no safe wrapper in our crates writes control messages")]
fn put_segment_length(
    header: &mut libc::msghdr,
    control: &mut [u64; CONTROL_WORDS],
    length: usize,
) {
    let length = u16::try_from(length).unwrap_or_default();
    let size = size_of_val(&length) as libc::c_uint;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: these only compute lengths; and `control`, which is aligned for a `cmsghdr`, has room
    // for one with a `u16`, which is what is written there.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size) as usize;
        if let Some(message) = libc::CMSG_FIRSTHDR(header).as_mut() {
            message.cmsg_level = libc::SOL_UDP;
            message.cmsg_type = libc::UDP_SEGMENT;
            message.cmsg_len = libc::CMSG_LEN(size) as usize;
            libc::CMSG_DATA(message).cast::<u16>().write_unaligned(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::{Domain, Protocol, Type};

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket")
    }

    fn peer() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    /// A refusal of this length that can be told from others.
    fn refusal(number: usize, length: usize) -> Bytes {
        format!("{}{number:<width$}", "SIP/2.0 503 ", width = length - REFUSAL.len()).into()
    }

    /// What has come to a peer, sorted.
    fn heard(peer: &UdpSocket, count: usize) -> Vec<Bytes> {
        let mut room = [0; 65_535];
        let mut heard = Vec::new();
        for _ in 0..count {
            let length = peer.recv(&mut room).expect("a datagram");
            heard.push(Bytes::copy_from_slice(&room[..length]));
        }
        peer.set_nonblocking(true).expect("a socket");
        assert!(peer.recv(&mut room).is_err(), "nothing more");
        peer.set_nonblocking(false).expect("a socket");
        heard.sort();
        heard
    }

    #[test]
    fn a_flood_of_refusals_reaches_each_caller_as_datagrams_of_their_own() {
        let (own, [one, other]) = (socket(), [peer(), peer()]);
        let mut outbox = Outbox::new();
        let mut sent = [Vec::new(), Vec::new()];
        for number in 0..200 {
            let length = 400 + number % 3;
            let (peer, sent) =
                if number % 5 == 0 { (&other, &mut sent[1]) } else { (&one, &mut sent[0]) };
            sent.push(refusal(number, length));
            outbox.push(&own, peer.1, refusal(number, length));
        }
        outbox.flush(&own);
        for ((peer, _), sent) in [one, other].iter().zip(&mut sent) {
            sent.sort();
            assert_eq!(&heard(peer, sent.len()), sent);
        }
        assert_eq!(outbox.unsent(), 0);
    }

    #[test]
    fn only_many_refusals_alike_are_joined_and_nothing_else_is() {
        let to = peer().1;
        let joined = |joined_min, lengths: &[usize]| {
            let mut queue = Queue::new(joined_min);
            let datagrams = lengths.iter().map(|length| (to, refusal(1, *length)));
            queue.datagrams.extend(datagrams);
            queue.joined_at(0)
        };
        assert_eq!(joined(JOINED_MIN, &[400; 7]), 1);
        assert_eq!(joined(JOINED_MIN, &[400; 8]), 8);
        assert_eq!(joined(JOINED_MIN, &[&[400; 9][..], &[401; 9]].concat()), 9);
        assert_eq!(joined(JOINED_MIN, &[1_201; 9]), 1, "a path may be too narrow");
        assert_eq!(joined(JOINED_MIN, &[1_200; 64]), 54, "a packet has an end");
        assert_eq!(joined(1, &[400; 64]), 1);
    }

    #[test]
    fn what_cannot_leave_as_one_packet_leaves_apart() {
        let (own, (peer, to)) = (socket(), peer());
        // The system cuts no packet whose datagrams have no checksum.
        set_no_checksum(&own);
        let mut outbox = Outbox::new();
        let mut sent: Vec<Bytes> = (0..40).map(|number| refusal(number, 400)).collect();
        sent.iter().for_each(|bytes| outbox.push(&own, to, bytes.clone()));
        let mut queue = Queue::new(JOINED_MIN);
        queue.datagrams.extend(sent.iter().map(|bytes| (to, bytes.clone())));
        assert!(queue.send_many(&own).is_err(), "the system takes it: nothing is shown");
        outbox.flush(&own);
        sent.sort();
        assert_eq!(heard(&peer, 40), sent);
        assert_eq!(outbox.unsent(), 0);
    }

    #[expect(unsafe_code, reason = "no safe wrapper in our crates sets this option")]
    fn set_no_checksum(socket: &Socket) {
        let on: libc::c_int = 1;
        let size = size_of_val(&on) as libc::socklen_t;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_NO_CHECK);
        // SAFETY: the descriptor is open, and the value is an int of the given size.
        let done = unsafe {
            libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size)
        };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}
