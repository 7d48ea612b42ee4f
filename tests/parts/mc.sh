#!/usr/bin/env bash
# Stock `mc`, the client most users of MinIO have, built from its Go module at a fixed version.
#
# mc.sh install    builds it into the cache (once; about a minute on two cores)
# mc.sh path       prints where it lies
# mc.sh packages   Debian packages it needs
#
# Needs Go 1.24 or newer. Debian 12 has 1.19, which cannot compile mc but can fetch a newer
# toolchain: Go publishes its toolchains as modules, verified against the checksum database like
# any other.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

VERSION=v0.0.0-20251106162529-77f82e18b540
TOOLCHAIN=v0.0.1-go1.25.4.linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
OLDEST_MINOR=24
BIN=$TIDINGS_TESTS_CACHE/mc-$VERSION/mc

# recent GO : this compiler is new enough
recent() {
    local minor
    minor=$(cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p')
    [[ -n $minor ]] && ((minor >= OLDEST_MINOR))
}

# compiler : prints a Go command that is new enough, fetching one if the installed one is not
compiler() {
    local root
    if recent go; then
        echo go
        return
    fi
    root=$(cd / && go env GOMODCACHE)/golang.org/toolchain@$TOOLCHAIN
    if ! recent "$root/bin/go"; then
        (cd / && go mod download "golang.org/toolchain@$TOOLCHAIN") >&2
        # Only Go 1.21 and newer unpack the module with its executable bits.
        chmod -R u+w "$root"
        find "$root/bin" "$root/pkg/tool" -type f -exec chmod +x {} +
    fi
    echo "$root/bin/go"
}

build() {
    [[ -x $BIN ]] && return
    local go target=$TIDINGS_TESTS_CACHE/go-install
    go=$(compiler)
    (cd / && GOBIN=$target GOTOOLCHAIN=local CGO_ENABLED=0 "$go" install "github.com/minio/mc@$VERSION") >&2
    mkdir -p "$(dirname "$BIN")"
    mv "$target/mc" "$BIN"
}

install() { one_at_a_time mc-install build; }

path() { echo "$BIN"; }

packages() { command -v go >/dev/null || echo golang-go; }

case ${1:-} in
install | path | packages) "$@" ;;
*) say "usage: mc.sh install | path | packages"; exit 2 ;;
esac
