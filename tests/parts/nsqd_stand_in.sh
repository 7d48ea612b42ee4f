#!/usr/bin/env bash
# The stand-in for nsqd, nsqd_stand_in.py: no real one can be had from a package. TLS is offered over the one port.
#
# nsqd_stand_in.sh start           starts it with the messages it had; prints its address
# nsqd_stand_in.sh stop | crash    ends it with SIGTERM or SIGKILL, messages kept
# nsqd_stand_in.sh messages TOPIC  prints what was published, a message a line
# nsqd_stand_in.sh packages        Debian packages it needs
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/nsqd-stand-in

listening() { port_open "$NSQD_PORT"; }

start_once() {
    alive nsqd-stand-in ||
        spawn nsqd-stand-in "$here/nsqd_stand_in.py" "$NSQD_PORT" "$STATE" "$SERVER_CERT" "$SERVER_KEY"
    wait_to_start "The stand-in for nsqd" listening nsqd-stand-in
}

start() {
    "$here/certs.sh" make
    one_at_a_time nsqd-stand-in start_once
    echo "localhost:$NSQD_PORT, with TLS authority $CA_CERT"
}

stop() { one_at_a_time nsqd-stand-in halt nsqd-stand-in; }

crash() { one_at_a_time nsqd-stand-in halt nsqd-stand-in KILL; }

messages() { cat "$STATE/$1" 2>/dev/null || true; }

# start_tls of asyncio's streams came with Python 3.11.
packages() { echo openssl python3; }

case ${1:-} in
start | stop | crash | messages | packages) "$@" ;;
*) say "usage: nsqd_stand_in.sh start | stop | crash | messages TOPIC | packages"; exit 2 ;;
esac
