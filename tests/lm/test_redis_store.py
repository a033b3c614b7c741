"""Replies on a Redis server: what a real one keeps, and what happens without any."""

from __future__ import annotations

import asyncio
import builtins
import importlib.util
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import PASSWORD, free_port, serving_redis

from declm import settings
from declm.errors import MissingExtra, UsageError
from declm.lm import LM
from declm.lm.cached import Cached
from declm.lm.flights import GRACE_S
from declm.lm.redis_store import RedisStore
from declm.lm.replies import cache_at
from declm.messages import Message, Request, Response
from declm.testing import FunctionLM
from declm.text import Url

HI = Request((Message("user", "hi"),))

VALUE = {"text": "hello \ud800", "n": [1, 2]}

needs_client = pytest.mark.skipif(
    importlib.util.find_spec("redis") is None, reason="the extra 'redis' is not installed"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on loopback, with a password."""
    with serving_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def store(address: str) -> Iterator[RedisStore]:
    made = RedisStore(Url(address))
    made._client.register_script("redis.call('flushdb')")([], [])
    yield made
    made.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "declm" and r.levelno >= logging.WARNING]


def other(store: RedisStore) -> RedisStore:
    """What another process has."""
    return RedisStore(store._url)


def kept(lm: Cached) -> Response:
    response = lm.complete(HI)
    lm.commit(HI, response)
    return response


def test_values_come_back_equal(store: RedisStore) -> None:
    store.put("k", VALUE)
    second = other(store)
    assert second.get("k") == VALUE
    assert second.get("other") is None
    second.close()


@pytest.mark.parametrize("body", [b"", b"short", b"00000000{}", b"\x80\x04\x95" * 9, b"a3830348null", b'b0f2a8c1{"a"'])
def test_damaged_replies_are_misses_with_one_warning_and_heal(
    store: RedisStore, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(20):
        store._client.set(f"declm:reply:{index}", body)
    assert [store.get(str(i)) for i in range(20)] == [None] * 20
    assert len(warnings_of(caplog)) == 1
    for index in range(20):
        store.put(str(index), VALUE)
    assert [store.get(str(i)) for i in range(20)] == [VALUE] * 20


def test_a_lease_keeps_others_out_until_it_is_freed(store: RedisStore) -> None:
    second = other(store)
    assert store.take("k")
    assert store.take("k")
    assert not second.take("k")
    second.free("k")
    assert not second.take("k")
    store.free("k")
    assert second.take("k")
    second.free("k")
    second.close()


def test_a_reply_that_has_landed_is_waited_for_a_moment_only(store: RedisStore) -> None:
    second = other(store)
    assert store.take("k")
    store.land("k")
    began_s = time.monotonic()
    while not second.take("k"):
        time.sleep(0.01)
    assert GRACE_S - 0.1 < time.monotonic() - began_s < GRACE_S + 0.5
    second.free("k")
    second.close()


def test_a_lease_is_renewed_as_long_as_it_is_held(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("declm.lm.redis_store.LEASE_S", 0.3)
    second = other(store)
    assert store.take("k")
    time.sleep(0.8)
    assert not second.take("k")
    store._held.clear()  # as if its process had died
    time.sleep(0.5)
    assert second.take("k")
    second.free("k")
    second.close()


def test_an_lm_and_the_settings_take_an_address(address: str, store: RedisStore) -> None:
    inner = FunctionLM(lambda _request: "hello", name="on redis")
    assert not kept(Cached(inner, Url(address))).cached
    cache_at.cache_clear()
    with settings.context(cache=address):
        assert kept(Cached(inner, None)).cached


def test_the_password_is_never_shown(address: str) -> None:
    shown = [repr(LM("hosted_vllm/m", cache=address)), repr(settings.Settings(cache=Url(address)))]
    with pytest.raises(UsageError) as wrong:
        settings.configure(cache=address.replace("redis", "mysql", 1))
    shown += [str(wrong.value), repr(Url(address))]
    assert not [text for text in shown if PASSWORD in text]
    assert "redis://***@127.0.0.1" in shown[0]


async def test_threads_and_tasks_send_once(address: str, store: RedisStore) -> None:
    def slowly(_request: Request) -> str:
        time.sleep(0.05)
        return "hello"

    inner = FunctionLM(slowly)
    caches = [Cached(inner, Url(address)) for _ in range(2)]
    found = await asyncio.gather(*(asyncio.to_thread(kept, caches[i % 2]) for i in range(8)))
    assert {response.text for response in found} == {"hello"}
    assert len(inner.requests) == 1


# --- without a server


@pytest.fixture
def nowhere() -> Url:
    return Url(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")


@needs_client
def test_a_server_that_is_away_costs_one_warning_and_no_call(nowhere: Url, caplog: pytest.LogCaptureFixture) -> None:
    cache_at.cache_clear()
    inner = FunctionLM(lambda request: request.messages[-1].content)
    lm = Cached(inner, nowhere)
    began_s = time.monotonic()
    for index in range(300):
        request = Request((Message("user", str(index)),))
        response = lm.complete(request)
        lm.commit(request, response)
        assert response.text == str(index)
    assert time.monotonic() - began_s < 3.0
    (warning,) = warnings_of(caplog)
    assert "calls go on without" in warning
    assert PASSWORD not in warning


@needs_client
def test_a_server_that_hangs_is_waited_for_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(Url(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        began_s = time.monotonic()
        assert [store.get(str(index)) for index in range(50)] == [None] * 50
        assert store.take("k")
        assert time.monotonic() - began_s < 4.0
        store.close()
    assert len(warnings_of(caplog)) == 1


@needs_client
@pytest.mark.parametrize("wrong", ["redis://127.0.0.1:port/0", "redis://:secretsecret@[::1/0"])
def test_an_address_that_can_not_be_read_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="can't be read") as error:
        RedisStore(Url(wrong))
    assert "secretsecret" not in str(error.value)


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "redis":
            raise ImportError(name)
        return found(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    lm = Cached(FunctionLM(lambda _request: "never"), Url("redis://127.0.0.1:1/0"))
    cache_at.cache_clear()
    with pytest.raises(MissingExtra, match=r"pip install 'declm\[redis\]'"):
        lm.complete(HI)


def test_a_path_is_no_address(tmp_path: Path) -> None:
    assert settings.cache_place(str(tmp_path / "redis:")) == tmp_path / "redis:"
    with pytest.raises(UsageError, match="neither a path nor"):
        settings.cache_place("http://127.0.0.1/cache")
