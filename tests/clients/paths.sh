# Sourced after tests/parts/common.sh: where the server and the foreign clients lie. What the
# environment already says stays.
# shellcheck shell=bash

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PARTS_SCRIPTS=$REPOSITORY/tests/parts

# interpreter NAME : the Python of one of the environments of tests/parts/python.sh
interpreter() { echo "$("$PARTS_SCRIPTS/python.sh" path "$1")/python"; }

TIDINGS_BIN=${TIDINGS_BIN:-${CARGO_TARGET_DIR:-$REPOSITORY/target}/debug/tidings}
TIDINGS_MC=${TIDINGS_MC:-$("$PARTS_SCRIPTS/mc.sh" path)}
TIDINGS_PYTHON_MINIO_5=${TIDINGS_PYTHON_MINIO_5:-$(interpreter minio-5)}
TIDINGS_PYTHON_MINIO_7=${TIDINGS_PYTHON_MINIO_7:-$(interpreter minio-7)}
TIDINGS_PYTHON_MINIO_NEWEST=${TIDINGS_PYTHON_MINIO_NEWEST:-$(interpreter minio-newest)}
TIDINGS_PYTHON_AWS=${TIDINGS_PYTHON_AWS:-$(interpreter aws)}
TIDINGS_AWS=${TIDINGS_AWS:-$("$PARTS_SCRIPTS/python.sh" path aws)/aws}
export TIDINGS_BIN TIDINGS_MC TIDINGS_AWS
export TIDINGS_PYTHON_MINIO_5 TIDINGS_PYTHON_MINIO_7 TIDINGS_PYTHON_MINIO_NEWEST TIDINGS_PYTHON_AWS
