"""Signalling over TCP and TLS beside Kamailio. sipp speaks TCP; for TLS, stunnel on the core of the load stands before
it on both sides, so that the relay and the yardstick have the encryption and the peers have the same path."""

import pathlib
import statistics
import subprocess

import peers
import service

DIALLED = 1000
RATES = (500, 1000)
SECONDS = 20
ROUNDS = 3
PBX_TLS, CARRIER_TLS, KAMAILIO_TLS = 15083, 15093, 15063

STUNNEL = """
foreground = yes
pid =
debug = 3
[caller]
client = yes
accept = {pbx}:15084
connect = 127.0.0.1:{server}
local = {pbx}
cert = {certificate}
[carrier]
accept = {carrier}:{carrier_tls}
connect = {carrier}:15090
local = {carrier}
cert = {certificate}
"""


def make_certificates(work):
    """A root, and a certificate of it for everybody with its key in one file: (root, certificate)."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, cwd=work, stderr=subprocess.DEVNULL)
    names = f"subjectAltName=IP:127.0.0.1,IP:{peers.PBX},IP:{peers.CARRIER}"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=root",
            "-keyout", "root.key.pem", "-out", "root.pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=peer",
            "-CA", "root.pem", "-CAkey", "root.key.pem", "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", names, "-keyout", "peer.key.pem", "-out", "peer.pem")
    both = pathlib.Path(work, "both.pem")
    both.write_text("".join(pathlib.Path(work, it).read_text() for it in ("peer.pem", "peer.key.pem")))
    return f"{work}/root.pem", str(both)


def stunnel(work, certificate, server):
    config = pathlib.Path(work, f"stunnel-{server}.conf")
    config.write_text(STUNNEL.format(pbx=peers.PBX, carrier=peers.CARRIER, carrier_tls=CARRIER_TLS,
                                     server=server, certificate=certificate))
    run = peers.Process(["stunnel", str(config)], f"{work}/stunnel.log", peers.LOAD_CORE)
    peers.wait_until(lambda: peers.tcp_bound(CARRIER_TLS), "stunnel")
    return run


def bench(work, table, numbers_file, measure, signalling):
    """CPU-seconds per 1,000 calls over TCP, then TLS, on both legs."""
    root, certificate = make_certificates(work)
    rows = [("transport", "calls/s", "maskline", "kamailio", "ratio", "failed")]
    for transport, ports in (("tcp", (15080, 15090)), ("tls", (PBX_TLS, CARRIER_TLS))):
        is_tls = transport == "tls"
        folder = pathlib.Path(work, transport)
        folder.mkdir(mode=0o755)
        process, key = service.start(folder, certificate=certificate, root=root)
        defined = ["WITH_STREAMS=1"] + ([f'CERTIFICATE="{certificate}"'] if is_tls else [])
        with process, peers.kamailio(str(folder), *defined) as kamailio, peers.carrier(work, "t1"):
            made = service.Made(key, DIALLED, transport, ports)
            numbers = numbers_file(work, made.dialled)

            def run(who, port, tls_port, rate):
                if not is_tls:
                    return measure(work, who, f"127.0.0.1:{port}", rate, numbers, sipp_transport="t1")
                with stunnel(work, certificate, tls_port):
                    return measure(work, who, f"{peers.PBX}:15084", rate, numbers, sipp_transport="t1")

            ours_at = (process, service.SIP, service.SIP_TLS)
            theirs_at = (kamailio, 15060, KAMAILIO_TLS)
            run(*ours_at, RATES[-1])
            run(*theirs_at, RATES[-1])
            for rate in RATES:
                ours, theirs = [], []
                for _ in range(ROUNDS):
                    ours.append(run(*ours_at, rate))
                    theirs.append(run(*theirs_at, rate))
                we = statistics.median(signalling(m) for m in ours)
                they = statistics.median(m["all"] for m in theirs)
                failed = f"{sum(m['bad'] for m in ours)}, {sum(m['bad'] for m in theirs)}"
                rows.append((transport, rate, f"{we:.3f}", f"{they:.3f}", f"{we / they:.2f}", failed))
    table(rows)
