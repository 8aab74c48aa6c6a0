"""maskline for a measurement: the release binary, its own PostgreSQL, trunks, numbers and bindings."""

import http.client
import json
import os
import pathlib
import re
import subprocess
import sys

from peers import CARRIER, HERE, PBX, RELAY_CORE, Process, wait_until

BINARY = pathlib.Path(os.environ.get("MASKLINE_BINARY", HERE.parents[1] / "target/maskline"))
API, ADMIN, SIP, SIP_TLS = 18080, 19090, 15061, 15062
CONFIG = """
drain_timeout = "2s"
[database]
data_dir = "{work}/pg"
connections_max = 16
[keys]
root_file = "{work}/root.key"
[api]
listen = "127.0.0.1:{api}"
key_rps_max = 0
tenant_rps_max = 0
[admin]
listen = "127.0.0.1:{admin}"
[sip]
probe_interval = "0s"
listen = ["127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"{tls}
shards = {shards}
{softphones}calls_max = 30000
[media]
bind = "127.0.0.1"
ports = "20000-59999"
port_quarantine = "{quarantine}"
threads = 1
silence_timeout = "1h"
announce_refusals = false
[whisper]
mode = "off"
[recorder]
queue_max = 60000
[log]
filter = "warn"
"""

TLS = """, "tls:127.0.0.1:{port}"]
tls_certificate = "{file}"
tls_key = "{file}"
tls_ca = "{root}\""""


class Client:
    """A kept connection to the control API that speaks JSON."""

    def __init__(self, key):
        self.key = key
        self.connection = http.client.HTTPConnection("127.0.0.1", API, timeout=60)

    def call(self, method, path, body=None):
        return self.send(method, path, None if body is None else json.dumps(body))

    def send(self, method, path, payload, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        self.connection.request(method, path, payload, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def post(self, path, body):
        return self.call("POST", path, body)

    def get(self, path):
        return self.call("GET", path)


def start(work, quarantine="1s", core=RELAY_CORE, shards=1, certificate=None, root=None, softphones=False):
    """Starts the service and returns (process, operator key). `certificate` is the PEM of one and its key,
    for TLS, `root` that of what peers are checked with."""
    work = pathlib.Path(work)
    if not BINARY.exists():
        sys.exit("build first: scripts/build")
    config = work / "maskline.toml"
    config.write_text(CONFIG.format(
        work=work, api=API, admin=ADMIN, sip=SIP, quarantine=quarantine, shards=shards,
        softphones='softphones = "streams"\n' if softphones else "",
        tls="]" if certificate is None else TLS.format(port=SIP_TLS, file=certificate, root=root)))
    key = work / "operator.key"
    if not key.exists():
        subprocess.run([BINARY, "key", "init", "--config", config], check=True,
                       stdout=subprocess.DEVNULL)
        made = subprocess.run(
            [BINARY, "key", "create", "--role", "operator", "--quiet", "--config", config],
            check=True, stdout=subprocess.PIPE)
        key.write_bytes(made.stdout.strip())
    process = Process([str(BINARY), "serve", "--config", str(config)], work / "maskline.log", core)

    def alive():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", API, timeout=2)
            connection.request("GET", "/openapi.json")
            return connection.getresponse().status == 200
        except OSError:
            return False

    wait_until(alive, "maskline")
    return process, key.read_text()


def gauge(name):
    """The sum of a metric over its labels."""
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M))


def psql(work, sql):
    """Runs SQL as the owner of the private cluster."""
    sockets = [p.parent for p in pathlib.Path(work, "pg").rglob(".s.PGSQL.*") if p.is_socket()]
    if not sockets:
        sys.exit("the private PostgreSQL has no socket")
    run = subprocess.run(
        ["psql", "-h", sockets[0], "-U", "postgres", "-d", DATABASE, "-XAtq",
         "-v", "ON_ERROR_STOP=1"],
        input=sql.encode(), stdout=subprocess.PIPE, check=True)
    return run.stdout.decode().strip()


DATABASE = "maskline"


class Made:
    """Tenant, trunks, pool, numbers and the bindings that are dialled."""

    def __init__(self, operator_key, bindings, transport="udp", ports=(15080, 15090), carriers=1):
        operator = Client(operator_key)
        self.tenant = operator.post("/v1/tenants", {"name": "Bench Insurance", "desk_user": "8000"})["id"]
        operator.post("/v1/trunks", {
            "name": "pbx", "role": "insurer", "tenant_id": self.tenant,
            "source_networks": [PBX], "targets": [f"{PBX}:{ports[0]}"], "transport": transport})
        trunks = [operator.post("/v1/trunks", {
            "name": f"carrier-{n}", "role": "carrier", "source_networks": [CARRIER],
            "targets": [f"{CARRIER}:{ports[1] + n}"], "transport": transport})["id"] for n in range(carriers)]
        self.pool = operator.post(
            "/v1/pools", {"name": "bench", "class": "mobile", "trunks": trunks})["id"]
        self.operator = operator
        self.admin = self.key("insurer_admin")
        self.crm = self.key("insurer_crm")
        self.admin.post("/v1/agents", {
            "employee_id": "A1", "name": "Bench Agent", "caller_numbers": ["4821"]})
        self.import_numbers(700300000000000, bindings)
        self.dialled = [self.bind(i)["virtual_number"] for i in range(bindings)]

    def key(self, role, tenant=None):
        made = self.operator.post(
            "/v1/api-keys", {"name": role, "role": role, "tenant_id": tenant or self.tenant})
        return Client(made["key"])

    def other_tenant(self, name):
        """The CRM of an insurer that knows nobody yet."""
        return self.key("insurer_crm", self.operator.post("/v1/tenants", {"name": name})["id"])

    def import_numbers(self, first, count):
        for begin in range(0, count, 1000):
            numbers = [str(first + i) for i in range(begin, min(begin + 1000, count))]
            self.operator.post("/v1/numbers:import", {"pool": self.pool, "numbers": numbers})

    def bind(self, i):
        return self.crm.post("/v1/bindings", {
            "external_id": f"B-{i}", "mode": "ax", "pool": self.pool,
            "policy": {"ref": f"P-{i}"}, "subscriber": {"real_number": f"+861380000{i:04d}"}})
