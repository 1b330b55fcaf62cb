"""A server as far away as one likes: a proxy that delivers every reply a while later."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

CHUNK = 1 << 16


@contextmanager
def distant(port: int, seconds: float) -> Iterator[int]:
    """The port of a proxy, in a process of its own, to a server on this machine.

    Args:
        port: Of the server.
        seconds: Added to every round trip; how much goes over the line is not limited.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(port, seconds, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()  # it holds nothing, and a shell may have it ignore SIGTERM
        process.join()


def _serve(port: int, seconds: float, channel: Connection) -> None:
    asyncio.run(_listen(port, seconds, channel))


async def _listen(port: int, seconds: float, channel: Connection) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass(reader, to_server, 0), _pass(from_server, writer, seconds))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    channel.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: float) -> None:
    """Every piece is as late as the others: what follows at once is not delayed once more."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            pieces.put_nowait((loop.time() + late, data))
    except OSError:
        pass
    pieces.put_nowait((loop.time() + late, b""))
    await delivery
