"""A holdout for parsing: replies that are broken on purpose, so that the right value stays known.

Only what can't be argued about: whoever reads the broken reply knows the value, or knows that it
says none. A mutation returns None where that would not hold for a value.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsing_cases import Case, Resolve
from pydantic import BaseModel, TypeAdapter, ValidationError

Mutation = Callable[[random.Random, Any], "str | None"]
"""Writes a value (an object or a list with something in it) in a broken way."""

_WORDS = re.compile(r'(?<=: )"([A-Za-z]+(?: [A-Za-z]+)*)"(?=, "|\})')
_INSIDE = re.compile(r'(?<=: )"([A-Za-z]+(?: [A-Za-z]+)*)"(?=, ")')
"""As `_WORDS`, with another member behind."""

_LITERALS = frozenset("null none nan nil undefined true false yes no on off".split())
_MEMBER_END = re.compile(r'(?<=["\w\]}])(?<!null), (?="\w+": )')
_NAME = re.compile(r'"([A-Za-z_]\w*)": ')
_QUOTES = re.compile(r"['\u2019\u2018\u201c\u201d`\"\\]")

PROSE = (
    ("Sure! Here is the result:\n\n", "\n\nLet me know if you need anything else."),
    ("", "\n\nThis is what the text says."),
    ("The answer follows.\n", ""),
    ("<think>\nLet me read this again. I have it now.\n</think>\n\n", ""),
    ("<answer>\n", "\n</answer>"),
    ("```json\n", "\n```"),
    ("```\n", "\n```"),
    ("Here you go:\n```json\n", "\n```\nHope this helps!"),
    ("**Output:**\n", ""),
    ("\ufeff", ""),
)
"""What may stand before and behind a value."""

APOLOGIES = ("I'm sorry, but I can't help with that.", "As an assistant I have no opinion.", "No.", "...", "")


@dataclass(frozen=True)
class Sample:
    """A value that a type dumps as `value`; `record` is the type where it is a class with named fields."""

    case: Case
    type: Any
    value: Any

    @property
    def record(self) -> type[BaseModel] | None:
        """The model, if the type is one."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, BaseModel) else None


def holdout(cases: Sequence[Case], resolve: Resolve, size: int, seed: int) -> list[Case]:
    """About `size` broken replies: seven of ten to be read, two to be refused, one still streaming."""
    rng = random.Random(seed)
    samples = [sample for case in cases if (sample := _sample(case, resolve)) is not None]
    replies = [case for case in cases if _is_wrappable(case)]
    made = dict[str, Case]()
    for at in range(size * 20):
        if len(made) >= size:
            break
        kind = at % 10
        if kind < 2:
            found = _wrapped(rng, rng.choice(replies))
        elif kind < 7:
            found = _broken(rng, rng.choice(samples))
        elif kind < 9:
            found = _refusal(rng, rng.choice(samples))
        else:
            found = _beginning(rng, rng.choice(samples))
        if found is not None:
            made.setdefault(found.raw + found.type, found)
    return [Case(f"holdout/{at}", c.raw, c.type, c.expected, c.streaming, c.tags) for at, c in enumerate(made.values())]


def _sample(case: Case, resolve: Resolve) -> Sample | None:
    """A case whose value is a filled object or list that Pydantic itself reads back from JSON."""
    if case.is_refusal or case.streaming or not case.expected or not isinstance(case.expected, dict | list):
        return None
    type = resolve(case.type)
    adapter = TypeAdapter(type)
    try:
        back = adapter.dump_python(adapter.validate_json(json.dumps(case.expected)), mode="json")
    except ValidationError:
        return None
    return Sample(case, type, case.expected) if back == case.expected else None


def _is_wrappable(case: Case) -> bool:
    raw = case.raw.strip()
    closed = raw[:1] + raw[-1:] in ("{}", "[]") and isinstance(case.expected, dict | list)
    ended = raw.count('"') % 2 == 0 and not re.search(r"```|<|#|//|/\*", raw)  # else it could go on behind its end
    return closed and ended and bool(case.expected) and not case.is_refusal and not case.streaming


def _wrapped(rng: random.Random, case: Case) -> Case:
    before, behind = rng.choice(PROSE)
    return Case(case.id, before + case.raw + behind, case.type, case.expected, tags=case.tags)


def _broken(rng: random.Random, sample: Sample) -> Case | None:
    names = rng.sample(sorted(BREAKS), k=rng.choice([1, 1, 2]))
    text = BREAKS[names[0]](rng, sample.value)
    if text is None:
        return None
    if len(names) == 2 and names[0] not in _OUTER:
        before, behind = rng.choice(PROSE)
        text = before + text + behind if names[0] not in _OPEN else before + text
    return Case("", text, sample.case.type, sample.value, tags=("ws", *names[:1]))


# Breaks


def _fenced(rng: random.Random, value: Any) -> str:
    before, behind = rng.choice(PROSE)
    return before + json.dumps(value, indent=rng.choice([None, 2]), ensure_ascii=False) + behind


def _trailing_commas(_: random.Random, value: Any) -> str:
    text = json.dumps(value, indent=2)
    return re.sub(r"(?<=[^\[{,\s])\n(\s*[\]}])", r",\n\1", text)


def _python(_: random.Random, value: Any) -> str:
    return repr(value)


def _commented(rng: random.Random, value: Any) -> str:
    lines = json.dumps(value, indent=2).split("\n")
    at = rng.choice([at for at, line in enumerate(lines) if line.endswith((",", "{", "["))])
    mark = rng.choice(["// as asked", "# as asked", "/* as asked */"])
    return "\n".join([*lines[:at], f"{lines[at]} {mark}", *lines[at + 1 :]])


def _unclosed(rng: random.Random, value: Any) -> str | None:
    text = json.dumps(value)
    cut = text.rstrip("]}")
    if cut[-1:] != '"':  # a number or a word at the end may have been longer
        return None
    closing = text[len(cut) :]
    return cut + closing[: rng.randrange(len(closing))]


def _wrong_bracket_missing(_: random.Random, value: Any) -> str | None:
    """One bracket inside is not closed: `{"a": ["b", "c"}`."""
    text = json.dumps(value)
    found = re.search(r'"\](?=\}+\Z)', text)
    return None if found is None else text[: found.start() + 1] + text[found.end() :]


def _no_closing_quote(rng: random.Random, value: Any) -> str | None:
    return _at_a_word(rng, value, lambda word: f'"{word}', _INSIDE)


def _no_opening_quote(rng: random.Random, value: Any) -> str | None:
    return _at_a_word(rng, value, lambda word: f'{word}"')


def _no_quotes(rng: random.Random, value: Any) -> str | None:
    return _at_a_word(rng, value, lambda word: word)


def _doubled_quotes(rng: random.Random, value: Any) -> str | None:
    return _at_a_word(rng, value, lambda word: f'""{word}""')


def _one_quote_swapped(rng: random.Random, value: Any) -> str | None:
    return _at_a_word(rng, value, lambda word: f"'{word}'")


def _at_a_word(
    rng: random.Random, value: Any, write: Callable[[str], str], words: re.Pattern[str] = _WORDS
) -> str | None:
    """Write one text that consists of plain words otherwise."""
    text = json.dumps(value)
    hits = [hit for hit in words.finditer(text) if hit[1].lower() not in _LITERALS]
    if not hits:
        return None
    hit = rng.choice(hits)
    return text[: hit.start()] + write(hit[1]) + text[hit.end() :]


def _no_comma(rng: random.Random, value: Any) -> str | None:
    text = json.dumps(value)
    hits = list(_MEMBER_END.finditer(text))
    if not hits:
        return None
    hit = rng.choice(hits)
    return text[: hit.start()] + rng.choice([" ", "\n"]) + text[hit.end() :]


def _doubled_comma(rng: random.Random, value: Any) -> str | None:
    text = json.dumps(value)
    hits = list(_MEMBER_END.finditer(text))
    if not hits:
        return None
    hit = rng.choice(hits)
    return text[: hit.start()] + ",, " + text[hit.end() :]


def _other_quotes(rng: random.Random, value: Any) -> str | None:
    if _texts_match(value, _QUOTES):
        return None
    opening, closing = rng.choice(["''", "“”"])
    return re.sub(r'"([^"]*)"', rf"{opening}\1{closing}", json.dumps(value, ensure_ascii=False))


def _texts_match(value: Any, pattern: re.Pattern[str]) -> bool:
    if isinstance(value, dict):
        return any(_texts_match(one, pattern) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(_texts_match(one, pattern) for one in value)
    return isinstance(value, str) and pattern.search(value) is not None


def _bare_keys(_: random.Random, value: Any) -> str | None:
    text = json.dumps(value)
    return _NAME.sub(r"\1: ", text) if _NAME.search(text) and '\\"' not in text else None


def _doubled_braces(_: random.Random, value: Any) -> str | None:
    return f"{{{json.dumps(value)}}}" if isinstance(value, dict) else None


def _as_text(_: random.Random, value: Any) -> str | None:
    return json.dumps(json.dumps(value)) if isinstance(value, dict) else None


def _raw_line_breaks(_: random.Random, value: Any) -> str | None:
    text = json.dumps(value)
    return text.replace("\\n", "\n") if "\\n" in text and "\\\\" not in text else None


BREAKS: Mapping[str, Mutation] = {
    "wrapped": _fenced,
    "trailing commas": _trailing_commas,
    "Python literals": _python,
    "a comment": _commented,
    "brackets missing at the end": _unclosed,
    "an inner bracket missing": _wrong_bracket_missing,
    "closing quote missing": _no_closing_quote,
    "opening quote missing": _no_opening_quote,
    "unquoted words": _no_quotes,
    "doubled quotes": _doubled_quotes,
    "one text in single quotes": _one_quote_swapped,
    "a comma missing": _no_comma,
    "a comma doubled": _doubled_comma,
    "other quotes": _other_quotes,
    "keys without quotes": _bare_keys,
    "doubled braces": _doubled_braces,
    "JSON as a text": _as_text,
    "line breaks inside a text": _raw_line_breaks,
}

_OUTER = frozenset({"wrapped", "JSON as a text"})
_OPEN = frozenset({"brackets missing at the end"})
"""Breaks after which only something before the value can be added."""


# Refusals


def _refusal(rng: random.Random, sample: Sample) -> Case | None:
    make = rng.choice([_without_a_key, _words_for_a_number, _other_label, _nothing])
    text = make(rng, sample)
    return None if text is None else Case("", text, sample.case.type, {"error": True}, tags=(make.__name__.strip("_"),))


def _without_a_key(rng: random.Random, sample: Sample) -> str | None:
    if sample.record is None:
        return None
    needed = [
        name for name, field in sample.record.model_fields.items() if field.is_required() and name in sample.value
    ]
    if not needed or len(sample.value) < 2:
        return None
    gone = rng.choice(needed)
    return json.dumps({key: value for key, value in sample.value.items() if key != gone})


def _words_for_a_number(rng: random.Random, sample: Sample) -> str | None:
    return _with_bad(rng, sample, ("integer", "number"), ["quite a lot", "unclear", "see above"])


def _other_label(rng: random.Random, sample: Sample) -> str | None:
    return _with_bad(rng, sample, ("enum",), ["zebra", "none of these", "???"])


def _with_bad(rng: random.Random, sample: Sample, kinds: Sequence[str], words: Sequence[str]) -> str | None:
    """The value with one member of such a kind replaced by words that can't mean it."""
    if sample.record is None:
        return None
    schema = sample.record.model_json_schema()
    hits = [
        key for key, one in schema.get("properties", {}).items() if _kind(one, schema) in kinds and key in sample.value
    ]
    return json.dumps({**sample.value, rng.choice(hits): rng.choice(words)}) if hits else None


def _kind(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return "enum" if "enum" in node or "const" in node else str(node.get("type", ""))


def _nothing(rng: random.Random, sample: Sample) -> str | None:
    if sample.record is None or not any(field.is_required() for field in sample.record.model_fields.values()):
        return None
    return rng.choice([*APOLOGIES, "{}", "null", "```json\n```", " \n "])


# Beginnings


def _beginning(rng: random.Random, sample: Sample) -> Case | None:
    """A reply that broke off behind a comma or inside a text."""
    value = sample.value
    if isinstance(value, list):
        shown: Any = value[: rng.randrange(1, len(value) + 1)]
        text = json.dumps(shown)[:-1] + ", "
        return Case("", text, sample.case.type, shown, streaming=True, tags=("ws",))
    if sample.record is None or not all(field.is_required() for field in sample.record.model_fields.values()):
        return None
    keys = list(value)[: rng.randrange(1, len(value) + 1)]
    shown = {key: value[key] for key in keys}
    last = shown[keys[-1]]
    if not isinstance(last, str) or not last.isalpha() or len(last) < 3:
        return Case("", json.dumps(shown)[:-1] + ", ", sample.case.type, shown, streaming=True, tags=("ws",))
    shown[keys[-1]] = last[: rng.randrange(1, len(last))]
    return Case("", json.dumps(shown)[:-2], sample.case.type, shown, streaming=True, tags=("ws",))
