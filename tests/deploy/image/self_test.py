"""Runs inside a machine that boot.py booted: says over the serial console, as JSON, what it sees of itself.

Brought by user-data to /run, so that the image is what it is. Steps: "started" once what the roles want is active; then it
waits for the phase that boot.py sets in the metadata; "restarting" while it starts the enqueuer again and again; "ended" with what
is to see after mail has come and gone. Then it turns the machine off. What it cannot find out it says as text in place of the value.
"""

import glob
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.request

METADATA = "http://169.254.169.254/latest"
UNITS = (
    "replyfleet-enqueue.socket replyfleet-enqueue.service replyfleet-worker.service replyfleet-firewall.service"
    " replyfleet-postfix-maps.timer postfix.service chrony.service fail2ban.service systemd-resolved.service systemd-networkd.service"
).split()
RESTARTS = 4
pause = threading.Event()


def say(step, **values):
    line = f"SELF-TEST {json.dumps(dict(step=step, **values))}\n"
    with open("/dev/ttyS0", "w", encoding="ascii") as console:
        # A line of its own, whatever the kernel writes beside it.
        console.write("\n" + line)


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}(status {done.returncode})"


def lines(*command):
    return output(*command).splitlines()


def state(unit):
    return output("systemctl", "show", "--property=ActiveState", "--value", unit).strip()


def metadata(path):
    ask = urllib.request.Request(f"{METADATA}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = urllib.request.urlopen(ask, timeout=30).read().decode()
    ask = urllib.request.Request(f"{METADATA}/meta-data/{path}", headers={"X-aws-ec2-metadata-token": token})
    return urllib.request.urlopen(ask, timeout=30).read().decode()


def wait_for_phase(phase):
    while metadata("tags/instance/phase") != phase:
        pause.wait(1)


def reaches_metadata(user):
    script = f"import urllib.request as u; u.urlopen(u.Request('{METADATA}/api/token', method='PUT'), timeout=20).read()"
    return subprocess.run(["runuser", "-u", user, "--", "python3", "-c", script], capture_output=True, check=False).returncode == 0


def security(unit):
    """The exposure of systemd-analyze, 0 to 10."""
    last = lines("systemd-analyze", "security", "--no-pager", unit)[-1]
    return float(last.split(":")[1].split()[0])


def modes(*patterns):
    found = {}
    for pattern in patterns:
        for path in glob.glob(pattern):
            found[path] = output("stat", "--format=%A %U:%G", path).strip()
    return found


def grep(text):
    """Files on the disk that hold it."""
    return lines("sh", "-c", f"grep -rlaF -- {text} /etc /home /opt /root /srv /tmp /usr/local /var || true")


def wait_until_started():
    end = time.monotonic() + 600
    while time.monotonic() < end and any(state(unit) != "active" for unit in UNITS):
        pause.wait(1)
    output("cloud-init", "status", "--wait")
    return {unit: state(unit) for unit in UNITS}


def started():
    units = wait_until_started()
    ours = [os.path.basename(path) for folder in ("lib", "etc") for path in glob.glob(f"/{folder}/systemd/system/replyfleet-*.service")]
    say(
        "started",
        units=units,
        failed=lines("systemctl", "list-units", "--failed", "--plain", "--no-legend"),
        cloud_init=output("cloud-init", "status").strip(),
        boot=lines("systemd-analyze")[0],
        security={unit: security(unit) for unit in ours},
        modes=modes("/etc/replyfleet/*", "/run/replyfleet/*", "/var/spool/replyfleet", "/var/lib/replyfleet", "/var/cache/replyfleet"),
        listening=lines("ss", "-Hltunp"),
        versions=dict(line.split(" ", 1) for line in lines("dpkg-query", "-W", "-f", "${Package} ${Version}\n")),
        postconf={name: lines("postconf", "-n", "-c", name) for name in ("/etc/postfix", "/etc/postfix-out")},
        reaches_metadata={user: reaches_metadata(user) for user in ("root", "replyfleet", "postfix", "nobody")},
        core_pattern=pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip(),
        swaps=lines("swapon", "--show", "--noheadings"),
        time_sources=lines("chronyc", "-c", "-n", "sources"),
        check=output("runuser", "-u", "replyfleet", "--", "replyfleet", "check"),
    )


def restarts():
    wait_for_phase("restarts")
    say("restarting")
    states = []
    for _ in range(RESTARTS):
        output("systemctl", "restart", "replyfleet-enqueue.service")
        states.append(state("replyfleet-enqueue.service"))
        pause.wait(2)
    return states


def ended(states):
    wait_for_phase("end")
    lmtp = lines("journalctl", "--quiet", "--no-pager", "-o", "cat", "-t", "postfix/lmtp")
    say(
        "ended",
        restarts=states,
        handed_over=sum("status=sent" in line for line in lmtp),
        not_handed_over=[line for line in lmtp if "status=sent" not in line],
        canaries={word: grep(word) for word in ("canary-first", "canary-subject", "canary-1@")},
        journal_on_disk=glob.glob("/var/log/journal/*/*"),
        logs=lines("find", "/var/log", "-type", "f", "-size", "+0"),
        queues={name: lines("postqueue", "-c", name, "-j") for name in ("/etc/postfix", "/etc/postfix-out")},
        errors=lines("journalctl", "--quiet", "--no-pager", "-o", "short", "-p", "err"),
        disk=lines("df", "--output=size,used", "-m", "/")[-1].split(),
        memory=lines("free", "-m")[1].split() if os.path.exists("/usr/bin/free") else [],
    )


started()
ended(restarts())
output("systemctl", "poweroff")
