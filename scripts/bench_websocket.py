"""What the control plane is compared with: a WebSocket echo (RFC 6455) that commits each message before it answers.

No framework and no routing, no tokens and no queue: asyncio and the same writer thread with group commit. So it is the
least that any WebSocket server in Python would take. Says on standard output where it listens.
"""

import asyncio
import base64
import hashlib
import struct
import sys
from pathlib import Path

from sse_agent.clock import SystemClock
from sse_agent.control_plane.sqlite.database import Database, Transaction

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, mask: bytes = b"") -> bytes:
    """One text frame of at most 65,535 bytes; a client's is masked."""
    marked = 0x80 if mask else 0
    size = bytes([marked | len(payload)]) if len(payload) < 126 else struct.pack("!BH", marked | 126, len(payload))
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if mask else payload
    return b"\x81" + size + mask + body


async def received(reader: asyncio.StreamReader) -> bytes:
    """The next frame's payload. Raises IncompleteReadError at the end."""
    _, size = await reader.readexactly(2)
    length = size & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    mask = await reader.readexactly(4) if size & 0x80 else b""
    payload = await reader.readexactly(length)
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if mask else payload


def _note(tx: Transaction, payload: bytes) -> None:
    tx.run("INSERT INTO entries (log, at, body) VALUES ('echo', ?, ?)", tx.at, payload)


async def _serve(database: Database, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        key = head.lower().partition(b"sec-websocket-key:")[0]
        key = head[len(key) + 18 :].partition(b"\r\n")[0].strip()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        while True:
            payload = await received(reader)
            await database.run(_note, payload)
            writer.write(frame(payload))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Until it is killed."""
    database = Database(Path(sys.argv[1]), SystemClock())
    await database.open()
    server = await asyncio.start_server(
        lambda reader, writer: _serve(database, reader, writer), "127.0.0.1", 0, backlog=2048
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
