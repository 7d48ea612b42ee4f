#!/usr/bin/env bash
# The workflow people know from MinIO: pictures copied into a bucket with mc are announced in a Kafka
# topic; a Python program reads the topic, fetches each picture and copies it to the bucket
# `processed`. Over TLS with a certificate nobody signed, on eight drives.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOPIC=pictures-$RUN_ID

"$PARTS_SCRIPTS/kafka.sh" start >/dev/null
"$PARTS_SCRIPTS/kafka.sh" topic "$TOPIC"
"$PARTS_SCRIPTS/certs.sh" self-signed "$WORK/certs"
start_server 8 --certs-dir "$WORK/certs"
expect_contains "the address" https:// "$ENDPOINT"

step "mc alias set --insecure; mc admin info"
mc alias set tidings "$ENDPOINT" "$ACCESS_KEY" "$SECRET_KEY" >/dev/null
info=$(mc admin info tidings)
expect_contains "mc admin info" "8 drives online" "$info"
expect_contains "mc admin info" "EC:4" "$info"

step "mc admin config set notify_kafka:1; mc admin service restart"
said=$(mc admin config set tidings notify_kafka:1 brokers="127.0.0.1:$KAFKA_PORT" topic="$TOPIC" sasl=off tls=off queue_limit=10000)
expect_contains "mc admin config set" "Successfully applied" "$said"
expect_contains "mc admin config get" "topic=$TOPIC" "$(mc admin config get tidings notify_kafka:1)"
restart=$(mc admin service restart tidings --json)
expect_contains "mc admin service restart" '"status":"success"' "${restart//[[:space:]]/}"
# The answer leaves before the server does: the new one is there when it has said so.
started_twice() { (($(grep -c 'API: ' "$SERVER_LOG") >= 2)); }
wait_for 30 "the second start" started_twice
mc ready tidings >/dev/null
kill -0 "$SERVER_PID" # it re-executed itself: the process id is the same

step "mc mb; mc event add; mc event list"
mc mb tidings/images tidings/processed >/dev/null
mc event add tidings/images arn:minio:sqs::1:kafka --suffix .jpg
expect_equal "mc event list" \
    'arn:minio:sqs::1:kafka   s3:ObjectCreated:*,s3:ObjectRemoved:*,s3:ObjectAccessed:*   Filter: suffix=".jpg"' \
    "$(mc event list tidings/images)"

step "mc cp of two pictures and a text"
head -c 300000 /dev/urandom >"$WORK/rose.jpg"
printf 'not a picture' >"$WORK/notes.txt"
mc cp --quiet "$WORK/rose.jpg" tidings/images/rose.jpg >/dev/null
mc cp --quiet "$WORK/notes.txt" tidings/images/notes.txt >/dev/null
mc cp --quiet "$WORK/rose.jpg" tidings/images/deeper/path/rose.jpg >/dev/null

step "a Python program reads the topic and copies each picture to processed"
"$TIDINGS_PYTHON_MINIO_7" "$CLIENTS/copy_to_processed.py" --brokers "127.0.0.1:$KAFKA_PORT" --topic "$TOPIC" \
    --group "copiers-$RUN_ID" --pictures 2 >"$WORK/copied"
expect_equal "what the program saw" "s3:ObjectCreated:Put images/rose.jpg
s3:ObjectCreated:Put images/deeper/path/rose.jpg" "$(cat "$WORK/copied")"

step "the copies are there, byte for byte"
expect_equal "mc ls processed" "deeper/path/rose.jpg rose.jpg" "$(mc ls -r --json tidings/processed | json_field key | sort | tr '\n' ' ' | sed 's/ $//')"
mc cp --quiet tidings/processed/deeper/path/rose.jpg "$WORK/copy.jpg" >/dev/null
cmp "$WORK/rose.jpg" "$WORK/copy.jpg"

step "the text never showed up"
expect_equal "keys in the topic" "images/deeper/path/rose.jpg images/rose.jpg" \
    "$("$PARTS_SCRIPTS/kafka.sh" records "$TOPIC" | cut -f2 | sort -u | tr '\n' ' ' | sed 's/ $//')"
finish
