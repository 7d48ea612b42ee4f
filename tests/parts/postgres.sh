#!/usr/bin/env bash
# PostgreSQL from Debian, with a database `events` of the user $PARTS_USER, who logs in by password (SCRAM) in the
# clear or with TLS over one port (common.sh); and of the user `client`, who logs in with the client certificate alone. A commit is answered when the kernel has it, so that what was
# acknowledged is there after a kill of the server.
#
# postgres.sh start         starts it with the data it had; prints its addresses
# postgres.sh stop | crash  ends it with SIGINT or SIGKILL, data kept
# postgres.sh ask SQL       prints the answer, a row a line, columns separated by tabs
# postgres.sh packages      Debian packages it needs
# It refuses to run as root: then it runs as the account `postgres` of the package.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/postgres

programs() { printf '%s\n' /usr/lib/postgresql/*/bin | tail -1; }

# as_owner COMMAND... : as the account that owns the data
as_owner() {
    if ((EUID == 0)); then
        setpriv --reuid postgres --regid postgres --clear-groups env HOME=/tmp "$@"
    else
        "$@"
    fi
}

prepare() {
    [[ -e $STATE/complete ]] && return
    rm -rf "$STATE"
    mkdir -p "$STATE"
    printf '%s\n' "$PARTS_PASSWORD" >"$STATE/password"
    ((EUID != 0)) || chown -R postgres:postgres "$STATE"
    chmod go+x "$PARTS"
    as_owner "$(programs)/initdb" -D "$STATE/data" -U "$PARTS_USER" --pwfile "$STATE/password" \
        -A scram-sha-256 -N >"$PARTS/log/postgres-init.log" 2>&1 || { cat "$PARTS/log/postgres-init.log" >&2; return 1; }
    touch "$STATE/complete"
}

configure() {
    cp "$SERVER_CERT" "$SERVER_KEY" "$CA_CERT" "$STATE/"
    chmod 600 "$STATE/server.key"
    ((EUID != 0)) || chown postgres:postgres "$STATE"/server.* "$STATE/ca.crt"
    cat >"$STATE/data/postgresql.auto.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $POSTGRES_PORT
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
ssl = on
ssl_cert_file = '$STATE/server.crt'
ssl_key_file = '$STATE/server.key'
ssl_ca_file = '$STATE/ca.crt'
CONF
    cat >"$STATE/data/pg_hba.conf" <<CONF
hostssl all client 127.0.0.1/32 cert
host all all 127.0.0.1/32 scram-sha-256
CONF
}

in_database() { PGPASSWORD=$PARTS_PASSWORD psql -qAtX -F $'\t' -h 127.0.0.1 -p "$POSTGRES_PORT" -U "$PARTS_USER" -d "$1" -c "$2"; }

ask() { in_database events "$1"; }

answers() { in_database postgres 'select 1'; }

start_once() {
    if ! alive postgres; then
        prepare
        configure
        if ((EUID == 0)); then
            spawn postgres setpriv --reuid postgres --regid postgres --clear-groups "$(programs)/postgres" -D "$STATE/data"
        else
            spawn postgres "$(programs)/postgres" -D "$STATE/data"
        fi
    fi
    wait_to_start PostgreSQL answers postgres
    [[ -n $(in_database postgres "select 1 from pg_database where datname = 'events'") ]] ||
        in_database postgres 'create database events'
    [[ -n $(ask "select 1 from pg_roles where rolname = 'client'") ]] ||
        ask 'create role client login; grant create, usage on schema public to client'
}

start() {
    "$here/certs.sh" make
    one_at_a_time postgres start_once
    echo "host=localhost port=$POSTGRES_PORT dbname=events user=$PARTS_USER password=$PARTS_PASSWORD, authority $CA_CERT"
}

stop() { one_at_a_time postgres halt postgres INT; }

# A server that is killed leaves processes of its session, which hold the data for a moment.
crash_once() {
    local session
    read -r session _ <"$PARTS/run/postgres.pid"
    halt postgres KILL
    wait_for 30 "what PostgreSQL left behind" nobody_of "$session"
}

nobody_of() { ! pgrep -s "$1"; }

crash() { one_at_a_time postgres crash_once; }

packages() { echo openssl postgresql procps; }

case ${1:-} in
start | stop | crash | ask | packages) "$@" ;;
*) say "usage: postgres.sh start | stop | crash | ask SQL | packages"; exit 2 ;;
esac
