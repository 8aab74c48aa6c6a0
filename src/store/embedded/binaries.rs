//! Where `initdb` and `postgres` are, and of which major version.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;

/// Debian keeps one folder for each major version here.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// A pair of programs of one version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// The configured folder, else `PG_BINDIR`, else Debian's (of the version that made the
    /// cluster, else the highest), else the `PATH`.
    pub(super) fn find(
        configured: Option<&Path>,
        made_by: Option<u32>,
    ) -> Result<Self, EmbeddedError> {
        let named = configured
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("PG_BINDIR").map(PathBuf::from));
        if let Some(folder) = named {
            return Self::in_folder(&folder).ok_or(EmbeddedError::BinDirWrong(folder));
        }
        let mut debian = debian_folders(Path::new(DEBIAN_ROOT));
        debian.sort_by_key(|(major, _)| (Some(*major) == made_by, *major));
        let debian = debian.into_iter().rev().map(|(_, folder)| folder);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).filter_map(path_folder).collect();
        debian.chain(path).find_map(|folder| Self::in_folder(&folder)).ok_or(EmbeddedError::Missing)
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let (initdb, postgres) = (folder.join("initdb"), folder.join("postgres"));
        if !initdb.is_file() || !postgres.is_file() {
            return None;
        }
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let major = parse_version(std::str::from_utf8(&output.stdout).ok()?)?;
        Some(Self { initdb, postgres, major })
    }
}

/// `PATH` often holds a link to one program of several: follow it to its neighbours.
fn path_folder(folder: PathBuf) -> Option<PathBuf> {
    let postgres = folder.join("postgres").canonicalize().ok()?;
    postgres.parent().map(Path::to_owned)
}

fn debian_folders(root: &Path) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect()
}

/// Reads `postgres (PostgreSQL) 15.8 (Debian ..)`.
fn parse_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_releases_and_betas_are_read() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_version("postgres 15"), None);
    }

    #[test]
    fn a_configured_folder_without_programs_is_named() {
        let wrong = Binaries::find(Some(Path::new("/nowhere")), None).expect_err("no programs");
        assert!(wrong.to_string().starts_with("/nowhere"));
    }
}
