"""A collector of log lines and a program that logs: writes what rsyslog ships to FOLDER/shipped, one document a line.

    collector.py FOLDER

Logs the lines of FOLDER/lines.json to FOLDER/socket, and ends once the last of them has come; after 40 s it fails.
"""

import json
import pathlib
import socket
import sys
import threading
import time

folder = pathlib.Path(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 5140))
mail, others = [], []


def receive(connection):
    for line in connection.makefile("r", encoding="utf-8"):
        # Two actions ship, by two connections: which comes first is not said.
        (mail if '"event"' in line else others).append(line)


def accept():
    while True:
        threading.Thread(target=receive, args=listener.accept()[:1], daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
pause = threading.Event()
end = time.monotonic() + 40
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while True:
    try:
        log.connect(str(folder / "socket"))
        break
    except OSError:
        pause.wait(0.05)
        if time.monotonic() > end:
            sys.exit("rsyslogd does not listen")
lines = json.loads((folder / "lines.json").read_text(encoding="utf-8"))
for priority, program, text in lines:
    log.send(f"<{priority}>Nov 22 02:00:00 {program}: {text}".encode())
wanted = sum(priority == 22 for priority, _, _ in lines)
while len(mail) < wanted or not any("replyfleet" in line for line in others):
    pause.wait(0.05)
    if time.monotonic() > end:
        sys.exit(f"{len(mail)} lines of mail came, and {others}")
(folder / "shipped").write_text("".join(mail + others), encoding="utf-8")
