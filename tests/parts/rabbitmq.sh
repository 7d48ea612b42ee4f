#!/usr/bin/env bash
# RabbitMQ from Debian, with a listener in the clear and one with TLS (ports in common.sh), both for the accounts
# $PARTS_USER and guest. The one with TLS also takes a client certificate, which by itself logs `client` in.
#
# rabbitmq.sh start         starts it with the data it had; prints its addresses
# rabbitmq.sh stop | crash  ends it in order or with SIGKILL, data kept
# rabbitmq.sh packages      Debian packages it needs
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/rabbitmq
export RABBITMQ_NODENAME=tidings-parts@localhost RABBITMQ_MNESIA_BASE=$STATE/data RABBITMQ_LOG_BASE=$STATE/log
export RABBITMQ_CONFIG_FILE=$STATE/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$STATE/enabled_plugins
export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_PID_FILE=$STATE/pid HOME=$STATE
export ERL_EPMD_PORT=$RABBITMQ_EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
# One scheduler that does not spin: it serves one test at a time.
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none'

# The commands on the path insist on an account of their own; these do not.
programs() { printf '%s\n' /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin | tail -1; }

control() { "$(programs)/rabbitmqctl" -q "$@"; }

# users : what RabbitMQ is to know when it starts
users() {
    local user all='"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"'
    printf '{"vhosts": [{"name": "/"}], "users": [%s], "permissions": [%s]}\n' \
        "$(for user in "$PARTS_USER:$PARTS_PASSWORD" guest:guest client:; do
            printf '{"name": "%s", "password": "%s", "tags": ""},' "${user%:*}" "${user#*:}"
        done | sed 's/,$//')" \
        "$(for user in "$PARTS_USER" guest client; do printf '{"user": "%s", %s},' "$user" "$all"; done | sed 's/,$//')"
}

configure() {
    mkdir -p "$STATE/log"
    echo '[rabbitmq_auth_mechanism_ssl].' >"$RABBITMQ_ENABLED_PLUGINS_FILE"
    users >"$STATE/definitions.json"
    cat >"$RABBITMQ_CONFIG_FILE" <<CONF
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
listeners.ssl.1 = 127.0.0.1:$AMQP_TLS_PORT
ssl_options.cacertfile = $CA_CERT
ssl_options.certfile = $SERVER_CERT
ssl_options.keyfile = $SERVER_KEY
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
load_definitions = $STATE/definitions.json
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
CONF
}

listening() { port_open "$AMQP_PORT" && port_open "$AMQP_TLS_PORT"; }

start_once() {
    if ! alive rabbitmq; then
        configure
        spawn rabbitmq "$(programs)/rabbitmq-server"
    fi
    wait_to_start RabbitMQ listening rabbitmq
}

start() {
    "$here/certs.sh" make
    one_at_a_time rabbitmq start_once
    cat <<TEXT
clear  amqp://$PARTS_USER:$PARTS_PASSWORD@127.0.0.1:$AMQP_PORT
tls    amqps://$PARTS_USER:$PARTS_PASSWORD@localhost:$AMQP_TLS_PORT  authority $CA_CERT
TEXT
}

# The shell that was started waits for the broker, which is of its session.
end_session() {
    local session
    read -r session _ <"$PARTS/run/rabbitmq.pid" || return 0
    pkill "-$1" -s "$session" || true
    wait_for 30 "RabbitMQ to end" nobody_of "$session"
    rm -f "$PARTS/run/rabbitmq.pid"
}

nobody_of() { ! pgrep -s "$1"; }

crash_once() { if alive rabbitmq; then end_session KILL; fi; }

stop_once() {
    alive rabbitmq || return 0
    control stop >/dev/null 2>&1 || true
    end_session KILL
    # The names of Erlang's nodes are kept by a process that outlives them.
    epmd -port "$RABBITMQ_EPMD_PORT" -kill >/dev/null 2>&1 || true
}

crash() { one_at_a_time rabbitmq crash_once; }

stop() { one_at_a_time rabbitmq stop_once; }

packages() { echo openssl procps rabbitmq-server; }

case ${1:-} in
start | stop | crash | packages) "$@" ;;
*) say "usage: rabbitmq.sh start | stop | crash | packages"; exit 2 ;;
esac
