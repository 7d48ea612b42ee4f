#!/usr/bin/env bash
# The block of the README under "nothing but curl", run as it stands there: an object goes in and its
# event comes out of the listen stream. Only the address is another.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_server 4

step "the block of the README"
awk '/^## .*nothing but curl/ { found = 1 } found && /^```$/ { exit } inside { print } found && /^```sh$/ { inside = 1 }' \
    "$REPOSITORY/README.md" | sed "s#http://localhost:9000#$ENDPOINT#g" >"$WORK/block.sh"
expect_contains "the block" "aws-sigv4" "$(cat "$WORK/block.sh")"
# It uses job control, which the shell it is pasted into has.
sed -i '1i set -m' "$WORK/block.sh"
(cd "$REPOSITORY" && timeout 30 bash "$WORK/block.sh") >"$WORK/printed" 2>"$WORK/errors" || { cat "$WORK/errors" >&2; false; }

step "it prints the event of the object that went in, and nothing else"
expect_equal "what was printed" "s3:ObjectCreated:Put photos rose.txt" "$(python3 -c 'import json, sys
for line in sys.stdin:
    if line.strip():
        for record in json.loads(line)["Records"] or []:
            print(record["eventName"], record["s3"]["bucket"]["name"], record["s3"]["object"]["key"])' <"$WORK/printed")"

step "whoever listens is answered at once, before anything has happened"
curl --silent --no-buffer --dump-header "$WORK/headers" --user "$ACCESS_KEY:$SECRET_KEY" --aws-sigv4 aws:amz:us-east-1:s3 \
    --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$ENDPOINT/photos?events=s3%3AObjectRemoved%3A%2A" >"$WORK/heard" &
BACKGROUND+=($!)
wait_for 5 "the headers of the listen stream" grep -q '^HTTP/1.1 200' "$WORK/headers"
finish
