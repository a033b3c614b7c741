"""Models are looked up as litellm does it, without the two seconds that importing it takes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from fault_server import FaultServer, completion

from declm.lm import LM, table
from declm.lm.gateway import Gateway
from declm.lm.library import mapped
from declm.messages import Message, Request

USED = (
    "supports_response_schema supports_function_calling supports_tool_choice supports_reasoning max_input_tokens "
    "mode input_cost_per_token cache_read_input_token_cost output_cost_per_token"
).split()
OTHERS = ["openai/nobody-knows", "openai/some/model", "hosted_vllm/gpt-4o", "hosted_vllm/some/model", "lm_studio/any"]


def row(model: str) -> dict[str, object] | None:
    """What is used of a model's row, without what is not set."""
    found = Gateway(model)._row
    return None if found is None else {name: found[name] for name in USED if found.get(name)}


def test_every_model_of_openai_is_found_as_litellm_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = table.table()
    assert known is not None
    names = [name.removeprefix("openai/") for name, one in known.items() if one.get("litellm_provider") == "openai"]
    models = [*(f"openai/{name}" for name in names), *OTHERS]
    assert len(models) > 150
    by_litellm = {model: row(model) for model in models}
    monkeypatch.setattr("declm.lm.gateway.loaded", lambda: None)
    assert {model: row(model) for model in models} == by_litellm


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
SAID: list[dict[str, Any]] = [
    {"frequency_penalty": 0.5, "presence_penalty": 0.5, "seed": 3, "stop": ["x"], "temperature": 0.3, "top_p": 0.5},
    {"max_tokens": 7},
    {"logprobs": True, "top_logprobs": 3},
    {"tools": [TOOL], "tool_choice": "auto"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}},
]


def test_options_that_are_sent_as_they_are_would_leave_litellm_unchanged() -> None:
    known, sent = table.table() or {}, 0
    for name, found in known.items():
        model = f"openai/{name.removeprefix('openai/')}"
        if found.get("litellm_provider") != "openai" or found.get("mode") not in (None, "chat"):
            continue
        for options in SAID:
            if not table.is_peculiar(model, found) and table.takes(found, options):
                said = mapped(model.removeprefix("openai/"), {**options, "drop_params": True})
                assert {k: v for k, v in said.items() if k not in ("stream", "drop_params")} == options, model
                sent += 1
    assert sent > 150
    assert {option for options in SAID for option in options} | {"drop_params"} == table.PLAIN


@pytest.mark.parametrize("model", ["openai/gpt-5-search-api", "openai/gpt-5-mini", "openai/o4-mini", "openai/gpt-4"])
def test_what_a_model_takes_otherwise_is_left_to_litellm(model: str, server: FaultServer) -> None:
    lm = LM(model, api_base=server.url, api_key="k", cache=False, attempts=1)
    kind = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}
    options = {"max_tokens": 7} if model != "openai/gpt-4" else {"response_format": kind}
    lm.complete(Request((Message("user", "hi"),), options=options))
    expected = mapped(model.removeprefix("openai/"), {**options, "drop_params": True})
    changed = {k: v for k, v in expected.items() if k not in ("stream", "drop_params")}
    assert changed != options
    assert {k: v for k, v in server.bodies[0].items() if k not in ("model", "messages")} == changed


BROKEN = """
import importlib.util, sys
from importlib.machinery import PathFinder

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name != "litellm":
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader.exec_module = self.fail
        return spec

    def fail(self, module):
        raise ImportError("one of its dependencies is missing")

sys.meta_path.insert(0, Broken())
import declm as dm
for model in ("openai/gpt-5-mini", "openai/gpt-4o-mini", "openai/gpt-4", "hosted_vllm/any"):
    lm = dm.LM(model, api_base=sys.argv[1], api_key="k", cache=False, max_tokens=5, top_k=3)
    print(dm.Predict("question -> answer", lm=lm)(question="?").answer)
"""


def test_a_litellm_that_breaks_while_it_is_imported_stops_no_call(server: FaultServer) -> None:
    server.script(completion('{"answer": "yes"}'))
    command = [sys.executable, "-c", BROKEN, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["yes"] * 4, done.stderr
    assert "litellm can't be imported (one of its dependencies is missing)" in done.stderr
    assert [body["top_k"] for body in server.bodies] == [3] * 4


PROGRAM = """
import sys, time
import declm as dm
began_s = time.monotonic()
lm = dm.LM("openai/gpt-4o-mini", api_base=sys.argv[1], api_key="k", cache=False, temperature=0.5, deadline=2)
run = dm.Predict("question -> answer", lm=lm, format="json").run(question="?")
took_s = time.monotonic() - began_s
assert run.value.answer == "yes"
assert run.usage.usd > 0
assert dm.Predict("question -> answer", lm=lm, format="native")(question="?").answer == "yes"
assert "litellm" not in sys.modules
print(took_s)
"""


def test_the_first_call_of_a_process_needs_no_litellm(server: FaultServer) -> None:
    server.script(*[completion('{"answer": "yes"}')] * 2)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0
    assert [body["response_format"]["type"] for body in server.bodies] == ["json_schema"] * 2
    assert server.bodies[0]["temperature"] == 0.5
