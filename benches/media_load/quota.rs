//! A part of a core for a relay, by a control group: a relay with a whole core takes more packets
//! than phones on the other core can send. Needs root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How often the quota is renewed.
const PERIOD_US: u64 = 10_000;

/// A control group with one process in it.
pub(super) struct Quota(PathBuf);

impl Quota {
    /// Gives a process `percent` of a core from now on.
    pub(super) fn set(pid: u32, percent: u64) -> io::Result<Self> {
        let name = format!("maskline-media-bench-{pid}");
        let quota = PERIOD_US * percent / 100;
        let (one, two) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let group = if one.is_dir() { one.join(name) } else { two.join(name) };
        if !one.is_dir() {
            fs::write(two.join("cgroup.subtree_control"), "+cpu")?;
        }
        fs::create_dir(&group)?;
        let group = Self(group);
        if one.is_dir() {
            group.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            group.write("cpu.cfs_quota_us", &quota.to_string())?;
        } else {
            group.write("cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        group.write("cgroup.procs", &pid.to_string())?;
        Ok(group)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.0.join(file), value)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // The process has ended by now.
        let _ = fs::remove_dir(&self.0);
    }
}
