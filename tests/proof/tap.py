"""Stands between a client and a relay, and writes down what the client says: tap.py PORT RELAY_PORT FOLDER

The client's bytes of each connection go to a file of their own in FOLDER, before the relay sees them."""

import itertools
import pathlib
import socket
import sys
import threading

port, relay_port, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])


def pump(source, target, record=None):
    try:
        while data := source.recv(65536):
            if record:
                record.write(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone: so is the dialogue
        source.close()


listener = socket.create_server(("127.0.0.1", port))
print("ready", flush=True)
for number in itertools.count():
    client, _ = listener.accept()
    relay = socket.create_connection(("127.0.0.1", relay_port))
    record = open(folder / str(number), "wb", buffering=0)
    threading.Thread(target=pump, args=(client, relay, record), daemon=True).start()
    threading.Thread(target=pump, args=(relay, client), daemon=True).start()
