"""A second implementation of sender authentication: dkimpy, pyspf and authheaders, over JSON.

Reads a list of jobs from standard input and prints the list of their results. The first argument, if there is one, is
the DNS server (address:port) that all of them ask. A job is an object; "do" names the function below that takes the rest.
Mails are base64."""

import base64
import json
import logging
import re
import secrets
import sys

import authheaders
import dkim
import dns.exception
import dns.resolver
import nacl.encoding
import nacl.signing
import spf
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def decoded(text):
    return base64.b64decode(text)


def encoded(octets):
    return base64.b64encode(octets).decode()


def keys():
    """A key of each kind: what signs, and p= of what verifies."""

    def ordinary(bits):
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return {"private": pem.decode(), "public": encoded(public)}

    seed = nacl.signing.SigningKey.generate()
    ed25519 = {
        "private": seed.encode(encoder=nacl.encoding.Base64Encoder).decode(),
        "public": seed.verify_key.encode(encoder=nacl.encoding.Base64Encoder).decode(),
    }
    return {"rsa2048": ordinary(2048), "rsa1024": ordinary(1024), "rsa768": small_rsa(768), "ed25519": ed25519}


def small_rsa(bits):
    """An RSA key that no library makes any more."""

    def prime(size):
        while True:
            candidate = secrets.randbits(size) | (3 << (size - 2)) | 1
            if candidate % 65537 != 1 and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7, 11, 13)):
                return candidate

    p, q = prime(bits // 2), prime(bits // 2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = [0, p * q, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]

    def tagged(tag, content):
        length = len(content).to_bytes(2, "big")
        return bytes([tag]) + (b"\x82" + length if len(content) > 127 else length[1:]) + content

    def sequence(numbers):
        return tagged(0x30, b"".join(tagged(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers))

    private, public = sequence(numbers), sequence(numbers[1:3])
    pem = "-----BEGIN RSA PRIVATE KEY-----\n" + base64.encodebytes(private).decode() + "-----END RSA PRIVATE KEY-----\n"
    return {"private": pem, "public": encoded(public)}


class Signer(dkim.DKIM):
    """dkimpy's signer, made to write what it would not: other tags, and From left out."""

    def gen_header(self, fields, include_headers, *rest, **named):
        if self.without_from:
            include_headers = tuple(name for name in include_headers if name != b"from")
        changed = dict(fields)
        if self.without_from:
            changed[b"h"] = b" : ".join(include_headers)
        order = [name for name, _ in fields]
        for name, value in self.tags.items():
            if name not in order:
                order.insert(order.index(b"bh"), name)
            changed[name] = value
        fields = [(name, changed[name]) for name in order if changed[name] is not None]
        return super().gen_header(fields, include_headers, *rest, **named)


def sign(mail, domain, selector, key, algorithm="rsa-sha256", canonicalize=("relaxed", "relaxed"), headers=None, length=False, tags=None, without_from=False):
    """The field that signs the mail, null if dkimpy cannot read its header. `tags` change those that dkimpy writes; null
    takes one out."""
    try:
        signer = Signer(decoded(mail))
    except dkim.MessageFormatError:
        return None
    signer.without_from = without_from
    signer.tags = {name.encode(): value and value.encode() for name, value in (tags or {}).items()}
    field = signer.sign(
        selector.encode(),
        domain.encode(),
        key.encode(),
        signature_algorithm=algorithm.encode(),
        canonicalize=tuple(form.encode() for form in canonicalize),
        include_headers=[name.encode() for name in headers] if headers else None,
        length=length,
    )
    return encoded(field)


def seal(mail, domain, selector, key, authserv_id):
    """The three fields of one more ARC set."""
    return encoded(b"".join(dkim.arc_sign(decoded(mail), selector.encode(), domain.encode(), key.encode(), authserv_id.encode(), timestamp=None)))


def verify(mail):
    """For each signature, top first, whether it holds."""

    def holds(index):
        try:
            return bool(dkim.DKIM(decoded(mail)).verify(idx=index))
        except (dkim.DKIMException, dns.exception.DNSException, ValueError):
            return False

    header = re.split(rb"\r?\n\r?\n", decoded(mail), maxsplit=1)[0]
    return [holds(index) for index in range(len(re.findall(rb"(?im)^dkim-signature:", header)))]


def sender(client, mail_from, helo):
    """pyspf's word."""
    return spf.check2(i=client, s=mail_from, h=helo, querytime=0)[0]


def results(mail, client, mail_from, helo):
    """authheaders' word about DMARC."""
    field = authheaders.authenticate_message(
        decoded(mail), "second.example", spf=True, dkim=True, dmarc=True, ip=client, mail_from=mail_from, helo=helo
    )
    if not isinstance(field, str):
        field = str(field)
    return re.search(r"dmarc=(\w+)", field).group(1)


def suite(path):
    """The RFC 7208 suite as JSON. Octets that are no text stand for themselves, as in Latin-1."""
    with open(path, "rb") as file:
        return list(yaml.safe_load_all(file.read().decode("utf-8")))


if len(sys.argv) > 1:
    address, _, port = sys.argv[1].rpartition(":")
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [address], int(port)
    resolver.lifetime = resolver.timeout = 2
    dns.resolver.default_resolver = resolver
logging.disable(logging.CRITICAL)
functions = {function.__name__: function for function in (keys, sign, seal, verify, sender, results, suite)}
jobs = json.load(sys.stdin)
print(json.dumps([functions[job.pop("do")](**job) for job in jobs]))
