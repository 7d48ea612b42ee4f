#!/usr/bin/env bash
# Python clients in virtual environments, one for each set of versions that a user may have:
#   minio-5        minio-py 5.0.1 and kafka-python 2.0.2, as in old pipelines
#   minio-7        minio-py 7.1.11 and kafka-python 2.0.2
#   minio-newest   the newest of both when this list was last renewed
#   aws            boto3 and the AWS command line, version 1
# Every version, also of what they need, is fixed in tests/clients/requirements/NAME.txt. Python 3.11, as
# in Debian 12: kafka-python 2.0.2 does not know 3.12 and later.
#
# python.sh install [NAME...]   makes the environments that are missing or whose list changed
# python.sh path NAME           prints the directory of its programs
# python.sh packages            Debian packages it needs
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/common.sh"

LISTS=$here/../clients/requirements
ENVIRONMENTS=(minio-5 minio-7 minio-newest aws)

make_one() {
    local venv=$TIDINGS_TESTS_CACHE/venv/$1 list=$LISTS/$1.txt
    cmp -s "$list" "$venv/installed.txt" && return
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" --disable-pip-version-check install --quiet --no-deps --requirement "$list" >&2
    cp "$list" "$venv/installed.txt"
}

make_all() {
    local name
    for name in "$@"; do make_one "$name"; done
}

install() {
    (($#)) || set -- "${ENVIRONMENTS[@]}"
    one_at_a_time python-install make_all "$@"
}

path() { echo "$TIDINGS_TESTS_CACHE/venv/$1/bin"; }

packages() { echo python3 python3-venv; }

case ${1:-} in
install | path | packages) "$@" ;;
*) say "usage: python.sh install [NAME...] | path NAME | packages"; exit 2 ;;
esac
