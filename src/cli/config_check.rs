//! `maskline config`: find the mistakes in the settings, or show what is in force.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;

use super::Outcome;
use crate::config::Config;
use crate::media::sounds::Library;

/// Check or show the settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

/// Where the settings are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigFile {
    /// The configuration file; without it the defaults and the environment apply.
    #[arg(long = "config", env = "MASKLINE_CONFIG", value_name = "FILE", global = true)]
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// Report every mistake with its file and key.
    Check,
    /// Print all settings in force, without secrets.
    Dump,
}

impl ConfigFile {
    /// Reads the settings.
    ///
    /// # Errors
    /// All mistakes, one a line.
    pub fn load(&self) -> Result<Config, crate::config::Invalid> {
        Config::load(self.path.as_deref())
    }
}

/// Runs the command.
///
/// # Errors
/// The settings are wrong, or nothing can be written.
pub fn run(args: &Args) -> Outcome {
    let config = args.file.load()?;
    let text = match args.action {
        Action::Check => {
            Library::load(config.media.prompts.as_deref())?;
            "The configuration is valid.\n".to_owned()
        }
        Action::Dump => config.dump(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
