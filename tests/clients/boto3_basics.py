#!/usr/bin/env python3
"""boto3 as an application uses it, with its default checksums: buckets, objects, uploads in parts,
copies, listings, bulk deletes, presigned URLs, notification rules, both styles of address."""

import io
import socket
import urllib.error
import urllib.request

import boto3
import boto3.s3.transfer
from botocore.config import Config
from botocore.exceptions import ClientError

from expect import ACCESS_KEY, ADDRESS, ENDPOINT, SECRET_KEY, equal, fails, pattern, run

MIB = 1024 * 1024
BUCKET = "boto3-basics"


def client(style="path", port_host=ENDPOINT):
    return boto3.client(
        "s3", endpoint_url=port_host, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1", config=Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}))


s3 = client()


def code(error):
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def keys(page):
    return [entry["Key"] for entry in page.get("Contents", [])]


def prefixes(page):
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


def read(key, **arguments):
    return s3.get_object(Bucket=BUCKET, Key=key, **arguments)["Body"].read()


def a_bucket_is_made_found_and_listed():
    s3.create_bucket(Bucket=BUCKET)
    equal("HeadBucket", 200, s3.head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPStatusCode"])
    equal("ListBuckets has it", True, BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]])
    fails("HeadBucket of a missing bucket", code, ("404", 404), lambda: s3.head_bucket(Bucket="not-there-at-all"))
    fails("PutObject into a missing bucket", code, ("NoSuchBucket", 404),
          lambda: s3.put_object(Bucket="not-there-at-all", Key="k", Body=b"x"))


def an_object_comes_back_with_what_was_said_about_it():
    put = s3.put_object(Bucket=BUCKET, Key="poem.txt", Body=b"roses are red", ContentType="text/plain",
                        CacheControl="max-age=60", Metadata={"color": "red", "mood": "glad"})
    equal("ETag of PutObject", '"d566ae832973a05839f03ec7cf9cc8d4"', put["ETag"])
    got = s3.get_object(Bucket=BUCKET, Key="poem.txt")
    equal("the body", b"roses are red", got["Body"].read())
    equal("what GetObject says", ("text/plain", "max-age=60", {"color": "red", "mood": "glad"}, 13, put["ETag"]),
          (got["ContentType"], got["CacheControl"], got["Metadata"], got["ContentLength"], got["ETag"]))
    head = s3.head_object(Bucket=BUCKET, Key="poem.txt")
    equal("HeadObject says the same", (put["ETag"], 13, got["Metadata"], got["LastModified"]),
          (head["ETag"], head["ContentLength"], head["Metadata"], head["LastModified"]))
    fails("GetObject of a missing key", code, ("NoSuchKey", 404), lambda: read("no-poem.txt"))
    fails("HeadObject of a missing key", code, ("404", 404), lambda: s3.head_object(Bucket=BUCKET, Key="no-poem.txt"))


def a_default_checksum_is_kept_and_each_algorithm_is_accepted():
    # boto3 sends CRC32 in a trailer unless told otherwise.
    s3.put_object(Bucket=BUCKET, Key="sum/default", Body=io.BytesIO(pattern(100_000)))
    head = s3.head_object(Bucket=BUCKET, Key="sum/default", ChecksumMode="ENABLED")
    equal("a CRC32 is stored", True, bool(head.get("ChecksumCRC32")))
    equal("the body is intact", pattern(100_000), read("sum/default", ChecksumMode="ENABLED"))
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        put = s3.put_object(Bucket=BUCKET, Key=f"sum/{algorithm}", Body=b"checked", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=BUCKET, Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        field = f"Checksum{algorithm}"
        equal(f"{field} of HEAD is that of PUT", put[field], head[field])
    fails("a wrong checksum", code, ("BadDigest", 400),
          lambda: s3.put_object(Bucket=BUCKET, Key="sum/wrong", Body=b"checked", ChecksumCRC32="AAAAAA=="))
    fails("nothing was stored of it", code, ("404", 404), lambda: s3.head_object(Bucket=BUCKET, Key="sum/wrong"))


def a_range_is_the_part_that_was_asked_for():
    body = pattern(300_000)
    s3.put_object(Bucket=BUCKET, Key="range", Body=body)
    for header, wanted in (("bytes=0-0", body[:1]), ("bytes=131071-131073", body[131071:131074]),
                           ("bytes=299990-", body[299990:]), ("bytes=-7", body[-7:])):
        got = s3.get_object(Bucket=BUCKET, Key="range", Range=header)
        equal(f"{header}", (206, wanted), (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()))
    equal("Content-Range", "bytes 5-9/300000", s3.get_object(Bucket=BUCKET, Key="range", Range="bytes=5-9")["ContentRange"])
    fails("a range beyond the end", code, ("InvalidRange", 416), lambda: read("range", Range="bytes=300000-"))


def conditions_decide_what_is_answered():
    etag = s3.head_object(Bucket=BUCKET, Key="poem.txt")["ETag"]
    equal("If-Match of the ETag", b"roses are red", read("poem.txt", IfMatch=etag))
    fails("If-None-Match of the ETag", code, ("304", 304), lambda: read("poem.txt", IfNoneMatch=etag))
    fails("If-Match of another ETag", code, ("PreconditionFailed", 412), lambda: read("poem.txt", IfMatch='"0"'))
    fails("If-None-Match: * on an existing key", code, ("PreconditionFailed", 412),
          lambda: s3.put_object(Bucket=BUCKET, Key="poem.txt", Body=b"x", IfNoneMatch="*"))
    equal("the object is untouched", b"roses are red", read("poem.txt"))


def a_large_file_goes_up_in_parts_and_comes_down():
    body = pattern(12 * MIB + 4711)
    transfer = boto3.s3.transfer.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "large.bin", Config=transfer, ExtraArgs={"Metadata": {"made": "by-parts"}})
    head = s3.head_object(Bucket=BUCKET, Key="large.bin")
    equal("size, parts in the ETag, metadata", (len(body), "-3", {"made": "by-parts"}),
          (head["ContentLength"], head["ETag"].strip('"')[-2:], head["Metadata"]))
    down = io.BytesIO()
    s3.download_fileobj(BUCKET, "large.bin", down, Config=transfer)
    equal("the bytes", True, down.getvalue() == body)
    equal("a range over a part's border", body[5 * MIB - 3:5 * MIB + 3], read("large.bin", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}"))


def an_upload_is_listed_until_it_is_completed_or_aborted():
    first = s3.create_multipart_upload(Bucket=BUCKET, Key="parts/a")["UploadId"]
    second = s3.create_multipart_upload(Bucket=BUCKET, Key="parts/b")["UploadId"]
    listed = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="parts/")["Uploads"]
    equal("ListMultipartUploads", [("parts/a", first), ("parts/b", second)], [(u["Key"], u["UploadId"]) for u in listed])
    part = s3.upload_part(Bucket=BUCKET, Key="parts/a", UploadId=first, PartNumber=1, Body=pattern(5 * MIB))
    copied = s3.upload_part_copy(Bucket=BUCKET, Key="parts/a", UploadId=first, PartNumber=2,
                                 CopySource={"Bucket": BUCKET, "Key": "range"}, CopySourceRange="bytes=10-19")
    parts = s3.list_parts(Bucket=BUCKET, Key="parts/a", UploadId=first)["Parts"]
    equal("ListParts", [(1, 5 * MIB, part["ETag"]), (2, 10, copied["CopyPartResult"]["ETag"])],
          [(p["PartNumber"], p["Size"], p["ETag"]) for p in parts])
    s3.complete_multipart_upload(Bucket=BUCKET, Key="parts/a", UploadId=first, MultipartUpload={
        "Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in parts]})
    equal("the completed object", True, read("parts/a") == pattern(5 * MIB) + pattern(300_000)[10:20])
    s3.abort_multipart_upload(Bucket=BUCKET, Key="parts/b", UploadId=second)
    equal("no upload is left", None, s3.list_multipart_uploads(Bucket=BUCKET, Prefix="parts/").get("Uploads"))
    fails("an aborted upload", code, ("NoSuchUpload", 404),
          lambda: s3.upload_part(Bucket=BUCKET, Key="parts/b", UploadId=second, PartNumber=1, Body=b"x"))


def a_copy_keeps_or_replaces_the_metadata():
    source = {"Bucket": BUCKET, "Key": "poem.txt"}
    s3.copy_object(Bucket=BUCKET, Key="copy/kept", CopySource=source)
    kept = s3.head_object(Bucket=BUCKET, Key="copy/kept")
    equal("kept", ("text/plain", {"color": "red", "mood": "glad"}), (kept["ContentType"], kept["Metadata"]))
    s3.copy_object(Bucket=BUCKET, Key="copy/new", CopySource=source, MetadataDirective="REPLACE",
                   Metadata={"color": "blue"}, ContentType="text/x-poem")
    new = s3.head_object(Bucket=BUCKET, Key="copy/new")
    equal("replaced", ("text/x-poem", {"color": "blue"}), (new["ContentType"], new["Metadata"]))
    equal("both have the bytes", (b"roses are red",) * 2, (read("copy/kept"), read("copy/new")))
    fails("a copy onto itself that changes nothing", code, ("InvalidRequest", 400),
          lambda: s3.copy_object(Bucket=BUCKET, Key="poem.txt", CopySource=source))
    fails("a copy of a missing key", code, ("NoSuchKey", 404),
          lambda: s3.copy_object(Bucket=BUCKET, Key="copy/none", CopySource={"Bucket": BUCKET, "Key": "gone"}))


TREE = ["l/a", "l/b/1", "l/b/2", "l/c/deep/er", "l/d e", "l/d+e", "l/e&f", "l/ü中.txt", "l/z"]


def listings_page_through_and_fold_at_the_delimiter():
    for key in TREE:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    wanted = sorted(TREE, key=lambda key: key.encode())
    equal("v2", wanted, keys(s3.list_objects_v2(Bucket=BUCKET, Prefix="l/")))
    equal("v1", wanted, keys(s3.list_objects(Bucket=BUCKET, Prefix="l/")))
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="l/", PaginationConfig={"PageSize": 2}))
    equal("v2 in pages of 2", [wanted[i:i + 2] for i in range(0, len(wanted), 2)], [keys(page) for page in pages])
    pages = list(s3.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="l/", PaginationConfig={"PageSize": 4}))
    equal("v1 in pages of 4", [wanted[i:i + 4] for i in range(0, len(wanted), 4)], [keys(page) for page in pages])
    folded = s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", Delimiter="/")
    equal("folded", ([key for key in wanted if key.count("/") == 1], ["l/b/", "l/c/"]), (keys(folded), prefixes(folded)))
    seen = []
    for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 1}):
        seen += keys(page) + prefixes(page)
    equal("folded in pages of 1", ["l/a", "l/b/", "l/c/"] + [key for key in wanted if key > "l/c/" and key.count("/") == 1], seen)
    equal("StartAfter", wanted[3:], keys(s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", StartAfter=wanted[2])))
    equal("each key is readable", [key.encode() for key in wanted], [read(key) for key in wanted])
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix="l/")["Versions"]
    equal("versions", [(key, "null", True) for key in wanted], [(v["Key"], v["VersionId"], v["IsLatest"]) for v in versions])


def a_presigned_url_is_enough_for_a_plain_client():
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed/ü b"}, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""})
    equal("PUT", 200, urllib.request.urlopen(request).status)
    url = s3.generate_presigned_url("get_object", Params={
        "Bucket": BUCKET, "Key": "signed/ü b", "ResponseContentType": "text/x-later"}, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        equal("GET", (b"by url", "text/x-later"), (answer.read(), answer.headers["Content-Type"]))
    fails("a changed key", lambda error: error.code, 403, lambda: urllib.request.urlopen(url.replace("signed", "sighed")))


def a_bucket_is_also_a_host_name():
    # Not every resolver knows that all names below localhost are this machine.
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **named: resolve(
        "127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)
    virtual = client("virtual", f"http://localhost:{ADDRESS.rpartition(':')[2]}")
    virtual.put_object(Bucket=BUCKET, Key="host/k", Body=b"virtual")
    equal("read by path", b"virtual", read("host/k"))
    equal("read by host", b"roses are red", virtual.get_object(Bucket=BUCKET, Key="poem.txt")["Body"].read())
    equal("listed by host", ["host/k"], keys(virtual.list_objects_v2(Bucket=BUCKET, Prefix="host/")))


def notification_rules_come_back_as_they_were_set():
    equal("none at first", None, s3.get_bucket_notification_configuration(Bucket=BUCKET).get("QueueConfigurations"))
    rule = {"Id": "jpg", "QueueArn": "arn:minio:sqs::AWAY:webhook", "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "images/"}, {"Name": "suffix", "Value": ".jpg"}]}}}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]})
    equal("as set", [rule], s3.get_bucket_notification_configuration(Bucket=BUCKET)["QueueConfigurations"])
    bad = dict(rule, QueueArn="arn:minio:sqs::NOBODY:webhook")
    fails("an unknown ARN", code, ("InvalidArgument", 400), lambda: s3.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [bad]}))
    equal("unchanged", [rule], s3.get_bucket_notification_configuration(Bucket=BUCKET)["QueueConfigurations"])
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={})
    equal("removed", None, s3.get_bucket_notification_configuration(Bucket=BUCKET).get("QueueConfigurations"))


def a_bucket_goes_when_it_is_empty():
    fails("DeleteBucket with objects in it", code, ("BucketNotEmpty", 409), lambda: s3.delete_bucket(Bucket=BUCKET))
    s3.delete_object(Bucket=BUCKET, Key="poem.txt")
    s3.delete_object(Bucket=BUCKET, Key="poem.txt")  # deleting what is not there succeeds
    left = keys(s3.list_objects_v2(Bucket=BUCKET))
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in left + ["never/was"]]})
    equal("DeleteObjects names each", sorted(left + ["never/was"]), sorted(entry["Key"] for entry in answer["Deleted"]))
    equal("nothing is left", [], keys(s3.list_objects_v2(Bucket=BUCKET)))
    s3.delete_bucket(Bucket=BUCKET)
    fails("the bucket is gone", code, ("404", 404), lambda: s3.head_bucket(Bucket=BUCKET))


if __name__ == "__main__":
    run(
        a_bucket_is_made_found_and_listed,
        an_object_comes_back_with_what_was_said_about_it,
        a_default_checksum_is_kept_and_each_algorithm_is_accepted,
        a_range_is_the_part_that_was_asked_for,
        conditions_decide_what_is_answered,
        a_large_file_goes_up_in_parts_and_comes_down,
        an_upload_is_listed_until_it_is_completed_or_aborted,
        a_copy_keeps_or_replaces_the_metadata,
        listings_page_through_and_fold_at_the_delimiter,
        a_presigned_url_is_enough_for_a_plain_client,
        a_bucket_is_also_a_host_name,
        notification_rules_come_back_as_they_were_set,
        a_bucket_goes_when_it_is_empty,
    )
