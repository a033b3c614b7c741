"""Models are looked up as litellm does it, without the two seconds that importing it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fault_server import FaultServer, completion

from declm.lm import library
from declm.lm.gateway import Gateway

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
    known = library.table()
    assert known is not None
    names = [name.removeprefix("openai/") for name, one in known.items() if one.get("litellm_provider") == "openai"]
    models = [*(f"openai/{name}" for name in names), *OTHERS]
    assert len(models) > 150
    by_litellm = {model: row(model) for model in models}
    monkeypatch.setattr("declm.lm.gateway.loaded", lambda: None)
    assert {model: row(model) for model in models} == by_litellm


PROGRAM = """
import sys, time
import declm as dm
began_s = time.monotonic()
lm = dm.LM("openai/gpt-4o-mini", api_base=sys.argv[1], api_key="k", cache=False, temperature=0.5, deadline=2)
run = dm.Predict("question -> answer", lm=lm).run(question="?")
assert run.value.answer == "yes"
assert run.usage.usd > 0
assert "litellm" not in sys.modules
print(time.monotonic() - began_s)
"""


def test_the_first_call_of_a_process_needs_no_litellm(server: FaultServer) -> None:
    server.script(completion('{"answer": "yes"}'))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0
    assert server.bodies[0]["response_format"]["type"] == "json_schema"
    assert server.bodies[0]["temperature"] == 0.5
