"""The proxy that stands for the network: passes, delays, freezes and cuts real connections."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from demo.processes import free_port
from demo.proxy import NetworkState, Proxy

PATIENCE_S = 10.0
PIECE_SIZE = 65_536
"""Bytes that are passed on at once."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(PIECE_SIZE):
                writer.write(chunk)
                await writer.drain()
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[Proxy]:
    async with Proxy(target_port=echo_port) as proxy:
        yield proxy


async def connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def exchange(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), PATIENCE_S)


async def test_passes_bytes_both_ways_unchanged_and_in_order(proxy: Proxy) -> None:
    streams = await connect(proxy)
    data = bytes(range(256)) * 8_192
    assert await exchange(streams, data) == data
    streams[1].close()


async def test_passes_the_end_of_one_direction_and_goes_on_with_the_other(proxy: Proxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"last words"
    writer.close()


async def test_a_cut_resets_open_connections_and_new_ones_until_it_passes_again(proxy: Proxy) -> None:
    open_one = await connect(proxy)
    assert await exchange(open_one, b"before") == b"before"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await exchange(open_one, b"lost")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await exchange(await connect(proxy), b"lost")
    assert proxy.state is NetworkState.CUT
    proxy.pass_on()
    again = await connect(proxy)
    assert await exchange(again, b"after") == b"after"
    for streams in (open_one, again):
        streams[1].close()


async def test_a_frozen_network_keeps_connections_open_and_delivers_what_was_held(proxy: Proxy) -> None:
    old = await connect(proxy)
    assert await exchange(old, b"before") == b"before"
    proxy.freeze()
    new = await connect(proxy)
    answers = [asyncio.create_task(exchange(streams, b"held")) for streams in (old, new)]
    done, _ = await asyncio.wait(answers, timeout=0.2)
    assert not done
    proxy.pass_on()
    assert await asyncio.gather(*answers) == [b"held", b"held"]
    for streams in (old, new):
        streams[1].close()


async def test_a_cut_reaches_connections_that_were_frozen(proxy: Proxy) -> None:
    streams = await connect(proxy)
    assert await exchange(streams, b"before") == b"before"
    proxy.freeze()
    streams[1].write(b"held")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(streams[0].read(), PATIENCE_S)
    streams[1].close()


async def test_latency_is_added_in_each_direction_without_throttling(proxy: Proxy) -> None:
    clock = asyncio.get_running_loop()
    proxy.latency_s = 0.1
    streams = await connect(proxy)
    started = clock.time()
    data = b"x" * 2_000_000
    assert await exchange(streams, data) == data
    # Were each of the pieces delayed by itself, they would take one latency after the other.
    assert 0.2 <= clock.time() - started < len(data) / PIECE_SIZE * proxy.latency_s
    streams[1].close()


async def test_closes_the_client_when_the_target_is_away() -> None:
    async with Proxy(target_port=free_port()) as proxy:
        reader, writer = await connect(proxy)
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()


async def test_stopping_ends_connections_and_leaves_the_port_free(echo_port: int) -> None:
    proxy = await Proxy(target_port=echo_port).start()
    reader, writer = await connect(proxy)
    assert await exchange((reader, writer), b"here") == b"here"
    await proxy.stop()
    await proxy.stop()
    with pytest.raises(ConnectionResetError):
        await exchange((reader, writer), b"gone")
    writer.close()
    assert proxy.connection_count == 0
    async with Proxy(target_port=echo_port, port=proxy.port) as second:
        streams = await connect(second)
        assert await exchange(streams, b"back") == b"back"
        streams[1].close()
