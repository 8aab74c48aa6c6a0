//! The command line: one binary serves, administers and shows.

pub mod agents;
pub mod api_keys;
pub mod bindings;
mod bindings_import;
pub mod calls;
pub mod completion;
pub mod config_check;
pub mod demo;
pub mod doctor;
pub mod events;
pub mod health;
pub mod imports;
pub mod intents;
pub mod key;
pub mod media;
mod noun;
pub mod numbers;
pub mod output;
pub mod pools;
pub mod recordings;
mod secret;
pub mod serve;
pub mod subscribers;
pub mod tenants;
pub mod test_clock;
pub mod trunks;
mod watch;
pub mod webhooks;

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
    /// Insurers.
    Tenants(tenants::Args),
    /// Who may use the control API.
    ApiKeys(api_keys::Args),
    /// People of an insurer who dial.
    Agents(agents::Args),
    /// SIP peers.
    Trunks(trunks::Args),
    /// Virtual numbers of one class and city.
    Pools(pools::Args),
    /// Virtual numbers.
    Numbers(numbers::Args),
    /// Whom virtual numbers protect.
    Subscribers(subscribers::Args),
    /// Policies bound to virtual numbers.
    Bindings(bindings::Args),
    /// Files of bindings that are bound in the background.
    Imports(imports::Args),
    /// What calls are for, said before they are dialled.
    Intents(intents::Args),
    /// Calls and their records.
    Calls(calls::Args),
    /// What has happened to an insurer's things.
    Events(events::Args),
    /// Where an insurer is told of its events.
    Webhooks(webhooks::Args),
    /// The clock of a tenant that is there for tests.
    TestClock(test_clock::Args),
    /// Recordings of calls.
    Recordings(recordings::Args),
    /// What a shell needs to complete all of this.
    Completion(completion::Args),
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
        Command::Tenants(args) => tenants::run(&args),
        Command::ApiKeys(args) => api_keys::run(&args),
        Command::Agents(args) => agents::run(&args),
        Command::Trunks(args) => trunks::run(&args),
        Command::Pools(args) => pools::run(&args),
        Command::Numbers(args) => numbers::run(&args),
        Command::Subscribers(args) => subscribers::run(&args),
        Command::Bindings(args) => bindings::run(&args),
        Command::Imports(args) => imports::run(&args),
        Command::Intents(args) => intents::run(&args),
        Command::Calls(args) => calls::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Webhooks(args) => webhooks::run(&args),
        Command::TestClock(args) => test_clock::run(&args),
        Command::Recordings(args) => recordings::run(&args),
        Command::Completion(args) => completion::run(&args),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_of_compose_makes_the_root_key_that_the_image_uses() {
        let compose = include_str!("../../compose.yaml");
        let command = compose.lines().find_map(|line| line.trim().strip_prefix("command: ["));
        let words = command.and_then(|words| words.strip_suffix(']')).expect("a list");
        let words = ["maskline"].into_iter().chain(words.split(", "));
        let parsed = Cli::try_parse_from(words).expect("a command of ours");
        let Command::Key(key) = parsed.command else { panic!("another command") };
        let file = "/var/lib/maskline/root.key";
        assert!(format!("{key:?}").contains(file), "{key:?}");
        assert!(include_str!("../../Dockerfile").contains(&format!("ROOT_FILE={file}")));
        assert!(compose.contains("[relay:/var/lib/maskline]"));
    }

    #[test]
    fn the_page_of_the_command_line_names_every_command() {
        let page = include_str!("../../docs/command-line.md");
        let program = Cli::command();
        program.clone().debug_assert();
        for command in program.get_subcommands() {
            let name = command.get_name();
            let row = page.lines().find(|line| line.starts_with(&format!("| `maskline {name}")));
            let row = row.unwrap_or_else(|| panic!("there is no row of {name}"));
            for action in command.get_subcommands().map(clap::Command::get_name) {
                let is_named = row.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                assert!(is_named.into_iter().any(|word| word == action), "{name} {action}");
            }
        }
    }
}
