//! The command line: one binary serves, administers and shows.

pub mod bindings;
pub mod calls;
pub mod client;
pub mod config_check;
pub mod demo;
pub mod doctor;
pub mod health;
pub mod key;
pub mod media;
pub mod numbers;
pub mod output;
pub mod serve;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Why a command failed: told to a person, and to nobody else.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What a command comes to.
pub type Outcome = Result<(), Failure>;

/// Self-hosted privacy-number call relay for insurers.
#[derive(Debug, Parser)]
#[command(name = "maskline", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve calls and the API.
    Serve(serve::Args),
    /// Forward the sound of calls for `maskline serve`, as a process of its own.
    Media(media::Args),
    /// Show one relayed call on this machine, from nothing.
    Demo(demo::Args),
    /// Find out what would go wrong.
    Doctor(doctor::Args),
    /// Check or show the settings.
    Config(config_check::Args),
    /// The root key.
    Key(key::Args),
    /// Virtual numbers.
    Numbers(numbers::Args),
    /// Policies bound to virtual numbers.
    Bindings(bindings::Args),
    /// Calls and their records.
    Calls(calls::Args),
    /// Ask the running service whether it lives.
    Health(health::Args),
}

/// Reads the arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Media(args) => media::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config_check::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Numbers(args) => numbers::run(&args),
        Command::Bindings(args) => bindings::run(&args),
        Command::Calls(args) => calls::run(&args),
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

/// Waits for one request of a client command: such a process does nothing else.
fn on_runtime<T, E>(request: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    E: Into<Failure>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(request).map_err(Into::into)
}
