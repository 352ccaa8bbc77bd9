"""Reads mails as Python's email package does, and prints them as JSON: read_reply.py FILE...

`defects` are what the parser complains of. `faults` are what it forgives: lines of encoded text or encoded words that are
longer than they may be (RFC 2045 sections 6.7 and 6.8, RFC 2047 section 2), encoded words that do not end with a whole
character (section 5), text that does not have CRLF once it is decoded (RFC 2046 section 4.1.1)."""

import base64
import email
import email.header
import email.policy
import json
import re
import sys

ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")


def in_header(raw):
    header = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    for line in header.splitlines():
        words = ENCODED_WORD.findall(line)
        if words and len(line) > 76:
            yield f"a line of {len(line)} with encoded words: {line!r}"
        for word in words:
            if len(word) > 75:
                yield f"an encoded word of {len(word)}: {word!r}"
            [(octets, charset)] = email.header.decode_header(word.decode())
            try:
                octets.decode(charset)
            except UnicodeDecodeError:
                yield f"an encoded word that is no whole text: {word!r}"


def in_part(part):
    encoding = part.get("content-transfer-encoding", "7bit").lower()
    longest = max(map(len, part.get_payload().splitlines()), default=0)
    if encoding not in ("7bit", "quoted-printable", "base64"):
        yield f"encoded by {encoding}"
    if encoding != "7bit" and longest > 76:
        yield f"a line of {longest} in {encoding}"
    if part.get_content_maintype() == "text" and not part.is_attachment():
        text = part.get_payload(decode=True)
        if re.search(rb"(?<!\r)\n|\r(?!\n)", text):
            yield f"line ends other than CRLF in {part.get_content_type()}"


def described(part):
    kind = {"type": part.get_content_type(), "names": sorted(name.lower() for name in part.keys())}
    if part.is_multipart():
        kind["parts"] = [described(inner) for inner in part.iter_parts()]
        kind["around"] = ((part.preamble or "") + (part.epilogue or "")).strip()
        return kind
    kind["language"] = part.get("content-language")
    kind["disposition"] = part.get_content_disposition()
    if part.is_attachment():
        kind["name"] = part.get_filename()
        kind["content"] = base64.b64encode(part.get_payload(decode=True)).decode()
    else:
        kind["charset"] = part.get_content_charset()
        kind["text"] = part.get_content()
    return kind


def addresses(value):
    return [(one.display_name, one.addr_spec) for one in value.addresses]


def read(path):
    with open(path, "rb") as file:
        raw = file.read()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    parts = list(mail.walk())
    defects = [repr(defect) for part in parts for defect in part.defects]
    defects += [f"{name}: {defect!r}" for part in parts for name, value in part.items() for defect in value.defects]
    faults = list(in_header(raw)) + [fault for part in parts if not part.is_multipart() for fault in in_part(part)]
    return {
        "defects": defects,
        "faults": faults,
        "fields": [(name.lower(), str(value)) for name, value in mail.items()],
        "from": addresses(mail["from"]),
        "to": addresses(mail["to"]),
        "date": mail["date"].datetime.timestamp(),
        "body": described(mail),
    }


print(json.dumps([read(path) for path in sys.argv[1:]]))
