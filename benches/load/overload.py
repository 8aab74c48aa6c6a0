"""Ten times the capacity (RFC 6357): what is still served, how soon the rest hears 503, what becomes of calls in
progress, and how soon all is as before; then the same half of it beside idle connections, and beside a flood."""

import pathlib
import shutil
import socket
import subprocess
import threading
import time

import peers
import quota
import service
import verdict

DIALLED = 1000
# With a quarter of a core the senders on the other core can offer ten times the capacity.
SHARE = 0.25
HELD = 200
LADDER_FIRST, LADDER_STEP = 300, 1.2
FACTORS = ((1, 20), (2, 20), (5, 20), (10, 20))
STRANGER = "127.0.0.9"
FLOOD_RATE, FLOOD_BURST = 20_000, 100


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


class Step:
    """What one load of `rate` calls/s over `seconds` came to."""

    def __init__(self, work, numbers, rate, seconds):
        folder = pathlib.Path(work, "step")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(peers.HERE / "uac_shed.xml", folder / "uac.xml")
        self.rate, self.seconds, self.offered = rate, seconds, rate * seconds
        began = time.time()
        self.run = subprocess.run(
            ["taskset", "-c", peers.LOAD_CORE, "timeout", str(seconds + 60), "sipp", f"127.0.0.1:{service.SIP}",
             "-i", peers.PBX, "-p", "15080", "-sf", "uac.xml", "-inf", numbers, "-r", str(rate),
             "-m", str(self.offered), "-d", "200", "-l", str(rate * 40), "-nostdin",
             "-buff_size", "4194304", "-trace_rtt", "-rtt_freq", "1", "-timeout", f"{seconds + 40}s"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = [line.split(";") for line in next(folder.glob("*_rtt.csv")).read_text().splitlines()[1:]]
        rows = [(float(at) / 1000 - began, float(ms), name) for at, ms, name in rows]
        self.served = [(at, ms) for at, ms, name in rows if name == "setup"]
        self.refused = [(at, ms) for at, ms, name in rows if name == "refused"]

    def goodput(self):
        return sum(at <= self.seconds for at, _ in self.served) / self.seconds

    def heard(self):
        """Calls a second that came to an answer while the load lasted: less than offered when sipp falls behind."""
        return sum(at <= self.seconds for at, _ in self.served + self.refused) / self.seconds

    def unanswered(self):
        return self.offered - len(self.served) - len(self.refused)

    def p99(self, which):
        return percentile([ms for _, ms in which], 0.99)

    def row(self, name):
        return (name, self.rate, f"{self.heard():.0f}", f"{self.goodput():.0f}", len(self.refused), f"{self.p99(self.refused):.0f}",
                f"{self.p99(self.served):.0f}", self.unanswered())


def find_capacity(work, numbers):
    """The greatest rate of the ladder at which nothing is refused or lost."""
    rate, good = LADDER_FIRST, 0
    while True:
        step = Step(work, numbers, round(rate), 10)
        if len(step.served) < 0.99 * step.offered:
            return good
        good, rate = step.rate, rate * LADDER_STEP


def hold_calls(work, numbers, hold_ms):
    """Calls that stay up over all that follows."""
    return subprocess.Popen(
        ["taskset", "-c", peers.LOAD_CORE, "timeout", "900", "sipp", f"127.0.0.1:{service.SIP}", "-i", peers.PBX,
         "-p", "15070", "-mp", "7000", "-sf", "uac.xml", "-inf", numbers, "-r", "50", "-m", str(HELD),
         "-d", str(hold_ms), "-l", str(HELD), "-nostdin"],
        cwd=peers.HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def normal_after(step, usual_ms):
    """Seconds until no second of the step has a set-up slower than twice the usual, or a refusal."""
    last = 0.0
    for at, ms in step.served:
        if ms > max(2 * usual_ms, 20):
            last = max(last, at)
    return max([last] + [at for at, _ in step.refused])


class Flood:
    """INVITE, REGISTER, OPTIONS and garbage from an address that is in no trunk."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((STRANGER, 0))
        self.socket.connect(("127.0.0.1", service.SIP))
        own = "%s:%d" % self.socket.getsockname()
        head = (f"Via: SIP/2.0/UDP {own};branch=z9hG4bKflood;rport\r\nMax-Forwards: 70\r\nFrom: <sip:f@{own}>;tag=f\r\n"
                f"To: <sip:127.0.0.1>\r\nCall-ID: flood@{own}\r\n")
        self.packets = [f"{method} sip:127.0.0.1 SIP/2.0\r\n{head}CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n".encode()
                        for method in ("INVITE", "REGISTER", "OPTIONS")] + [bytes(range(256)) * 3]
        self.stopping, self.sent, self.seconds = threading.Event(), 0, 0.0
        self.thread = threading.Thread(target=self.pour)

    def pour(self):
        began = time.monotonic()
        while not self.stopping.is_set():
            due = (time.monotonic() - began) * FLOOD_RATE
            while self.sent + FLOOD_BURST <= due:
                for nth in range(FLOOD_BURST):
                    self.socket.send(self.packets[nth % len(self.packets)])
                self.sent += FLOOD_BURST
            time.sleep(0.001)
        self.seconds = time.monotonic() - began

    def answers(self):
        self.socket.setblocking(False)
        count = 0
        while True:
            try:
                self.socket.recv(65535)
                count += 1
            except BlockingIOError:
                return count

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


def under_flood(work, numbers, process, capacity):
    """Half the capacity from the trunk, and 20,000 packets a second from a stranger."""
    with Flood() as flood:
        step = Step(work, numbers, capacity // 2, 20)
    time.sleep(5)
    used = process.cpu_ns()
    time.sleep(2)
    idle = (process.cpu_ns() - used) / 2e9
    answers = flood.answers()
    print(f"a stranger's {flood.sent / flood.seconds:,.0f} packets/s beside {capacity // 2} calls/s: "
          f"{len(step.served) / step.offered:.1%} served, p99 {step.p99(step.served):.0f} ms; "
          f"{answers} answers to the stranger; {idle:.1%} of a core 5 s after")
    verdict.at_least("calls served beside the flood, in %", 100 * len(step.served) / step.offered, 95)
    verdict.at_most("answers to the stranger", answers, 10, 0)


def beside_idle(work, numbers, capacity):
    """Half the capacity beside 400 connections that say nothing, as many as four addresses may have."""
    crowd = []
    for host in range(4):
        for _ in range(100):
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.bind((f"127.0.7.{host + 1}", 0))
            one.connect(("127.0.0.1", service.SIP))
            crowd.append(one)
    step = Step(work, numbers, capacity // 2, 10)
    for one in crowd:
        one.close()
    verdict.at_most("200 beside 400 idle connections, p99 ms", step.p99(step.served), 50, 0)


def bench(work, table, numbers_file):
    process, key = service.start(work, softphones=True)
    with process, peers.carrier(work):
        made = service.Made(key, DIALLED)
        numbers = numbers_file(work, made.dialled)
        Step(work, numbers, 200, 5)
        with quota.Quota(process.pid, SHARE):
            capacity = find_capacity(work, numbers)
            print(f"{SHARE:.0%} of a core serves C = {capacity} calls/s with nothing refused")
            before = Step(work, numbers, capacity // 2, 10)
            rss = peers.rss_kib(process.pid)
            spans = sum(seconds + 5 for _, seconds in FACTORS) + 90
            held = hold_calls(work, numbers, spans * 1000)
            peers.wait_until(lambda: service.gauge("maskline_calls_active") >= HELD, "the held calls", 60)
            rows = [("load", "offered/s", "answered/s", "served/s", "503s", "503 p99 ms", "200 p99 ms", "unanswered")]
            rows.append(before.row("C/2 before"))
            steps = []
            for factor, seconds in FACTORS:
                step = Step(work, numbers, capacity * factor, seconds)
                rows.append(step.row(f"{factor} C"))
                rows.append(("  of C", "", "", f"{step.goodput() / capacity:.2f}", "", "", "", ""))
                steps.append((factor, step))
                most = peers.rss_kib(process.pid)
            after = Step(work, numbers, capacity // 2, 10)
            rows.append(after.row("C/2 after"))
            table(rows)
            usual = before.p99(before.served)
            for factor, step in steps:
                verdict.at_least(f"served at {factor} C / C", step.goodput() / capacity, 0.9)
                if step.refused:
                    verdict.at_most(f"503 at {factor} C, p99 ms", step.p99(step.refused), 50, 0)
            verdict.at_most("normal again after s", normal_after(after, usual), 5, 1)
            verdict.at_most("memory / before", most / rss, 2)
            under_flood(work, numbers, process, capacity)
            text = held.communicate()[0].decode(errors="replace")
            good = peers.count(text, "Successful call")
            verdict.at_least(f"of {HELD} calls in progress, ended by their caller", good, HELD, 0)
        # Without the quota, whose turns alone take 10 ms.
        beside_idle(work, numbers, capacity)
