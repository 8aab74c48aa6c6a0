#!/usr/bin/env bash
# One policy from its first day to its last, with curl and jq: bind, look, suspend, resume, unbind.
#
# usage: crm.sh POLICY < FILE     the file holds the phone's number, which is no argument: all may see those
# MASKLINE_URL, such as http://127.0.0.1:8080, and MASKLINE_KEY, of a CRM, are in the environment.
set -euo pipefail
policy=${1:?which policy}

# call METHOD PATH: the body comes on standard input, the answer goes to standard output. A POST has a key of its own,
# so that curl may repeat it when an answer is lost; a refusal is shown with all its reasons and ends the script. The
# secret goes by a pipe, not as an argument.
call() {
  local answer
  answer=$(curl -sS --fail-with-body --retry 4 --retry-connrefused -X "$1" "$MASKLINE_URL/v1/$2" --data-binary @- \
    -H @<(printf 'Authorization: Bearer %s\n' "$MASKLINE_KEY") -H 'Content-Type: application/json' \
    -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)") || { printf '%s\n' "$answer" >&2; return 1; }
  printf '%s\n' "$answer"
}

read -r real_number
binding=$(printf %s "$real_number" | jq -R --arg policy "$policy" \
  '{external_id: $policy, mode: "ax", policy: {ref: $policy}, subscriber: {real_number: .}}' | call POST bindings)
id=$(jq -r .id <<<"$binding")
show() { jq -r '"\(.virtual_number) \(.state) \(.masked)"'; }
show <<<"$binding"
call GET "bindings/$id" </dev/null | show
call POST "bindings/$id/suspend" <<<'{}' | show
call POST "bindings/$id/resume" <<<'{}' | show
call POST "bindings/$id/unbind" <<<'{}' | show
