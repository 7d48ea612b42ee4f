#!/usr/bin/env python3
"""minio-py as an application uses it. The same steps run under 5.0.1, 7.1.11 and the newest; where
the library's interface changed in between, the function says so."""

import io
import threading
import urllib.request
from datetime import timedelta

import minio

from expect import ACCESS_KEY, ADDRESS, SECRET_KEY, equal, fails, pattern, run

MIB = 1024 * 1024
BUCKET = "minio-py-basics"
OLD = minio.__version__.startswith("5.")

store = minio.Minio(ADDRESS, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)


def code(error):
    # 5.0.1 has a class for each S3 error.
    return type(error).__name__ if OLD else error.code


def put(key, body, **arguments):
    return store.put_object(BUCKET, key, io.BytesIO(body), len(body), **arguments)


def read(key, offset=0, length=0):
    if OLD and (offset or length):
        answer = store.get_partial_object(BUCKET, key, offset, length)
    elif OLD:
        answer = store.get_object(BUCKET, key)
    else:
        answer = store.get_object(BUCKET, key, offset=offset, length=length)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def listed(**arguments):
    return [entry.object_name for entry in store.list_objects(BUCKET, **arguments)]


def a_bucket_is_made_found_and_listed():
    equal("not there yet", False, store.bucket_exists(BUCKET))
    store.make_bucket(BUCKET)
    equal("there", True, store.bucket_exists(BUCKET))
    equal("listed", True, BUCKET in [bucket.name for bucket in store.list_buckets()])
    fails("made twice", code, "BucketAlreadyOwnedByYou", lambda: store.make_bucket(BUCKET))


def an_object_comes_back_with_what_was_said_about_it():
    put("poem.txt", b"roses are red", content_type="text/plain", metadata={"color": "red"})
    equal("the body", b"roses are red", read("poem.txt"))
    stat = store.stat_object(BUCKET, "poem.txt")
    headers = {name.lower(): value for name, value in stat.metadata.items()}
    equal("stat", (13, "text/plain", "red", "d566ae832973a05839f03ec7cf9cc8d4"),
          (stat.size, stat.content_type, headers["x-amz-meta-color"], stat.etag.strip('"')))
    put("empty", b"")
    equal("an empty object", b"", read("empty"))
    fails("a missing key", code, "NoSuchKey", lambda: read("no-poem.txt"))


def a_range_is_the_part_that_was_asked_for():
    body = pattern(300_000)
    put("range", body)
    equal("from the middle", body[131071:131074], read("range", 131071, 3))
    equal("to the end", body[299_990:], read("range", 299_990, 10))


def a_large_object_goes_up_in_parts():
    body = pattern(12 * MIB + 4711)
    put("large.bin", body, part_size=5 * MIB)
    stat = store.stat_object(BUCKET, "large.bin")
    equal("size and parts", (len(body), "-3"), (stat.size, stat.etag.strip('"')[-2:]))
    equal("the bytes", True, read("large.bin") == body)


def a_copy_has_the_bytes_of_its_source():
    if OLD:
        store.copy_object(BUCKET, "copy.txt", f"/{BUCKET}/poem.txt")
    else:
        from minio.commonconfig import CopySource
        store.copy_object(BUCKET, "copy.txt", CopySource(BUCKET, "poem.txt"))
    equal("the copy", b"roses are red", read("copy.txt"))


TREE = ["l/a", "l/b/1", "l/b/2", "l/d e", "l/d+e", "l/ü中.txt", "l/z"]


def listings_fold_at_the_slash():
    for key in TREE:
        put(key, key.encode())
    wanted = sorted(TREE, key=lambda key: key.encode())
    equal("recursive", wanted, listed(prefix="l/", recursive=True))
    folded = [key for key in wanted if key.count("/") == 1]
    equal("folded", sorted(folded + ["l/b/"]), sorted(listed(prefix="l/")))
    if OLD:
        equal("version 2", wanted, [entry.object_name for entry in store.list_objects_v2(BUCKET, "l/", recursive=True)])
    equal("each key is readable", [key.encode() for key in wanted], [read(key) for key in wanted])


def a_presigned_url_is_enough_for_a_plain_client():
    url = store.presigned_put_object(BUCKET, "signed/ü b", expires=timedelta(minutes=1))
    request = urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": "text/plain"})
    equal("PUT", 200, urllib.request.urlopen(request).status)
    with urllib.request.urlopen(store.presigned_get_object(BUCKET, "signed/ü b", expires=timedelta(minutes=1))) as answer:
        equal("GET", b"by url", answer.read())


def notification_rules_come_back_as_they_were_set():
    arn, events = "arn:minio:sqs::AWAY:webhook", ["s3:ObjectCreated:*"]
    if OLD:
        store.set_bucket_notification(BUCKET, {"QueueConfigurations": [{
            "Id": "jpg", "Arn": arn, "Events": events,
            "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".jpg"}]}}}]})
        rules = store.get_bucket_notification(BUCKET)["QueueConfigurations"]
        # This version reads no filter rules, whoever sends them: only that there is a filter can be seen.
        seen = [(rule["Arn"], rule["Events"], ".jpg" if "Filter" in rule else None) for rule in rules]
        store.remove_all_bucket_notification(BUCKET)
    else:
        from minio.notificationconfig import NotificationConfig, QueueConfig, SuffixFilterRule
        store.set_bucket_notification(BUCKET, NotificationConfig(queue_config_list=[
            QueueConfig(queue=arn, events=events, config_id="jpg", suffix_filter_rule=SuffixFilterRule(".jpg"))]))
        rules = store.get_bucket_notification(BUCKET).queue_config_list
        seen = [(rule.queue, list(rule.events), rule.suffix_filter_rule.value) for rule in rules]
        store.delete_bucket_notification(BUCKET)
    equal("as set", [(arn, events, ".jpg")], seen)


def the_listen_stream_tells_what_happens():
    """The stream is open when its first record arrives; so a first object is written until then."""
    records, first, done = [], threading.Event(), threading.Event()

    def listen():
        stream = store.listen_bucket_notification(
            BUCKET, prefix="heard/", suffix=".jpg", events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*"])
        for message in stream:
            for record in message["Records"]:
                records.append((record["eventName"], record["s3"]["object"]["key"]))
                first.set()
                if record["eventName"].startswith("s3:ObjectRemoved"):
                    done.set()
                    return

    threading.Thread(target=listen, daemon=True).start()
    for _ in range(200):
        put("heard/warm-up.jpg", b"x")
        if first.wait(0.1):
            break
    put("heard/rose.txt", b"x")
    put("elsewhere/rose.jpg", b"x")
    put("heard/rose red.jpg", b"x")
    store.remove_object(BUCKET, "heard/rose red.jpg")
    equal("the removal is told within 20 s", True, done.wait(20))
    equal("what was heard", [("s3:ObjectCreated:Put", "heard/rose red.jpg"), ("s3:ObjectRemoved:Delete", "heard/rose red.jpg")],
          [record for record in records if record[1] != "heard/warm-up.jpg"])


def a_bucket_goes_when_it_is_empty():
    fails("with objects in it", code, "BucketNotEmpty", lambda: store.remove_bucket(BUCKET))
    left = listed(recursive=True)
    if OLD:
        errors = list(store.remove_objects(BUCKET, left))
    else:
        from minio.deleteobjects import DeleteObject
        errors = list(store.remove_objects(BUCKET, [DeleteObject(key) for key in left]))
    equal("errors of the bulk delete", [], errors)
    equal("what is left", [], listed(recursive=True))
    store.remove_bucket(BUCKET)
    equal("gone", False, store.bucket_exists(BUCKET))


if __name__ == "__main__":
    run(
        a_bucket_is_made_found_and_listed,
        an_object_comes_back_with_what_was_said_about_it,
        a_range_is_the_part_that_was_asked_for,
        a_large_object_goes_up_in_parts,
        a_copy_has_the_bytes_of_its_source,
        listings_fold_at_the_slash,
        a_presigned_url_is_enough_for_a_plain_client,
        notification_rules_come_back_as_they_were_set,
        the_listen_stream_tells_what_happens,
        a_bucket_goes_when_it_is_empty,
    )
