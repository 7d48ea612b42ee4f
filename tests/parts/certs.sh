#!/usr/bin/env bash
# Certificates of the tests, made with openssl in $PARTS/certs and valid for thirty days:
#   ca.crt, ca.key          the authority that signs the two below
#   server.crt, server.key  for localhost and 127.0.0.1; server-chain.pem is key and chain in one
#   client.crt, client.key  for a client that must show one
#
# certs.sh make                       makes what is missing or about to expire
# certs.sh self-signed DIR            a certificate nobody signed, as public.crt and private.key in DIR
# certs.sh server-dir DIR             DIR as `tidings --certs-dir` wants it: public.crt, private.key, CAs/
# Keys are PKCS#8 and readable by the owner only.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

DAYS=30
NAMES='subjectAltName=DNS:localhost,IP:127.0.0.1'

authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -days $DAYS -keyout ca.key -out ca.crt \
        -subj '/CN=tidings tests authority' -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign,cRLSign
}

# signed NAME USE : a key and a certificate signed by the authority
signed() {
    local name=$1 use=$2
    openssl req -newkey rsa:2048 -nodes -keyout "$name.key" -out "$name.csr" -subj "/CN=$name"
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days $DAYS \
        -extfile <(printf '%s\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' "$NAMES" "$use") -out "$name.crt"
    rm "$name.csr"
}

fresh() { openssl x509 -checkend 86400 -noout -in "$CERTS_DIR/client.crt" && [[ -s $CERTS_DIR/server-chain.pem ]]; }

make_all() {
    fresh >/dev/null 2>&1 && return
    rm -rf "$CERTS_DIR"
    mkdir -p "$CERTS_DIR"
    (
        cd "$CERTS_DIR"
        umask 077
        authority
        signed server serverAuth
        signed client clientAuth
        cat server.key server.crt ca.crt >server-chain.pem
    ) >"$PARTS/log/certs.log" 2>&1 || { cat "$PARTS/log/certs.log" >&2; return 1; }
}

make() { one_at_a_time certs make_all; }

self-signed() {
    mkdir -p "$1"
    openssl req -x509 -newkey rsa:2048 -nodes -days $DAYS -keyout "$1/private.key" -out "$1/public.crt" \
        -subj /CN=localhost -addext "$NAMES" 2>/dev/null
}

server-dir() {
    make
    mkdir -p "$1/CAs"
    cp "$SERVER_CERT" "$1/public.crt"
    cp "$SERVER_KEY" "$1/private.key"
    cp "$CA_CERT" "$1/CAs/ca.crt"
}

case ${1:-} in
make | self-signed | server-dir) "$@" ;;
*) say "usage: certs.sh make | self-signed DIR | server-dir DIR"; exit 2 ;;
esac
