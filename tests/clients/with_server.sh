#!/usr/bin/env bash
# with_server.sh [--drives N] [--tls] COMMAND... : runs a command against a server of its own.
#
# The command finds ENDPOINT, ENDPOINT_ADDRESS, ACCESS_KEY and SECRET_KEY, and with --tls CA_CERT, the
# authority of the server's certificate. `localhost` is the server's domain, so that a bucket is also
# reached as http://BUCKET.localhost:PORT. One webhook target is configured, arn:minio:sqs::AWAY:webhook,
# where nobody listens: rules may name it all the same.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

drives=4
flags=()
while [[ ${1:-} == --* ]]; do
    case $1 in
    --drives) drives=$2; shift ;;
    --tls) "$PARTS_SCRIPTS/certs.sh" server-dir "$WORK/certs"; flags=(--certs-dir "$WORK/certs") ;;
    *) say "unknown flag $1"; exit 2 ;;
    esac
    shift
done

export MINIO_DOMAIN=localhost
export MINIO_NOTIFY_WEBHOOK_ENABLE_AWAY=on MINIO_NOTIFY_WEBHOOK_ENDPOINT_AWAY=http://127.0.0.1:9/away
start_server "$drives" "${flags[@]}"
"$@"
finish
