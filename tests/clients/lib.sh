# Sourced by the client scripts: starts a tidings server of their own, stops it, compares.
#
# A script is one workflow: it stops at the first thing that is not as a user would want it, says
# which, and leaves its directory ($WORK) behind for a look; a script that succeeds leaves nothing.
# The server listens on a free port with its drives in $WORK; at the end it is sent SIGTERM and has
# to leave with status 0.
#
# With TIDINGS_TEST_ENDPOINT=http://host:port a server that already runs is used instead, with the
# keys of $ACCESS_KEY and $SECRET_KEY.
# shellcheck shell=bash

CLIENTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$CLIENTS/../.." && pwd)
PARTS_SCRIPTS=$REPOSITORY/tests/parts
. "$PARTS_SCRIPTS/common.sh"
set -E

. "$CLIENTS/paths.sh"

export ACCESS_KEY=${ACCESS_KEY:-minioadmin} SECRET_KEY=${SECRET_KEY:-minioadmin}
# A name of its own for topics, groups and client ids, so that runs do not read one another's records.
RUN_ID=$$-$(date +%s)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tidings-client.XXXXXX")
export WORK RUN_ID
# Nothing of the person who runs this is read or written.
export MC_CONFIG_DIR=$WORK/mc AWS_CONFIG_FILE=$WORK/aws-config AWS_SHARED_CREDENTIALS_FILE=$WORK/aws-keys
unset AWS_PROFILE AWS_CA_BUNDLE AWS_SESSION_TOKEN
export no_proxy=localhost,127.0.0.1 NO_PROXY=localhost,127.0.0.1

SERVER_PID=
SERVER_LOG=$WORK/server.log
BACKGROUND=()
SUCCEEDED=

# step TEXT : what the next commands are about
step() { say "  $*"; }

# expect_equal WHAT WANTED ACTUAL
expect_equal() {
    [[ $2 == "$3" ]] && return
    say "$1 is not as expected"
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | sed 's/^</    wanted: /; s/^>/    actual: /' >&2 || true
    return 1
}

# expect_contains WHAT PART WHOLE
expect_contains() {
    [[ $3 == *"$2"* ]] && return
    say "$1 does not contain \"$2\":"
    say "$3"
    return 1
}

# in_background PROGRAM... : ended with the script; not for functions, whose programs would live on
in_background() {
    "$@" &
    BACKGROUND+=($!)
}

# started_or_gone : the server answers, or has ended and never will
started_or_gone() { curl -sfk -o /dev/null "$ENDPOINT/minio/health/live" || ! kill -0 "$SERVER_PID"; }

# start_server DRIVES [FLAG...] : sets ENDPOINT (URL) and ENDPOINT_ADDRESS (host:port)
start_server() {
    local drives=$1 scheme=http
    shift
    if [[ -n ${TIDINGS_TEST_ENDPOINT:-} ]]; then
        export ENDPOINT=$TIDINGS_TEST_ENDPOINT ENDPOINT_ADDRESS=${TIDINGS_TEST_ENDPOINT#*://}
        return
    fi
    [[ " $* " == *" --certs-dir "* ]] && scheme=https
    export ENDPOINT_ADDRESS=127.0.0.1:${SERVER_PORT:=$(free_port)}
    export ENDPOINT=$scheme://$ENDPOINT_ADDRESS
    SERVER_ARGUMENTS=(server --address "$ENDPOINT_ADDRESS" "$@" "$WORK/drives/d{1...$drives}")
    run_server
}

# run_server : starts it (again) with the same arguments and drives
run_server() {
    # Without --certs-dir the server would look into the home directory.
    HOME=$WORK MINIO_ROOT_USER=$ACCESS_KEY MINIO_ROOT_PASSWORD=$SECRET_KEY \
        "$TIDINGS_BIN" "${SERVER_ARGUMENTS[@]}" >>"$SERVER_LOG" 2>&1 9>&- &
    SERVER_PID=$!
    wait_for 30 "the server at $ENDPOINT" started_or_gone
    kill -0 "$SERVER_PID" 2>/dev/null || { say "the server ended at its start"; return 1; }
}

# stop_server : SIGTERM has to end it with status 0
stop_server() {
    local status=0
    [[ -n $SERVER_PID ]] || return 0
    kill -TERM "$SERVER_PID"
    wait "$SERVER_PID" || status=$?
    SERVER_PID=
    expect_equal "the server's exit status after SIGTERM" 0 "$status"
}

# start_sink FLAG... : a webhook to deliver to; sets SINK_URL and SINK_FILE (one JSON line a record)
start_sink() {
    SINK_FILE=$WORK/sink.jsonl
    : >"$SINK_FILE"
    in_background python3 "$PARTS_SCRIPTS/webhook_sink.py" --file "$SINK_FILE" "$@" >"$WORK/sink.address"
    wait_for 10 "the webhook sink" test -s "$WORK/sink.address"
    SINK_URL=$(cat "$WORK/sink.address")
}

# mc trusts any certificate here; mc_alias NAME makes the server known to it under that name
mc() { "$TIDINGS_MC" --insecure --no-color "$@"; }
mc_alias() { mc alias set "$1" "$ENDPOINT" "$ACCESS_KEY" "$SECRET_KEY" >/dev/null; }

# records_in FILE : `EventName Key` of each record, sorted; FILE holds one JSON envelope a line
records_in() {
    python3 -c 'import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    record = json.loads(line)
    print(record["EventName"], record["Key"])' "$1" | LC_ALL=C sort
}

# json_field NAME : that field of each JSON line of standard input
json_field() {
    python3 -c 'import json, sys
for line in sys.stdin:
    print(json.loads(line)[sys.argv[1]])' "$1"
}

# watched FILE : `event key` of each line of `mc watch --json`, keys without the address in front
watched() {
    python3 -c 'import json, sys
for line in open(sys.argv[1]):
    event = json.loads(line)["events"]
    print(event["type"], event["path"].split("/", 4)[-1])' "$1"
}

# lines_in FILE COUNT : it has at least that many lines
lines_in() { (($(wc -l <"$1") >= $2)); }

finish() {
    stop_server
    SUCCEEDED=yes
}

failed_at() { say "${0##*/}: line $1: $2"; }
trap 'failed_at "$LINENO" "$BASH_COMMAND"' ERR

clean_up() {
    local status=$? pid
    trap - ERR
    for pid in "${BACKGROUND[@]}" $SERVER_PID; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [[ -n $SUCCEEDED && $status == 0 ]]; then
        rm -rf "$WORK"
    else
        say "the last lines of the server:"
        tail -15 "$SERVER_LOG" >&2 2>/dev/null || true
        say "left for a look: $WORK"
        ((status)) || status=1
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
