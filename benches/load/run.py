"""The measurements of `scripts/bench`: maskline beside its yardsticks, in one run on one machine.

usage: run.py sip|streams|cores|room|overload|setup|api|profile

All peers are on loopback. The relay (or the yardstick) has one core for itself, the load the other."""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cores
import overload
import peers
import probe
import room
import service
import streams
import verdict

RATES = (500, 1000)
SECONDS = 20
ROUNDS = 3
DIALLED = 1000
FILLER = 1_000_000
BATCHES = 20
IMPORT_BATCHES = 20
BATCH_ROWS = 1000
EXPIRY_RATE = 1_000
EXPIRY_SECONDS_MAX = 120
BATCH_RATE = 5000
SETUP_P99_MS = {"postgres": 10, "memory": 1}


def table(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip(), flush=True)


def numbers_file(work, dialled):
    path = f"{work}/numbers.csv"
    pathlib.Path(path).write_text("SEQUENTIAL\n" + "\n".join(dialled) + "\n")
    return path


def measure(work, process, target, rate, numbers, hold_ms=200, sipp_transport="u1"):
    """One round: CPU-seconds per 1,000 calls of the process, by thread name too."""
    before = {pid: peers.threads_ns(pid) for pid in peers.children(process.pid)}
    good, bad, seconds = peers.place_calls(work, target, rate, rate * SECONDS, hold_ms, numbers,
                                           sipp_transport)
    threads = {}
    for pid in peers.children(process.pid):
        for name, ns in peers.threads_ns(pid).items():
            spent = ns - before.get(pid, {}).get(name, 0)
            threads[name] = threads.get(name, 0) + spent
    per_1000 = {name: ns / 1e9 / (good + bad) * 1000 for name, ns in threads.items() if ns > 0}
    return {"good": good, "bad": bad, "rate": (good + bad) / seconds,
            "all": sum(per_1000.values()), "threads": per_1000}


def is_postgres(name):
    return name.startswith("postgres")


def sip(m):
    """Of a measurement, what the threads that signal have used."""
    return sum(spent for name, spent in m["threads"].items() if name.startswith("sip-"))


def bench_sip(work):
    """Signalling of a two-leg call beside Kamailio as a stateful record-routing proxy."""
    process, key = service.start(work)
    with process, peers.kamailio(work) as kamailio, peers.carrier(work):
        made = service.Made(key, DIALLED)
        numbers = numbers_file(work, made.dialled)
        rows = [("calls/s", "who", "signalling", "media ports", "rest", "together", "failed")]
        goals = []
        # Both have touched their memory before anything counts.
        measure(work, process, f"127.0.0.1:{service.SIP}", RATES[-1], numbers)
        measure(work, kamailio, "127.0.0.1:15060", RATES[-1], numbers)
        print("CPU-seconds per 1,000 calls, medians of", ROUNDS, "rounds")
        for rate in RATES:
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(measure(work, process, f"127.0.0.1:{service.SIP}", rate, numbers))
                theirs.append(measure(work, kamailio, "127.0.0.1:15060", rate, numbers))
            def media(m): return sum(v for k, v in m["threads"].items() if k.startswith("media"))
            def rest(m): return sum(v for k, v in m["threads"].items() if not is_postgres(k)) - sip(m) - media(m)
            def med(f, all_): return statistics.median(f(m) for m in all_)
            def sums(name, all_): return sum(m[name] for m in all_)
            rows.append((rate, "maskline", f"{med(sip, ours):.3f}", f"{med(media, ours):.3f}",
                         f"{med(rest, ours):.3f}", f"{med(sip, ours) + med(media, ours) + med(rest, ours):.3f}",
                         sums("bad", ours)))
            total = med(lambda m: m["all"], theirs)
            rows.append((rate, "kamailio", f"{total:.3f}", "-", "-", f"{total:.3f}",
                         sums("bad", theirs)))
            rows.append((rate, "ratio", f"{med(sip, ours) / total:.2f}", "", "",
                         f"{(med(sip, ours) + med(media, ours) + med(rest, ours)) / total:.2f}", ""))
            goals.append((rate, med(sip, ours) / total))
        table(rows)
        for rate, ratio in goals:
            verdict.at_most(f"signalling of maskline / Kamailio at {rate} calls/s", ratio, 0.75)
        bench_memory(work, process, numbers)


def profile(work):
    """Calls for a binary that counts what it runs through."""
    for transport, sipp_transport in (("udp", "u1"), ("tcp", "t1")):
        folder = pathlib.Path(work, transport)
        folder.mkdir(mode=0o755)
        process, key = service.start(folder)
        with process, peers.carrier(str(folder), sipp_transport):
            numbers = numbers_file(folder, service.Made(key, DIALLED, transport).dialled)
            measure(str(folder), process, f"127.0.0.1:{service.SIP}", RATES[0], numbers, sipp_transport=sipp_transport)


def bench_memory(work, process, numbers):
    """Growth of the process per bridged call: 4,000 calls held up at once, media sockets included."""
    calls = 4000
    before = peers.rss_kib(process.pid)
    run = subprocess.Popen(
        ["taskset", "-c", peers.LOAD_CORE, "timeout", "120", "sipp", f"127.0.0.1:{service.SIP}",
         "-i", peers.PBX, "-p", "15080", "-sf", "uac.xml", "-inf", numbers, "-r", "400",
         "-m", str(calls), "-d", "25000", "-l", str(calls), "-nostdin"],
        cwd=peers.HERE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peers.wait_until(lambda: service.gauge("maskline_calls_active") >= calls, "4,000 bridged calls", 60)
    after = peers.rss_kib(process.pid)
    run.wait()
    print(f"memory: {calls} bridged calls, process grew {(after - before) / calls:.1f} KiB a call "
          f"(signalling, media and route together)")


def bench_setup(work):
    """INVITE in to INVITE out with a million bindings: first from Postgres, then from memory."""
    process, key = service.start(work, core=None)
    with process:
        dialled = service.Made(key, DIALLED).dialled
        fill(work)
    # A new process knows no route yet.
    process, key = service.start(work, core=None)
    rows, goals = [("route from", "calls", "p50 ms", "p99 ms", "most ms")], []
    with process:
        for round_, source in enumerate(("postgres", "memory")):
            spent = probe.setup_times(dialled, service.SIP, round_ * DIALLED, 0.005)
            at = lambda part: f"{spent[min(len(spent) - 1, int(len(spent) * part))]:.3f}"
            rows.append((source, len(spent), at(0.5), at(0.99), at(1)))
            goals.append((source, float(at(0.99))))
        table(rows)
        for source, p99 in goals:
            verdict.at_most(f"INVITE in to INVITE out by {source}, p99 ms", p99, SETUP_P99_MS[source], 3)


def fill(work):
    print(f"filling {FILLER:,} bindings", flush=True)
    sql = (peers.HERE / "fill.sql").read_text().replace(":rows", str(FILLER))
    service.psql(work, sql)


def bench_api(work):
    """POST /v1/bindings, one by one and in batches, beside pgbench's plain durable insert."""
    process, key = service.start(work, core=None)
    with process:
        made = service.Made(key, 1)
        fill(work)
        print("importing 120,000 free numbers", flush=True)
        made.import_numbers(700100000000000, 120_000)
        service.psql(work, "create table plain (id bigserial primary key, body text, made_at timestamptz)")
        script = f"{work}/insert.sql"
        pathlib.Path(script).write_text(
            "insert into plain (body, made_at) values (repeat('x', 300), now());\n")
        socket = next(p.parent for p in pathlib.Path(work, "pg").rglob(".s.PGSQL.*") if p.is_socket())
        pgbench = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pgbench"))[-1]
        rows = [("connections", "pgbench inserts/s", "binds/s", "ratio", "bind p50 ms", "bind p99 ms", "errors")]
        for connections in (1, 16):
            theirs = subprocess.run(
                [pgbench, "-n", "-h", socket, "-U", "postgres", "-c", str(connections), "-j", "2",
                 "-T", "10", "-f", script, service.DATABASE],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()
            plain = float(re.search(r"tps = ([\d.]+)", theirs)[1])
            ours = subprocess.run(
                ["wrk", "-t", "1", "-c", str(connections), "-d", "10s", "--latency", "-s", "bind.lua",
                 "-H", f"Authorization: Bearer {made.crm.key}", f"http://127.0.0.1:{service.API}",
                 "--", made.pool, f"r{connections}"],
                cwd=peers.HERE, stdout=subprocess.PIPE, check=True).stdout.decode()
            found = re.search(r"rate=(\d+) p50=([\d.]+) p99=([\d.]+) errors=(\d+)", ours)
            rows.append((connections, f"{plain:.0f}", found[1], f"{int(found[1]) / plain:.2f}",
                         found[2], found[3], found[4]))
        table(rows)
        bench_batches(made)
        bench_expiry(work)
        bench_import(made)


def bench_batches(made):
    """POST /v1/bindings:batch: 1,000 subscribers that are new to their tenant in each request."""
    rows = [("connections", "batches", "bindings/s", "batch p50 ms", "most ms")]
    for connections in (1, 2):
        client, batches = made.other_tenant(f"Batches {connections}"), BATCHES // connections
        bodies = [[batch_of(made.pool, share * batches + nth) for nth in range(batches)]
                  for share in range(connections)]
        with concurrent.futures.ThreadPoolExecutor(connections) as threads:
            begun = time.monotonic()
            spent = sorted(sum(threads.map(lambda mine: send_batches(client, mine), bodies), []))
            rate = len(spent) * BATCH_ROWS / (time.monotonic() - begun)
        rows.append((connections, len(spent), f"{rate:.0f}", f"{spent[len(spent) // 2] * 1e3:.0f}",
                     f"{spent[-1] * 1e3:.0f}"))
        verdict.at_least(f"bindings/s in batches of {BATCH_ROWS:,}, {connections} connections", rate,
                         BATCH_RATE, 0)
    table(rows)


def bench_expiry(work):
    """All those of the batches run out at one moment: how fast the sweep writes them down."""
    service.psql(work, "update binding set expires_at = clock_timestamp()"
                       " where external_id like 'N-%' and ended_at is null")
    waiting = ("select count(*) from binding where ended_at is null and expires_at <= now()")
    count, left = 0, int(service.psql(work, waiting))
    first, begun, end = left, None, time.monotonic() + EXPIRY_SECONDS_MAX
    while left:
        if time.monotonic() > end:
            sys.exit(f"{left} bindings have not expired after {EXPIRY_SECONDS_MAX} s")
        left = int(service.psql(work, waiting))
        if begun is None and left < first:
            begun, count = time.monotonic(), left
    rate = count / (time.monotonic() - begun)
    print(f"{count:,} bindings that ran out, written down after the first ones: {rate:.0f} a second")
    verdict.at_least("expiries/s", rate, EXPIRY_RATE, 0)


def bench_import(made):
    """POST /v1/jobs/imports: one file, bound in the background with rests between its chunks."""
    client = made.other_tenant("Imports")
    file = "".join(json.dumps(row) + "\n" for nth in range(IMPORT_BATCHES) for row in rows_of(made.pool, nth))
    begun = time.monotonic()
    job = client.send("POST", "/v1/jobs/imports", file, "application/x-ndjson")
    sent = time.monotonic() - begun
    while job["state"] == "running":
        time.sleep(0.2)
        job = client.get(f"/v1/jobs/imports/{job['id']}")
    spent = time.monotonic() - begun
    if job["rows_created"] != IMPORT_BATCHES * BATCH_ROWS:
        sys.exit("an import has rows that were not bound")
    table([("rows of a file", "sent in s", "bound in s", "rows/s"),
           (job["rows_created"], f"{sent:.1f}", f"{spent:.1f}", f"{job['rows_created'] / spent:.0f}")])


def batch_of(pool, nth):
    """The body of a batch, made before the time runs."""
    return json.dumps({"bindings": rows_of(pool, nth)})


def rows_of(pool, nth):
    return [{
        "external_id": f"N-{n}", "mode": "ax", "pool": pool, "policy": {"ref": f"P-{n}"},
        "subscriber": {"real_number": f"+86138000{n:05d}"}}
        for n in range(nth * BATCH_ROWS, (nth + 1) * BATCH_ROWS)]


def send_batches(client, bodies):
    """Seconds for each, over a connection of its own."""
    client, spent = service.Client(client.key), []
    for body in bodies:
        begun = time.monotonic()
        results = client.send("POST", "/v1/bindings:batch", body)["results"]
        spent.append(time.monotonic() - begun)
        if any(result["status"] != 201 for result in results):
            sys.exit("a batch has rows that were not bound")
    return spent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["sip", "streams", "cores", "room", "overload", "setup", "api", "profile"])
    what = parser.parse_args().what
    work = tempfile.mkdtemp(prefix="maskline-bench-")
    pathlib.Path(work).chmod(0o755)
    try:
        {
            "sip": lambda: bench_sip(work),
            "streams": lambda: streams.bench(work, table, numbers_file, measure, sip),
            "cores": lambda: cores.bench(work, table, numbers_file),
            "room": lambda: room.bench(work, table, numbers_file),
            "overload": lambda: overload.bench(work, table, numbers_file),
            "setup": lambda: bench_setup(work),
            "api": lambda: bench_api(work),
            "profile": lambda: profile(work),
        }[what]()
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
