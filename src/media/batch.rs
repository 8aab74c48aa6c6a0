//! Packets taken in one round and not sent yet. Taking many and then sending many is cheaper than
//! taking and sending in turn: the system's code for the one does not push that for the other out
//! of the processor's nearest cache.

use std::net::SocketAddr;
use std::ops::Range;

use super::sockets::PACKET_BYTES_MAX;
use crate::rtp::plane::Side;

/// The most packets of a batch. The first of them waits for the last to be taken, which is a
/// fraction of a millisecond.
const PACKETS_MAX: usize = 64;
/// The bytes of a batch beside room for one more packet. It shall fit the nearest cache.
const BYTES_MAX: usize = 16 * 1024;
/// Packets begin at a cache line.
const LINE_BYTES: usize = 64;

/// What was taken and shall be sent on.
pub(super) struct Batch {
    bytes: Box<[u8; BYTES_MAX + PACKET_BYTES_MAX]>,
    /// Where the next packet is read to. Never above `BYTES_MAX`.
    next: usize,
    relayed: Vec<Relayed>,
}

/// One packet of a batch.
pub(super) struct Relayed {
    /// The call.
    pub(super) slot: usize,
    /// The side it came from.
    pub(super) from: Side,
    pub(super) to: SocketAddr,
    bytes: Range<usize>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let bytes = Box::new([0; BYTES_MAX + PACKET_BYTES_MAX]);
        Self { bytes, next: 0, relayed: Vec::with_capacity(PACKETS_MAX) }
    }

    /// Room to read one packet to.
    #[inline]
    pub(super) fn room(&mut self) -> &mut [u8; PACKET_BYTES_MAX] {
        self.bytes[self.next..].first_chunk_mut().expect("never above the maximum")
    }

    /// Keeps a part of what was read to the room.
    #[inline]
    pub(super) fn add(&mut self, slot: usize, from: Side, part: Range<usize>, to: SocketAddr) {
        let bytes = self.next + part.start..self.next + part.end;
        self.next = bytes.end.next_multiple_of(LINE_BYTES);
        self.relayed.push(Relayed { slot, from, to, bytes });
    }

    /// Whether it must be sent before more is read.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.relayed.len() >= PACKETS_MAX || self.next > BYTES_MAX
    }

    /// All that was kept, in order.
    pub(super) fn packets(&self) -> impl Iterator<Item = (&Relayed, &[u8])> {
        self.relayed.iter().map(|relayed| (relayed, &self.bytes[relayed.bytes.clone()]))
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.relayed.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Reads a packet of one repeated byte, and keeps it but for its first `skipped` bytes.
    fn take(batch: &mut Batch, slot: usize, byte: u8, length: usize, skipped: usize) {
        batch.room()[..length].fill(byte);
        batch.add(slot, Side::A, skipped..length, to(slot as u16));
    }

    #[test]
    fn packets_leave_as_they_came_each_with_its_own_bytes() {
        let mut batch = Batch::new();
        for _ in 0..2 {
            take(&mut batch, 1, 0xaa, 172, 0);
            take(&mut batch, 2, 0xbb, 700, 12);
            // Dropped: what was read to the room is not kept.
            batch.room()[..50].fill(0xdd);
            take(&mut batch, 3, 0xcc, 1, 0);
            let sent: Vec<_> =
                batch.packets().map(|(one, bytes)| (one.slot, one.to, bytes.to_vec())).collect();
            let expected = vec![
                (1, to(1), vec![0xaa; 172]),
                (2, to(2), vec![0xbb; 688]),
                (3, to(3), vec![0xcc; 1]),
            ];
            assert_eq!(sent, expected);
            batch.clear();
            assert_eq!(batch.packets().count(), 0);
        }
    }

    #[test]
    fn there_is_room_for_a_longest_packet_until_a_batch_is_full() {
        for length in [1, 172, LINE_BYTES, PACKET_BYTES_MAX] {
            let mut batch = Batch::new();
            while !batch.is_full() {
                take(&mut batch, 1, 0xaa, length, 0);
            }
            let count = batch.packets().count();
            assert!(count <= PACKETS_MAX, "{length}: {count}");
            assert!(count == PACKETS_MAX || count * length > BYTES_MAX, "{length}: {count}");
            assert_eq!(batch.relayed.capacity(), PACKETS_MAX, "nothing is allocated");
        }
    }
}
