#!/usr/bin/env python3
"""What an insurer's CRM asks of maskline, with Python's standard library alone (3.9 or later).

    export MASKLINE_URL=http://127.0.0.1:8080 MASKLINE_KEY=mk_live_...
    (or, with a key that signs: MASKLINE_KEY=ms_live_... MASKLINE_KEY_ID=key_...)
    crm.py bind POLICY     binds the phone whose number comes on standard input; prints the virtual number
    crm.py list            the bindings that connect calls
    crm.py unbind POLICY   ends the binding of a policy
    crm.py events [CURSOR] what has happened since then; the last line is the cursor to go on from

A real number is never an argument: whoever may list the processes of a machine would see it."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

ATTEMPTS_MAX = 5
TIMEOUT_S = 30


class Problem(Exception):
    """What the API has refused, in its words (RFC 9457). It never repeats a value that was sent."""

    def __init__(self, status, problem):
        errors = [f"{error['pointer']}: {error['message']}" for error in problem.get("errors", [])]
        told = problem.get("detail") or problem.get("title") or "no reason was given"
        super().__init__(f"{status} {problem.get('code', '')}: " + "; ".join([told, *errors]))
        self.code = problem.get("code")
        self.retryable = problem.get("retryable", status >= 500)


def sign(method, url, headers, body, key_id, secret):
    """Signs one request (RFC 9421, RFC 9530): who sees it can send it neither again nor changed."""
    if body is not None:
        headers["Content-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    parts = urllib.parse.urlsplit(url)
    lines = {"@method": method, "@path": parts.path, "@query": "?" + parts.query}
    lines.update((name.lower(), value) for name, value in headers.items())
    covered = " ".join(f'"{name}"' for name in lines)
    parameters = f'({covered});created={int(time.time())};keyid="{key_id}";nonce="{secrets.token_urlsafe(16)}"'
    base = "".join(f'"{name}": {value}\n' for name, value in lines.items())
    base += f'"@signature-params": {parameters}'
    tag = base64.b64encode(hmac.digest(secret.encode(), base.encode(), "sha256")).decode()
    return {**headers, "Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{tag}:"}


class Maskline:
    def __init__(self, url, key, key_id=None):
        self.url, self.key, self.key_id = url.rstrip("/"), key, key_id

    def call(self, method, path, body=None):
        """One request, repeated while that can help. The same key goes with each attempt, so that a POST
        whose answer was lost is carried out once."""
        headers = {"Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(1, ATTEMPTS_MAX + 1):
            if self.key_id:
                proof = sign(method, self.url + path, dict(headers), data, self.key_id, self.key)
            else:
                proof = {**headers, "Authorization": f"Bearer {self.key}"}
            request = urllib.request.Request(self.url + path, data, proof, method=method)
            wait = 2 ** (attempt - 1)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                problem = Problem(error.code, read_problem(error))
                if not problem.retryable or attempt == ATTEMPTS_MAX:
                    raise problem from None
                after = error.headers.get("Retry-After", "")
                wait = int(after) if after.isdigit() else wait
            except OSError:
                if attempt == ATTEMPTS_MAX:
                    raise
            time.sleep(wait)

    def pages(self, path, **filters):
        """All rows of a list, page by page."""
        while True:
            page = self.call("GET", f"{path}?{urllib.parse.urlencode(filters)}")
            yield from page["data"]
            if not page["has_more"]:
                return
            filters["cursor"] = page["next_cursor"]

    def bind(self, policy, real_number):
        """A virtual number for a policy. The policy is the natural key: who asks twice gets the same one."""
        return self.call("POST", "/v1/bindings", {
            "external_id": policy, "mode": "ax", "policy": {"ref": policy},
            "subscriber": {"real_number": real_number}})

    def unbind(self, policy):
        """Ends the binding of a policy, connecting or not; calls that are talking go on."""
        for binding in self.pages("/v1/bindings", external_id=policy):
            if binding["state"] not in ("released", "expired"):
                yield self.call("POST", f"/v1/bindings/{binding['id']}/unbind", {})


def read_problem(error):
    """The body of a refusal; something between us and the relay may have answered otherwise."""
    try:
        problem = json.load(error)
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {}


def show(binding):
    print(binding["virtual_number"], binding["state"], binding["external_id"], binding["masked"])


def events(relay, cursor):
    path = "/v1/events?limit=200" + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else "")
    while True:
        page = relay.call("GET", path)
        for event in page["data"]:
            print(event["sequence"], event["timestamp"], event["type"])
        path = "/v1/events?limit=200&cursor=" + urllib.parse.quote(page["next_cursor"])
        if not page["has_more"]:
            print(page["next_cursor"])
            return


def main(words):
    try:
        key_id = os.environ.get("MASKLINE_KEY_ID")
        relay = Maskline(os.environ["MASKLINE_URL"], os.environ["MASKLINE_KEY"], key_id)
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set")
    try:
        if len(words) == 2 and words[0] == "bind":
            show(relay.bind(words[1], sys.stdin.readline().strip()))
        elif words == ["list"]:
            for binding in relay.pages("/v1/bindings", state="active"):
                show(binding)
        elif len(words) == 2 and words[0] == "unbind":
            ended = list(relay.unbind(words[1]))
            for binding in ended:
                show(binding)
            if not ended:
                sys.exit("no binding of this policy is left to end")
        elif words[:1] == ["events"] and len(words) <= 2:
            events(relay, words[1] if len(words) == 2 else "")
        else:
            sys.exit(__doc__)
    except Problem as problem:
        sys.exit(str(problem))
    except OSError as error:
        sys.exit(f"nothing answers at {relay.url}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
