#!/usr/bin/env python3
"""What a server must refuse, each with the right status and S3 code, and nothing changed by it.

Every case is one request, made by hand so that no library repairs it. Before the first and after each
case the whole store is looked at: buckets, objects with their bytes, open uploads, notification rules.
"""

import base64
import datetime
import hashlib
import re

from expect import ACCESS_KEY, ENDPOINT, SECRET_KEY, equal, run
from sigv4 import UNSIGNED_TRAILER, Caller

BUCKET = "bad-input"
MIB = 1024 * 1024
RULE = ("<QueueConfiguration>{}<Event>s3:ObjectCreated:*</Event><Queue>arn:minio:sqs::AWAY:webhook</Queue>"
        "</QueueConfiguration>")
s3 = Caller(ENDPOINT, ACCESS_KEY, SECRET_KEY)


def configuration(*rules):
    return ("<NotificationConfiguration>" + "".join(rules) + "</NotificationConfiguration>").encode()


def state():
    """All that a refused request might have changed."""
    buckets = sorted(re.findall(rb"<Name>([^<]*)</Name>", s3.send("GET", "/").body))
    listing = s3.send("GET", f"/{BUCKET}", {"list-type": "2"}).body
    names = [name.decode() for name in re.findall(rb"<Key>([^<]*)</Key>", listing)]
    bodies = {name: s3.send("GET", f"/{BUCKET}/{name}").body for name in names}
    uploads = re.findall(rb"<UploadId>([^<]*)</UploadId>", s3.send("GET", f"/{BUCKET}", {"uploads": ""}).body)
    rules = s3.send("GET", f"/{BUCKET}", {"notification": ""}).body
    return buckets, bodies, uploads, rules


def refused(what, status, codes, send):
    """`send` is answered with this status and one of these codes, and the store is as it was."""
    before = state()
    answer = send()
    wanted = codes if isinstance(codes, tuple) else (codes,)
    equal(f"{what}: status", status, answer.status)
    if answer.code not in wanted:
        equal(f"{what}: code", " or ".join(wanted), answer.code)
    equal(f"{what}: the store afterwards", before, state())


def put(**arguments):
    return s3.send("PUT", f"/{BUCKET}/k", body=b"changed", **arguments)


def a_bucket_with_an_object_and_a_rule():
    equal("CreateBucket", 200, s3.send("PUT", f"/{BUCKET}").status)
    equal("PutObject", 200, s3.send("PUT", f"/{BUCKET}/k", body=b"as it was").status)
    equal("the rule", 200, s3.send("PUT", f"/{BUCKET}", {"notification": ""}, body=configuration(RULE.format(""))).status)


def a_wrong_signature():
    def another_secret(**arguments):
        return Caller(ENDPOINT, ACCESS_KEY, SECRET_KEY + "x").send("PUT", f"/{BUCKET}/k", body=b"changed", **arguments)

    def cut(headers):
        headers["authorization"] = headers["authorization"][:-1]

    def changed_header(headers):
        headers["x-amz-meta-color"] = "blue"

    refused("another secret", 403, "SignatureDoesNotMatch", another_secret)
    refused("an unknown access key", 403, "InvalidAccessKeyId",
            lambda: Caller(ENDPOINT, "nobody-at-all", SECRET_KEY).send("PUT", f"/{BUCKET}/k", body=b"changed"))
    refused("a signature that is too short", 403, "SignatureDoesNotMatch", lambda: put(spoil=cut))
    refused("a header changed after signing", 403, "SignatureDoesNotMatch",
            lambda: put(headers={"x-amz-meta-color": "red"}, spoil=changed_header))
    refused("no signature at all", 403, "AccessDenied", lambda: put(spoil=lambda headers: headers.pop("authorization")))


def a_clock_that_is_wrong():
    for minutes in (-16, 16):
        late = Caller(ENDPOINT, ACCESS_KEY, SECRET_KEY, clock_offset=datetime.timedelta(minutes=minutes))
        refused(f"a clock {minutes} minutes off", 403, "RequestTimeTooSkewed",
                lambda: late.send("PUT", f"/{BUCKET}/k", body=b"changed"))


def a_digest_that_is_wrong():
    def md5_of(body):
        return base64.b64encode(hashlib.md5(body).digest()).decode()

    refused("Content-MD5 of other bytes", 400, "BadDigest", lambda: put(headers={"content-md5": md5_of(b"other")}))
    refused("Content-MD5 that is no digest", 400, "InvalidDigest", lambda: put(headers={"content-md5": "not-base64!"}))
    refused("SHA-256 of other bytes", 400, "XAmzContentSHA256Mismatch",
            lambda: put(payload=hashlib.sha256(b"other").hexdigest()))
    refused("a CRC32 of other bytes", 400, "BadDigest", lambda: put(headers={"x-amz-checksum-crc32": "AAAAAA=="}))
    refused("a SHA-256 checksum of other bytes", 400, "BadDigest", lambda: put(headers={
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()}))


def a_body_that_ends_early():
    chunks = [b"a" * 65536, b"b" * 1000]
    refused("no closing chunk", 400, "IncompleteBody", lambda: s3.send_chunked(f"/{BUCKET}/k", chunks, terminated=False))
    refused("a chunk that is missing", 400, "IncompleteBody",
            lambda: s3.send_chunked(f"/{BUCKET}/k", chunks[:1], decoded_length=66536))
    refused("a chunk with another signature", 403, "SignatureDoesNotMatch",
            lambda: s3.send_chunked(f"/{BUCKET}/k", chunks, spoil_chunk=1))
    refused("a trailing checksum of other bytes", 400, "BadDigest", lambda: s3.send(
        "PUT", f"/{BUCKET}/k", payload=UNSIGNED_TRAILER, body=b"7\r\nchanged\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        headers={"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "7", "x-amz-trailer": "x-amz-checksum-crc32"}))
    # Whoever hangs up in the middle may get an answer or none; what counts is that nothing changed.
    before = state()
    equal("fewer bytes than promised", True, put(payload="UNSIGNED-PAYLOAD", length=5000).status in (0, 400))
    equal("fewer bytes than promised: the store afterwards", before, state())


def a_body_that_is_no_xml():
    delete = {"content-md5": base64.b64encode(hashlib.md5(b"<Delete><Object>").digest()).decode()}
    refused("DeleteObjects cut short", 400, "MalformedXML",
            lambda: s3.send("POST", f"/{BUCKET}", {"delete": ""}, delete, b"<Delete><Object>"))
    refused("a notification configuration that is none", 400, "MalformedXML",
            lambda: s3.send("PUT", f"/{BUCKET}", {"notification": ""}, body=b"<Something/>"))
    refused("a location that is no XML", 400, "MalformedXML", lambda: s3.send("PUT", "/bad-input-other", body=b"us-east-1"))


def a_notification_rule_that_cannot_hold():
    def rules(*texts):
        return s3.send("PUT", f"/{BUCKET}", {"notification": ""}, body=configuration(*texts))

    def filtered(name, value):
        return RULE.format(f"<Filter><S3Key><FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule></S3Key></Filter>")

    refused("an unknown ARN", 400, "InvalidArgument", lambda: rules(RULE.format("").replace("AWAY", "NOBODY")))
    refused("an ARN that is none", 400, "InvalidArgument",
            lambda: rules(RULE.format("").replace("arn:minio:sqs::AWAY:webhook", "webhook")))
    refused("a bad event name", 400, "InvalidArgument", lambda: rules(RULE.format("").replace("Created:*", "Painted:*")))
    refused("no event", 400, "MalformedXML", lambda: rules(RULE.format("").replace("<Event>s3:ObjectCreated:*</Event>", "")))
    refused("the same event twice", 400, "InvalidArgument", lambda: rules(RULE.format("<Event>s3:ObjectCreated:*</Event>")))
    refused("overlapping rules", 400, "InvalidArgument", lambda: rules(filtered("prefix", "a/"), filtered("prefix", "a/")))
    refused("a filter of an unknown name", 400, "InvalidArgument", lambda: rules(filtered("middle", "a")))
    refused("a rule of a topic that is not there", 404, "NoSuchKey", lambda: rules(
        "<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:::t</Topic></TopicConfiguration>"))
    refused("a rule of a topic without an id", 400, "InvalidArgument", lambda: rules(
        "<TopicConfiguration><Topic>arn:aws:sns:::t</Topic></TopicConfiguration>"))
    refused("a function", 400, "UnsupportedNotification", lambda: rules(
        "<CloudFunctionConfiguration><Event>s3:ObjectCreated:*</Event><CloudFunction>arn:x</CloudFunction>"
        "</CloudFunctionConfiguration>"))


def a_name_that_is_none():
    for name in ("UPPER", "ab", "a" * 64, "two..dots", "192.168.1.1", "under_score", "-dash"):
        refused(f"the bucket name {name}", 400, "InvalidBucketName", lambda name=name: s3.send("PUT", f"/{name}"))
    refused("a key of 1025 bytes", 400, "KeyTooLongError", lambda: s3.send("PUT", f"/{BUCKET}/{'k' * 1025}", body=b"x"))
    refused("a missing bucket", 404, "NoSuchBucket", lambda: s3.send("PUT", "/bad-input-missing/k", body=b"x"))


def parts_that_do_not_fit():
    upload = re.search(rb"<UploadId>([^<]*)", s3.send("POST", f"/{BUCKET}/parts", {"uploads": ""}).body).group(1).decode()

    def part(number, body):
        answer = s3.send("PUT", f"/{BUCKET}/parts", {"partNumber": str(number), "uploadId": upload}, body=body)
        return answer.headers["etag"]

    def complete(*parts):
        body = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in parts)
        return s3.send("POST", f"/{BUCKET}/parts", {"uploadId": upload},
                       body=f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>".encode())

    small, large, last = part(1, b"small"), part(2, b"l" * (5 * MIB)), part(3, b"last")
    refused("a part that is too small", 400, "EntityTooSmall", lambda: complete((1, small), (2, large)))
    refused("parts out of order", 400, "InvalidPartOrder", lambda: complete((3, last), (2, large)))
    refused("a part twice", 400, "InvalidPartOrder", lambda: complete((2, large), (2, large)))
    refused("a part with another ETag", 400, "InvalidPart", lambda: complete((2, last), (3, last)))
    refused("a part that was never sent", 400, "InvalidPart", lambda: complete((2, large), (4, last)))
    refused("no part", 400, "MalformedXML", complete)
    refused("part number 0", 400, "InvalidArgument",
            lambda: s3.send("PUT", f"/{BUCKET}/parts", {"partNumber": "0", "uploadId": upload}, body=b"x"))
    refused("part number 10001", 400, "InvalidArgument",
            lambda: s3.send("PUT", f"/{BUCKET}/parts", {"partNumber": "10001", "uploadId": upload}, body=b"x"))
    refused("an unknown upload", 404, "NoSuchUpload",
            lambda: s3.send("PUT", f"/{BUCKET}/parts", {"partNumber": "1", "uploadId": "00000000-0000"}, body=b"x"))
    equal("the upload still completes", 200, complete((2, large), (3, last)).status)


def a_selector_without_an_operation_changes_nothing():
    for method, path, selector in (("DELETE", f"/{BUCKET}", "publicAccessBlock"), ("DELETE", f"/{BUCKET}", "metrics"),
                                   ("PUT", f"/{BUCKET}/k", "renameObject"), ("DELETE", f"/{BUCKET}/k", "annotation")):
        refused(f"{method} ?{selector}", 501, "NotImplemented",
                lambda method=method, path=path, selector=selector: s3.send(method, path, {selector: ""}))


if __name__ == "__main__":
    run(
        a_bucket_with_an_object_and_a_rule,
        a_wrong_signature,
        a_clock_that_is_wrong,
        a_digest_that_is_wrong,
        a_body_that_ends_early,
        a_body_that_is_no_xml,
        a_notification_rule_that_cannot_hold,
        a_name_that_is_none,
        parts_that_do_not_fit,
        a_selector_without_an_operation_changes_nothing,
    )
