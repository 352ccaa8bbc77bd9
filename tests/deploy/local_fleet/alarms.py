"""Puts alarms into an emulator of AWS, which tell a topic of every change, and a queue that hears the topic.

    alarms.py ENDPOINT NAME < ALARMS (JSON: what PutMetricAlarm takes, without the actions)

Topic and queue have the name NAME.
"""

import json
import sys

import boto3


def main():
    endpoint, name = sys.argv[1:]

    def client(service):
        return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    topics, queues, watch = map(client, ("sns", "sqs", "cloudwatch"))
    topic = topics.create_topic(Name=name)["TopicArn"]
    url = queues.create_queue(QueueName=name)["QueueUrl"]
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    for alarm in json.load(sys.stdin):
        watch.put_metric_alarm(AlarmActions=[topic], OKActions=[topic], **alarm)


main()
