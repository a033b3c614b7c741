"""Forms: what a template writes around values is learnt only where values can't change it, and filled in truly."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from declm.errors import TemplateError
from declm.fields import Output
from declm.formats import Prompt, choose
from declm.messages import Capabilities
from declm.signature import Signature
from declm.specs import spec
from declm.templates import Names, Templates


class QA(Signature):
    """Answer."""

    question: str
    notes: list[str] | None = None
    answer: str = Output()


TEXTS = (
    "Who?",
    "",
    "100 % of %s and %(question)s",
    "{{ question }}",
    "two\nlines",
    "  two\r\nlines\n",
    "line end\n",
    "a\u2028b",
    "\n\n",
    "\ufdd00\ufdd1\n\ufdd20\ufdd1",
    "\ufdd0",
)
NOTES = (None, [], ["a", "b"], ["one\ntwo"])

PRINTING = (
    "{% for f in inputs %}{{ f.key }}: {{ f.text }}\n{% endfor %}",
    "{% for f in inputs %}{% if f.multiline %}{{ f.text | indent }}{% else %}{{ f.text }}{% endif %}\n{% endfor %}",
    "{% for f in inputs %}  {{ f.text }}|{{ f.text | indent }}|{{ loop.index }} of {{ loop.length }}\n{% endfor %}",
    "100 % {{ question }}, {{ values.question }}, {{ values['question'] }}%s",
    "{{ instructions }} {% for f in outputs %}{{ f.key | upper }}{% endfor %}: {{ question }}",
    "{% from '_macros.jinja' import about %}{% for f in outputs %}{{ about(f) }}{% endfor %}{{ question }}",
    "no value at all",
)

DECIDING = (
    "{{ question | upper }}",
    "{{ question | indent(4) }}",
    "{% if question == 'Who?' %}yes{% else %}no{% endif %}{{ question }}",
    "{{ question if question else 'nothing' }}",
    "{% set found = question %}{{ found | length }}",
    "{% set question = 'other' %}{{ question }}",
    "{% set found %}{{ question }}{% endset %}{{ found | length }}",
    "{% filter upper %}{{ question }}{% endfilter %}",
    "{% macro shout() %}{{ question }}{% endmacro %}{{ shout() | length }}",
    "{% macro size(f) %}{{ f.text | length }}{% endmacro %}{% for f in inputs %}{{ size(f) }}{% endfor %}",
    "{% for f in inputs %}{{ f.text | length }}{% endfor %}",
    "{% for f in inputs %}{{ f.value }}{% endfor %}",
    "{% for f in inputs %}{{ f | json }}{% endfor %}",
    "{% for f in inputs if f.text %}{{ f.key }}{% endfor %}",
    "{% for f in inputs | reverse %}{{ f.text }}{% endfor %}",
    "{% for f in inputs %}{{ loop.previtem.text if not loop.first }}{% endfor %}",
    "{{ inputs | map(attribute='text') | join(', ') }}",
    "{{ inputs[0].text }}",
    "{{ values | json }}",
    "{{ 'long' if values.question | length > 3 else 'short' }}",
    "{{ question ~ question | length }}",
    "{{ question[:2] }}",
    "{% for letter in question %}{{ letter }}-{% endfor %}",
)


def _prompt(template: str) -> Prompt:
    return Prompt(spec(QA), templates=Templates(overrides={"user": template}))


def _said(prompt: Prompt, inputs: Mapping[str, Any]) -> str:
    try:
        return choose("json", Capabilities()).render(prompt, inputs).messages[-1].content
    except TemplateError as error:
        return f"refused: {error}"


def _only_prints(template: str) -> bool:
    names = Names(("instructions", "inputs", "outputs", "definitions", "values"), ("question", "notes"))
    return Templates(overrides={"user": template}).part("json", "user", names).only_prints


@pytest.mark.parametrize("template", [*PRINTING, *DECIDING])
def test_a_prompt_that_is_kept_says_what_a_new_one_says(template: str) -> None:
    kept = _prompt(template)
    for question, notes in [*product(TEXTS, NOTES)] * 2:
        inputs = {"question": question} | ({} if notes is None else {"notes": notes})
        assert _said(kept, inputs) == _said(_prompt(template), inputs)


def test_a_form_writes_no_more_than_a_rendering_may() -> None:
    loops = "".join(f"{{% for a{i} in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] %}}" for i in range(3))
    prompt = _prompt(f"{loops}{{{{ question }}}}{'{% endfor %}' * 3}")
    assert len(_said(prompt, {"question": "short"})) == 5_000
    assert len(_said(prompt, {"question": "x" * 10_000})) == 10_000_000
    assert "writes more than" in _said(prompt, {"question": "x" * 50_000})


@pytest.mark.parametrize("template", PRINTING)
def test_templates_that_only_print_are_known(template: str) -> None:
    assert _only_prints(template)


@pytest.mark.parametrize("template", DECIDING)
def test_templates_that_decide_by_values_are_always_run(template: str) -> None:
    assert not _only_prints(template)


@pytest.mark.parametrize("format", ["json", "chat", "xml", "native", "two_step"])
def test_user_messages_of_all_formats_are_forms(format: str) -> None:
    names = Names(("instructions", "inputs", "outputs", "definitions", "values"), ("question", "notes"))
    assert Templates().part(format, "user", names).only_prints
