"""Messages of MongoDB's wire protocol: OP_MSG, taken apart and put together.

Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

import socket
import struct
from dataclasses import dataclass
from typing import Any

import bson
from bson.binary import UuidRepresentation

OP_MSG = 2013
CHECKSUM, MORE_TO_COME, EXHAUST_ALLOWED = 1, 1 << 1, 1 << 16
# The proxy reads them as UUIDs; a client gets back what is stored.
_UUIDS: bson.CodecOptions = bson.CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
_HEADER = struct.Struct("<iiii")


@dataclass
class Message:
    request: int
    code: int
    flags: int
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The command with its document sequences as lists."""
        end = len(self.raw) - (4 if self.flags & CHECKSUM else 0)
        body: dict[str, Any] = {}
        lists: dict[str, list[Any]] = {}
        at = 20
        while at < end:
            kind = self.raw[at]
            (size,) = struct.unpack_from("<i", self.raw, at + 1)
            section = self.raw[at + 1 : at + 1 + size]
            if kind == 0:
                body = bson.decode(section)
            else:
                name, _, documents = section[4:].partition(b"\0")
                lists[name.decode()] = bson.decode_all(documents)
            at += 1 + size
        return {**body, **lists}

    def without_exhaust(self) -> bytes:
        """The same message, to be answered once: the proxy waits for one reply at a time."""
        flags = self.flags & ~EXHAUST_ALLOWED
        return self.raw[:16] + struct.pack("<I", flags) + self.raw[20:]


def read(connection: socket.socket) -> Message | None:
    """The next message; None where the other side has hung up."""
    header = _exactly(connection, 16)
    if header is None:
        return None
    length, request, _, code = _HEADER.unpack(header)
    rest = _exactly(connection, length - 16)
    if rest is None:
        return None
    flags = struct.unpack_from("<I", rest)[0] if code == OP_MSG else 0
    return Message(request, code, flags, header + rest)


def reply(to: Message, body: dict[str, Any]) -> bytes:
    section = b"\0" + bson.encode(body, codec_options=_UUIDS)
    header = _HEADER.pack(16 + 4 + len(section), 0, to.request, OP_MSG)
    return header + struct.pack("<I", 0) + section


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        try:
            part = connection.recv(count - len(parts))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
