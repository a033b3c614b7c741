"""The local engine behind litellm and instructor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from declm.lm import register_local
from declm.lm.library import load

SUM = [{"role": "user", "content": "What is 2+2?"}]


class Triage(BaseModel):
    """Who should answer."""

    team: Literal["billing", "bugs", "sales"]


@pytest.fixture
def litellm() -> Any:
    register_local()
    return load()


def test_registering_twice_registers_once(litellm: Any) -> None:
    register_local()
    assert [p["provider"] for p in litellm.custom_provider_map].count("local") == 1


def test_a_missing_file_is_litellm_s_not_found(litellm: Any) -> None:
    with pytest.raises(litellm.NotFoundError, match="no model file"):
        litellm.completion("local/none.gguf", messages=SUM)


def test_a_price_table_set_by_the_user_is_respected() -> None:
    code = (
        "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'true'; from declm.lm.library import load; load();"
        "print(os.environ['LITELLM_LOCAL_MODEL_COST_MAP'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "true\n"


@pytest.mark.slow
def test_litellm_answers_with_the_local_engine(litellm: Any, gguf: Path) -> None:
    reply = litellm.completion(f"local/{gguf}", messages=SUM, max_tokens=20, threads=1)
    assert "4" in reply.choices[0].message.content
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 20


@pytest.mark.slow
async def test_litellm_answers_in_async_code(litellm: Any, gguf: Path) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]}]
    reply = await litellm.acompletion(f"local/{gguf}", messages=parts, max_tokens=20, threads=1)
    assert "4" in reply.choices[0].message.content


@pytest.mark.slow
def test_instructor_gets_a_validated_object(litellm: Any, gguf: Path) -> None:
    import instructor

    client = instructor.from_litellm(litellm.completion, mode=instructor.Mode.JSON_SCHEMA)
    triage = client.chat.completions.create(
        model=f"local/{gguf}",
        response_model=Triage,
        messages=[{"role": "user", "content": "I was charged twice."}],
        threads=1,
    )
    assert isinstance(triage, Triage)


@pytest.mark.slow
def test_a_prompt_that_is_too_long_is_litellm_s_bad_request(litellm: Any, gguf: Path) -> None:
    with pytest.raises(litellm.BadRequestError, match="does not fit"):
        litellm.completion(f"local/{gguf}", messages=[{"role": "user", "content": "x " * 9000}], threads=1)
