"""Reads the mails that smtp-sink wrote as Python's email package does, and prints them as JSON: read_mail.py FILE...

A file begins with smtp-sink's own lines (X-Client-Addr to X-Rcpt-Args, and a Received field); the mail follows."""

import base64
import email
import email.policy
import json
import sys


def read(path):
    with open(path, "rb") as file:
        raw = file.read()
    envelope = {"X-Mail-Args": "", "X-Rcpt-Args": ""}
    while raw.startswith(b"X-"):
        line, _, raw = raw.partition(b"\n")
        name, _, value = line.decode().partition(": ")
        envelope[name] = value
    message = email.message_from_bytes(raw, policy=email.policy.default)
    parts = list(message.walk())
    defects = [repr(defect) for part in parts for defect in part.defects]
    defects += [f"{name}: {defect!r}" for part in parts for name, value in part.items() for defect in value.defects]
    texts = {part.get_content_type(): part.get_content() for part in parts if part.get_content_maintype() == "text" and not part.is_attachment()}
    attachments = [(part.get_filename(), base64.b64encode(part.get_payload(decode=True)).decode()) for part in parts if part.is_attachment()]
    return {
        "mail_from": envelope["X-Mail-Args"].split(" ")[0],
        "rcpt_to": envelope["X-Rcpt-Args"].split(" ")[0],
        "headers": [(name.lower(), str(value)) for name, value in message.items()],
        "texts": texts,
        "attachments": attachments,
        "defects": defects,
        # A mail that the sink is still writing ends before its last boundary. Every reply here is a multipart.
        "is_whole": message.is_multipart() and raw.rstrip().endswith(f"--{message.get_boundary()}--".encode()),
    }


print(json.dumps([read(path) for path in sys.argv[1:]]))
