//! `maskline key`: the root key that everything is sealed under, and the first API key.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::config_check::ConfigFile;
use super::{Failure, Outcome, on_runtime};
use crate::api::bootstrap::issue_platform_key;
use crate::api::roles::Role;
use crate::api::secrets::IssuedKey;
use crate::app::open_store;
use crate::config::Config;
use crate::relay::now::now;
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
    /// Make an API key of the platform, such as the first operator's, and print it once. It goes
    /// directly into the database: whoever can read the root key may do this.
    Create(Create),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// `operator`, `compliance`, `approver`, `regulator` or `ops`; keys of insurers are made over
    /// the API.
    #[arg(long, default_value = "operator", value_parser = platform_role)]
    role: Role,
    /// What it is used for.
    #[arg(long, default_value = "made by maskline key create")]
    name: String,
    /// Print the key and nothing else.
    #[arg(long)]
    quiet: bool,
}

fn platform_role(word: &str) -> Result<Role, String> {
    match Role::find_label(word) {
        Some(role) if role.needs_tenant() => {
            Err("keys of a tenant are made over the API: POST /v1/api-keys".to_owned())
        }
        Some(role) => Ok(role),
        None => Err("no such role".to_owned()),
    }
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
        Action::Create(create) => {
            let config = args.config.load()?;
            let key = on_runtime(issue(&config, create))?;
            let mut out = io::stdout().lock();
            if !create.quiet {
                writeln!(out, "The key of this {} is shown this once:", create.role.label())?;
            }
            writeln!(out, "{}", key.expose())?;
            Ok(())
        }
    }
}

async fn issue(config: &Config, create: &Create) -> Result<IssuedKey, Failure> {
    let (store, database) = open_store(config).await?;
    let issued = issue_platform_key(&store, create.role, &create.name, now()).await;
    database.close().await;
    Ok(issued?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_insurer_is_not_made_here() {
        assert!(platform_role("insurer_admin").is_err_and(|told| told.contains("/v1/api-keys")));
        assert!(platform_role("nobody").is_err());
        assert_eq!(platform_role("operator"), Ok(Role::Operator));
    }
}
