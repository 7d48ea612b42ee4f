#!/usr/bin/env python3
"""Keys and credentials for NATS, made with openssl: what `nsc` and `nk` make, which are no packages.

nats_keys.py DIR writes
  user.nk, user.public       a user's seed and public key, for a server that knows users by key
  operator.jwt, account.jwt, account.public
                             what a server of decentralized authentication is configured with
  user.creds                 a user of that account: what a client logs in with

Source: NATS documentation, "NKeys" and "JWT"; ADR-14 for the format of tokens.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys

OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3


def encoded(prefix, key):
    """Prefix, key and CRC16 in base32 without padding."""
    data = bytes(prefix) + key
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
    return base64.b32encode(data + (crc & 0xFFFF).to_bytes(2, "little")).decode().rstrip("=")


class Key:
    def __init__(self, directory, name, kind):
        self.file = directory / f"{name}.pem"
        run = subprocess.run
        run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.file], check=True)
        # Both DER forms end in the 32 bytes of the key.
        der = ["openssl", "pkey", "-in", self.file, "-outform", "DER"]
        private = run(der, check=True, capture_output=True).stdout[-32:]
        public = run([*der, "-pubout"], check=True, capture_output=True).stdout[-32:]
        self.public = encoded([kind], public)
        # The kind is spread over the lower bits of the first byte and the upper ones of the second.
        self.seed = encoded([SEED | kind >> 5, (kind & 31) << 3], private)

    def sign(self, text):
        message = self.file.with_suffix(".message")
        message.write_text(text)
        sign = ["openssl", "pkeyutl", "-sign", "-inkey", self.file, "-rawin", "-in", message]
        return subprocess.run(sign, check=True, capture_output=True).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(issuer, subject, name, kind):
    claims = {"iat": 1, "iss": issuer.public, "name": name, "sub": subject, "nats": {"type": kind, "version": 2}}
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    if kind == "account":
        claims["nats"]["limits"] = {**unlimited, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    if kind == "user":
        claims["nats"].update(unlimited)
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
    text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{text}.{base64url(issuer.sign(text))}"


def main():
    directory = pathlib.Path(sys.argv[1])
    operator = Key(directory, "operator", OPERATOR)
    account = Key(directory, "account", ACCOUNT)
    user = Key(directory, "user", USER)
    jwt = token(account, user.public, "tidings", "user")
    files = {
        "user.nk": user.seed,
        "user.public": user.public,
        "operator.jwt": token(operator, operator.public, "tests", "operator"),
        "account.jwt": token(operator, account.public, "tests", "account"),
        "account.public": account.public,
        "user.creds": f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text + "\n")


main()
