//! Several short texts in one piece of memory: a dialog is kept for half a minute after its call,
//! and each piece of memory would cost a visit of its own.

use super::NoDialog;
use crate::sip::limits::DIALOG_VALUE_MAX;

/// `N` texts of at most [`DIALOG_VALUE_MAX`] bytes each.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Packed<const N: usize> {
    text: Box<[u8]>,
    /// Where each part ends.
    ends: [u16; N],
}

impl<const N: usize> Packed<N> {
    /// Each part is given in pieces.
    ///
    /// # Errors
    /// [`NoDialog`] when a part is too long.
    pub(super) fn new(parts: [&[&[u8]]; N]) -> Result<Self, NoDialog> {
        let length = parts.iter().flat_map(|part| part.iter()).map(|piece| piece.len()).sum();
        let mut text = Vec::with_capacity(length);
        let mut ends = [0; N];
        for (part, end) in parts.iter().zip(&mut ends) {
            let start = text.len();
            for piece in *part {
                text.extend_from_slice(piece);
            }
            if text.len() - start > DIALOG_VALUE_MAX {
                return Err(NoDialog);
            }
            *end = u16::try_from(text.len()).map_err(|_| NoDialog)?;
        }
        Ok(Self { text: text.into(), ends })
    }

    /// The part at a position.
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let start = match at.checked_sub(1).and_then(|before| self.ends.get(before)) {
            Some(start) => usize::from(*start),
            None => 0,
        };
        let end = self.ends.get(at).copied().map_or(0, usize::from);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The same with another part at a position.
    ///
    /// # Errors
    /// [`NoDialog`] when it is too long.
    pub(super) fn replace(&mut self, at: usize, part: &[u8]) -> Result<(), NoDialog> {
        if self.get(at) == part {
            return Ok(());
        }
        let parts: [_; N] = std::array::from_fn(|n| if n == at { part } else { self.get(n) });
        let parts = parts.each_ref().map(std::slice::from_ref);
        *self = Self::new(parts)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_and_replaced_by_itself() {
        let packed = Packed::new([&[b"one"], &[b"t", b"wo"], &[]]);
        let mut packed = packed.expect("short parts");
        let all = |packed: &Packed<3>| [0, 1, 2].map(|at| packed.get(at).to_vec());
        assert_eq!(all(&packed), [&b"one"[..], b"two", b""]);
        assert_eq!(packed.replace(1, b"second"), Ok(()));
        assert_eq!(all(&packed), [&b"one"[..], b"second", b""]);
        assert_eq!(packed.replace(2, &[b'x'; DIALOG_VALUE_MAX + 1]), Err(NoDialog));
    }
}
