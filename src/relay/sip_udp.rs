//! The UDP socket of one shard: never blocks, never fails; what goes wrong is a counter.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::outbox::Outbox;
use super::taken::Taken;
use crate::sip::ids::Branch;
use crate::sip::steer::branch_in;

/// The longest UDP payload, and so the longest message.
pub(crate) const DATAGRAM_MAX: usize = 65_535;
/// Room for bursts while the shard is busy; the system may grant less (`maskline doctor` looks).
pub(crate) const RECEIVE_BUFFER: usize = 4 * 1_024 * 1_024;

/// A socket, what was taken from it and not yet looked at, and what waits to be sent.
#[derive(Debug)]
pub(crate) struct SipSocket {
    socket: Socket,
    is_ipv4: bool,
    taken: Taken,
    /// What was taken last was all that waited: when it has been looked at, nothing is left.
    is_drained: bool,
    outbox: Outbox,
}

/// What receiving came to.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// A datagram; its bytes are in the socket's room until the next call.
    Datagram {
        /// From where.
        source: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// ICMP says that a request of ours did not arrive.
    Undelivered(Undelivered),
    /// Nothing is waiting.
    Empty,
}

/// A request that did not arrive, since nobody is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Undelivered {
    pub(crate) destination: SocketAddr,
    pub(crate) branch: Branch,
}

impl SipSocket {
    /// Binds the address for the first of several shards.
    ///
    /// # Errors
    /// The address is not ours, or is taken.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        // Shards share the port, but two processes may not: the first, exclusive, bind finds out.
        let address = match address.port() {
            0 => address,
            _ => open(address)?.local_addr()?.as_socket().unwrap_or(address),
        };
        Self::join(address)
    }

    /// Binds an address that is ours already, for one more shard.
    ///
    /// # Errors
    /// The system has no room for it.
    pub(crate) fn join(address: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        // A smaller buffer than wished is no reason not to serve.
        socket.set_recv_buffer_size(RECEIVE_BUFFER).ok();
        socket.set_send_buffer_size(RECEIVE_BUFFER).ok();
        report_icmp_errors(&socket, address);
        Ok(Self {
            socket,
            is_ipv4: address.is_ipv4(),
            taken: Taken::new(),
            is_drained: false,
            outbox: Outbox::new(),
        })
    }

    /// Where it is bound.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address.ok_or_else(|| io::Error::other("the socket has no IP address"))
    }

    /// Whether it can send to an address.
    pub(crate) fn fits(&self, to: SocketAddr) -> bool {
        self.is_ipv4 == to.is_ipv4()
    }

    /// Whether datagrams wait here that the system has handed over: they make no event any more.
    pub(crate) const fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The next datagram, if one is waiting.
    pub(crate) fn receive(&mut self) -> Received<'_> {
        if self.taken.is_empty() {
            if std::mem::take(&mut self.is_drained) {
                return Received::Empty;
            }
            if let Some(instead) = self.take() {
                return instead;
            }
        }
        match self.taken.next() {
            Some((source, bytes)) => Received::Datagram { source, bytes },
            None => Received::Empty,
        }
    }

    /// Takes what is waiting; what there is instead where nothing can be taken.
    fn take(&mut self) -> Option<Received<'static>> {
        for _ in 0..TAKE_ATTEMPTS_MAX {
            match self.taken.take(&self.socket) {
                Ok(()) => {
                    self.is_drained = !self.taken.was_full();
                    return None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An error that ICMP left behind: the queue says whose it is. Where it is nobody's,
                // what waits behind it was not looked at yet.
                Err(_) => {
                    if let Some(undelivered) = self.undelivered() {
                        return Some(Received::Undelivered(undelivered));
                    }
                }
            }
        }
        Some(Received::Empty)
    }

    /// When the datagram that was received last had reached the machine, as the system's clock has
    /// it. The system begins to keep these times with the first question.
    #[expect(unsafe_code, reason = "no safe wrapper in our crates asks when a datagram arrived")]
    pub(crate) fn last_arrived(&self) -> Option<SystemTime> {
        /// From <linux/sockios.h>: the first form, whose answer is the machine's own `timespec`.
        const SIOCGSTAMPNS: libc::Ioctl = 0x8907;
        let mut stamp = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the descriptor is open, and the system writes one `timespec` where we point.
        let outcome = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCGSTAMPNS, &raw mut stamp) };
        if outcome != 0 {
            return None;
        }
        let seconds = Duration::from_secs(u64::try_from(stamp.tv_sec).ok()?);
        let rest = Duration::from_nanos(u64::try_from(stamp.tv_nsec).ok()?);
        Some(SystemTime::UNIX_EPOCH + seconds + rest)
    }

    /// A request that did not arrive, since nobody is there. Other errors that are queued say
    /// nothing about the peer and are dropped, and so are those that repeat no branch of ours: who
    /// has not seen a request can forge them, and silence tells soon enough who is away.
    pub(crate) fn undelivered(&self) -> Option<Undelivered> {
        loop {
            let QueuedError { destination, branch, errno } = queued_error(&self.socket)?;
            if is_nobody_there(errno)
                && let Some(destination) = destination
                && let Some(branch) = branch
            {
                return Some(Undelivered { destination, branch });
            }
        }
    }

    /// Lets a datagram wait for [`Self::flush`]: what belongs to one round goes out together.
    pub(crate) fn send(&mut self, to: SocketAddr, bytes: Bytes) {
        self.outbox.push(&self.socket, to, bytes);
    }

    /// Ends a round: sends all that waits, and what is to be received is asked for anew.
    pub(crate) fn flush(&mut self) {
        self.is_drained = false;
        self.outbox.flush(&self.socket);
    }

    /// How many datagrams the system would not take so far.
    pub(crate) const fn unsent(&self) -> u64 {
        self.outbox.unsent()
    }
}

impl AsFd for SipSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One error out of a socket's queue.
struct QueuedError {
    /// Where the datagram went.
    destination: Option<SocketAddr>,
    /// The branch of ours in what ICMP repeats of it.
    branch: Option<Branch>,
    /// What went wrong.
    errno: Option<Errno>,
}

/// Whether an error means that the peer is not there: no host, no way to it, or nobody listens.
fn is_nobody_there(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH))
}

/// Room for what ICMP repeats of a datagram: enough for the first two lines of a request. Hosts
/// repeat some 500 bytes (RFC 1812 §4.3.2.3), old ones eight.
const REPEATED_MAX: usize = 1_024;
/// Room for the one control message that says what went wrong, and where that was noticed.
const CONTROL_WORDS: usize = 32;

/// The oldest error in the queue; `None` when it is empty.
#[expect(unsafe_code, reason = "no safe wrapper in our crates reads what IP_RECVERR tells")]
fn queued_error(socket: &Socket) -> Option<QueuedError> {
    let mut start = [0_u8; REPEATED_MAX];
    let mut control = [0_u64; CONTROL_WORDS];
    // SAFETY: `try_init` gives a zeroed address that is large enough for any family, and the
    // header points at it, at `start` and at `control`, all of which outlive the call.
    let ((errno, length), destination) = unsafe {
        SockAddr::try_init(|address, length| {
            let mut part =
                libc::iovec { iov_base: start.as_mut_ptr().cast(), iov_len: start.len() };
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_name = address.cast();
            header.msg_namelen = *length;
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control);
            let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
            let repeated = libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags);
            let Ok(repeated) = usize::try_from(repeated) else {
                return Err(io::Error::last_os_error());
            };
            *length = header.msg_namelen;
            Ok((errno_in(&header), repeated))
        })
    }
    .ok()?;
    let branch = start.get(..length).and_then(branch_in);
    Some(QueuedError { destination: destination.as_socket(), branch, errno })
}

/// What went wrong, as the control messages of a received header say.
///
/// # Safety
/// The header must be one that `recvmsg` has filled in, and its control buffer must still be there.
#[expect(unsafe_code, reason = "no safe wrapper in our crates reads what IP_RECVERR tells")]
unsafe fn errno_in(header: &libc::msghdr) -> Option<Errno> {
    // SAFETY: by the contract above; each message found lies within the buffer, and an error is
    // read only where its whole length fits.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let kind = (found.cmsg_level, found.cmsg_type);
            let is_error = kind == (libc::IPPROTO_IP, libc::IP_RECVERR)
                || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
            let length = size_of::<libc::sock_extended_err>();
            if is_error && found.cmsg_len >= libc::CMSG_LEN(length as u32) as usize {
                let error = libc::CMSG_DATA(message).cast::<libc::sock_extended_err>();
                let number = error.read_unaligned().ee_errno;
                return i32::try_from(number).ok().map(Errno::from_raw_os_error);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
        None
    }
}

/// Each pending ICMP error costs one attempt. Errors that come faster than we look end a round; the
/// socket then wakes us again.
const TAKE_ATTEMPTS_MAX: usize = 16;

/// One that takes no IPv4 when it is one of IPv6: that has a socket of its own, or none.
fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Asks the system to keep ICMP errors with the address that they are about. Without it a dead
/// trunk is noticed by its silence only, so a refusal is no reason not to serve.
#[expect(unsafe_code, reason = "no safe wrapper in our crates sets IP_RECVERR")]
fn report_icmp_errors(socket: &Socket, address: SocketAddr) {
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the descriptor is open, and the option's value is an int of the given size that
    // outlives the call.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::outbox::WAITING_MAX;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }

    fn wait_readable(socket: &impl AsFd) {
        let mut fds = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).expect("a socket that can be polled");
    }

    /// The bytes and the source of the next datagram, when it has come.
    fn next(socket: &mut SipSocket) -> (Vec<u8>, SocketAddr) {
        loop {
            if !socket.has_taken() {
                wait_readable(socket);
            }
            match socket.receive() {
                Received::Datagram { source, bytes } => return (bytes.to_vec(), source),
                // What was taken before had been all.
                Received::Empty => {}
                Received::Undelivered(_) => panic!("somebody is there"),
            }
        }
    }

    #[test]
    fn what_is_sent_is_received_with_its_source() {
        let mut one = SipSocket::bind(loopback()).expect("a free port");
        let mut other = SipSocket::bind(loopback()).expect("a free port");
        assert!(matches!(one.receive(), Received::Empty));
        other.send(one.local_address().expect("bound"), Bytes::from_static(b"hello"));
        other.flush();
        let (bytes, source) = next(&mut one);
        assert_eq!(bytes, b"hello");
        assert_eq!(Ok(source), other.local_address().map_err(|_| ()));
        assert!(matches!(one.receive(), Received::Empty));
    }

    #[test]
    fn it_is_known_when_a_datagram_had_arrived() {
        let mut one = SipSocket::bind(loopback()).expect("a free port");
        let mut other = SipSocket::bind(loopback()).expect("a free port");
        // The first question makes the system keep the times.
        one.last_arrived();
        let before = crate::relay::now::now().wall;
        other.send(one.local_address().expect("bound"), Bytes::from_static(b"hello"));
        other.flush();
        wait_readable(&one);
        assert!(matches!(one.receive(), Received::Datagram { .. }));
        let arrived = one.last_arrived().expect("a time");
        // The system's clock for this may be a tick behind.
        assert!(arrived + Duration::from_millis(20) >= before);
        assert!(arrived <= crate::relay::now::now().wall);
    }

    #[test]
    fn one_datagram_that_cannot_be_sent_costs_no_other() {
        let mut one = SipSocket::bind(loopback()).expect("a free port");
        let mut other = SipSocket::bind(loopback()).expect("a free port");
        let to = one.local_address().expect("bound");
        let count = 3 * WAITING_MAX as u8;
        for n in 0..count {
            if n == 20 {
                other.send(to, Bytes::from(vec![0; DATAGRAM_MAX + 1]));
            }
            other.send(to, Bytes::copy_from_slice(&[n]));
        }
        other.flush();
        assert_eq!(other.unsent(), 1);
        for n in 0..count {
            assert_eq!(next(&mut one).0, [n], "in order");
        }
    }

    fn dead() -> SocketAddr {
        let dead = SipSocket::bind(loopback()).and_then(|peer| peer.local_address());
        dead.expect("a port that is closed again")
    }

    const BRANCH: &str = "z9hG4bK000123456789abcdef";

    #[test]
    fn a_dead_peer_is_reported_with_the_branch_of_what_did_not_reach_it() {
        let branch = Branch::parse(BRANCH.as_bytes()).expect("one of ours");
        for bytes_before in [0, 380] {
            let mut socket = SipSocket::bind(loopback()).expect("a free port");
            let destination = dead();
            let user = "1".repeat(bytes_before);
            let via = format!("SIP/2.0/UDP 192.0.2.1:5060;branch={BRANCH};rport");
            let request = format!("INVITE sip:{user}@h SIP/2.0\r\nVia: {via}\r\n\r\n");
            socket.send(destination, request.into());
            socket.flush();
            wait_readable(&socket);
            match socket.receive() {
                Received::Undelivered(it) => {
                    assert_eq!(it, Undelivered { destination, branch });
                }
                other @ (Received::Datagram { .. } | Received::Empty) => panic!("{other:?}"),
            }
            assert!(matches!(socket.receive(), Received::Empty));
        }
    }

    #[test]
    fn an_icmp_error_that_repeats_no_branch_of_ours_says_nothing() {
        let mut socket = SipSocket::bind(loopback()).expect("a free port");
        for text in ["INVITE s", "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx"] {
            socket.send(dead(), Bytes::from_static(text.as_bytes()));
            socket.flush();
            wait_readable(&socket);
            assert!(matches!(socket.receive(), Received::Empty), "{text}");
        }
    }

    #[test]
    fn an_icmp_error_that_is_nobodys_does_not_hide_what_waits_behind_it() {
        let mut socket = SipSocket::bind(loopback()).expect("a free port");
        let mut other = SipSocket::bind(loopback()).expect("a free port");
        other.send(socket.local_address().expect("bound"), Bytes::from_static(b"hello"));
        other.flush();
        wait_readable(&socket);
        socket.send(dead(), Bytes::from_static(b"INVITE s"));
        socket.flush();
        assert!(matches!(socket.receive(), Received::Datagram { bytes: b"hello", .. }));
    }

    fn set_option(socket: &SipSocket, option: libc::c_int, value: libc::c_int) {
        let size = libc::socklen_t::try_from(size_of_val(&value)).expect("four bytes");
        let (level, fd) = (libc::IPPROTO_IPV6, socket.as_fd().as_raw_fd());
        #[expect(unsafe_code, reason = "no safe wrapper in our crates sets a path MTU")]
        // SAFETY: the descriptor is open, and the value is an int of the given size.
        let done = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn a_datagram_too_long_for_the_path_does_not_make_its_peer_unreachable() {
        let any = "[::1]:0".parse().expect("an address");
        let mut socket = SipSocket::bind(any).expect("a free port");
        let peer = SipSocket::bind(any).expect("a free port");
        set_option(&socket, libc::IPV6_MTU, 1_280);
        set_option(&socket, libc::IPV6_DONTFRAG, 1);
        let to = peer.local_address().expect("bound");
        socket.send(to, Bytes::from(vec![0; 2_000]));
        socket.flush();
        let queued = queued_error(&socket.socket).expect("an error is queued");
        assert_eq!(queued.errno, Some(Errno::MSGSIZE));
        socket.send(to, Bytes::from(vec![0; 2_000]));
        socket.flush();
        assert_eq!(socket.undelivered(), None);
    }

    #[test]
    fn a_second_process_on_the_port_is_refused() {
        let first = SipSocket::bind(loopback()).expect("a free port");
        let address = first.local_address().expect("bound");
        assert!(SipSocket::bind(address).is_err());
    }
}
