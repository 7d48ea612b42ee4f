#!/usr/bin/env python3
"""A webhook to deliver records to: keeps every accepted body as one JSON line of a file.

    webhook_sink.py --file records.jsonl [--port 0] [--certificate server.crt --key server.key]
                    [--client-authority ca.crt] [--token SECRET] [--refuse N] [--delay-ms N]

The first line of standard output is its address, for example `https://127.0.0.1:41234/`; it is
printed when the port is open. Port 0 takes a free one.

What it checks, in this order: with --client-authority the TLS handshake fails without a certificate
of that authority; with --token a body without `Authorization: Bearer SECRET` is answered 401; a body
that is not JSON is answered 400; while refusing, 503. Only an accepted body (200) reaches the file,
flushed before the answer.

While it runs, its behaviour is read and changed at `/control`:
    GET  /control                     {"accepted": 3, "refused": 1, "refuse": 0, "delay_ms": 0}
    POST /control?refuse=5&delay_ms=9 refuses the next 5 bodies (-1: all), answers each after 9 ms

Only Python's standard library; nothing listens beyond 127.0.0.1.
"""

import argparse
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

IDLE_TIMEOUT_SECONDS = 300


class Ledger:
    """What arrived and what is to be done with the next body; shared by all connections."""

    def __init__(self, path, refuse, delay_ms):
        self.lock = threading.Lock()
        self.file = open(path, "a", encoding="utf-8")
        self.accepted = 0
        self.refused = 0
        self.refuse = refuse
        self.delay_ms = delay_ms

    def state(self):
        with self.lock:
            return {name: getattr(self, name) for name in ("accepted", "refused", "refuse", "delay_ms")}

    def change(self, query):
        with self.lock:
            self.refuse = int(query.get("refuse", [self.refuse])[-1])
            self.delay_ms = int(query.get("delay_ms", [self.delay_ms])[-1])

    def take(self, body):
        """Writes the body down, or says False when this one is to be refused."""
        time.sleep(self.delay_ms / 1000)
        with self.lock:
            if self.refuse:
                self.refuse -= 1 if self.refuse > 0 else 0
                self.refused += 1
                return False
            self.file.write(json.dumps(body, ensure_ascii=False) + "\n")
            self.file.flush()
            self.accepted += 1
            return True


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_SECONDS
    # Small answers on a kept connection: without this each waits for the peer's delayed acknowledgement.
    disable_nagle_algorithm = True

    def setup(self):
        # The handshake runs here, on the connection's own thread, so that a peer that connects and
        # says nothing does not keep the others out.
        if self.server.tls:
            self.request.settimeout(IDLE_TIMEOUT_SECONDS)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if urlsplit(self.path).path == "/control":
            return self.answer(200, self.server.ledger.state())
        return self.answer(404, {"error": "only /control can be read"})

    def do_POST(self):
        address = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if address.path == "/control":
            self.server.ledger.change(parse_qs(address.query))
            return self.answer(200, self.server.ledger.state())
        token = self.server.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self.answer(401, {"error": "the bearer token is missing or wrong"})
        try:
            body = json.loads(content)
        except ValueError as error:
            return self.answer(400, {"error": f"not JSON: {error}"})
        if not self.server.ledger.take(body):
            return self.answer(503, {"error": "told to refuse"})
        return self.answer(200, {"accepted": True})

    def log_message(self, *_):
        pass


class Sink(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A peer that only probes the port, or fails the handshake, is no fault of the sink.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


def server_context(options):
    if not options.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    if options.client_authority:
        context.load_verify_locations(options.client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--client-authority")
    parser.add_argument("--token")
    parser.add_argument("--refuse", type=int, default=0, help="answer 503 to the first N bodies; -1: to all")
    parser.add_argument("--delay-ms", type=int, default=0)
    options = parser.parse_args()

    sink = Sink(("127.0.0.1", options.port), Connection)
    sink.tls = server_context(options)
    sink.token = options.token
    sink.ledger = Ledger(options.file, options.refuse, options.delay_ms)
    scheme = "https" if sink.tls else "http"
    print(f"{scheme}://127.0.0.1:{sink.server_port}/", flush=True)
    sink.serve_forever()


if __name__ == "__main__":
    main()
