#!/usr/bin/env bash
# The AWS command line against ENDPOINT (run it through with_server.sh): buckets, copies up and down,
# sync, listings, metadata, notification rules, removal.
. "$(dirname "${BASH_SOURCE[0]}")/../parts/common.sh"
set -E
trap 'say "awscli_basics.sh: line $LINENO: $BASH_COMMAND"' ERR

export AWS_ACCESS_KEY_ID=$ACCESS_KEY AWS_SECRET_ACCESS_KEY=$SECRET_KEY AWS_DEFAULT_REGION=us-east-1
aws() { "$TIDINGS_AWS" --endpoint-url "$ENDPOINT" "$@"; }
same() { [[ $2 == "$3" ]] || { say "$1: wanted \"$2\", got \"$3\""; return 1; }; }

mkdir -p "$WORK/tree/deeper"
printf 'roses are red' >"$WORK/tree/poem.txt"
printf 'violets' >"$WORK/tree/deeper/ü b+c.txt"
head -c 12000000 /dev/urandom >"$WORK/tree/large.bin"

say "  a bucket is made and listed"
aws s3 mb s3://awscli-basics >/dev/null
aws s3 ls | grep -q ' awscli-basics$'

say "  a file goes up with metadata and comes down"
aws s3 cp "$WORK/tree/poem.txt" s3://awscli-basics/poem.txt --metadata color=red --no-progress >/dev/null
aws s3 cp s3://awscli-basics/poem.txt "$WORK/down.txt" --no-progress >/dev/null
cmp "$WORK/tree/poem.txt" "$WORK/down.txt"
same "metadata" red "$(aws s3api head-object --bucket awscli-basics --key poem.txt --query Metadata.color --output text)"

say "  a directory is synchronised there and back, one file in parts"
aws s3 sync "$WORK/tree" s3://awscli-basics/tree/ --no-progress >/dev/null
aws s3 sync s3://awscli-basics/tree/ "$WORK/back" --no-progress >/dev/null
diff -r "$WORK/tree" "$WORK/back"
same "a second sync finds nothing to do" "" "$(aws s3 sync "$WORK/tree" s3://awscli-basics/tree/ --no-progress)"
same "parts" 2 "$(aws s3api head-object --bucket awscli-basics --key tree/large.bin --query ETag --output text | tr -d '"' | cut -d- -f2)"

say "  listings fold at the slash, recurse and sum up"
same "folded" "PRE deeper/
large.bin
poem.txt" "$(aws s3 ls s3://awscli-basics/tree/ | awk '{ print ($1 == "PRE") ? "PRE " $2 : $4 }')"
same "paged" "poem.txt tree/deeper/ü b+c.txt tree/large.bin tree/poem.txt" \
    "$(aws s3api list-objects-v2 --bucket awscli-basics --page-size 1 --query 'Contents[].Key' --output text | tr '\t\n' '  ' | sed 's/ $//')"

say "  a copy within the store, a move, a presigned address"
aws s3 cp s3://awscli-basics/poem.txt s3://awscli-basics/copy.txt >/dev/null
aws s3 mv s3://awscli-basics/copy.txt s3://awscli-basics/moved.txt >/dev/null
same "through the presigned address" "roses are red" "$(curl -sf "$(aws s3 presign s3://awscli-basics/moved.txt)")"

say "  a range"
aws s3api get-object --bucket awscli-basics --key poem.txt --range bytes=6-8 "$WORK/part" >/dev/null
same "bytes 6 to 8" are "$(cat "$WORK/part")"

say "  notification rules"
aws s3api put-bucket-notification-configuration --bucket awscli-basics --notification-configuration \
    '{"QueueConfigurations":[{"Id":"all","QueueArn":"arn:minio:sqs::AWAY:webhook","Events":["s3:ObjectCreated:*"]}]}'
same "the rule" "arn:minio:sqs::AWAY:webhook" "$(aws s3api get-bucket-notification-configuration --bucket awscli-basics \
    --query 'QueueConfigurations[0].QueueArn' --output text)"

say "  a bucket goes with all it holds"
aws s3 rm s3://awscli-basics/moved.txt >/dev/null
aws s3 rb s3://awscli-basics --force >/dev/null
same "no bucket is left" "" "$(aws s3 ls | grep awscli-basics || true)"
