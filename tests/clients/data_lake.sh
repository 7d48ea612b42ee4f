#!/usr/bin/env bash
# A data lake: a large CSV is uploaded in parts by an old minio-py and announced in Kafka; compressed
# files go to MQTT; a webhook, over TLS with a token and a client certificate, hears of everything,
# reads included. Each target gets exactly the events its rule asks for.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOPIC=lake-$RUN_ID
TOKEN=lake-token

"$PARTS_SCRIPTS/kafka.sh" start >/dev/null
"$PARTS_SCRIPTS/mosquitto.sh" start >/dev/null
"$PARTS_SCRIPTS/kafka.sh" topic "$TOPIC"
"$PARTS_SCRIPTS/mosquitto.sh" subscribe "$TOPIC" "$TOPIC"
start_sink --certificate "$SERVER_CERT" --key "$SERVER_KEY" --client-authority "$CA_CERT" --token "$TOKEN"
# The sink's certificate is signed by the tests' authority, which lies in CAs/ of this directory.
"$PARTS_SCRIPTS/certs.sh" server-dir "$WORK/certs"
start_server 4 --certs-dir "$WORK/certs"

step "three targets, configured while the server runs"
mc_alias lake
mc admin config set lake notify_kafka:LAKE brokers="127.0.0.1:$KAFKA_PORT" topic="$TOPIC" >/dev/null
mc admin config set lake notify_mqtt:LAKE broker="tcp://127.0.0.1:$MQTT_PORT" topic="$TOPIC" qos=1 >/dev/null
mc admin config set lake notify_webhook:LAKE endpoint="$SINK_URL" auth_token="$TOKEN" \
    client_cert="$CLIENT_CERT" client_key="$CLIENT_KEY" >/dev/null

step "three rules"
mc mb lake/upload >/dev/null
mc event add lake/upload arn:minio:sqs::LAKE:kafka --event put --suffix .csv
mc event add lake/upload arn:minio:sqs::LAKE:mqtt --event put --suffix .gz
mc event add lake/upload arn:minio:sqs::LAKE:webhook
expect_equal "rules" 3 "$(mc event list lake/upload | wc -l)"

step "a CSV of 60 MB in parts, a compressed one, a read, a look, a removal"
"$TIDINGS_PYTHON_MINIO_5" "$CLIENTS/data_lake.py"

step "Kafka has the CSV as one completed upload"
kafka_has() { (($("$PARTS_SCRIPTS/kafka.sh" records "$TOPIC" | wc -l) >= $1)); }
wait_for 30 "the record in Kafka" kafka_has 1
"$PARTS_SCRIPTS/kafka.sh" records "$TOPIC" >"$WORK/kafka"
expect_equal "the message key" upload/donors.csv "$(cut -f2 "$WORK/kafka")"
cut -f3- "$WORK/kafka" >"$WORK/kafka.jsonl"
expect_equal "Kafka" "s3:ObjectCreated:CompleteMultipartUpload upload/donors.csv" "$(records_in "$WORK/kafka.jsonl")"

step "MQTT has the compressed one alone"
"$PARTS_SCRIPTS/mosquitto.sh" consume "$TOPIC" "$TOPIC" 1 30 >"$WORK/mqtt.jsonl"
expect_equal "MQTT" "s3:ObjectCreated:Put upload/donors.csv.gz" "$(records_in "$WORK/mqtt.jsonl")"

step "the webhook has all"
wait_for 30 "five records at the webhook" lines_in "$SINK_FILE" 5
wanted="s3:ObjectAccessed:Get upload/donors.csv.gz
s3:ObjectAccessed:Head upload/donors.csv.gz
s3:ObjectCreated:CompleteMultipartUpload upload/donors.csv
s3:ObjectCreated:Put upload/donors.csv.gz
s3:ObjectRemoved:Delete upload/donors.csv.gz"
expect_equal "the webhook" "$wanted" "$(records_in "$SINK_FILE")"

step "what comes last is told last: after one more object nobody has anything beyond it"
printf 'x' | gzip >"$WORK/last.csv.gz"
"$TIDINGS_PYTHON_MINIO_5" "$CLIENTS/data_lake.py" "$WORK/last.csv.gz"
wait_for 30 "the last record at the webhook" grep -q last.csv.gz "$SINK_FILE"
expect_equal "the webhook" "$(printf '%s\ns3:ObjectCreated:Put upload/last.csv.gz' "$wanted" | LC_ALL=C sort)" "$(records_in "$SINK_FILE")"
"$PARTS_SCRIPTS/mosquitto.sh" consume "$TOPIC" "$TOPIC" 1 30 >"$WORK/mqtt.jsonl"
expect_equal "MQTT" "s3:ObjectCreated:Put upload/last.csv.gz" "$(records_in "$WORK/mqtt.jsonl")"
expect_equal "Kafka" 1 "$("$PARTS_SCRIPTS/kafka.sh" records "$TOPIC" | wc -l)"
finish
