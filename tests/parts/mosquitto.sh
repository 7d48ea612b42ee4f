#!/usr/bin/env bash
# Eclipse Mosquitto from Debian, with one listener for each way a client may have to come in:
# open, password, TLS with password, websockets (ports in common.sh).
#
# mosquitto.sh start               starts it; prints `mqtt://…` lines
# mosquitto.sh stop
# mosquitto.sh subscribe TOPIC ID  registers a session that keeps what arrives while nobody reads
# mosquitto.sh consume TOPIC ID N [SECONDS]  prints N messages of that session, one a line; fails when
#                                  fewer arrive within SECONDS (30)
# mosquitto.sh packages            Debian packages it needs
# Nothing is kept over a stop: sessions live in the broker's memory.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/mosquitto

configure() {
    mkdir -p "$STATE"
    rm -f "$STATE/passwords"
    (umask 077 && : >"$STATE/passwords")
    mosquitto_passwd -b "$STATE/passwords" "$PARTS_USER" "$PARTS_PASSWORD" 2>/dev/null
    cat >"$STATE/mosquitto.conf" <<CONF
# The account it would otherwise change to cannot read the keys; an ordinary account ignores this.
user root
per_listener_settings true
# The default of 1,000 is too few for a test that lets messages wait; 0 is no bound.
max_queued_messages 0

listener $MQTT_PORT 127.0.0.1
allow_anonymous true

listener $MQTT_PASSWORD_PORT 127.0.0.1
allow_anonymous false
password_file $STATE/passwords

listener $MQTT_TLS_PORT 127.0.0.1
allow_anonymous false
password_file $STATE/passwords
cafile $CA_CERT
certfile $SERVER_CERT
keyfile $SERVER_KEY

listener $MQTT_WS_PORT 127.0.0.1
protocol websockets
allow_anonymous true
CONF
}

listening() {
    local port
    for port in "$MQTT_PORT" "$MQTT_PASSWORD_PORT" "$MQTT_TLS_PORT" "$MQTT_WS_PORT"; do port_open "$port" || return 1; done
}

start_once() {
    if ! alive mosquitto; then
        configure
        spawn mosquitto mosquitto -c "$STATE/mosquitto.conf"
    fi
    wait_to_start Mosquitto listening mosquitto
}

start() {
    "$here/certs.sh" make
    one_at_a_time mosquitto start_once
    cat <<TEXT
open       mqtt://127.0.0.1:$MQTT_PORT
password   mqtt://127.0.0.1:$MQTT_PASSWORD_PORT  $PARTS_USER / $PARTS_PASSWORD
tls        mqtts://127.0.0.1:$MQTT_TLS_PORT  $PARTS_USER / $PARTS_PASSWORD, authority $CA_CERT
websocket  ws://127.0.0.1:$MQTT_WS_PORT
TEXT
}

stop() { one_at_a_time mosquitto halt mosquitto; }

subscribe() { mosquitto_sub -h 127.0.0.1 -p "$MQTT_PORT" -c -i "$2" -q 1 -t "$1" -E; }

consume() { mosquitto_sub -h 127.0.0.1 -p "$MQTT_PORT" -c -i "$2" -q 1 -t "$1" -C "$3" -W "${4:-30}"; }

packages() { echo mosquitto mosquitto-clients openssl; }

case ${1:-} in
start | stop | subscribe | consume | packages) "$@" ;;
*) say "usage: mosquitto.sh start | stop | subscribe TOPIC ID | consume TOPIC ID N [SECONDS] | packages"; exit 2 ;;
esac
