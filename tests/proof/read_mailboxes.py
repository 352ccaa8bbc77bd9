"""Reads all mailboxes as a mail program does by IMAP, and prints them as JSON: read_mailboxes.py COMMAND MAILBOX...

COMMAND starts a server on its standard input and output (PREAUTH). For each mailbox it prints its messages, and for each
of these its parts, decoded by the server (BINARY, RFC 3516), and the message that it stands under (THREAD, RFC 5256)."""

import base64
import email.utils
import imaplib
import json
import re
import sys

TOKEN = re.compile(rb'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|([^\s()"]+))')


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def nested(text):
    """The value of a list in parentheses: lists, strings, and None for NIL."""
    stack, at = [[]], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        opened, closed, quoted, atom = found.groups()
        if opened:
            stack.append([])
        elif closed:
            done = stack.pop()
            stack[-1].append(done)
        elif quoted is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted).decode())
        else:
            stack[-1].append(None if atom == b"NIL" else atom.decode())
        at = found.end()
    return stack[0]


def parameters(pairs):
    """With RFC 2231 undone."""
    pairs = [(name.lower(), value) for name, value in zip((pairs or [])[::2], (pairs or [])[1::2])]
    return {name: email.utils.collapse_rfc2231_value(value) for name, value in email.utils.decode_params([("", "")] + pairs)[1:]}


def parts(structure, section=""):
    """The parts of a BODYSTRUCTURE that hold something, with their sections."""
    if isinstance(structure[0], list):
        inner = [part for part in structure if isinstance(part, list)][: next(i for i, part in enumerate(structure) if not isinstance(part, list))]
        for number, part in enumerate(inner, 1):
            yield from parts(part, f"{section}.{number}".lstrip("."))
        return
    rest = structure[8:] if structure[0].lower() == "text" else structure[7:]
    disposition = rest[1]
    yield {
        "section": section or "1",
        "type": f"{structure[0]}/{structure[1]}".lower(),
        "charset": parameters(structure[2]).get("charset"),
        "disposition": disposition and disposition[0].lower(),
        "name": disposition and parameters(disposition[1]).get("filename", "").strip('"'),
        "language": ", ".join(rest[2]) if isinstance(rest[2], list) else rest[2],
    }


def tree(structure):
    if not isinstance(structure[0], list):
        return f"{structure[0]}/{structure[1]}".lower()
    count = next(i for i, part in enumerate(structure) if not isinstance(part, list))
    return f"multipart/{structure[count].lower()}({', '.join(map(tree, structure[:count]))})"


def parents(threads, parent=None):
    """Pairs of a message's number and that of the one above it: in a thread each number stands under the one before."""
    for item in threads:
        if isinstance(item, list):
            yield from parents(item, parent)
        else:
            yield item, parent
            parent = item


def message(server, number):
    def fetched(what):
        [*found] = [item for item in ok(server.uid("FETCH", number, f"({what})")) if item != b")"]
        return found[0]

    structure = nested(fetched("BODYSTRUCTURE").split(b"BODYSTRUCTURE", 1)[1].rsplit(b")", 1)[0])[0]
    leaves = list(parts(structure))
    for leaf in leaves:
        answer = fetched(f"BINARY.PEEK[{leaf['section']}]")
        # Not a literal where it is empty.
        leaf["content"] = base64.b64encode(answer[1] if isinstance(answer, tuple) else b"").decode()
    field = fetched("BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]")[1].decode()
    return {"id": field.partition(":")[2].strip() or None, "tree": tree(structure), "parts": leaves}


def mailbox(server, name):
    ok(server.select(name, readonly=True))
    threads = nested((ok(server.uid("THREAD", "REFERENCES", "UTF-8", "ALL"))[0] or b""))
    messages = {number: message(server, number) | {"under": parent} for number, parent in parents(threads)}
    for one in messages.values():
        one["under"] = one["under"] and messages[one["under"]]["id"]
    return list(messages.values())


server = imaplib.IMAP4_stream(sys.argv[1])
print(json.dumps([mailbox(server, name) for name in sys.argv[2:]]))
server.logout()
