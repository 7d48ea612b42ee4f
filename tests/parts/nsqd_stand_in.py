#!/usr/bin/env python3
"""A stand-in for nsqd, written from its public protocol: no nsqd can be had from a package where this was written.

It knows what a publisher needs: the greeting, IDENTIFY with feature negotiation and TLS, PUB, MPUB, NOP, and
heartbeats. It keeps the messages of a topic in a file, a message a line, and has written them before it answers OK. Nothing subscribes.

nsqd_stand_in.py PORT DIRECTORY CERTIFICATE KEY

Source: https://nsq.io/clients/tcp_protocol_spec.html
"""

import asyncio
import json
import pathlib
import re
import ssl
import struct
import sys

TOPIC = re.compile(r"[.a-zA-Z0-9_-]+(#ephemeral)?")
MESSAGE_BYTES_MAX = 1024 * 1024
BODY_BYTES_MAX = 5 * 1024 * 1024


class Refusal(Exception):
    """What nsqd answers before it closes the connection."""


class Connection:
    def __init__(self, reader, writer, directory, tls):
        self.reader, self.writer, self.directory, self.tls = reader, writer, directory, tls
        self.beating = None

    def send(self, kind, text):
        self.writer.write(struct.pack(">II", len(text) + 4, kind) + text)

    async def number(self):
        return struct.unpack(">I", await self.reader.readexactly(4))[0]

    async def body(self, command="PUB"):
        length = await self.number()
        if not 0 < length <= MESSAGE_BYTES_MAX:
            raise Refusal(f"E_BAD_MESSAGE {command} message too big {length} > {MESSAGE_BYTES_MAX}")
        return await self.reader.readexactly(length)

    async def bodies(self):
        length = await self.number()
        if not 0 < length <= BODY_BYTES_MAX:
            raise Refusal(f"E_BAD_BODY MPUB body too big {length} > {BODY_BYTES_MAX}")
        return [await self.body("MPUB") for _ in range(await self.number())]

    async def beat(self, seconds):
        while True:
            await asyncio.sleep(seconds)
            self.send(0, b"_heartbeat_")

    async def identify(self):
        asked = json.loads(await self.body())
        encrypts = bool(asked.get("tls_v1"))
        if asked.get("feature_negotiation"):
            self.send(0, json.dumps({"version": "stand-in", "tls_v1": encrypts, "auth_required": False}).encode())
        await self.writer.drain()
        if encrypts:
            await self.writer.start_tls(self.tls)
        if encrypts or not asked.get("feature_negotiation"):
            self.send(0, b"OK")
        self.beating = asyncio.ensure_future(self.beat(asked.get("heartbeat_interval", 30000) / 1000))

    async def publish(self, command, topic):
        if not TOPIC.fullmatch(topic) or len(topic) > 64:
            raise Refusal(f'E_BAD_TOPIC {command} topic name "{topic}" is not valid')
        messages = await self.bodies() if command == "MPUB" else [await self.body()]
        with (self.directory / topic).open("ab") as file:
            file.write(b"".join(message + b"\n" for message in messages))
        self.send(0, b"OK")

    async def serve(self):
        if await self.reader.readexactly(4) != b"  V2":
            return
        while line := await self.reader.readline():
            name, *arguments = line.decode().split()
            if name == "IDENTIFY":
                await self.identify()
            elif name in ("PUB", "MPUB") and len(arguments) == 1:
                await self.publish(name, arguments[0])
            elif name != "NOP":
                raise Refusal(f"E_INVALID invalid command {name}")
            await self.writer.drain()


async def converse(reader, writer, directory, tls):
    connection = Connection(reader, writer, directory, tls)
    try:
        await connection.serve()
    except Refusal as refusal:
        connection.send(1, str(refusal).encode())
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        if connection.beating:
            connection.beating.cancel()
        writer.close()


async def main():
    port, directory, certificate, key = sys.argv[1:]
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda *pair: converse(*pair, directory, tls), "127.0.0.1", int(port))
    await server.serve_forever()


asyncio.run(main())
