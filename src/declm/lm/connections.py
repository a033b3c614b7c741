"""Connections to servers: one pool for the event loop that carries all calls. The only module that imports aiohttp."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import ModuleType
from typing import Any, cast
from urllib.parse import urlsplit

from declm.errors import ReplyTooLarge
from declm.lm.traffic import TRAFFIC
from declm.lm.wire import Refused, complaint

MAX_BYTES = 16 * 2**20
"""Of one reply; no chat completion comes near, and a server gone mad must not fill the memory."""

_COMPLAINT_BYTES = 2**16
_IDLE_S = 60.0
_PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
_NAMES_S = 300


async def fetch(url: str, headers: Mapping[str, str], body: bytes | None, limit_s: float | None) -> bytes:
    """Post a body, or get what is there if it is None, and read the answer; in the event loop of `TRAFFIC`.

    Raises:
        Refused: the status is none of success.
        ReplyTooLarge: the answer has more than `MAX_BYTES`; it is not read to its end.
        TimeoutError: of asyncio's; it did not come within `limit_s` seconds.
        OSError: or another exception of aiohttp's; the connection failed.
    """
    async with _sent(url, headers, body, limit_s) as response:
        return await _read(response)


async def listen(url: str, headers: Mapping[str, str], body: bytes, limit_s: float | None) -> AsyncGenerator[bytes]:
    """Post a body and give the data of each server-sent event; errors as in `fetch`."""
    async with _sent(url, headers, body, limit_s) as response:
        if response.content_type == "application/json":  # it does not stream
            yield await _read(response)
            return
        left = MAX_BYTES
        data: list[bytes] = []
        async for line in _lines(response):
            left -= len(line)
            if left < 0:
                raise _too_large(response)
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line.strip() and data:
                yield b"\n".join(data)
                data.clear()
        if data:
            yield b"\n".join(data)


async def download(url: str, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """Get a file of any size line by line; no pause may be longer than a minute. Errors as in `fetch`."""
    async with _sent(url, headers, None, None, pause_s=_IDLE_S) as response, aclosing(_lines(response)) as lines:
        async for line in lines:
            yield line


async def _lines(response: Any) -> AsyncGenerator[bytes]:
    """The lines of a body, of any length."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_BYTES:
            raise _too_large(response)
    if rest:
        yield rest


@asynccontextmanager
async def _sent(
    url: str, headers: Mapping[str, str], body: bytes | None, limit_s: float | None, pause_s: float | None = None
) -> AsyncGenerator[Any]:
    connect_s = min(limit_s or _IDLE_S, _IDLE_S)
    timeout = _aiohttp().ClientTimeout(total=limit_s, sock_connect=connect_s, sock_read=pause_s)
    method, proxy = "GET" if body is None else "POST", _proxy(url, _proxy_settings())
    sending = _POOL.session().request(
        method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False, proxy=proxy
    )
    async with sending as response:
        if response.status >= 300:
            raise Refused(_complaint(await _beginning(response)), response.status, dict(response.headers))
        yield response


async def _read(response: Any) -> bytes:
    left = MAX_BYTES
    pieces: list[bytes] = []
    async for piece in response.content.iter_any():
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise _too_large(response)
    return b"".join(pieces)


async def _beginning(response: Any) -> bytes:
    data = b""
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > _COMPLAINT_BYTES:
            break
    return data[:_COMPLAINT_BYTES]


def _too_large(response: Any) -> ReplyTooLarge:
    return ReplyTooLarge(f"{response.url.host}:{response.url.port} sent more than {MAX_BYTES:,} bytes; check api_base")


def _complaint(data: bytes) -> str:
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace").strip()
    return complaint(cast("dict[str, Any]", content)) if isinstance(content, dict) else str(content)


@functools.cache
def _aiohttp() -> ModuleType:
    import aiohttp

    return aiohttp


class _Pool:
    """aiohttp's session of an event loop; it can't change loops, and a forked child makes a loop of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Any = None

    def session(self) -> Any:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._session = loop, _opened()
            TRAFFIC.at_close(self._session.close)
        return self._session


_POOL = _Pool()


def _opened() -> Any:
    aiohttp = _aiohttp()
    # As many connections as there are calls: limits are the caller's to set.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ttl_dns_cache=_NAMES_S, ssl=_trusted())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _proxy_settings() -> tuple[str | None, ...]:
    """What the environment says of proxies."""
    return tuple(os.environ.get(name) for name in _PROXY_VARIABLES)


@functools.lru_cache(maxsize=256)
def _proxy(url: str, _settings: tuple[str | None, ...]) -> str | None:
    """The proxy on the way to a URL, None for none.

    aiohttp would look it up anew for each request, together with the passwords in `.netrc`, in a thread.
    """
    from urllib.request import getproxies, proxy_bypass  # it is slow to import

    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(parts.scheme)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates of the system, and those of certifi, which come with the HTTP libraries."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
