#!/usr/bin/env python3
"""Takes maskline's webhooks, with Python's standard library alone (3.9 or later).

    export MASKLINE_WEBHOOK_SECRET=whsec_...
    receiver.py PORT       prints each event once, on 127.0.0.1; put a server that speaks TLS before it

What comes again is known by its id. A real receiver keeps the ids where it keeps the events, in one
transaction; this one remembers the last few thousand."""

import base64
import collections
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

BODY_BYTES_MAX = 1 << 20
KNOWN_MAX = 10_000

known = collections.OrderedDict()


def is_genuine(secret: str, headers, body: bytes, tolerance_s: int = 300) -> bool:
    """`headers` are those of the request, `body` its bytes as they came."""
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdigit() or abs(time.time() - int(sent_at)) > tolerance_s:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(one.encode(), f"v1,{wanted}".encode()) for one in given)


def is_new(event_id):
    if event_id in known:
        return False
    known[event_id] = None
    if len(known) > KNOWN_MAX:
        known.popitem(last=False)
    return True


class Receiver(http.server.BaseHTTPRequestHandler):
    timeout = 15

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not is_genuine(os.environ["MASKLINE_WEBHOOK_SECRET"], self.headers, body):
            return self.answer(401)
        event = json.loads(body)
        if is_new(self.headers["webhook-id"]):
            print(event["type"], json.dumps(event["data"], sort_keys=True), flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing but events is printed."""


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit() or "MASKLINE_WEBHOOK_SECRET" not in os.environ:
        sys.exit(__doc__)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
