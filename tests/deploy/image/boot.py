"""Boots a disk of ami/build in QEMU as an EC2 instance, sends it mail, and prints as JSON what was seen.

    boot.py DISK FOLDER < USER-DATA        as root, in network, mount and process namespaces of its own

The machine finds an instance metadata service (IMDSv2 only) with the user-data, and DHCP. Mail from 198.51.100.7, which example.org's
SPF and DMARC speak for, goes to its port 25; the host of example.org's MX is a sink here. What is seen inside comes from
self_test.py, which user-data brings and starts, over the serial console. FOLDER keeps console, sink and logs for who looks.

A step that takes too long ends it with a line that names the step; everything ends with the namespaces.
"""

import http.server
import json
import os
import pathlib
import re
import smtplib
import subprocess
import sys
import threading
import time

DISK, FOLDER = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
MX, SINK, CLIENT = "192.0.2.25", "192.0.2.26", "198.51.100.7"
# In seconds, on an emulated processor that others use too.
BOOT_MAX, STEP_MAX = 900, 400
PREFIX = "SELF-TEST "
# Requests while the enqueuer is started again and again, one from each sender.
DURING_RESTARTS = 20

# What the instance's metadata service has; phase is ours: what the self-test waits for.
METADATA = {
    "instance-id": "i-0123456789abcdef0",
    "ami-id": "ami-1",
    "ami-launch-index": "0",
    "hostname": "ip-169-254-10-15.ec2.internal",
    "local-hostname": "ip-169-254-10-15.ec2.internal",
    "local-ipv4": "169.254.10.15",
    "instance-type": "t3.small",
    "mac": "52:54:00:12:34:56",
    "reservation-id": "r-1",
    "security-groups": "default",
    "placement": {"availability-zone": "eu-west-1a", "region": "eu-west-1"},
    "services": {"domain": "amazonaws.com", "partition": "aws"},
    "network": {"interfaces": {"macs": {"52:54:00:12:34:56": {"device-number": "0", "interface-id": "eni-1", "local-ipv4s": "169.254.10.15"}}}},
    "autoscaling": {"target-lifecycle-state": "InService"},
    "tags": {"instance": {"phase": "booting"}},
}
TOKEN = "a-token-of-version-2"
without_token = []


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2: nothing without a token, which a PUT gives."""

    protocol_version = "HTTP/1.1"
    user_data = sys.stdin.read()

    def answer(self, status, text=""):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(200, TOKEN) if self.path == "/latest/api/token" else self.answer(404)

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            without_token.append(self.path)
            return self.answer(401)
        _, _, *rest = self.path.rstrip("/").split("/") if self.path != "/" else ("", "", None)
        if rest == [None]:
            return self.answer(200, "latest\n2021-03-23\n")
        if not rest:
            return self.answer(200, "dynamic\nmeta-data\nuser-data")
        if rest == ["user-data"]:
            return self.answer(200, self.user_data)
        if rest[:2] == ["dynamic", "instance-identity"]:
            document = {"region": "eu-west-1", "instanceId": METADATA["instance-id"], "availabilityZone": "eu-west-1a"}
            return self.answer(200, json.dumps(document) if len(rest) > 2 else "document")
        if rest[0] != "meta-data":
            return self.answer(404)
        value = METADATA
        for key in rest[1:]:
            if not isinstance(value, dict) or key not in value:
                return self.answer(404)
            value = value[key]
        if isinstance(value, dict):
            return self.answer(200, "\n".join(key + ("/" if isinstance(below, dict) else "") for key, below in value.items()))
        return self.answer(200, value)

    def log_message(self, *_):
        pass


def run(*command):
    subprocess.run(command, check=True)


def start(name, *command):
    with open(FOLDER / f"{name}.log", "wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_for(what, look, limit):
    """Looks until there is something; ends the test by name, with the console's end, if it does not come."""
    end = time.monotonic() + limit
    pause = threading.Event()
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        if machine.poll() is not None:
            break
        pause.wait(0.2)
    text = console().splitlines()[-60:]
    sys.exit("\n".join([*text, f"boot.py: this did not come: {what}"]))


def console():
    try:
        return (FOLDER / "machine.log").read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""


def said(step):
    """What the self-test said of a step."""
    for line in console().splitlines():
        if line.startswith(PREFIX):
            try:
                report = json.loads(line[len(PREFIX) :])
            except ValueError:
                continue
            if report["step"] == step:
                return report
    return None


def surroundings():
    run("ip", "link", "set", "lo", "up")
    for address in (MX, SINK, CLIENT):
        run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    resolver = FOLDER / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    run("mount", "--bind", str(resolver), os.path.realpath("/etc/resolv.conf"))
    records = [
        "--mx-host=example.org,mail.example.org,10",
        f"--host-record=mail.example.org,{SINK}",
        f"--host-record=client.example.org,{CLIENT}",
        f"--host-record=mx.responder.test,{MX}",
        f"--txt-record=example.org,v=spf1 ip4:{CLIENT} -all",
        "--txt-record=_dmarc.example.org,v=DMARC1; p=reject",
    ]
    start(
        "dnsmasq",
        *("dnsmasq", "--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1"),
        *("--bind-interfaces", "--user=root", "--local=/#/", *records),
    )
    (FOLDER / "sink").mkdir()
    os.chmod(FOLDER / "sink", 0o777)
    start("smtp-sink", "smtp-sink", "-u", "nobody", "-d", f"{FOLDER}/sink/%H%M%S.", f"{SINK}:25", "64")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 80), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def boot():
    firmware = next(pathlib.Path("/usr/share/OVMF").glob("OVMF_CODE.fd"), None) or pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
    variables = FOLDER / "variables.fd"
    variables.write_bytes(firmware.with_name(firmware.name.replace("CODE", "VARS")).read_bytes())
    uuid = "ec212345-0000-4000-8000-000000000001"
    return start(
        "machine",
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={firmware}", "-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"file={DISK},format=raw,if=none,id=disk,snapshot=on", "-device", "nvme,drive=disk,serial=vol1"),
        *("-uuid", uuid, "-smbios", f"type=1,serial={uuid},manufacturer=Amazon EC2"),
        # 169.254.169.254 is this loopback, port 80 of it the metadata service; the name server is resolv.conf's.
        *("-netdev", f"user,id=net,net=169.254.0.0/16,dhcpstart=169.254.10.15,host=169.254.169.254,hostfwd=tcp:{MX}:25-:25"),
        *("-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56"),
    )


def send(name, recipient="get@responder.test"):
    """Sends a request by SMTP from a sender of this name; gives what the MX answered."""
    sender = f"{name}@example.org"
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    mail = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: canary-subject\r\nDate: {date}\r\nMessage-ID: <{name}@example.org>\r\n\r\nplease\r\n"
    try:
        with smtplib.SMTP(MX, 25, local_hostname="client.example.org", timeout=120, source_address=(CLIENT, 0)) as smtp:
            smtp.sendmail(sender, [recipient], mail)
    except smtplib.SMTPRecipientsRefused as refused:
        return next(iter(refused.recipients.values()))[0]
    except smtplib.SMTPResponseException as refused:
        return refused.smtp_code
    return 250


def replies():
    """To whom mail arrived at the sink, each as often as it did."""
    found = []
    for file in sorted((FOLDER / "sink").iterdir()):
        found += re.findall(r"^X-Rcpt-Args: <(.*?)>", file.read_text(errors="replace"), re.MULTILINE)
    return sorted(found)


def deliver(names):
    """Requests from these, until each has a reply."""
    answers = [send(name) for name in names]
    wanted = {f"{name}@example.org" for name in names}
    wait_for(f"replies to {sorted(wanted)}", lambda: True if wanted <= set(replies()) else None, STEP_MAX)
    return answers


began = time.monotonic()
surroundings()
machine = boot()
report = {"started": wait_for("all that the roles want is active", lambda: said("started"), BOOT_MAX)}
report["seconds_to_start"] = round(time.monotonic() - began)
report["first_answer"] = deliver(["canary-first"])
report["unknown_recipient"] = send("canary-unknown", "nobody@responder.test")
report["foreign_domain"] = send("canary-relay", "someone@example.net")
METADATA["tags"]["instance"]["phase"] = "restarts"
wait_for("the enqueuer's restarts", lambda: said("restarting"), STEP_MAX)
report["answers_during_restarts"] = deliver([f"canary-{number}" for number in range(DURING_RESTARTS)])
METADATA["tags"]["instance"]["phase"] = "end"
report["ended"] = wait_for("the end of the self-test", lambda: said("ended"), STEP_MAX)
report["status"] = machine.wait(STEP_MAX)
report["replies"] = replies()
report["without_token"] = sorted(set(without_token))
report["seconds"] = round(time.monotonic() - began)
report["metadata_reads_without_token"] = report.pop("without_token")
print(json.dumps(report, indent=1))
