//! L2: recordings of calls on disk. Both directions are separate tracks of one file, encrypted
//! while it is written, so that a crash leaves what was said so far, and nothing in clear.
//!
//! The file: a header in clear (whose it is, when it began, its key wrapped by the tenant's key),
//! then frames of AES-256-GCM, each `length (2) | ciphertext | tag (16)`. The nonce is the number
//! of the frame; the header's hash and the number are authenticated with it, so that a frame opens
//! in its own file and place only. The last frame holds the totals: a file without it was cut off.

mod folder;
mod format;
mod left;
mod reader;
mod wav;
mod writer;

pub use folder::{Place, partial_folder};
pub use format::{About, Frame, PAYLOAD_BYTES_MAX, Totals, Track};
pub use left::{LEFT_MAX, Left, Taped, fingerprint, hold, left_over, make_folder, remove_useless};
pub use reader::{Extent, Outcome, Reader, RecordingError};
pub use wav::{PIECE_BYTES_MAX, Pieces, Wav};
pub use writer::{Finished, Writer};

#[cfg(test)]
mod tests;
