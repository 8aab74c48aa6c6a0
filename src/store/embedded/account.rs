//! Whom PostgreSQL runs as: it refuses to run as root.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::EmbeddedError;

/// An account to drop root for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// Nobody else when we are not root; as root `postgres`, else `nobody`.
    pub(super) fn choose() -> Result<Option<Self>, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let path = Path::new("/etc/passwd");
        let passwd = std::fs::read_to_string(path).map_err(EmbeddedError::at(path))?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Self::find(&passwd, name))
            .map(Some)
            .ok_or(EmbeddedError::AccountMissing)
    }

    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self { name: name.to_owned(), uid, gid })
        })
    }

    /// Every folder above `path` lets the account through.
    pub(super) fn check_reaches(&self, path: &Path) -> Result<(), EmbeddedError> {
        for folder in path.ancestors().skip(1).filter(|folder| folder.exists()) {
            let metadata = std::fs::metadata(folder).map_err(EmbeddedError::at(folder))?;
            let bit = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & bit == 0 {
                return Err(EmbeddedError::Unreachable {
                    path: folder.to_owned(),
                    account: self.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// A command that runs a PostgreSQL program as the account, in a clean environment, without a
/// shell and without `unsafe`. The signal of the parent's death is set after the change of user,
/// which would clear it.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if let Some(account) = account {
        let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/").env_clear().env("LC_ALL", "C.UTF-8");
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A program that cannot be spawned: `setpriv` itself is missing, or the system refuses.
pub(super) fn spawn_error(error: &std::io::Error) -> EmbeddedError {
    if error.kind() == std::io::ErrorKind::NotFound {
        EmbeddedError::SetprivMissing
    } else {
        EmbeddedError::io("setpriv", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nnobody2:x:1:1::/:/x\nnobody:x:65534:65533::/:/x\n";
        let nobody = Account { name: "nobody".to_owned(), uid: 65534, gid: 65533 };
        assert_eq!(Account::find(passwd, "nobody"), Some(nobody));
        assert_eq!(Account::find(passwd, "postgres"), None);
        assert_eq!(Account::find("postgres:x:ten:1", "postgres"), None);
    }
}
