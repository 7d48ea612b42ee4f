#!/usr/bin/env bash
# Stock `mc`, the client most users of MinIO have, built from its Go module at a fixed version.
#
# mc.sh install    builds it into the cache (once; about a minute on two cores)
# mc.sh path       prints where it lies
# mc.sh packages   Debian packages it needs
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"
. "$here/go.sh"

VERSION=v0.0.0-20251106162529-77f82e18b540
BIN=$TIDINGS_TESTS_CACHE/mc-$VERSION/mc

install() { one_at_a_time mc-install go_build "github.com/minio/mc@$VERSION" "$BIN"; }

path() { echo "$BIN"; }

packages() { go_packages; }

case ${1:-} in
install | path | packages) "$@" ;;
*) say "usage: mc.sh install | path | packages"; exit 2 ;;
esac
