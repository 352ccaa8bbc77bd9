"""Talks SMTP as told: a list of talks comes as JSON on standard input, what each was answered goes out as JSON.

All talks go on at once. What a talk says is text whose characters are bytes (Latin-1), or {"tls": VERSION}, which is said after
STARTTLS and answered with the version that came of it. The end of the connection is the answer "closed".
"""

import json
import socket
import ssl
import sys
import threading

LIMIT_S = 30


def answer(stream):
    """One answer, with all of its lines."""
    lines = []
    while True:
        line = stream.readline()
        if not line.endswith(b"\n"):
            return "\n".join(lines + ["closed"])
        lines.append(line.decode("latin-1").rstrip("\r\n"))
        if lines[-1][3:4] != "-":
            return "\n".join(lines)


def tls(connection, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    return context.wrap_socket(connection)


def talk(told, answers):
    try:
        connection = socket.create_connection((told["server"], told["port"]), LIMIT_S, (told["client"], 0))
        connection.sendall(told["at_once"].encode("latin-1"))
        stream = connection.makefile("rb")
        answers.append(answer(stream))
        for step in told["says"]:
            if isinstance(step, dict):
                try:
                    connection = tls(connection, step["tls"])
                except ssl.SSLError as error:
                    answers.append(f"refused: {error.reason}")
                    return
                stream = connection.makefile("rb")
                answers.append(connection.version())
                continue
            connection.sendall(step.encode("latin-1"))
            answers.append(answer(stream))
    except ConnectionError:
        answers.append("closed")
    except OSError as error:
        answers.append(f"no answer: {error}")


told = json.load(sys.stdin)
all_answers = [[] for _ in told]
threads = [threading.Thread(target=talk, args=pair) for pair in zip(told, all_answers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
json.dump(all_answers, sys.stdout)
