#!/usr/bin/env bash
# Redis from Debian, with a port in the clear and one with TLS (ports in common.sh). Both want a password, of the
# default user or of the user $PARTS_USER. Every command is synced before it is answered, so that what was
# acknowledged is there after a kill.
#
# redis.sh start         starts it with the data it had; prints its addresses
# redis.sh stop | crash  ends it with SIGTERM or SIGKILL, data kept
# redis.sh list KEY      prints a list, an element a line
# redis.sh mapping KEY   prints a hash, field and value in turn, a line each
# redis.sh packages      Debian packages it needs
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/redis

configure() {
    mkdir -p "$STATE"
    cat >"$STATE/redis.conf" <<CONF
bind 127.0.0.1 127.0.0.2
port $REDIS_PORT
tls-port $REDIS_TLS_PORT
tls-cert-file $SERVER_CERT
tls-key-file $SERVER_KEY
tls-ca-cert-file $CA_CERT
tls-auth-clients no
requirepass $PARTS_PASSWORD
user $PARTS_USER on >$PARTS_PASSWORD ~* +@all
dir $STATE
save ""
appendonly yes
appendfsync always
CONF
}

ask() { redis-cli -p "$REDIS_PORT" -a "$PARTS_PASSWORD" --no-auth-warning "$@"; }

answers() { [[ $(ask ping) == PONG ]] && port_open "$REDIS_TLS_PORT"; }

start_once() {
    if ! alive redis; then
        configure
        spawn redis redis-server "$STATE/redis.conf"
    fi
    wait_to_start Redis answers redis
}

start() {
    "$here/certs.sh" make
    one_at_a_time redis start_once
    cat <<TEXT
clear  127.0.0.1:$REDIS_PORT  $PARTS_PASSWORD
tls    localhost:$REDIS_TLS_PORT  $PARTS_PASSWORD or $PARTS_USER / $PARTS_PASSWORD, authority $CA_CERT
TEXT
}

stop() { one_at_a_time redis halt redis; }

crash() { one_at_a_time redis halt redis KILL; }

list() { ask lrange "$1" 0 -1; }

mapping() { ask hgetall "$1"; }

packages() { echo openssl redis-server redis-tools; }

case ${1:-} in
start | stop | crash | list | mapping | packages) "$@" ;;
*) say "usage: redis.sh start | stop | crash | list KEY | mapping KEY | packages"; exit 2 ;;
esac
