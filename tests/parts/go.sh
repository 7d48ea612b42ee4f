# Sourced after common.sh by the scripts of parts that are built from their Go modules, each at a fixed version.
#
# Needs Go 1.24 or newer. Debian 12 has 1.19, which compiles neither but can fetch a newer toolchain: Go publishes its
# toolchains as modules, verified against the checksum database like any other.
# shellcheck shell=bash

TOOLCHAIN=v0.0.1-go1.25.4.linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
OLDEST_MINOR=24

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

# go_build MODULE@VERSION FILE : builds the program of a module as this file, once
go_build() {
    local go target=$TIDINGS_TESTS_CACHE/go-install-${2##*/}
    [[ -x $2 ]] && return
    go=$(compiler)
    (cd / && GOBIN=$target GOTOOLCHAIN=local CGO_ENABLED=0 "$go" install "$1") >&2
    mkdir -p "$(dirname "$2")"
    mv "$target/${2##*/}" "$2"
}

go_packages() { command -v go >/dev/null || echo golang-go; }
