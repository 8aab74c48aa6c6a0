//! `maskline key`: the root key that everything is sealed under, and the first API key.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::Outcome;
use super::config_check::ConfigFile;
use crate::vault::{RootKey, RootKeyError};

/// Arguments of `maskline key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the root key file, mode 0400. Without this file no real number can ever be read again:
    /// keep a copy where the database's backups are not.
    Init {
        /// The file; without it the one of the settings (`keys.root_file`).
        #[arg(long)]
        file: Option<PathBuf>,
        /// Succeed when a good root key is there already.
        #[arg(long)]
        keep: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// When the settings are wrong, or the key exists or cannot be written.
pub fn run(args: &Args) -> Outcome {
    match &args.action {
        Action::Init { file, keep } => {
            let path = match file {
                Some(path) => path.clone(),
                None => args.config.load()?.keys.root_file,
            };
            let told = match RootKey::create(&path) {
                Ok(_) => "made",
                Err(RootKeyError::Exists(_)) if *keep => {
                    RootKey::load(&path)?;
                    "kept"
                }
                Err(error) => return Err(error.into()),
            };
            writeln!(io::stdout(), "{told} {}", path.display())?;
            Ok(())
        }
    }
}
