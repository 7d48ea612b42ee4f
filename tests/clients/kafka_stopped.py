#!/usr/bin/env python3
"""Both halves of kafka_stopped.sh.

put    writes 1,000 keys again and again from eight threads, each key always from the same thread, and
       notes every acknowledged PUT, `key<TAB>ETag` a line in the order of that key
check  compares the topic's records with those notes: every PUT is there, in order, and the sequencer of
       a key only grows. Delivery is at least once, so a record that repeats an earlier one of its key
       exactly is counted and passed over; anything else that does not fit ends the check.
"""

import argparse
import json
import os
import sys
import threading
from collections import defaultdict
from urllib.parse import urlsplit

import urllib3
from minio import Minio

KEYS = 1000
THREADS = 8
BUCKET = "stopped"


def client():
    address = urlsplit(os.environ["ENDPOINT"])
    # A repeated PUT would be a second record: no retries here.
    pool = urllib3.PoolManager(maxsize=1, retries=False, timeout=60)
    return Minio(address.netloc, access_key=os.environ["ACCESS_KEY"], secret_key=os.environ["SECRET_KEY"],
                 secure=False, region="us-east-1", http_client=pool)


def put(options):
    import io
    journal, lock, errors = open(options.journal, "w", encoding="ascii"), threading.Lock(), []

    def work(thread):
        store = client()
        try:
            for number in range(options.puts):
                if number % KEYS % THREADS != thread:
                    continue
                key, body = f"k/{number % KEYS:04}", f"put {number}".encode()
                etag = store.put_object(BUCKET, key, io.BytesIO(body), len(body)).etag
                with lock:
                    journal.write(f"{key}\t{etag}\n")
        except Exception as error:  # the threads' errors are the main one's to report
            errors.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    if errors:
        sys.exit(f"{len(errors)} of {THREADS} writers stopped; the first: {errors[0]}")


def check(options):
    wanted = defaultdict(list)
    for line in open(options.journal, encoding="ascii"):
        key, etag = line.rstrip("\n").split("\t")
        wanted[f"{BUCKET}/{key}"].append(etag)

    told, partitions, repeats = defaultdict(dict), defaultdict(set), 0
    for line in open(options.records, encoding="utf-8"):
        partition, key, value = line.rstrip("\n").split("\t", 2)
        envelope = json.loads(value)
        if envelope["Key"] != key:
            sys.exit(f"the message key is {key}, the record's Key {envelope['Key']}")
        thing = envelope["Records"][0]["s3"]["object"]
        partitions[key].add(partition)
        sequencer, etag = int(thing["sequencer"], 16), thing["eTag"]
        if told[key].get(sequencer) == etag:
            repeats += 1
            continue
        if told[key] and sequencer <= next(reversed(told[key])):
            sys.exit(f"{key}: the record with sequencer {sequencer:016X} came after {next(reversed(told[key])):016X}")
        told[key][sequencer] = etag

    for key, etags in wanted.items():
        if list(told[key].values()) != etags:
            sys.exit(f"{key}: acknowledged {len(etags)} PUTs {etags}\n  told {list(told[key].values())}")
        if len(partitions[key]) != 1:
            sys.exit(f"{key}: its records lie in partitions {sorted(partitions[key])}")
    beyond = set(told) - set(wanted) - {f"{BUCKET}/before"}
    if beyond:
        sys.exit(f"records of keys nobody wrote: {sorted(beyond)[:10]}")
    if len({partition for found in partitions.values() for partition in found}) < 2:
        sys.exit("all keys lie in one partition of the topic's four")
    print(f"    {sum(map(len, wanted.values()))} records, {repeats} of them told twice", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("put", "check"))
    parser.add_argument("--puts", type=int)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--records")
    options = parser.parse_args()
    put(options) if options.command == "put" else check(options)


if __name__ == "__main__":
    main()
