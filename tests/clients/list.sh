# Sourced by tests/run: the client workflows, `NAME COMMAND` each, run in this order from the root
# of the repository. A command succeeds or fails as a whole.
# shellcheck shell=bash

SERVED=tests/clients/with_server.sh
# The variables in single quotes are filled in by the shell that runs the command.
# shellcheck disable=SC2016
CLIENT_WORKFLOWS=(
    "curl_listen          tests/clients/curl_listen.sh"
    "bad_input            $SERVED python3 tests/clients/bad_input.py"
    "boto3_basics         $SERVED "'$TIDINGS_PYTHON_AWS tests/clients/boto3_basics.py'
    "boto3_topics         $SERVED "'$TIDINGS_PYTHON_AWS tests/clients/boto3_topics.py'
    "boto3_topic_secrets  $SERVED --tls "'$TIDINGS_PYTHON_AWS tests/clients/boto3_topic_secrets.py'
    "awscli_basics        $SERVED tests/clients/awscli_basics.sh"
    "minio_py_5           $SERVED "'$TIDINGS_PYTHON_MINIO_5 tests/clients/minio_py_basics.py'
    "minio_py_7           $SERVED "'$TIDINGS_PYTHON_MINIO_7 tests/clients/minio_py_basics.py'
    "minio_py_newest      $SERVED "'$TIDINGS_PYTHON_MINIO_NEWEST tests/clients/minio_py_basics.py'
    "mc_basics            tests/clients/mc_basics.sh"
    "kafka_mc_minio_py    tests/clients/kafka_mc_minio_py.sh"
    "data_lake            tests/clients/data_lake.sh"
    "kafka_stopped        tests/clients/kafka_stopped.sh"
    "image_steps          tests/clients/image_steps.sh"
    "compatibility_page   python3 tests/conformance/render.py --check"
)
