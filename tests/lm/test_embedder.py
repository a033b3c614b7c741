"""Vectors of texts, from a server, a function and a model file."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import Answer, FaultServer, failure

from declm import settings
from declm.errors import (
    AuthError,
    BudgetExceeded,
    DeclmError,
    RateLimited,
    ServerError,
    TimedOut,
    UnknownModel,
    UsageError,
)
from declm.lm import Embedder
from declm.lm.library import load
from declm.usage import Budget

KEY = "canary-key-0123456789"


def vector(text: str) -> list[float]:
    return [float(len(text)), 0.5]


def answered(body: Mapping[str, Any]) -> Answer:
    """In reverse order, since the index is what counts."""
    data = [{"object": "embedding", "index": i, "embedding": vector(text)} for i, text in enumerate(body["input"])]
    usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
    return Answer(body={"object": "list", "data": data[::-1], "model": "m", "usage": usage})


@pytest.fixture
def embedding(server: FaultServer) -> FaultServer:
    server.answer = answered
    return server


def embedder(server: FaultServer, model: str = "openai/text-embedding-3-small", **given: Any) -> Embedder:
    return Embedder(model, api_base=server.url, api_key=KEY, **given)


def test_texts_become_rows_in_their_order(embedding: FaultServer) -> None:
    found = embedder(embedding, dimensions=2)(["a", "bcd", "a"])
    assert (found.dtype, found.tolist()) == (np.float32, [[1.0, 0.5], [3.0, 0.5], [1.0, 0.5]])
    assert embedding.paths == ["/v1/embeddings"]
    assert embedding.bodies == [{"model": "text-embedding-3-small", "input": ["a", "bcd"], "dimensions": 2}]
    assert embedding.headers[0]["authorization"] == f"Bearer {KEY}"


def test_what_has_been_embedded_is_not_sent_again(embedding: FaultServer) -> None:
    embedder(embedding)(["a", "b"])
    again = embedder(embedding)(["b", "c", "a"])
    assert again.tolist() == [[1.0, 0.5]] * 3
    assert [body["input"] for body in embedding.bodies] == [["a", "b"], ["c"]]
    embedder(embedding, dimensions=2)(["a"])  # another vector
    embedder(embedding, cache=False)(["a"])
    assert embedding.count == 4


def test_many_texts_go_in_batches(embedding: FaultServer) -> None:
    texts = [str(i) * (i % 7) for i in range(1000)]
    found = embedder(embedding, batch=64, cache=False)(texts)
    assert found.tolist() == [vector(text) for text in texts]
    assert max(len(body["input"]) for body in embedding.bodies) == 64
    assert embedding.count == -(-len(set(texts)) // 64)


def test_no_text_gives_no_row(embedding: FaultServer) -> None:
    assert embedder(embedding)([]).shape == (0, 0)
    assert embedding.count == 0


async def test_it_works_in_async_code_and_in_a_running_loop(embedding: FaultServer) -> None:
    embed = embedder(embedding, cache=False)
    first, second = await asyncio.gather(embed.acall(["a"]), embed.acall(["bb"]))
    assert (first.tolist(), second.tolist(), embed(["ccc"]).tolist()) == ([[1.0, 0.5]], [[2.0, 0.5]], [[3.0, 0.5]])


def test_litellm_asks_the_providers_that_only_it_knows(embedding: FaultServer) -> None:
    load()
    found = embedder(embedding, "mistral/mistral-embed", cache=False)(["a", "bcd"])
    assert found.tolist() == [[1.0, 0.5], [3.0, 0.5]]


def test_failures_are_retried_and_typed(embedding: FaultServer) -> None:
    answers = [failure(500), failure(500)]
    embedding.answer = lambda body: answers.pop() if answers else answered(body)
    assert embedder(embedding)(["a"]).shape == (1, 2)
    assert embedding.count == 3
    for status, kind in ((401, AuthError), (429, RateLimited)):
        embedding.script(failure(status))
        with pytest.raises(kind):
            embedder(embedding, attempts=1, cache=False)(["a"])


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": ["x"]}],
        [{"index": 0, "embedding": []}],
        [{"index": 0}],
        "hello",
        None,
    ],
)
def test_an_answer_without_the_vectors_is_an_error_and_not_kept(server: FaultServer, data: object) -> None:
    server.script(Answer(body={"data": data}))
    with pytest.raises(ServerError, match="embedding model"):
        embedder(server, attempts=1)(["a"])
    server.answer = answered
    assert embedder(server)(["a"]).tolist() == [[1.0, 0.5]]


def test_numbers_that_are_none_are_refused(server: FaultServer) -> None:
    server.script(Answer(body=b'{"data": [{"index": 0, "embedding": [NaN]}]}'))
    with pytest.raises(ServerError):
        embedder(server, attempts=1)(["a"])


def test_vectors_of_different_lengths_are_an_error(server: FaultServer) -> None:
    data = [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]
    server.script(Answer(body={"data": data}))
    with pytest.raises(ServerError, match="lengths"):
        embedder(server, attempts=1, cache=False)(["a", "b"])


def test_budgets_hold(embedding: FaultServer) -> None:
    embed = embedder(embedding)
    with settings.context(budget=Budget(calls=1)):
        embed(["a"])
        with pytest.raises(BudgetExceeded):
            embed(["b"])
    assert embedding.count == 1
    with settings.context(budget=Budget(calls=0)):
        embed(["a"])  # kept


def test_functions_embed_too() -> None:
    async def later(texts: list[str]) -> list[list[float]]:
        return [vector(text) for text in texts]

    def now(texts: list[str]) -> Any:
        return np.array([vector(text) for text in texts])

    for function in (now, later):
        assert Embedder(function, batch=2)(["a", "bcd", "ef"]).tolist() == [[1.0, 0.5], [3.0, 0.5], [2.0, 0.5]]
    with pytest.raises(ServerError, match="1 vectors for 2 texts"):
        Embedder(lambda texts: [vector(texts[0])])(["a", "b"])
    with pytest.raises(ZeroDivisionError):
        Embedder(lambda texts: [[1 / 0] for _ in texts])(["a"])


def test_misuse_is_reported_before_anything_is_sent(server: FaultServer) -> None:
    wrong: list[tuple[type[DeclmError], Any]] = [
        (UnknownModel, lambda: Embedder("text-embedding-3-small")),
        (UsageError, lambda: Embedder(3)),  # type: ignore[arg-type]  # what is tested  # pyright: ignore[reportArgumentType]
        (UsageError, lambda: Embedder("openai/m", batch=0)),
        (UsageError, lambda: Embedder("local/m.gguf", api_base="http://x")),
        (UsageError, lambda: Embedder("local/m.gguf", dimensions=3)),
        (UsageError, lambda: embedder(server)("one text")),
        (UsageError, lambda: embedder(server)(["a", 3])),  # type: ignore[list-item]  # the same  # pyright: ignore[reportArgumentType]
    ]
    for kind, act in wrong:
        with pytest.raises(kind):
            act()
    assert server.count == 0


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"none\.gguf"):
        Embedder(f"local/{tmp_path}/none.gguf")(["a"])


def test_the_repr_and_the_cache_hold_no_key(embedding: FaultServer, empty_cache: Path) -> None:
    embed = embedder(embedding)
    embed(["a"])
    assert KEY not in repr(embed)
    kept = b"".join(path.read_bytes() for path in empty_cache.rglob("*") if path.is_file())
    assert kept
    assert KEY.encode() not in kept
    assert json.dumps(vector("a")).encode() not in kept  # as base64


def test_texts_may_come_from_a_generator(embedding: FaultServer) -> None:
    assert embedder(embedding)(text for text in ("a", "bcd")).tolist() == [[1.0, 0.5], [3.0, 0.5]]


def test_vectors_may_come_as_base64(server: FaultServer) -> None:
    whole = base64.b64encode(np.array([1.0, -2.5], np.float32).tobytes()).decode()
    server.script(Answer(body={"data": [{"index": 0, "embedding": whole}]}))
    assert embedder(server, encoding_format="base64")(["a"]).tolist() == [[1.0, -2.5]]
    assert server.bodies[0]["encoding_format"] == "base64"


@pytest.mark.slow
def test_a_model_file_embeds_in_process() -> None:
    embed = Embedder("local/smollm2", cache=False)
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by two percent."]
    found = embed(texts)
    assert found.shape == (3, 576)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-3)
    assert found[0] @ found[1] > found[0] @ found[2]
    assert np.allclose(embed(texts[::-1]), found[::-1], atol=1e-2)


@pytest.mark.slow
def test_the_deadline_holds_in_process() -> None:
    Embedder("local/smollm2", threads=1, cache=False)(["the model is read before time counts"])
    embed = Embedder("local/smollm2", threads=1, cache=False, deadline=0.5, batch=500)
    began_s = time.monotonic()
    with pytest.raises(TimedOut):
        embed([f"{number} " * 200 for number in range(500)])
    assert time.monotonic() - began_s < 3.0
