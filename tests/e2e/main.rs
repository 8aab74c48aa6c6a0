//! End to end: the real binary, real sockets, real peers.

mod bad_network;
mod broken_fields;
mod calls;
#[path = "../certificates/mod.rs"]
mod certificates;
mod commands;
mod contract;
mod controlled;
mod crowd;
mod demo;
mod early_media;
mod encrypted;
mod examples;
mod guide;
mod http;
mod imports;
mod leaks;
mod media_process;
mod menu;
mod nouns;
mod own_database;
mod peer;
mod peers;
mod postgres;
mod prober;
mod prober_srtp;
#[path = "../protos/mod.rs"]
mod protos;
mod proxy;
mod recorded;
mod refused;
mod scanners;
mod second_peer;
mod service;
mod softphone;
mod sound;
mod streams;
mod tap;
mod tls_carrier;
mod torture;
mod torture_streams;
mod voices;
mod whisper;
mod whisper_answers;
mod wires;
mod words;
