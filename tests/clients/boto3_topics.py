#!/usr/bin/env python3
"""Topics as boto3's sns client makes them, rules that name them, and what arrives at their endpoint.

The endpoint is an HTTP server in this process; it keeps what it is sent.
"""

import http.server
import json
import os
import subprocess
import threading

import boto3
from botocore.config import Config

from expect import ACCESS_KEY, ENDPOINT, SECRET_KEY, equal, fails, run, until

BUCKET = "boto3-topics"


def client(service):
    return boto3.client(
        service, endpoint_url=ENDPOINT, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))


s3, sns = client("s3"), client("sns")
heard = []


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        heard.append((dict(self.headers), json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
threading.Thread(target=sink.serve_forever, daemon=True).start()
PUSH = f"http://127.0.0.1:{sink.server_port}/events"
ARN = "arn:aws:sns:::uploads"


def code(error):
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def rules():
    return s3.get_bucket_notification_configuration(Bucket=BUCKET).get("TopicConfigurations", [])


def put_rule(name, *filters, arn=ARN):
    rule = {"Id": name, "TopicArn": arn, "Events": ["s3:ObjectCreated:*"]}
    if filters:
        rule["Filter"] = {"Key": {"FilterRules": [{"Name": name, "Value": value} for name, value in filters]}}
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"TopicConfigurations": [rule]})


def records():
    return [body["Records"][0] for _, body in heard]


def a_topic_is_created_and_shown():
    s3.create_bucket(Bucket=BUCKET)
    attributes = {"push-endpoint": PUSH, "OpaqueData": "me@example.com", "persistent": "true"}
    created = sns.create_topic(Name="uploads", Attributes=attributes)
    equal("its ARN", ARN, created["TopicArn"])
    equal("listed", [ARN], [topic["TopicArn"] for topic in sns.list_topics()["Topics"]])
    shown = sns.get_topic_attributes(TopicArn=ARN)["Attributes"]
    equal("its opaque data", "me@example.com", shown["OpaqueData"])
    endpoint = json.loads(shown["EndPoint"])
    equal("its endpoint", (PUSH, True), (endpoint["EndpointAddress"], endpoint["Persistent"]))


def what_cannot_be_a_topic_is_refused():
    bad = {"push-endpoint": "gopher://h"}
    fails("an endpoint of no scheme", code, ("InvalidArgument", 400),
          lambda: sns.create_topic(Name="other", Attributes=bad))
    fails("an attribute of no name", code, ("InvalidArgument", 400), lambda: sns.set_topic_attributes(
        TopicArn=ARN, AttributeName="DisplayName", AttributeValue="x"))
    fails("a topic that is not there", code, ("NotFound", 404),
          lambda: sns.get_topic_attributes(TopicArn="arn:aws:sns:::gone"))
    stranger = boto3.client("sns", endpoint_url=ENDPOINT, aws_access_key_id=ACCESS_KEY,
                            aws_secret_access_key="wrong-secret", region_name="us-east-1")
    fails("a wrong secret", code, ("SignatureDoesNotMatch", 403), stranger.list_topics)


def what_a_rule_lets_through_is_told_in_cephs_form():
    put_rule("pictures", ("regex", r"([a-z]+)\.jpg"))
    s3.put_object(Bucket=BUCKET, Key="rose.txt", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="rose.jpg", Body=b"hello", Metadata={"color": "red"})
    until("the record of rose.jpg", 20, lambda: heard)
    record = records()[0]
    equal("what is told", ("2.2", "ceph:s3", "ObjectCreated:Put", "me@example.com"), (
        record["eventVersion"], record["eventSource"], record["eventName"], record["opaqueData"]))
    equal("of what", ("pictures", BUCKET, "rose.jpg", 5), (
        record["s3"]["configurationId"], record["s3"]["bucket"]["name"], record["s3"]["object"]["key"],
        record["s3"]["object"]["size"]))
    equal("its metadata", [{"key": "x-amz-meta-color", "val": "red"}], record["s3"]["object"]["metadata"])


def rules_are_merged_by_their_id():
    put_rule("texts", ("prefix", "texts/"), ("suffix", ".txt"))
    equal("both", ["pictures", "texts"], [rule["Id"] for rule in rules()])
    fails("a rule of a topic that is not there", lambda error: error.response["Error"]["Code"], "NoSuchKey",
          lambda: s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={
              "TopicConfigurations": [{"Id": "x", "TopicArn": "arn:aws:sns:::gone", "Events": ["s3:ObjectCreated:*"]}]}))
    equal("still both", 2, len(rules()))


def an_attribute_that_changes_is_in_force_at_once():
    sns.set_topic_attributes(TopicArn=ARN, AttributeName="cloudevents", AttributeValue="true")
    s3.put_object(Bucket=BUCKET, Key="texts/ü b.txt", Body=b"x")
    until("the record of the text", 20, lambda: len(heard) > 1)
    headers, _ = heard[1]
    told = {name.lower(): value for name, value in headers.items()}
    equal("its attributes", ("1.0", "com.amazonaws.ObjectCreated:Put", "texts/%C3%BC%20b.txt"), (
        told["ce-specversion"], told["ce-type"], told["ce-subject"]))
    equal("its rule", "texts", records()[1]["s3"]["configurationId"])


def a_topic_that_is_deleted_tells_nothing_and_its_rules_hide():
    sns.delete_topic(TopicArn=ARN)
    sns.delete_topic(TopicArn=ARN)
    equal("no topics", [], sns.list_topics()["Topics"])
    equal("no rules", [], rules())
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={})


def events(*arguments):
    """The lines that `tidings events` prints."""
    keys = {"TIDINGS_ENDPOINT": ENDPOINT, "TIDINGS_ACCESS_KEY": ACCESS_KEY, "TIDINGS_SECRET_KEY": SECRET_KEY}
    command = [os.environ["TIDINGS_BIN"], "events", "--json", *arguments]
    printed = subprocess.run(command, env={**os.environ, **keys}, check=True, capture_output=True, text=True).stdout
    return printed.splitlines()


def dead_letters():
    return [json.loads(line) for line in events("dead", "list", "--target", "away:topic")]


def dropped():
    """Records that the topic whose endpoint is away will never be told."""
    targets = [json.loads(line) for line in events("lag")]
    return sum(target["dropped"] for target in targets if target["target"] == "away:topic")


def away(**attributes):
    """A topic whose endpoint is away, and a rule that names it."""
    heard.clear()
    arn = sns.create_topic(Name="away", Attributes={"push-endpoint": "http://127.0.0.1:9/away", **attributes})["TopicArn"]
    put_rule("away", arn=arn)
    return arn


def comes_back(arn):
    sns.set_topic_attributes(TopicArn=arn, AttributeName="push-endpoint", AttributeValue=PUSH)


def a_record_over_its_retries_is_a_dead_letter_and_can_be_sent_again():
    arn = away(max_retries="2", retry_sleep_duration="0")
    s3.put_object(Bucket=BUCKET, Key="given-up", Body=b"x")
    letter = until("the dead letter", 20, dead_letters)[0]
    equal("its tries", 3, letter["tries"])
    comes_back(arn)
    s3.put_object(Bucket=BUCKET, Key="after", Body=b"x")
    until("what came after", 20, lambda: heard)
    events("dead", "resend", "--target", "away:topic", "--all")
    equal("what arrived", ["after", "given-up"], [record["s3"]["object"]["key"] for record in records()])
    sns.delete_topic(TopicArn=arn)


def what_is_too_old_goes_and_the_endpoint_is_told_how_much():
    arn = away(time_to_live="1")
    for key in ("old", "older"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    until("both to be dropped", 20, lambda: dropped() == 2)
    comes_back(arn)
    gap = until("the gap", 20, lambda: records())[0]
    equal("the gap", ("tidings:Gap", BUCKET, 2), (gap["eventName"], gap["bucket"], gap["count"]))
    sns.delete_topic(TopicArn=arn)


if __name__ == "__main__":
    run(
        a_topic_is_created_and_shown,
        what_cannot_be_a_topic_is_refused,
        what_a_rule_lets_through_is_told_in_cephs_form,
        rules_are_merged_by_their_id,
        an_attribute_that_changes_is_in_force_at_once,
        a_topic_that_is_deleted_tells_nothing_and_its_rules_hide,
        a_record_over_its_retries_is_a_dead_letter_and_can_be_sent_again,
        what_is_too_old_goes_and_the_endpoint_is_told_how_much,
    )
