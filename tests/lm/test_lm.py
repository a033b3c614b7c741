"""`LM` as users see it: names, arguments, identity, secrets, copies."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
from fault_server import FaultServer, completion

import declm.lm
from declm import protocols
from declm.errors import UnknownModel, UsageError
from declm.lm import LM, resolve
from declm.messages import Message, Request
from declm.testing import FunctionLM

KEY = "sk-canary-0123456789abcdef"
HI = Request((Message("user", "hi"),))


def test_importing_and_building_loads_no_heavy_library() -> None:
    code = (
        "import sys, declm.lm; declm.lm.LM('local/smollm2');"
        "heavy = {'litellm', 'openai', 'instructor', 'xllamacpp', 'numpy', 'optuna'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_that_builds_an_lm_and_ends_at_once_ends_quietly() -> None:
    code = "import declm.lm; declm.lm.LM('openai/gpt-5-mini')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_lm_satisfies_the_protocol() -> None:
    lm: protocols.LM = LM("openai/x")
    assert protocols.is_lm(lm)
    assert not protocols.is_lm("openai/x")


def test_configuring_an_lm_loads_no_heavy_library() -> None:
    code = (
        "import sys, declm.lm, declm.settings; declm.settings.configure(lm=declm.lm.LM('local/smollm2'));"
        "sys.exit('litellm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("claude-x", "anthropic/claude-x"),
        ("smollm2", "local/smollm2"),
        ("", "openai/"),
    ],
)
def test_a_name_without_provider_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UnknownModel, match=hint):
        LM(name)


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": -1},
        {"temperature": "hot"},
        {"max_tokens": True},
        {"deadline": -0.1},
        {"attempts": 0},
        {"attempts": 1.5},
    ],
)
def test_arguments_that_make_no_sense_are_refused_when_the_lm_is_built(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        LM("openai/x", **arguments)


def test_a_local_model_takes_no_endpoint() -> None:
    with pytest.raises(UsageError, match="api_base"):
        LM("local/smollm2", api_base="http://127.0.0.1:1")


def test_a_misspelt_option_of_a_local_model_is_refused_with_a_hint() -> None:
    with pytest.raises(UsageError, match=r"'temprature'.*'temperature'"):
        LM("local/smollm2", temprature=0.5)


def test_the_repr_shows_what_was_given_and_no_secret() -> None:
    lm = LM("openai/x", temperature=0.5, api_key=KEY, aws_secret_access_key="hunter2hunter2", attempts=2, top_p=0.9)
    assert repr(lm) == "LM('openai/x', temperature=0.5, attempts=2, aws_secret_access_key=***, top_p=0.9)"


def test_an_lm_can_not_be_changed() -> None:
    lm = LM("local/smollm2")
    with pytest.raises(AttributeError, match="immutable"):
        lm.temperature = 1.0  # pyright: ignore[reportAttributeAccessIssue]  # the mistake under test
    with pytest.raises(AttributeError, match="immutable"):
        del lm.model  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # the mistake under test


def test_a_pickled_lm_answers_as_the_original(server: FaultServer) -> None:
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, temperature=0.5, cache=False, attempts=2)
    copy = pickle.loads(pickle.dumps(lm))
    assert (repr(copy), copy.identity) == (repr(lm), lm.identity)
    assert copy.complete(HI).text == "hello"
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"temperature": 0.5}),
        ({"api_base": "http://a/v1"}, {"api_base": "http://b/v1"}),
        ({"top_p": 0.5}, {"top_p": 0.6}),
        ({"extra_headers": {"x-deployment": "a"}}, {"extra_headers": {"x-deployment": "b"}}),
        ({"structured": True}, {"structured": False}),
        ({"client": object()}, {"client": object()}),
    ],
)
def test_the_identity_differs_where_replies_may(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert LM("openai/x", **one).identity != LM("openai/x", **other).identity


def test_the_identity_is_the_same_for_equal_arguments_and_any_key() -> None:
    one, other = (LM("openai/x", top_p=0.5, api_key=k, extra_headers={"Authorization": k}) for k in ("a", "b"))
    assert one.identity == other.identity


def test_no_key_stands_in_the_identity() -> None:
    lm = LM(
        "openai/x", api_base=f"http://user:{KEY}@host/v1", api_key=KEY, aws_session_token=KEY, extra_headers={"k": KEY}
    )
    assert KEY not in lm.identity


def test_the_identity_follows_an_endpoint_that_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LM("openai/x")
    before = lm.identity
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert lm.identity != before


def test_a_name_is_resolved_once() -> None:
    assert resolve("local/smollm2") is resolve("local/smollm2")


def test_an_object_is_resolved_to_itself() -> None:
    double = FunctionLM(lambda _request: "x")
    assert resolve(double) is double


def test_resolving_nonsense_says_what_was_expected() -> None:
    with pytest.raises(UsageError, match="neither a model name nor an LM"):
        resolve(3)  # type: ignore[arg-type]  # the mistake under test


def test_the_public_names_are_sorted_and_exist() -> None:
    assert sorted(declm.lm.__all__, key=lambda name: (not name.isupper(), name)) == declm.lm.__all__
    assert all(hasattr(declm.lm, name) for name in declm.lm.__all__)


def test_options_of_a_request_win_over_the_lm_own(server: FaultServer) -> None:
    server.script(completion())
    lm = LM("openai/gpt-4o-mini", api_base=server.url, api_key=KEY, temperature=0.1, max_tokens=5, cache=False)
    lm.complete(Request(HI.messages, options={"temperature": 0.9}))
    assert (server.bodies[0]["temperature"], server.bodies[0]["max_tokens"]) == (0.9, 5)
