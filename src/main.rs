//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before anything can want TLS. It fails only when it was done before.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    maskline::cli::run()
}
