#!/usr/bin/env python3
"""The program of the data lake, for minio-py 5.0.1: makes a CSV of 60 MB and uploads it, which that
library does in parts of 5 MiB; then a compressed file, which is small, is written, read, looked at and
removed. With a file as its argument it uploads that one alone."""

import gzip
import hashlib
import io
import os
import sys
from urllib.parse import urlsplit

import urllib3
from minio import Minio

CSV_BYTES = 60_000_000


def csv():
    rows, size = ["id,name,amount\n"], 0
    while size < CSV_BYTES:
        rows.append(f"{len(rows)},donor {hashlib.md5(str(len(rows)).encode()).hexdigest()},{len(rows) * 37 % 10_000}\n")
        size += len(rows[-1])
    return "".join(rows).encode()


def main():
    address = urlsplit(os.environ["ENDPOINT"])
    urllib3.disable_warnings()
    lake = Minio(
        address.netloc, access_key=os.environ["ACCESS_KEY"], secret_key=os.environ["SECRET_KEY"],
        secure=address.scheme == "https", http_client=urllib3.PoolManager(cert_reqs="CERT_NONE"))
    if len(sys.argv) > 1:
        lake.fput_object("upload", os.path.basename(sys.argv[1]), sys.argv[1])
        return

    whole = csv()
    path = os.path.join(os.environ["WORK"], "donors.csv")
    with open(path, "wb") as file:
        file.write(whole)
    lake.fput_object("upload", "donors.csv", path, content_type="text/csv")

    small = gzip.compress(whole[:1_000_000])
    lake.put_object("upload", "donors.csv.gz", io.BytesIO(small), len(small), content_type="application/gzip")
    answer = lake.get_object("upload", "donors.csv.gz")
    if answer.read() != small:
        sys.exit("donors.csv.gz came back changed")
    answer.release_conn()
    if lake.stat_object("upload", "donors.csv.gz").size != len(small):
        sys.exit("donors.csv.gz has another size")
    lake.remove_object("upload", "donors.csv.gz")


if __name__ == "__main__":
    main()
