//! `maskline completion`: what a shell needs to complete our commands.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, Outcome};

/// Arguments of `maskline completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When it cannot be written.
pub fn run(args: &Args) -> Outcome {
    // Whoever closes the output would make the generator panic.
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "maskline", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
