"""Memory: 10,000 calls up at once, or as many as the system has files for, and what is left of them after 64*T1."""

import os
import resource
import subprocess
import time

import peers
import service
import verdict

DIALLED = 1000
CALLS = 9_900
RATE = 400
# Up to the last call, and then long enough to be looked at.
HOLD_S = 40
# Everything that lingers does so for 32 s; ports, for the quarantine.
REST_S = 45
FILES = 4 * CALLS + 10_000


def calls_that_fit():
    """Four sockets a call need more files than systems grant unasked, and some grant them to nobody."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return min(CALLS, (wanted - 4_000) // 4)
        except (ValueError, OSError):
            pass
    return 1_000


def place(numbers, calls):
    return subprocess.Popen(
        ["taskset", "-c", peers.LOAD_CORE, "timeout", "180", "sipp", f"127.0.0.1:{service.SIP}", "-i", peers.PBX,
         "-p", "15080", "-sf", "uac.xml", "-inf", numbers, "-r", str(RATE), "-m", str(calls),
         "-d", str(HOLD_S * 1000), "-l", str(calls), "-nostdin"],
        cwd=peers.HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def bench(work, table, numbers_file):
    calls = calls_that_fit()
    process, key = service.start(work)
    with process, peers.carrier(work):
        numbers = numbers_file(work, service.Made(key, DIALLED).dialled)
        peers.place_calls(work, f"127.0.0.1:{service.SIP}", RATE, 4000, 200, numbers)
        time.sleep(REST_S)
        rows = [("", "memory MiB", "calls", "transactions", "media ports", "files")]

        def look(name):
            gauges = [service.gauge(f"maskline_{it}") for it in
                      ("calls_active", "sip_transactions_active", "rtp_ports")]
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
            mib = peers.rss_kib(process.pid) / 1024
            rows.append((name, f"{mib:.1f}", *(f"{it:.0f}" for it in gauges), files))
            return mib

        start = look("at rest, 4,000 short calls ago")
        for name in ("first", "second"):
            run = place(numbers, calls)
            peers.wait_until(lambda: service.gauge("maskline_calls_active") >= calls, "the calls", 90)
            most = look(f"{calls} calls up, {name} time")
            text = run.communicate()[0].decode(errors="replace")
            good = peers.count(text, "Successful call")
            time.sleep(REST_S)
            end = look(f"{REST_S} s after the last of {good}")
        left = sum(service.gauge(f"maskline_{it}") for it in
                   ("calls_active", "sip_transactions_active", 'rtp_ports{state="open"}'))
        table(rows)
        print(f"{calls} calls take {most - start:.0f} MiB, {(most - start) * 1024 / calls:.1f} KiB each, media and "
              f"routes included; at rest again: {end / start:.3f} of the start")
        # What media takes is in it: the goal is for signalling alone.
        verdict.at_most("10,000 calls, MB", (most - start) * 1.048576 * 10_000 / calls, 80, 0)
        verdict.at_most(f"calls, transactions and open ports {REST_S} s after", left, 0, 0)
        verdict.at_most("memory at rest again / at the start", end / start, 1.05, 3)
