"""Programs whose calls are recorded once and replayed ever after."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from fault_server import FaultServer, completion, failure, serving, streamed

import declm as dm
from declm.messages import Capabilities, Request
from declm.testing import FunctionLM, ScriptedLM, record, recorded, replay


class Triage(dm.Signature):
    """Route a ticket."""

    ticket: str = dm.Input()
    team: Literal["billing", "bugs"] = dm.Output()
    note: str = dm.Output()


class Desk(dm.Module):
    """Two steps, the second of which sees the first."""

    def __init__(self) -> None:
        self.triage = dm.Predict(Triage)
        self.answer = dm.ChainOfThought("ticket, team -> reply")

    def forward(self, ticket: str) -> str:
        routed = self.triage(ticket=ticket)
        return f"{routed.team}: {self.answer(ticket=ticket, team=routed.team).reply}"


def counting() -> FunctionLM:
    """An LM that never says the same twice."""
    said = iter(range(1000))

    def answer(request: Request) -> str:
        n = next(said)
        if "team" in str(request.messages[0].content) and "reply" not in str(request.messages[0].content):
            return json.dumps({"team": "bugs" if n % 2 else "billing", "note": f"line one\nline {n}"})
        return json.dumps({"reasoning": "so", "reply": f"reply {n}"})

    return FunctionLM(answer, name="counting", capabilities=Capabilities(structured=True))


class Gone(FunctionLM):
    """The same model on a day when there is neither a network nor a file."""

    def __init__(self) -> None:
        super().__init__(_fail, name="counting")

    @property
    def identity(self) -> str:
        """Out of reach."""
        raise AssertionError("the LM was asked")

    @property
    def capabilities(self) -> Capabilities:
        """Out of reach."""
        raise AssertionError("the LM was asked")


def _fail(_request: Request) -> str:
    raise AssertionError("the LM was asked")


def test_a_program_is_replayed_with_equal_values(tmp_path: Path) -> None:
    tape = tmp_path / "tapes" / "desk.json"
    with record(tape), dm.context(lm=counting()):
        live = [Desk()(ticket=text) for text in ("It crashes", "Twice", "It crashes")]
    assert len(set(live)) == 3
    with replay(tape), dm.context(lm=Gone()):
        assert [Desk()(ticket=text) for text in ("It crashes", "Twice", "It crashes")] == live


async def test_concurrent_calls_get_their_own_replies_in_any_order(tmp_path: Path) -> None:
    tickets = [f"ticket {n}" for n in range(20)]
    with record(tmp_path / "tape.json"), dm.context(lm=counting()):
        live = await asyncio.gather(*(dm.Predict(Triage).acall(ticket=ticket) for ticket in tickets))
    with replay(tmp_path / "tape.json"), dm.context(lm=Gone()):
        again = await asyncio.gather(*(dm.Predict(Triage).acall(ticket=ticket) for ticket in reversed(tickets)))
    assert again[::-1] == live


def test_an_evaluation_is_replayed(tmp_path: Path) -> None:
    rows = [Triage(ticket=f"ticket {n}", team="bugs", note="") for n in range(8)]

    def right(gold: Triage, got: Triage) -> bool:
        return gold.team == got.team

    with record(tmp_path / "tape.json"), dm.context(lm=counting()):
        live = dm.evaluate(dm.Predict(Triage), rows, metric=right)
    with replay(tmp_path / "tape.json"), dm.context(lm=Gone()):
        again = dm.evaluate(dm.Predict(Triage), rows, metric=right)
    assert [row.output for row in again.rows] == [row.output for row in live.rows]
    assert again.score == live.score


def test_repeated_questions_and_failures_are_part_of_it(tmp_path: Path) -> None:
    lm = ScriptedLM(['{"team": "none", "note": ""}', '{"team": "bugs", "note": ""}', "nothing", "nothing"])
    predict = dm.Predict(Triage, lm=lm, retries=1)
    with record(tmp_path / "tape.json"):
        live = predict(ticket="It crashes")
        with pytest.raises(dm.ParseError) as failed:
            predict(ticket="Other")
    with replay(tmp_path / "tape.json"):
        assert predict(ticket="It crashes") == live
        with pytest.raises(dm.ParseError) as again:
            predict(ticket="Other")
    assert str(again.value) == str(failed.value)


def test_lms_of_one_name_keep_their_own_replies(tmp_path: Path) -> None:
    def program(first: FunctionLM, second: FunctionLM) -> list[str]:
        asks = [dm.Predict("question -> answer", lm=lm) for lm in (first, second)]
        return [asks[index](question="?").answer for index in (0, 1, 0)]

    def lms(*answers: str) -> tuple[FunctionLM, FunctionLM]:
        one, two = (FunctionLM(lambda _request, a=a: f'{{"answer": "{a}"}}', name="same") for a in answers)  # type: ignore[misc]
        return one, two

    with record(tmp_path / "tape.json"):
        assert program(*lms("one", "two")) == ["one", "two", "one"]
    with replay(tmp_path / "tape.json"):
        assert program(*lms("neither", "nor")) == ["one", "two", "one"]


def test_an_lm_that_is_built_anew_for_each_call_is_one(server: FaultServer, tmp_path: Path) -> None:
    server.answer = lambda _body: completion('{"answer": "yes"}')

    def ask() -> str:
        lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False)
        return dm.Predict("question -> answer", lm=lm)(question="?").answer

    with record(tmp_path / "tape.json"):
        live = [ask(), ask()]
    assert list(json.loads((tmp_path / "tape.json").read_text())["lms"]) == ["openai/gpt-4o-mini"]
    with replay(tmp_path / "tape.json"):
        assert [ask(), ask()] == live


def test_errors_of_providers_are_replayed_by_kind(server: FaultServer, tmp_path: Path) -> None:
    lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False, attempts=1)
    server.script(failure(429, "slow down", headers={"Retry-After": "7"}))
    with record(tmp_path / "tape.json"), pytest.raises(dm.RateLimited):
        dm.Predict(Triage, lm=lm)(ticket="It crashes")
    with replay(tmp_path / "tape.json"), pytest.raises(dm.RateLimited) as caught:
        dm.Predict(Triage, lm=lm)(ticket="It crashes")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 7.0)
    assert server.count == 1


def test_streams_end_the_same(server: FaultServer, tmp_path: Path) -> None:
    lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=False)
    server.script(streamed('{"team": "bu', 'gs", "note"', ': "x"}'))
    with record(tmp_path / "tape.json"):
        live = list(dm.Predict(Triage, lm=lm).stream(ticket="It crashes"))
    with replay(tmp_path / "tape.json"):
        again = list(dm.Predict(Triage, lm=lm).stream(ticket="It crashes"))
    assert again[-1] == live[-1]
    assert server.count == 1


def test_replies_from_the_cache_are_recorded_too(server: FaultServer, tmp_path: Path) -> None:
    lm = dm.LM("openai/gpt-4o-mini", api_base=server.url, api_key="k", cache=tmp_path / "replies.db")
    server.script(completion('{"team": "bugs", "note": "x"}'))
    live = dm.Predict(Triage, lm=lm)(ticket="It crashes")
    with record(tmp_path / "tape.json"):
        assert dm.Predict(Triage, lm=lm)(ticket="It crashes") == live
    with replay(tmp_path / "tape.json"):
        assert dm.Predict(Triage, lm=lm)(ticket="It crashes") == live


def test_what_was_not_recorded_is_never_sent_and_shows_the_difference(tmp_path: Path) -> None:
    with record(tmp_path / "tape.json"), dm.context(lm=counting()):
        dm.Predict(Triage)(ticket="It crashes at the start")
    with replay(tmp_path / "tape.json"), dm.context(lm=Gone()):
        with pytest.raises(dm.NotRecorded, match="record it again") as caught:
            dm.Predict(Triage)(ticket="It crashes at the end")
        shown = str(caught.value)
        assert '-   "user": "ticket: It crashes at the start"' in shown
        assert '+   "user": "ticket: It crashes at the end"' in shown
        dm.Predict(Triage)(ticket="It crashes at the start")
        with pytest.raises(dm.NotRecorded, match="more often"):
            dm.Predict(Triage)(ticket="It crashes at the start")


def test_the_file_can_be_read_and_compared(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        with record(tmp_path / name), dm.context(lm=counting()):
            Desk()(ticket="It crashes\nEvery day")
    text = (tmp_path / "one.json").read_text()
    assert text == (tmp_path / "two.json").read_text()
    assert '"line one",\n' not in text  # JSON inside of a reply stands as the LM wrote it
    assert '"    Every day"' in text or '"Every day"' in text
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_file_is_the_users_own_and_holds_no_key(server: FaultServer, tmp_path: Path) -> None:
    canary = "zz9-plural-z-alpha-canary"
    server.answer = lambda _body: completion('{"team": "bugs", "note": "x"}')
    lm = dm.LM(
        "openai/gpt-4o-mini", api_base=server.url, api_key=canary, cache=False, extra_headers={"x-secret": canary}
    )
    with record(tmp_path / "tape.json"):
        predict = dm.Predict(Triage, lm=lm)
        predict(ticket="It crashes")
        server.script(failure(401, f"bad key {canary}"))
        with pytest.raises(dm.AuthError):
            predict(ticket="Again")
    assert canary not in (tmp_path / "tape.json").read_text()
    assert stat.S_IMODE((tmp_path / "tape.json").stat().st_mode) == 0o600


def test_what_was_recorded_before_a_failure_is_kept(tmp_path: Path) -> None:
    live = list[Triage]()

    def crash() -> None:
        with record(tmp_path / "tape.json"), dm.context(lm=counting()):
            live.append(dm.Predict(Triage)(ticket="It crashes"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    with replay(tmp_path / "tape.json"), dm.context(lm=Gone()):
        assert [dm.Predict(Triage)(ticket="It crashes")] == live


def test_a_tape_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    tape = tmp_path / "tape.json"
    for _ in range(2):
        with record(tape, overwrite=True), dm.context(lm=counting()):
            dm.Predict(Triage)(ticket="It crashes")
    with pytest.raises(dm.UsageError, match="overwrite=True"), record(tape):
        pass


def test_a_sensitive_call_is_never_recorded(tmp_path: Path) -> None:
    class Secret(dm.Signature):
        """Answer."""

        diagnosis: str = dm.Input(sensitive=True)
        answer: str = dm.Output()

    with record(tmp_path / "tape.json"), dm.context(lm=counting()):
        with pytest.raises(dm.UsageError, match="sensitive"):
            dm.Predict(Secret)(diagnosis="the canary")
    assert "canary" not in (tmp_path / "tape.json").read_text()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"declm": 99, "lms": {}, "exchanges": []}',
        '{"declm": 1, "lms": {}, "exchanges": [{}]}',
        '{"declm": 1, "lms": {"m": {"what": 1}}, "exchanges": []}',
        '{"declm": 1, "lms": {}}',
        "\x00\x01",
    ],
)
def test_a_damaged_tape_is_told_as_such(tmp_path: Path, content: str) -> None:
    (tmp_path / "tape.json").write_text(content)
    with pytest.raises(dm.StateError, match="record it again"), replay(tmp_path / "tape.json"):
        pass


def test_a_damaged_exchange_is_named(tmp_path: Path) -> None:
    with record(tmp_path / "tape.json"), dm.context(lm=counting()):
        for ticket in ("It crashes", "It is slow"):
            dm.Predict(Triage)(ticket=ticket)
    content = json.loads((tmp_path / "tape.json").read_text())
    del content["exchanges"][1]["request"]
    (tmp_path / "tape.json").write_text(json.dumps(content))
    with pytest.raises(dm.StateError, match="damaged in exchange 2"), replay(tmp_path / "tape.json"):
        pass


def test_vectors_are_recorded_too(tmp_path: Path) -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        return [[float(len(text)), 0.5] for text in texts]

    def lost(texts: list[str]) -> list[list[float]]:
        raise AssertionError(texts)

    lost.__qualname__ = embed.__qualname__
    with record(tmp_path / "tape.json"):
        live = dm.Embedder(embed)(["a", "bcd"])
    with replay(tmp_path / "tape.json"):
        assert (dm.Embedder(lost)(["a", "bcd"]) == live).all()
        with pytest.raises(dm.NotRecorded):
            dm.Embedder(lost)(["e"])


def test_a_missing_tape_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(dm.StateError, match="record it first"), replay(tmp_path / "tape.json"):
        pass


def test_recorded_replays_unless_the_environment_says_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = tmp_path / "tape.json"
    monkeypatch.setenv("DECLM_RECORD", "1")
    with recorded(tape), dm.context(lm=counting()):
        live = dm.Predict(Triage)(ticket="It crashes")
    for value in ("0", ""):
        monkeypatch.setenv("DECLM_RECORD", value)
        with recorded(tape), dm.context(lm=Gone()):
            assert dm.Predict(Triage)(ticket="It crashes") == live


def test_outside_of_the_block_nothing_is_recorded(tmp_path: Path) -> None:
    predict = dm.Predict(Triage, lm=counting())
    with record(tmp_path / "tape.json"):
        predict(ticket="inside")
    predict(ticket="outside")
    assert "outside" not in (tmp_path / "tape.json").read_text()
    assert predict.lm.model == "counting"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback."""
    with serving() as state:
        yield state


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_model_is_replayed_without_its_file(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "model.gguf"
    shutil.copy(gguf, copied)
    tickets = ["I was charged twice", "The app crashes", "Please refund me"]

    def run() -> list[str]:
        triage = dm.Predict(Triage)  # the model's own words, held to the schema by a grammar
        with dm.context(lm=dm.LM(f"local/{copied}", threads=1, max_tokens=300, cache=False)):
            return [repr(triage(ticket=ticket)) for ticket in tickets]

    with record(tmp_path / "tape.json"):
        live = run()
    copied.unlink()
    monkeypatch.setattr("socket.socket.connect", _fail)
    with replay(tmp_path / "tape.json"):
        assert run() == live
