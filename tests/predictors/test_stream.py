"""Streams: outputs appear as they are written, the last one is the value, and leaving stops the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from itertools import pairwise
from typing import Any, Literal

import pytest

import declm as dm
from declm.messages import Chunk, Request, Response
from declm.testing import FunctionLM, ScriptedLM


class Review(dm.Signature):
    """Judge a review."""

    text: str = dm.Input()
    summary: str = dm.Output()
    feeling: Literal["good", "bad"] = dm.Output()
    stars: int = dm.Output(ge=1, le=5)
    tags: list[str] = dm.Output()


OUTPUTS: dict[str, Any] = {"summary": "Warm bread, cold tea.", "feeling": "good", "stars": 4, "tags": ["bread", "tea"]}
REPLIES = {
    "json": json.dumps(OUTPUTS),
    "native": json.dumps(OUTPUTS, indent=1),
    "chat": '[[summary]] Warm bread, cold tea.\n[[feeling]] good\n[[stars]] 4\n[[tags]] ["bread", "tea"]',
    "xml": "<summary>Warm bread, cold tea.</summary>\n<feeling>good</feeling>\n"
    '<stars>4</stars>\n<tags>["bread", "tea"]</tags>',
}


class Pieces(FunctionLM):
    """Streams one reply in given pieces, and counts those that were taken."""

    def __init__(self, pieces: list[str]) -> None:
        super().__init__(lambda _request: "".join(pieces))
        self._cut = pieces
        self.taken = 0

    def stream(self, request: Request) -> Generator[Chunk]:
        for piece in self._cut:
            self.taken += 1
            yield Chunk(text=piece)
        yield Chunk(response=self.complete(request))


def dumped(row: Review) -> dict[str, Any]:
    return dm.spec(Review).dump(row)[1]


@pytest.mark.parametrize("format", REPLIES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_every_way_to_cut_a_reply_ends_with_the_same_value(format: str, size: int) -> None:
    reply = REPLIES[format]
    lm = Pieces([reply[at : at + size] for at in range(0, len(reply), size)])
    shown = list(dm.Predict(Review, lm=lm, format=format).stream(text="t"))
    assert dumped(shown[-1]) == OUTPUTS
    assert all(isinstance(row, Review) for row in shown)


@pytest.mark.parametrize("format", REPLIES)
def test_outputs_appear_in_order_and_what_is_shown_is_of_its_type(format: str) -> None:
    shown = [
        dumped(row) for row in dm.Predict(Review, lm=Pieces(list(REPLIES[format])), format=format).stream(text="t")
    ]
    assert all(list(row) == list(OUTPUTS)[: len(row)] for row in shown)
    assert {row.get("feeling") for row in shown} == {None, "good"}
    assert {row.get("stars") for row in shown} == {None, 4}
    summaries = [row["summary"] for row in shown if "summary" in row]
    assert all(later.startswith(earlier) for earlier, later in pairwise(summaries))
    assert len(set(summaries)) > 10


def test_an_output_that_is_not_known_yet_is_unset() -> None:
    first = next(iter(dm.Predict(Review, lm=Pieces(list(REPLIES["json"]))).stream(text="t")))
    with pytest.raises(dm.OutputNotSet):
        _ = first.tags


def test_leaving_the_loop_stops_the_stream() -> None:
    lm = Pieces([*list(REPLIES["json"]), *["\n"] * 100_000])
    for row in dm.Predict(Review, lm=lm).stream(text="t"):
        if "feeling" in dumped(row):
            break
    assert lm.taken < 100_000


def test_wrong_inputs_are_refused_before_anything_is_asked() -> None:
    lm = Pieces(["{}"])
    with pytest.raises(dm.InputError):
        dm.Predict(Review, lm=lm).stream(txt="t")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # the point
    assert lm.requests == []


def test_a_reply_that_is_refused_is_asked_again_and_shown_anew() -> None:
    lm = ScriptedLM([json.dumps({**OUTPUTS, "stars": 9}), json.dumps(OUTPUTS)])
    shown = list(dm.Predict(Review, lm=lm).stream(text="t"))
    assert dumped(shown[-1]) == OUTPUTS
    assert len(lm.requests) == 2
    assert all(row.get("stars") in (None, 4) for row in map(dumped, shown))  # 9 stars are never shown


def test_errors_reach_the_reader() -> None:
    with pytest.raises(dm.ParseError):
        list(dm.Predict(Review, lm=ScriptedLM(["nonsense"] * 3)).stream(text="t"))
    with pytest.raises(dm.ServerError):
        list(dm.Predict(Review, lm=ScriptedLM([dm.ServerError("down", model="m")])).stream(text="t"))


class Twice(dm.Module):
    def __init__(self, lm: FunctionLM) -> None:
        self.first = dm.Predict(Review, lm=lm)
        self.second = dm.ChainOfThought(
            "summary -> title", lm=FunctionLM(lambda _: '{"reasoning": "r", "title": "Tea"}')
        )

    def forward(self, text: str) -> str:
        return str(self.second(summary=self.first(text=text).summary).title)


class ATwice(Twice):
    async def forward(self, text: str) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # the same, awaited
        done = await self.first.acall(text=text)
        return str((await self.second.acall(summary=done.summary)).title)


@pytest.mark.parametrize("kind", [Twice, ATwice])
def test_a_program_shows_what_every_predictor_inside_writes(kind: type[Twice]) -> None:
    shown = list(kind(Pieces(list(REPLIES["json"]))).stream(text="t"))
    assert shown[-1] == ("", "Tea")
    assert list(dict.fromkeys(path for path, _ in shown)) == ["first", "second", ""]
    assert {type(row) for path, row in shown if path == "first"} == {Review}


@pytest.mark.parametrize("kind", [Twice, ATwice])
async def test_a_program_streams_on_the_event_loop(kind: type[Twice]) -> None:
    shown = [piece async for piece in kind(FunctionLM(lambda _: REPLIES["json"])).astream(text="t")]
    assert shown[-1] == ("", "Tea")
    assert {path for path, _ in shown} == {"first", "second", ""}


async def test_a_predictor_streams_on_the_event_loop() -> None:
    shown = [row async for row in dm.Predict(Review, lm=FunctionLM(lambda _: REPLIES["json"])).astream(text="t")]
    assert dumped(shown[-1]) == OUTPUTS
    assert len(shown) > 3


async def test_closing_an_async_stream_cancels_the_work() -> None:
    ended = asyncio.Event()

    class Slow(FunctionLM):
        async def astream(self, request: Request) -> AsyncGenerator[Chunk]:
            try:
                for char in REPLIES["json"]:
                    yield Chunk(text=char)
                await asyncio.sleep(60)
                yield Chunk(response=Response(""))
            finally:
                ended.set()

    stream = dm.Predict(Review, lm=Slow(lambda _: "")).astream(text="t")
    async for row in stream:
        if "stars" in dumped(row):
            break
    await stream.aclose()
    assert ended.is_set()


def test_a_function_streams_its_result() -> None:
    @dm.predict
    def shout(text: str) -> str:
        """Say it louder."""
        return dm.fill()

    with dm.context(lm=Pieces(list('{"result": "HEY YOU"}'))):
        shown = list(shout.stream("hey you"))
    assert shown[:2] == ["", "H"]
    assert shown[-1] == "HEY YOU"


def test_a_settings_context_holds_while_a_program_streams() -> None:
    lm = Pieces(list(REPLIES["json"]))
    with dm.context(lm=lm, budget=dm.Budget(calls=1)):
        assert dumped(list(dm.Predict(Review).stream(text="t"))[-1]) == OUTPUTS
