#!/usr/bin/env bash
# Nothing is lost while Kafka is away: 10,000 PUTs succeed with the broker stopped, and once it runs
# again every record arrives, those of one key in the order of its PUTs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOPIC=stopped-$RUN_ID
PUTS=10000

kafka() { "$PARTS_SCRIPTS/kafka.sh" "$@"; }

kafka start >/dev/null
kafka topic "$TOPIC" 4
start_server 4

step "a target and a rule"
mc_alias home
mc admin config set home notify_kafka:K brokers="127.0.0.1:$KAFKA_PORT" topic="$TOPIC" >/dev/null
mc mb home/stopped >/dev/null
mc event add home/stopped arn:minio:sqs::K:kafka --event put

step "one record while Kafka runs, so that the server is connected when it goes"
printf x | mc pipe home/stopped/before >/dev/null
kafka_has() { (($(kafka records "$TOPIC" | wc -l) >= $1)); }
wait_for 30 "the first record" kafka_has 1

step "Kafka stops; $PUTS PUTs succeed"
kafka stop
begin=$SECONDS
"$TIDINGS_PYTHON_MINIO_7" "$CLIENTS/kafka_stopped.py" put --puts $PUTS --journal "$WORK/acknowledged"
say "    in $((SECONDS - begin)) s"
expect_equal "PUTs that were acknowledged" $PUTS "$(wc -l <"$WORK/acknowledged")"

step "Kafka starts; every record arrives, in order"
kafka start >/dev/null
begin=$SECONDS
wait_for 120 "$PUTS more records" kafka_has $((PUTS + 1))
say "    after $((SECONDS - begin)) s"
kafka records "$TOPIC" >"$WORK/records"
"$TIDINGS_PYTHON_MINIO_7" "$CLIENTS/kafka_stopped.py" check --journal "$WORK/acknowledged" --records "$WORK/records"
finish
