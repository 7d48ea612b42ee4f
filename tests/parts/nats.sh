#!/usr/bin/env bash
# NATS from Debian: one server for each way to log in (ports in common.sh), since a server knows one. Debian's version,
# 2.9, cannot encrypt before it says anything; the server that does is built from its Go module.
#
#   password  $PARTS_USER / $PARTS_PASSWORD, and $PARTS_USER-publisher, who may publish and nothing else; JetStream
#   token     tidings-token, over TLS
#   nkey      a key, over TLS with a client certificate
#   account   credentials of a user in an account of an operator
#   first     tidings-token, over TLS with a client certificate, encrypted before the server says anything
#
# nats.sh start         starts them with the data they had; prints their addresses
# nats.sh stop | crash  ends them with SIGTERM or SIGKILL, data kept
# nats.sh install       builds the newer one into the cache (once; about a minute on two cores)
# nats.sh packages      Debian packages they need
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"
. "$here/go.sh"

VERSION=v2.10.29
NEWER=$TIDINGS_TESTS_CACHE/nats-server-$VERSION/nats-server
STATE=$PARTS/nats
WAYS=(password token nkey account first)

install() { one_at_a_time nats-install go_build "github.com/nats-io/nats-server/v2@$VERSION" "$NEWER"; }

keys() {
    [[ -e $STATE/keys/complete ]] && return
    rm -rf "$STATE/keys"
    mkdir -p "$STATE/keys"
    "$here/nats_keys.py" "$STATE/keys"
    touch "$STATE/keys/complete"
}

# encrypted VERIFY [LINE] : the block about TLS, and whether clients must show a certificate
encrypted() {
    printf 'tls {\n cert_file: "%s"\n key_file: "%s"\n ca_file: "%s"\n verify: %s\n %s\n}\n' \
        "$SERVER_CERT" "$SERVER_KEY" "$CA_CERT" "$1" "${2:-}"
}

configure() {
    local user='{user: "%s", password: "'$PARTS_PASSWORD'"%s}'
    {
        echo "listen: 127.0.0.1:$NATS_PORT"
        echo "jetstream { store_dir: \"$STATE/streams\", max_memory_store: 16MB, max_file_store: 256MB }"
        # shellcheck disable=SC2059 # the format is ours
        printf "authorization { users = [ $user, $user ] }\n" "$PARTS_USER" '' \
            "$PARTS_USER-publisher" ', permissions: {publish: "open.>", subscribe: {deny: ">"}}'
    } >"$STATE/password.conf"
    {
        echo "listen: 127.0.0.1:$NATS_TLS_PORT"
        echo 'authorization { token: "tidings-token" }'
        encrypted false
    } >"$STATE/token.conf"
    {
        echo "listen: 127.0.0.1:$NATS_NKEY_PORT"
        echo "authorization { users = [ {nkey: $(<"$STATE/keys/user.public")} ] }"
        encrypted true
    } >"$STATE/nkey.conf"
    {
        echo "listen: 127.0.0.1:$NATS_ACCOUNT_PORT"
        echo "operator: $STATE/keys/operator.jwt"
        echo 'resolver: MEMORY'
        echo "resolver_preload: { $(<"$STATE/keys/account.public"): $(<"$STATE/keys/account.jwt") }"
    } >"$STATE/account.conf"
    {
        echo "listen: 127.0.0.1:$NATS_FIRST_PORT"
        echo 'authorization { token: "tidings-token" }'
        encrypted true 'handshake_first: true'
    } >"$STATE/first.conf"
}

# server WAY : the program that serves it
server() { if [[ $1 == first ]]; then echo "$NEWER"; else echo nats-server; fi; }

listening() {
    local port
    for port in "$NATS_PORT" "$NATS_TLS_PORT" "$NATS_NKEY_PORT" "$NATS_ACCOUNT_PORT" "$NATS_FIRST_PORT"; do port_open "$port" || return 1; done
}

start_once() {
    local way
    mkdir -p "$STATE"
    keys
    configure
    for way in "${WAYS[@]}"; do
        alive "nats-$way" || spawn "nats-$way" "$(server "$way")" -c "$STATE/$way.conf"
    done
    wait_to_start "One of the NATS servers" listening "${WAYS[@]/#/nats-}"
}

start() {
    install
    "$here/certs.sh" make
    one_at_a_time nats start_once
    cat <<TEXT
password  127.0.0.1:$NATS_PORT  $PARTS_USER / $PARTS_PASSWORD
token     localhost:$NATS_TLS_PORT  tidings-token, authority $CA_CERT
nkey      localhost:$NATS_NKEY_PORT  $STATE/keys/user.nk, authority $CA_CERT, client $CLIENT_CERT
account   127.0.0.1:$NATS_ACCOUNT_PORT  $STATE/keys/user.creds
first     localhost:$NATS_FIRST_PORT  tidings-token, authority $CA_CERT, client $CLIENT_CERT
TEXT
}

halt_all() { for way in "${WAYS[@]}"; do halt "nats-$way" "$@"; done; }

stop() { one_at_a_time nats halt_all; }

crash() { one_at_a_time nats halt_all KILL; }

packages() { echo nats-server openssl python3 "$(go_packages)"; }

case ${1:-} in
start | stop | crash | install | packages) "$@" ;;
*) say "usage: nats.sh start | stop | crash | install | packages"; exit 2 ;;
esac
