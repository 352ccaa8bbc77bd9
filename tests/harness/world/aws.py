"""Asks the emulator of AWS from inside a world: aws.py ENDPOINT setup|depth|objects|receive

setup makes the queues, the buckets and the sender's identity; the others print JSON. No SDK: the emulator checks no
signature, it only reads the service and region out of it."""

import base64
import json
import re
import sys
import urllib.request

endpoint, what = sys.argv[1:3]


def call(service, method, path, body=b"", **headers):
    credential = f"test/20260101/us-east-1/{service}/aws4_request"
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"
    request = urllib.request.Request(endpoint + path, data=body or None, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def sqs(action, **fields):
    headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
    return json.loads(call("sqs", "POST", "/", json.dumps(fields).encode(), **headers) or b"{}")


def queue(name):
    return f"{endpoint}/000000000000/{name}"


if what == "setup":
    for name in "requests", "dead":
        sqs("CreateQueue", QueueName=name)
    for bucket in "files", "claim-check":
        call("s3", "PUT", f"/{bucket}")
    identity = json.dumps({"EmailIdentity": "responder.test"}).encode()
    call("ses", "POST", "/v2/email/identities", identity, **{"Content-Type": "application/json"})
    result = None
elif what == "put":
    call("s3", "PUT", f"/{sys.argv[3]}/{sys.argv[4]}", sys.stdin.buffer.read())
    result = None
elif what == "depth":
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    result = [
        sum(int(n) for n in sqs("GetQueueAttributes", QueueUrl=queue(name), AttributeNames=names)["Attributes"].values())
        for name in ("requests", "dead")
    ]
elif what == "objects":
    listing = call("s3", "GET", f"/{sys.argv[3]}?list-type=2").decode()
    result = re.findall(r"<Key>([^<]*)</Key>", listing)
elif what == "receive":
    messages = sqs("ReceiveMessage", QueueUrl=queue("requests"), MaxNumberOfMessages=10, VisibilityTimeout=0)
    result = [base64.b64decode(message["Body"]).hex() for message in messages.get("Messages", [])]
else:
    sys.exit(f"what is {what}?")
print(json.dumps(result))
