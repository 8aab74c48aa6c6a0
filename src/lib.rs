//! maskline: a privacy-number call relay. (The eight hops are described here.)

pub mod api;
pub mod app;
pub mod call;
pub mod cli;
pub mod client;
pub mod config;
pub mod domain;
pub mod jobs;
pub mod media;
pub mod phone;
pub mod policy;
pub mod prompt;
pub mod recording;
pub mod relay;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod store;
pub mod telemetry;
pub mod vault;
