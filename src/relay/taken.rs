//! Datagrams that one system call has taken from a socket. Taking many and then working on them is
//! cheaper than doing both in turn: neither pushes the other's code out of the nearest cache.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use socket2::{SockAddr, SockAddrStorage, Socket};

use super::sip_udp::DATAGRAM_MAX;

/// The most that one call takes. The first of them waits for the last to be copied, no longer.
const TAKEN_MAX: usize = 32;
/// From the room of one datagram to that of the next: some lines more than the longest, so that the
/// beginnings of all do not compete for the same places of a cache.
const STRIDE: usize = DATAGRAM_MAX + 1 + 9 * 64;

/// What stands for a source that is no IP address, which a socket of ours does not have.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What was taken and not yet looked at, in the order of arrival. Only the room that datagrams have
/// needed so far is memory.
pub(super) struct Taken {
    room: Box<[u8]>,
    /// Where each came from, and its length in bytes.
    datagrams: [(SocketAddr, usize); TAKEN_MAX],
    next: usize,
    count: usize,
}

impl Taken {
    pub(super) fn new() -> Self {
        Self {
            room: vec![0; TAKEN_MAX * STRIDE].into_boxed_slice(),
            datagrams: [(NOBODY, 0); TAKEN_MAX],
            next: 0,
            count: 0,
        }
    }

    /// Whether all has been looked at.
    pub(super) const fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Whether the last call has found as much as it could take, so that there may be more.
    pub(super) const fn was_full(&self) -> bool {
        self.count == TAKEN_MAX
    }

    /// The next datagram: its source and its bytes.
    pub(super) fn next(&mut self) -> Option<(SocketAddr, &[u8])> {
        if self.is_empty() {
            return None;
        }
        let (source, length) = *self.datagrams.get(self.next)?;
        let start = self.next * STRIDE;
        self.next += 1;
        Some((source, self.room.get(start..start + length)?))
    }

    /// Takes what is waiting at the socket, without waiting for it. Call when this is empty.
    ///
    /// # Errors
    /// Nothing is waiting, or an error is: that of an earlier datagram, as ICMP has told it.
    #[expect(unsafe_code, reason = "no safe wrapper in our crates takes several datagrams at once")]
    pub(super) fn take(&mut self, socket: &Socket) -> io::Result<()> {
        (self.next, self.count) = (0, 0);
        let mut sources: [_; TAKEN_MAX] = std::array::from_fn(|_| SockAddrStorage::zeroed());
        let mut parts = [const { EMPTY_PART }; TAKEN_MAX];
        // SAFETY: the structure is plain numbers and pointers, for which all zeroes are valid.
        let mut headers: [libc::mmsghdr; TAKEN_MAX] = unsafe { std::mem::zeroed() };
        let rooms = self.room.chunks_exact_mut(STRIDE);
        for (((room, source), part), header) in
            rooms.zip(&mut sources).zip(&mut parts).zip(&mut headers)
        {
            part.iov_base = room.as_mut_ptr().cast();
            part.iov_len = DATAGRAM_MAX;
            header.msg_hdr.msg_namelen = source.size_of();
            header.msg_hdr.msg_name = (&raw mut *source).cast();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the descriptor is open; each header points at an address, a part and a room that
        // outlive the call, and tells the length of each.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                TAKEN_MAX as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for ((datagram, source), header) in
            self.datagrams.iter_mut().zip(sources).zip(headers).take(count)
        {
            // SAFETY: the system has written an address of this length there.
            let source = unsafe { SockAddr::new(source, header.msg_hdr.msg_namelen) };
            *datagram =
                (source.as_socket().unwrap_or(NOBODY), (header.msg_len as usize).min(DATAGRAM_MAX));
        }
        self.count = count.min(TAKEN_MAX);
        Ok(())
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Taken({} of {})", self.next, self.count)
    }
}

const EMPTY_PART: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
