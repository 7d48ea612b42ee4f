#!/usr/bin/env bash
# The block of the README: an object goes in and its event comes out, with nothing but curl.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

s3() { curl --silent --show-error --fail --user "$ACCESS_KEY:$SECRET_KEY" --aws-sigv4 aws:amz:us-east-1:s3 "$@"; }

start_server 4

step "a bucket"
s3 --request PUT "$ENDPOINT/photos"

step "whoever listens is heard at once: the headers arrive before any event"
in_background s3 --no-buffer --dump-header "$WORK/headers" \
    "$ENDPOINT/photos?events=s3:ObjectCreated:*&suffix=.jpg" >"$WORK/heard"
wait_for 10 "the headers of the listen stream" grep -q '^HTTP/1.1 200' "$WORK/headers"

step "a picture and a text"
printf 'a rose' >"$WORK/rose.jpg"
s3 --upload-file "$WORK/rose.jpg" "$ENDPOINT/photos/notes.txt"
s3 --upload-file "$WORK/rose.jpg" "$ENDPOINT/photos/deeper/rose.jpg"

step "the picture is announced, the text is not"
wait_for 10 "the event" grep -q rose.jpg "$WORK/heard"
s3 --upload-file "$WORK/rose.jpg" "$ENDPOINT/photos/last.jpg"
wait_for 10 "the second event" grep -q last.jpg "$WORK/heard"
heard=$(python3 -c 'import json, sys
for line in sys.stdin:
    if line.strip():
        for record in json.loads(line)["Records"]:
            thing = record["s3"]
            print(record["eventName"], thing["bucket"]["name"], thing["object"]["key"], thing["object"]["size"])' <"$WORK/heard")
expect_equal "what was heard" "s3:ObjectCreated:Put photos deeper/rose.jpg 6
s3:ObjectCreated:Put photos last.jpg 6" "$heard"

step "and the object is there"
expect_equal "the object" "a rose" "$(s3 "$ENDPOINT/photos/deeper/rose.jpg")"
finish
