//! Where `initdb` and `postgres` are, and of which major version.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use crate::store::server::MAJOR_MIN;

/// Debian keeps one folder for each major version here.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// A pair of programs of one version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) major: u32,
}

/// Where a machine may keep the programs.
struct Places {
    /// The folder that somebody has named; then it counts alone.
    named: Option<PathBuf>,
    debian_root: PathBuf,
    path: OsString,
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
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(Places { named, debian_root: PathBuf::from(DEBIAN_ROOT), path }, made_by)
    }

    fn find_in(places: Places, made_by: Option<u32>) -> Result<Self, EmbeddedError> {
        if let Some(folder) = places.named {
            let found = Self::in_folder(&folder).ok_or(EmbeddedError::BinDirWrong(folder))?;
            return found.recent();
        }
        let mut debian = debian_folders(&places.debian_root);
        debian.sort_by_key(|(major, _)| (Some(*major) == made_by, *major));
        let debian = debian.into_iter().rev().map(|(_, folder)| folder);
        let path = std::env::split_paths(&places.path).filter_map(path_folder);
        let mut too_old = None;
        for found in debian.chain(path).filter_map(|folder| Self::in_folder(&folder)) {
            match found.recent() {
                Ok(found) => return Ok(found),
                Err(error) => too_old = too_old.or(Some(error)),
            }
        }
        Err(too_old.unwrap_or(EmbeddedError::Missing))
    }

    fn recent(self) -> Result<Self, EmbeddedError> {
        if self.major < MAJOR_MIN {
            return Err(EmbeddedError::TooOld { found: self.major });
        }
        Ok(self)
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

    /// A folder of one test, removed at its end.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str) -> Self {
            let name = format!("maskline-binaries-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        /// Programs that say to be of this version.
        fn install(&self, folder: &str, version: &str) {
            let folder = self.0.join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
            for program in ["initdb", "postgres"] {
                let path = folder.join(program);
                std::fs::write(&path, &script).expect("a program");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(&path, mode).expect("our file");
            }
        }

        fn find(&self, made_by: Option<u32>) -> Result<u32, EmbeddedError> {
            let debian_root = self.0.join("debian");
            let places = Places { named: None, debian_root, path: self.0.join("path").into() };
            Binaries::find_in(places, made_by).map(|found| found.major)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            // The folder is temporary in any case.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_machine_without_postgresql_hears_which_package_to_install() {
        let machine = Machine::new("none");
        let missing = machine.find(None).expect_err("nothing is there");
        assert!(matches!(missing, EmbeddedError::Missing), "{missing}");
        assert!(missing.to_string().contains("apt-get install postgresql"), "{missing}");
    }

    #[test]
    fn the_version_that_made_the_cluster_is_taken_before_the_highest() {
        let machine = Machine::new("some");
        machine.install("path", "18.1");
        assert_eq!(machine.find(None).ok(), Some(18));
        machine.install("debian/15/bin", "15.13 (Debian 15.13-1)");
        machine.install("debian/16/bin", "16.9 (Debian 16.9-1)");
        assert_eq!(machine.find(None).ok(), Some(16));
        assert_eq!(machine.find(Some(15)).ok(), Some(15));
    }

    #[test]
    fn a_version_before_15_is_not_taken_and_is_named_when_there_is_no_other() {
        let machine = Machine::new("old");
        machine.install("debian/14/bin", "14.18 (Debian 14.18-1)");
        let told = machine.find(None).expect_err("too old").to_string();
        assert!(told.starts_with("PostgreSQL 14 is too old"), "{told}");
        machine.install("path", "17.5");
        assert_eq!(machine.find(None).ok(), Some(17));
    }

    #[test]
    fn a_configured_folder_without_programs_is_named() {
        let wrong = Binaries::find(Some(Path::new("/nowhere")), None).expect_err("no programs");
        assert!(wrong.to_string().starts_with("/nowhere"));
    }
}
