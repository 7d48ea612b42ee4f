#!/usr/bin/env python3
"""Topics whose endpoints have users and passwords: taken over TLS only, used towards a real Kafka, never shown.

Run against a server with TLS (`with_server.sh --tls`), which trusts the authority of the parts.
"""

import json
import os
import pathlib
import subprocess

import boto3
from botocore.config import Config

from expect import ACCESS_KEY, ENDPOINT, SECRET_KEY, equal, run, until

BUCKET = "boto3-topic-secrets"
KAFKA = pathlib.Path(__file__).parent.parent / "parts" / "kafka.sh"
USER, PASSWORD = os.environ["PARTS_USER"], os.environ["PARTS_PASSWORD"]
TOPICS = {mechanism: f"{mechanism.lower()}-{os.environ['RUN_ID']}" for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")}


def client(service):
    return boto3.client(
        service, endpoint_url=ENDPOINT, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1", verify=os.environ["CA_CERT"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))


s3, sns = client("s3"), client("sns")


def kafka(*arguments):
    return subprocess.run([KAFKA, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def topics_with_passwords_are_made_over_tls():
    kafka("start")
    s3.create_bucket(Bucket=BUCKET)
    rules = []
    for mechanism, name in TOPICS.items():
        kafka("topic", name)
        endpoint = f"kafka://{USER}:{PASSWORD}@127.0.0.1:{os.environ['KAFKA_SASL_TLS_PORT']}"
        attributes = {"push-endpoint": endpoint, "use-ssl": "true", "mechanism": mechanism}
        arn = sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        rules.append({"Id": name, "TopicArn": arn, "Events": ["s3:ObjectCreated:*"]})
    configuration = {"TopicConfigurations": rules}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=configuration)


def nobody_is_shown_a_password():
    for topic in sns.list_topics()["Topics"]:
        shown = sns.get_topic_attributes(TopicArn=topic["TopicArn"])
        equal("the password is shown", False, PASSWORD in repr(shown))
        endpoint = json.loads(shown["Attributes"]["EndPoint"])
        address = f"kafka://127.0.0.1:{os.environ['KAFKA_SASL_TLS_PORT']}"
        equal("its endpoint", (address, True), (endpoint["EndpointAddress"], endpoint["HasStoredSecret"]))


def a_record_arrives_by_each_mechanism():
    s3.put_object(Bucket=BUCKET, Key="rose.jpg", Body=b"hello")
    for mechanism, name in TOPICS.items():
        printed = until(f"the record by {mechanism}", 30, lambda: kafka("records", name))
        _, key, body = printed.rstrip("\n").split("\t")
        record = json.loads(body)["Records"][0]
        equal("the record", (f"{BUCKET}/rose.jpg", name, "ObjectCreated:Put"), (
            key, record["s3"]["configurationId"], record["eventName"]))


if __name__ == "__main__":
    run(
        topics_with_passwords_are_made_over_tls,
        nobody_is_shown_a_password,
        a_record_arrives_by_each_mechanism,
    )
