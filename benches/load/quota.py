"""Less than a core for one process, by a control group: what makes a load of ten times its capacity possible at all
for senders on the same machine. Needs root."""

import os
import pathlib
import sys

PERIOD_US = 10_000


class Quota:
    """The process alone, without what it has started, gets `share` of one core while the block lasts."""

    def __init__(self, pid, share):
        if os.geteuid() != 0:
            sys.exit("a quota of the processor needs root")
        name = f"maskline-bench-{os.getpid()}"
        quota = int(PERIOD_US * share)
        one, two = pathlib.Path("/sys/fs/cgroup/cpu"), pathlib.Path("/sys/fs/cgroup")
        if one.is_dir():
            self.group = one / name
            self.settings = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}
        else:
            (two / "cgroup.subtree_control").write_text("+cpu")
            self.group = two / name
            self.settings = {"cpu.max": f"{quota} {PERIOD_US}"}
        self.pid = pid

    def __enter__(self):
        self.group.mkdir()
        for file, value in self.settings.items():
            (self.group / file).write_text(value)
        (self.group / "cgroup.procs").write_text(str(self.pid))
        return self

    def __exit__(self, *_):
        try:
            (self.group.parent / "cgroup.procs").write_text(str(self.pid))
        except ProcessLookupError:
            pass
        self.group.rmdir()
