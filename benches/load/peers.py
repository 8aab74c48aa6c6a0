"""Processes of a measurement: sipp, Kamailio, maskline. CPU is read from the kernel's run time of each thread."""

import pathlib
import re
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
RELAY_CORE, LOAD_CORE = "0", "1"
CARRIER, PBX = "127.0.0.3", "127.0.0.2"


def threads_ns(pid):
    """Thread name -> nanoseconds on a CPU since its start."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return found


def children(pid):
    """The process and all that it started."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


class Process:
    """One process that is stopped, by its id, when the block ends."""

    def __init__(self, command, log, core=None):
        if core is not None:
            command = ["taskset", "-c", core, *command]
        self.log = open(log, "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=HERE
        )
        self.pid = self.process.pid

    def cpu_ns(self):
        return sum(sum(threads_ns(pid).values()) for pid in children(self.pid))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def wait_until(check, what, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


def udp_bound(port):
    wanted = f":{port:04X} "
    return any(wanted in line.split(" rem", 1)[0] + " " for line in open("/proc/net/udp"))


def tcp_bound(port):
    wanted = f":{port:04X} "
    return any(wanted in line.split(" 0A ", 1)[0] + " " for line in open("/proc/net/tcp") if " 0A " in line)


def kamailio(work, *defined):
    """The yardstick: stateful record-routing proxy, one UDP or TCP child, the tlsf allocator. `defined` are
    substitutions for its configuration."""
    run = Process(
        ["kamailio", "-DD", "-f", "kamailio.cfg", "-x", "tlsf", "-m", "512", "-Y", work,
         "-P", f"{work}/kamailio.pid", *(f"-A{it}" for it in defined)],
        f"{work}/kamailio.log", RELAY_CORE)
    wait_until(lambda: udp_bound(15060), "Kamailio")
    return run


def carrier(work, sipp_transport="u1"):
    run = Process(["sipp", "-t", sipp_transport, "-i", CARRIER, "-p", "15090", "-sf", "uas.xml", "-nostdin",
                   "-buff_size", "4194304", "-max_socket", "16"],
                  f"{work}/carrier.log", LOAD_CORE)
    is_bound = udp_bound if sipp_transport == "u1" else tcp_bound
    wait_until(lambda: is_bound(15090), "the carrier")
    return run


def place_calls(work, target, rate, calls, hold_ms, numbers, sipp_transport="u1"):
    """Places calls and returns (successful, failed, seconds)."""
    began = time.monotonic()
    result = subprocess.run(
        ["taskset", "-c", LOAD_CORE, "timeout", "600", "sipp", target, "-t", sipp_transport,
         "-i", PBX, "-p", "15080",
         "-sf", "uac.xml", "-inf", numbers, "-r", str(rate), "-m", str(calls), "-d", str(hold_ms),
         "-l", str(rate * 20), "-nostdin", "-buff_size", "4194304"],
        cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = result.stdout.decode(errors="replace")
    pathlib.Path(f"{work}/pbx.log").write_text(text)

    return count(text, "Successful call"), count(text, "Failed call"), time.monotonic() - began


def count(screen, label):
    """The last cumulative count that sipp's screen shows for a label."""
    rows = re.findall(rf"{label}\s*\|\s*\d+\s*\|\s*(\d+)", screen)
    return int(rows[-1]) if rows else -1
