"""Shared template files are untrusted: 0 executions, 0 method calls, bounded time and output."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from declm.errors import TemplateError
from declm.templates import Names, Templates
from declm.templates.environment import OUTPUT_LIMIT

NAMES = Names(("inputs", "values"), ("question", "notes", "long"))
DATA = {"question": "Who?", "notes": ["a", "b"], "long": ["x" * 1000] * 1000}

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ question.__class__ }}",
    "{{ question['__class__'] }}",
    "{{ question | attr('__class__') }}",
    "{{ notes | map(attribute='__class__') | list }}",
    "{{ notes | map('attr', '__class__') | list }}",
    "{{ [1] | map(attribute='__class__.__mro__') | join }}",
    "{{ values.__init__.__globals__ }}",
    "{{ values.update.__self__ }}",
    "{{ notes.append }}",
    "{{ notes.append('c') }}",
    "{{ question.upper() }}",
    "{{ question.format(1) }}",
    "{{ '{0.__class__}'.format(question) }}",
    "{{ '{0.__class__}' | format(question) }}",
    "{{ '%(a)s' % values }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ lipsum.__globals__['os'].popen('touch MARK').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ range(3) | list }}",
    "{{ url_for.__globals__ }}",
    "{{ config }}",
    "{% for n in notes %}{{ loop.__class__ }}{% endfor %}",
    "{% for n in notes %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for n in notes %}{{ loop._iterator.__class__ }}{% endfor %}",
    "{% for n in notes recursive %}{{ loop(notes) }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller.__class__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% macro m(f) %}{{ m(f) }}{{ f() }}{% endmacro %}{{ m(question) }}",
    "{% macro task() %}{{ varargs.__class__ }}{% endmacro %}{{ task(1) }}",
    "{% import '_macros.jinja' as m %}{{ m.__class__ }}",
    "{% import '_macros.jinja' as m %}{{ m._body_stream }}{{ m.__init__.__globals__ }}",
    "{% import '../../../../../../../etc/passwd' as m %}{{ m }}",
    "{% import '/etc/passwd' as m %}{{ m }}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% import question as m %}",
    "{% import 'os' as os %}{{ os.system('touch MARK') }}",
    "{{ 5 | charge }}",
    "{{ -999999999 | charge }}",
]

_DOUBLED = "{% set a = 'aaaaaaaaaa' %}"
BOMBS = [
    "{{ 'a' * 10000000000 }}",
    "{{ notes * 1000000000 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{% set a = 999999999999 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    _DOUBLED + "{% set a = a + a %}" * 60 + "{{ a }}",
    _DOUBLED + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    _DOUBLED + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60 + "{{ a }}",
    _DOUBLED + "{% set a = a | replace('a', a) %}" * 60 + "{{ a }}",
    "{% set a = notes %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{{ long | join(long | join) }}",
    "{{ (long | join) | replace('x', long | join) }}",
    "{{ question | indent(10000000000) }}",
    "{{ (long | join('\n')) | indent(long | join | length) }}",
    "{{ question | center(10000000000) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%10000000000d' | format(1) }}",
    "{{ notes | batch(10000000000, 'x') | list }}",
    "{{ notes | slice(10000000000) | list }}",
    "{{ 1.5 | round(1000000000, 'ceil') }}",
    "{{ question | wordwrap(1, wrapstring=long | join) }}",
    "{{ range(100000000) | list }}",
    "".join(f"{{% for a{i} in long %}}" for i in range(8)) + "x" + "{% endfor %}" * 8,
    "".join(f"{{% for a{i} in long %}}" for i in range(8)) + "{% endfor %}" * 8,
    "{% for a in long %}{% for b in long %}{{ a }}{% endfor %}{% endfor %}",
    "{% for a in long %}{% for b in long %}" + "y" * 5000 + "{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m0() %}x{% endmacro %}"
    + "".join(f"{{% macro m{i + 1}() %}}{{{{ m{i}() }}}}{{{{ m{i}() }}}}{{% endmacro %}}" for i in range(60))
    + "{{ m60() }}",
    "{% for a in long %}{% for b in long %}{% set z = long | sort %}{% endfor %}{% endfor %}",
    "{% for a in long %}{% for b in long %}{% if question in long %}{% endif %}{% endfor %}{% endfor %}",
    "{% for a in long %}{% set z = long | select('in', long) | list %}{% endfor %}",
    (
        "{% set z = [-1000000000000] | map('charge') | list %}"
        "{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}"
    ),
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{{ " + "9" * 5000 + " }}",
    "".join(f"{{% for a{i} in notes %}}" for i in range(60)) + "x" + "{% endfor %}" * 60,
    "{% if notes %}" * 500 + "x" + "{% endif %}" * 500,
    "x" * 300_000,
]


def _render(text: str) -> str:
    part = Templates(overrides={"user": text}, owner="shared").part("json", "user", NAMES)
    return part.render({**DATA, "values": DATA, "inputs": []})


@pytest.mark.parametrize("payload", ESCAPES)
def test_a_planted_template_reaches_no_object_and_calls_nothing(payload: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateError):
        _render(payload.replace("MARK", str(tmp_path / "mark")))
    assert not (tmp_path / "mark").exists()
    assert DATA["notes"] == ["a", "b"]


@pytest.mark.parametrize("payload", BOMBS, ids=range(len(BOMBS)))
def test_a_planted_template_is_stopped_before_it_fills_memory_or_time(payload: str) -> None:
    started = time.thread_time()  # other tests may have left threads that import
    with pytest.raises(TemplateError):
        _render(payload)
    assert time.thread_time() - started < 1


def test_a_long_value_within_the_limit_is_written() -> None:
    text = "x" * 5_000_000
    part = Templates(overrides={"user": "{{ question }}"}).part("json", "user", NAMES)
    assert part.render({"question": text}) == text


def test_the_limit_is_that_of_one_rendering() -> None:
    part = Templates(overrides={"user": "{{ question }}"}).part("json", "user", NAMES)
    text = "x" * (OUTPUT_LIMIT // 2 + 1)
    for _ in range(3):
        assert len(part.render({"question": text})) == len(text)
    with pytest.raises(TemplateError, match="writes more than"):
        part.render({"question": text * 2})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ question | upper }}", "WHO?"),
        ("{{ notes | join(', ') }}", "a, b"),
        ("{{ notes | json }}", '["a", "b"]'),
        ("{{ notes }}", '["a", "b"]'),
        ("{{ notes | length + 1 }}", "3"),
        ("{{ 'a' + 'b' ~ 1 }}", "ab1"),
        ("{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 * 3 - 1 }}", "3 1 5"),
        ("{% for n in notes %}{{ loop.index }}{{ n }}{% if not loop.last %};{% endif %}{% endfor %}", "1a;2b"),
        ("{% for k, v in values | items %}{{ k }} {% endfor %}", "question notes long "),
        ("{% macro m(n, end='.') %}{{ n }}{{ end }}{% endmacro %}{{ m('a') }}{{ m('b', end='!') }}", "a.b!"),
        ("{{ question | replace('W', 'w') }}{{ 2.345 | round(1) }}", "who?2.3"),
        ("{{ 'a\nb' | indent(4) }}", "    a\n    b"),
        ("{{ 'a\nb' | indent(4, false) }}", "a\n    b"),
        ("{{ question in ('Who?', 'What?') }}", "true"),
        ("{% if notes is defined and notes %}yes{% endif %}", "yes"),
        ("{% set n = notes[0] %}{{ n }}{{ notes[-1:] }}", 'a["b"]'),
    ],
)
def test_what_prompts_need_works(text: str, shown: str) -> None:
    assert _render(text) == shown
