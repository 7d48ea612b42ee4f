"""AWS Signature Version 4 with Python's standard library, and requests that are sent exactly as told.

A client library would repair or refuse what `bad_input.py` wants to send; here every header and every
byte of the body is the caller's, and only the signature is added. Also the two signed forms of
`aws-chunked` bodies.

Source: AWS, "Signature Version 4 signing process" and "Transferring payload in multiple chunks".
"""

import datetime
import hashlib
import hmac
import http.client
import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

EMPTY = hashlib.sha256(b"").hexdigest()
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


@dataclass
class Answer:
    status: int  # 0 when the connection was closed without an answer
    headers: dict
    body: bytes

    @property
    def code(self):
        """The S3 error code of the body, or an empty text."""
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else self.headers.get("x-minio-error-code", "")


@dataclass
class Caller:
    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    clock_offset: datetime.timedelta = field(default_factory=datetime.timedelta)

    def signing_key(self, day):
        key = digest(b"AWS4" + self.secret_key.encode(), day)
        for part in (self.region, "s3", "aws4_request"):
            key = digest(key, part)
        return key

    def signed(self, method, path, query, headers, payload):
        """The headers of a request with its `Authorization`; `payload` is x-amz-content-sha256."""
        moment = (datetime.datetime.now(datetime.timezone.utc) + self.clock_offset).strftime("%Y%m%dT%H%M%SZ")
        everything = {"host": urlsplit(self.endpoint).netloc, "x-amz-content-sha256": payload, "x-amz-date": moment}
        everything |= {name.lower(): value for name, value in headers.items()}
        names = ";".join(sorted(everything))
        pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
        canonical = "\n".join([
            method, quote(path, safe="/-_.~"), "&".join(f"{name}={value}" for name, value in pairs),
            *[f"{name}:{everything[name].strip()}" for name in sorted(everything)], "", names, everything["x-amz-content-sha256"]])
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self.signing_key(moment[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
        everything["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}")
        return everything, signature

    def send(self, method, path, query=None, headers=None, body=b"", payload=None, spoil=None, length=None):
        """Sends one request on a connection of its own.

        `payload` replaces the true digest of the body; `spoil` is called with the finished headers and
        may change them after the signature was made; `length` replaces the Content-Length.
        """
        query = query or {}
        payload = payload or hashlib.sha256(body).hexdigest()
        finished, _ = self.signed(method, path, query, headers or {}, payload)
        if spoil:
            spoil(finished)
        return self.exchange(method, path, query, finished, body, length)

    def send_chunked(self, path, chunks, headers=None, terminated=True, spoil_chunk=None, decoded_length=None):
        """PUTs `chunks` as a signed aws-chunked body; not `terminated`, the closing chunk is left out."""
        whole = sum(map(len, chunks))
        extra = {"content-encoding": "aws-chunked",
                 "x-amz-decoded-content-length": str(whole if decoded_length is None else decoded_length)}
        finished, signature = self.signed("PUT", path, {}, extra | (headers or {}), STREAMING)
        moment = finished["x-amz-date"]
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        body = b""
        for number, chunk in enumerate(list(chunks) + ([b""] if terminated else [])):
            to_sign = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", moment, scope, signature, EMPTY, hashlib.sha256(chunk).hexdigest()])
            signature = hmac.new(self.signing_key(moment[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
            sent = "0" * 64 if number == spoil_chunk else signature
            body += f"{len(chunk):x};chunk-signature={sent}\r\n".encode() + chunk + b"\r\n"
        return self.exchange("PUT", path, {}, finished, body, None)

    def exchange(self, method, path, query, headers, body, length):
        address = urlsplit(self.endpoint)
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(address.netloc, timeout=30, context=ssl._create_unverified_context())
        else:
            connection = http.client.HTTPConnection(address.netloc, timeout=30)
        target = quote(path, safe="/-_.~")
        if query:
            target += "?" + "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if length is None:
                length = len(body) if body or method in ("PUT", "POST") else None
            if length is not None:
                connection.putheader("content-length", str(length))
            connection.endheaders()
            try:
                connection.send(body)
                if length is not None and length > len(body):
                    # No more will come; the server may still answer.
                    connection.sock.shutdown(1)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It answered before it had read everything.
            try:
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                return Answer(0, {}, b"")
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()
