"""What a second core brings: the cost of a call with one thread that signals, and with two that share twice the calls.
Load and relay share the machine's two cores, so the gain is stated from CPU time: a thread that has a core for itself
serves as many calls as its cost a call lets it."""

import pathlib
import statistics
import subprocess
import threading

import peers
import service
import verdict

DIALLED = 1000
RATE = 500
SECONDS = 20
ROUNDS = 3
# Peers with as many addresses: the system spreads what comes from one address and port to one thread.
PEERS = 6


def carriers(work):
    runs = []
    for n in range(PEERS):
        port = 15090 + n
        runs.append(peers.Process(
            ["sipp", "-i", peers.CARRIER, "-p", str(port), "-sf", "uas.xml", "-nostdin", "-mp", str(6100 + 4 * n),
             "-buff_size", "4194304"], f"{work}/carrier-{n}.log"))
        peers.wait_until(lambda: peers.udp_bound(port), "a carrier")
    return runs


def place(numbers, rate):
    """All callers at once; (good, bad)."""
    share = rate // PEERS
    runs = [subprocess.Popen(
        ["timeout", "120", "sipp", f"127.0.0.1:{service.SIP}", "-i", peers.PBX, "-p", str(15070 + n),
         "-mp", str(6400 + 4 * n), "-sf", "uac.xml", "-inf", numbers, "-r", str(share), "-m", str(share * SECONDS),
         "-d", "200", "-l", str(share * 20), "-nostdin", "-buff_size", "4194304"],
        cwd=peers.HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for n in range(PEERS)]
    texts = [None] * PEERS

    def read(n):
        texts[n] = runs[n].communicate()[0].decode(errors="replace")

    readers = [threading.Thread(target=read, args=(n,)) for n in range(PEERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return (sum(peers.count(text, f"{word} call") for text in texts) for word in ("Successful", "Failed"))


def cost(process, numbers, rate):
    """CPU-seconds of the threads that signal, for 1,000 calls: in all, and of the busiest; and calls that failed."""
    def spent():
        return {name: ns for name, ns in peers.threads_ns(process.pid).items() if name.startswith("sip-")}
    before = spent()
    good, bad = place(numbers, rate)
    used = [(ns - before.get(name, 0)) / 1e9 / (good + bad) * 1000 for name, ns in spent().items()]
    return sum(used), max(used), bad


def bench(work, table, numbers_file):
    seen, rows = {}, [("threads", "calls/s", "CPU s per 1,000 calls", "busiest thread", "failed")]
    for shards in (1, 2):
        folder = pathlib.Path(work, str(shards))
        folder.mkdir(mode=0o755)
        process, key = service.start(folder, core=None, shards=shards)
        runs = carriers(work)
        with process:
            made = service.Made(key, DIALLED, carriers=PEERS)
            numbers = numbers_file(work, made.dialled)
            cost(process, numbers, RATE)
            rounds = [cost(process, numbers, RATE * shards) for _ in range(ROUNDS)]
            all_, most = (statistics.median(it[i] for it in rounds) for i in (0, 1))
            rows.append((shards, RATE * shards, f"{all_:.3f}", f"{most:.3f}", sum(it[2] for it in rounds)))
            seen[shards] = most
        for run in runs:
            run.__exit__()
    table(rows)
    print("a thread that has a core for itself serves as many calls as its cost a call lets it")
    verdict.at_least("calls of two threads / of one, by the busiest", seen[1] / seen[2], 1.7)
