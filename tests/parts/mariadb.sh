#!/usr/bin/env bash
# MariaDB from Debian, which speaks MySQL's protocol, with a database `events` of the user $PARTS_USER, who logs in by
# password in the clear or with TLS over one port (common.sh); the user $PARTS_USER-certified has to show a client
# certificate beside the password. A commit is answered when the kernel has it, so that
# what was acknowledged is there after a kill of the server.
#
# mariadb.sh start         starts it with the data it had; prints its addresses
# mariadb.sh stop | crash  ends it with SIGTERM or SIGKILL, data kept
# mariadb.sh ask SQL       prints the answer, a row a line, columns separated by tabs
# mariadb.sh packages      Debian packages it needs
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

STATE=$PARTS/mariadb
ACCOUNT=$(id -un)

prepare() {
    [[ -e $STATE/complete ]] && return
    rm -rf "$STATE"
    mkdir -p "$STATE"
    mariadb-install-db --no-defaults --user="$ACCOUNT" --datadir="$STATE/data" --auth-root-authentication-method=normal \
        --skip-test-db >"$PARTS/log/mariadb-init.log" 2>&1 || { cat "$PARTS/log/mariadb-init.log" >&2; return 1; }
    touch "$STATE/complete"
}

serve() {
    spawn mariadb mariadbd --no-defaults --user="$ACCOUNT" --datadir="$STATE/data" --bind-address=127.0.0.1 \
        --port="$MYSQL_PORT" --socket="$STATE/socket" --pid-file="$STATE/pid" --innodb-buffer-pool-size=32M \
        --innodb-flush-log-at-trx-commit=2 --ssl-cert="$SERVER_CERT" --ssl-key="$SERVER_KEY" --ssl-ca="$CA_CERT"
}

as_root_of_it() { mariadb --no-defaults -S "$STATE/socket" -u root -e "$1"; }

answers() { as_root_of_it 'select 1'; }

ask() { mariadb --no-defaults --default-character-set=utf8mb4 -h 127.0.0.1 -P "$MYSQL_PORT" -u "$PARTS_USER" -p"$PARTS_PASSWORD" events -N -r -B -e "$1"; }

start_once() {
    if ! alive mariadb; then
        prepare
        serve
    fi
    wait_to_start MariaDB answers mariadb
    as_root_of_it "create database if not exists events;
        create user if not exists '$PARTS_USER'@'%' identified by '$PARTS_PASSWORD';
        create user if not exists '$PARTS_USER'@localhost identified by '$PARTS_PASSWORD';
        create user if not exists '$PARTS_USER-certified'@'%' identified by '$PARTS_PASSWORD' require x509;
        create user if not exists '$PARTS_USER-certified'@localhost identified by '$PARTS_PASSWORD' require x509;
        grant all on events.* to '$PARTS_USER'@'%'; grant all on events.* to '$PARTS_USER'@localhost;
        grant all on events.* to '$PARTS_USER-certified'@'%'; grant all on events.* to '$PARTS_USER-certified'@localhost"
}

start() {
    "$here/certs.sh" make
    one_at_a_time mariadb start_once
    echo "$PARTS_USER:$PARTS_PASSWORD@tcp(localhost:$MYSQL_PORT)/events, authority $CA_CERT"
}

stop() { one_at_a_time mariadb halt mariadb; }

crash() { one_at_a_time mariadb halt mariadb KILL; }

packages() { echo mariadb-server openssl; }

case ${1:-} in
start | stop | crash | ask | packages) "$@" ;;
*) say "usage: mariadb.sh start | stop | crash | ask SQL | packages"; exit 2 ;;
esac
