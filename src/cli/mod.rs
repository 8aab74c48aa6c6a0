//! The command line: one binary serves, administers and shows.

pub mod client;
pub mod config_check;
pub mod health;
pub mod output;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// What a command comes to; the error is told in one line.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Self-hosted privacy-number call relay for insurers.
#[derive(Debug, Parser)]
#[command(name = "maskline", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check or show the settings.
    Config(config_check::Args),
    /// Ask the running service whether it lives.
    Health(health::Args),
}

/// Reads the arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Config(args) => config_check::run(&args),
        Command::Health(args) => health::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nobody left to tell then.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
