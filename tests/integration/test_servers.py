"""That servers which tests start on asyncio answer everybody whom they have accepted."""

import asyncio
import contextlib
import socket


async def test_who_was_accepted_in_the_turn_in_which_a_server_closes_is_answered() -> None:
    served = []

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        writer.close()
        served.append(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    with contextlib.closing(socket.create_connection(server.sockets[0].getsockname(), 60)) as client:
        loop.call_soon(loop.call_soon, server.close)  # between its acceptance and the first step of what that has begun
        reader, writer = await asyncio.open_connection(sock=client)
        async with asyncio.timeout(60):
            assert await reader.read() == b"here"
            await server.wait_closed()
        writer.close()
    assert len(served) == 1
