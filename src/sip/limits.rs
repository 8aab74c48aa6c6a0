//! The hard limits of outside bytes. They are checked while scanning, before memory is taken.

/// Longest message. More is answered 513.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Most headers in one message. More is answered 400.
pub const HEADERS_MAX: usize = 256;
/// Longest header line with its folded continuations. More is answered 400.
pub const HEADER_LINE_MAX: usize = 8 * 1024;
/// Most Via values in one message. More is answered 400.
pub const VIAS_MAX: usize = 70;
/// Longest body. More is answered 413.
pub const BODY_MAX: usize = 32 * 1024;
/// Highest Max-Forwards.
pub const MAX_FORWARDS_MAX: u64 = 255;
/// Highest CSeq number.
pub const CSEQ_MAX: u64 = (1 << 31) - 1;
/// Highest Expires, in seconds.
pub const EXPIRES_MAX: u64 = u32::MAX as u64;
/// Most Route values a dialog keeps.
pub const ROUTE_SET_MAX: usize = 16;
/// Longest single value a dialog keeps (a URI, a From, a Call-ID).
pub const DIALOG_VALUE_MAX: usize = 1024;
/// Most dialogs that one INVITE of ours may open by forking.
pub const EARLY_DIALOGS_MAX: usize = 8;
