"""A proxy in front of an S3 server that fails in the ways in which object storage fails."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web
from object_storage import free_port
from yarl import URL

SLOW_SECONDS = 0.5
LOST_ANSWER = "acknowledgement lost"
CUT = "connection cut in mid-upload"


class FaultyStorage:
    """Stands before a server; may be told from any thread what to do wrong.

    Attributes:
        endpoint: Where clients find it.
        fault: `unavailable` (503 for everything), `slow`, `silent` (no answer), or None.
        lost: Pattern of the objects of which the first successful PUT is not acknowledged.
        cut: Pattern of the addresses at which connections are cut in mid-upload, as often as
            `cuts` says.
        cuts: How many more connections are cut there.
        struck: How many requests met each fault.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._forgotten: set[str] = set()
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.fault: str | None = None
        self.lost: str | None = None
        self.cut: str | None = None
        self.cuts = 0
        self.struck: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, or do what was asked for instead."""
        fault = self.fault
        if fault is not None:
            self.struck[fault] += 1
        if fault == "unavailable":
            return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if fault == "silent":
            while self.fault == "silent":
                await asyncio.sleep(0.05)
            _hang_up(request)
        if self.cut and self.cuts and re.search(self.cut, request.path_qs):
            self.cuts -= 1
            self.struck[CUT] += 1
            await request.content.read(1024)
            _hang_up(request)
        status, headers, body = await self._forwarded(request)
        if self._loses(request, status):
            self.struck[LOST_ANSWER] += 1
            _hang_up(request)
        return web.Response(status=status, headers=headers, body=body)

    async def _forwarded(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        # The signature covers the Host header, so that all headers go through as they are.
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                URL(self._server + request.raw_path, encoded=True),
                headers=request.headers,
                data=await request.read(),
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            ) as answer,
        ):
            hop = {"transfer-encoding", "content-length", "connection"}
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in hop}
            if request.method == "HEAD":
                headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            return answer.status, headers, await answer.read()

    def _loses(self, request: web.Request, status: int) -> bool:
        name = request.path
        wanted = self.lost and request.method == "PUT" and re.search(self.lost, name)
        if not wanted or status != 200 or name in self._forgotten:
            return False
        self._forgotten.add(name)
        return True


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


@contextmanager
def faulty_storage(server: str) -> Iterator[FaultyStorage]:
    """Run the proxy in a thread of its own."""
    storage = FaultyStorage(server)
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", storage.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(storage.endpoint.rpartition(":")[2])).start()
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield storage
    finally:
        storage.fault = None
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
