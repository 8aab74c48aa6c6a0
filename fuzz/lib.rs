//! The pure readers of the product alone, under the product's name, so that the properties of
//! `tests/fuzz` can be shared.

#[path = "../src/sdp/mod.rs"]
pub mod sdp;
#[path = "../src/sip/mod.rs"]
pub mod sip;
