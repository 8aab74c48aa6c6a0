//! L1: the gate. Whether a call may be placed, decided before anybody's phone rings.

pub mod caps;
pub mod gate;
