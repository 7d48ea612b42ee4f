# Sourced by the scripts of this directory and by those of tests/clients: where the parts keep
# their state, which ports they use, and how a process is started, watched and stopped.
#
# Always holds: a part listens on 127.0.0.1 only; all it writes lies under $PARTS, what it
# downloads under $TIDINGS_TESTS_CACHE; `start` of a running part changes nothing; `stop` ends
# exactly the process that `start` began (process id and start time are compared, so a recycled id
# is never signalled). Two callers may start the same part at once: a lock lets one do it.
#
# Environment, all optional:
#   PARTS                 state of the running parts        ${TMPDIR:-/tmp}/tidings-parts
#   TIDINGS_TESTS_CACHE   jars, virtual environments, mc    ${XDG_CACHE_HOME:-~/.cache}/tidings-tests
#   *_PORT                as below, each 20000 or higher
# shellcheck shell=bash

set -euo pipefail

PARTS=${PARTS:-${TMPDIR:-/tmp}/tidings-parts}
TIDINGS_TESTS_CACHE=${TIDINGS_TESTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidings-tests}
export PARTS TIDINGS_TESTS_CACHE

export KAFKA_PORT=${KAFKA_PORT:-29092}                    # no encryption, no password
export KAFKA_SASL_PORT=${KAFKA_SASL_PORT:-29093}          # password: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
export KAFKA_TLS_PORT=${KAFKA_TLS_PORT:-29094}            # TLS, client certificate welcome
export KAFKA_SASL_TLS_PORT=${KAFKA_SASL_TLS_PORT:-29095}  # TLS and password
export KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-29096}
export MQTT_PORT=${MQTT_PORT:-21883}                      # open
export MQTT_PASSWORD_PORT=${MQTT_PASSWORD_PORT:-21884}    # password
export MQTT_TLS_PORT=${MQTT_TLS_PORT:-28883}              # TLS and password
export MQTT_WS_PORT=${MQTT_WS_PORT:-29001}                # websockets, open
export REDIS_PORT=${REDIS_PORT:-26379}                    # password
export REDIS_TLS_PORT=${REDIS_TLS_PORT:-26380}            # TLS and password
export ELASTICSEARCH_PORT=${ELASTICSEARCH_PORT:-29201}    # no encryption, no password
export ELASTICSEARCH_TLS_PORT=${ELASTICSEARCH_TLS_PORT:-29202} # TLS and password
export MYSQL_PORT=${MYSQL_PORT:-23306}                    # password, in the clear and with TLS
export NATS_PORT=${NATS_PORT:-24222}                      # password, JetStream
export NATS_TLS_PORT=${NATS_TLS_PORT:-24223}              # TLS and token
export NATS_NKEY_PORT=${NATS_NKEY_PORT:-24224}            # TLS, client certificate, and nkey
export NATS_ACCOUNT_PORT=${NATS_ACCOUNT_PORT:-24225}      # credentials
export NATS_FIRST_PORT=${NATS_FIRST_PORT:-24226}          # TLS before anything else, client certificate, and token
export NSQD_PORT=${NSQD_PORT:-24150}                      # the stand-in for nsqd, in the clear and with TLS
export AMQP_PORT=${AMQP_PORT:-25672}                      # password
export AMQP_TLS_PORT=${AMQP_TLS_PORT:-25671}              # TLS and password
export RABBITMQ_DIST_PORT=${RABBITMQ_DIST_PORT:-25673}    # what rabbitmqctl speaks to
export RABBITMQ_EPMD_PORT=${RABBITMQ_EPMD_PORT:-24369}
export POSTGRES_PORT=${POSTGRES_PORT:-25432}              # password, in the clear and with TLS

# The one account every broker knows.
export PARTS_USER=tidings PARTS_PASSWORD=tidings-secret

# Made by certs.sh.
export CERTS_DIR=$PARTS/certs
export CA_CERT=$CERTS_DIR/ca.crt
export SERVER_CERT=$CERTS_DIR/server.crt SERVER_KEY=$CERTS_DIR/server.key
export CLIENT_CERT=$CERTS_DIR/client.crt CLIENT_KEY=$CERTS_DIR/client.key

# Debian keeps daemons where an ordinary account does not look.
PATH=$PATH:/usr/sbin:/sbin

mkdir -p "$PARTS/run" "$PARTS/log" "$TIDINGS_TESTS_CACHE"

# say TEXT... : a line for the person who watches; standard output belongs to results
say() { printf '%s\n' "$*" >&2; }

# wait_for SECONDS WHAT COMMAND... : polls until the command succeeds; names what it waited for if not
wait_for() {
    local seconds=$1 what=$2 deadline
    shift 2
    deadline=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            say "gave up after $seconds s waiting for $what"
            return 1
        fi
        sleep 0.1
    done
}

# port_open PORT : something accepts connections there
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port : a port nobody listens on, below the range the kernel gives to outgoing connections
free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 9000))
        port_open "$port" || break
    done
    printf '%s\n' "$port"
}

# born PID : the start time of a process in clock ticks since boot; fails when it is gone or a zombie
born() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] && printf '%s\n' "${fields[19]}"
}

# alive NAME : the process started under this name still runs
alive() {
    local pid since
    read -r pid since 2>/dev/null <"$PARTS/run/$1.pid" || return 1
    [[ -n $since && $(born "$pid") == "$since" ]]
}

# spawn NAME COMMAND... : starts it in a session of its own, its output in $PARTS/log/NAME.log
spawn() {
    local name=$1 pid since
    shift
    rm -f "$PARTS/run/$name.pid"
    setsid "$@" >>"$PARTS/log/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    if ! since=$(born "$pid"); then
        say "$name ended as soon as it had begun"
        log_of "$name"
        return 1
    fi
    printf '%s %s\n' "$pid" "$since" >"$PARTS/run/$name.pid"
}

# log_of NAME... : the end of what each part of these has logged
log_of() {
    local name
    for name in "$@"; do
        say "the end of $PARTS/log/$name.log:"
        tail -n 20 "$PARTS/log/$name.log" >&2
    done
}

# Beside a build on a busy machine a server may take minutes; one that has ended is not waited for.
START_SECONDS=600

# wait_to_start WHAT COMMAND NAME... : polls until COMMAND succeeds; fails, with the logs, when one of the parts ends before
wait_to_start() {
    local what=$1 ready=$2
    shift 2
    if wait_for "$START_SECONDS" "$what" ready_or_ended "$ready" "$@" && "$ready" >/dev/null 2>&1; then return; fi
    say "$what did not come up"
    log_of "$@"
    return 1
}

ready_or_ended() {
    local ready=$1 name
    shift
    "$ready" && return
    for name in "$@"; do alive "$name" || return 0; done
    return 1
}

# halt NAME [SIGNAL] : stops what `spawn NAME` started; after 30 s it is killed
halt() {
    local name=$1 signal=${2:-TERM} pid since
    if alive "$name"; then
        read -r pid since <"$PARTS/run/$name.pid"
        kill -"$signal" "$pid"
        if ! wait_for 30 "$name to stop" gone "$name"; then
            kill -KILL "$pid"
        fi
    fi
    rm -f "$PARTS/run/$name.pid"
}

gone() { ! alive "$1"; }

# one_at_a_time NAME COMMAND... : runs it while holding the lock of that name
one_at_a_time() {
    local name=$1
    shift
    (
        flock 9
        "$@"
    ) 9>"$PARTS/run/$name.lock"
}
