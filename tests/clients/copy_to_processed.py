#!/usr/bin/env python3
"""Copies each picture that a Kafka topic announces into the bucket `processed`, as a small service
would: minio-py and kafka-python, `EventName` and `Key` of the record. Prints both for each picture
and ends after --pictures of them; records of reads, its own among them, are passed over."""

import argparse
import io
import json
import os
import ssl
import sys
from urllib.parse import urlsplit

import urllib3
from kafka import KafkaConsumer
from minio import Minio

WAIT_MS = 60_000


def store():
    address = urlsplit(os.environ["ENDPOINT"])
    # The certificate is one nobody signed.
    urllib3.disable_warnings()
    return Minio(
        address.netloc, access_key=os.environ["ACCESS_KEY"], secret_key=os.environ["SECRET_KEY"],
        secure=address.scheme == "https", http_client=urllib3.PoolManager(cert_reqs=ssl.CERT_NONE))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--brokers", "--topic", "--group"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--pictures", type=int, required=True)
    options = parser.parse_args()

    objects = store()
    consumer = KafkaConsumer(
        options.topic, bootstrap_servers=options.brokers.split(","), group_id=options.group,
        auto_offset_reset="earliest", consumer_timeout_ms=WAIT_MS, value_deserializer=json.loads)
    copied = 0
    for message in consumer:
        event, key = message.value["EventName"], message.value["Key"]
        if not event.startswith("s3:ObjectCreated:"):
            continue
        bucket, _, name = key.partition("/")
        answer = objects.get_object(bucket, name)
        body = answer.read()
        answer.close()
        answer.release_conn()
        objects.put_object("processed", name, io.BytesIO(body), len(body))
        print(event, key, flush=True)
        copied += 1
        if copied == options.pictures:
            consumer.close()
            return
    sys.exit(f"only {copied} of {options.pictures} pictures were announced within {WAIT_MS / 1000:.0f} s")


if __name__ == "__main__":
    main()
