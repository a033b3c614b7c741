"""The metrics of task cards: a closed set, chosen by explicit rules from the card's words.

A card says in prose how its task is scored. The prose is searched for the words of `RULES` and never
executed; `--metric` overrides it. What was understood is printed and kept with every result.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cards import Card, Kind, Shape
from databases import Database, SqlExecution
from pydantic_core import to_jsonable_python

import declm as dm
from declm import metrics

Comparator = Callable[[Any, Any], float | dm.Score]
"""Compares the gold value of one output with the answer's."""

_LISTS: frozenset[Kind] = frozenset({"labels", "list"})
_ANY: frozenset[Kind] = frozenset({"label", "labels", "text", "list", "flag", "object"})

FITS: Mapping[str, frozenset[Kind]] = {
    "exact_match": _ANY,
    "f1": frozenset({"text"}),
    "set_f1": _LISTS,
    "flag_accuracy": frozenset({"labels"}),
    "number_match": frozenset({"text", "label"}),
    "option_letter": frozenset({"text", "label"}),
    "sql_execution": frozenset({"text"}),
}
"""The metrics by name, and the kinds of outputs that they are for."""


@dataclass(frozen=True)
class Rule:
    """Words of a card that name a metric.

    Args:
        words: a regular expression.
        metric: what scores a row.
        instead: what scores it where `metric` is not for the kind of output.
        corpus: a figure over all rows together that is reported beside the mean.
    """

    words: str
    metric: str
    instead: tuple[str, ...] = ()
    corpus: str | None = None


# The first one whose words stand in a part of the card's metric counts for that part.
RULES: tuple[Rule, ...] = (
    Rule(r"execution|executed", "sql_execution"),
    Rule(r"numeric|number match|(?:same|equal) numbers?", "number_match"),
    Rule(r"option letter|letter of the \w*\s*option", "option_letter", ("exact_match",)),
    Rule(r"micro[- ]?(?:averaged )?f1", "set_f1", ("exact_match",), "micro_f1"),
    Rule(r"macro[- ]?(?:averaged )?f1", "set_f1", ("exact_match",), "macro_f1"),
    Rule(r"set f1|f1 over|entity f1|span f1", "set_f1", ("f1",)),
    Rule(r"per-\w+ accuracy|per-\w+ match|hamming", "flag_accuracy", ("exact_match",)),
    Rule(r"exact[- ]match|exact equality|accuracy", "exact_match"),
    Rule(r"\bf1\b", "f1", ("set_f1", "exact_match")),
)

_ALL_OF = re.compile(r"(?i)\b(?:all|both|every)\s+(?:of the\s+|the\s+)?(?:\w+\s+)?(?:fields?|outputs?)\b|\bjoint\b")


@dataclass(frozen=True)
class Scoring:
    """How a task is scored: each output by one metric, the mean of them (or with `all_of`, the least) a row's score.

    Args:
        by: the metric of each output by name.
        also: further figures, by output, that the card names; reported, not optimized.
        all_of: an answer counts only as far as its worst output.
        comparators: what the names stand for.
    """

    by: Mapping[str, str]
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    all_of: bool = False
    comparators: Mapping[str, Comparator] = field(default_factory=dict[str, Comparator], repr=False)

    def __call__(self, gold: dm.Signature, got: dm.Signature) -> dm.Score:
        """Score one row; the feedback says what is wrong with each output."""
        scores = {name: self.part(name, metric, gold, got) for name, metric in self.by.items()}
        values = [score.value for score in scores.values()]
        feedback = "; ".join(score.feedback for score in scores.values() if score.feedback)
        return dm.Score(min(values) if self.all_of else sum(values) / len(values), feedback)

    def part(self, output: str, metric: str, gold: dm.Signature, got: dm.Signature) -> dm.Score:
        """Score one output by one metric."""
        expected, answer = outputs(gold)[output], outputs(got)[output]
        if expected is None or answer is None:
            return dm.Score(float(expected is answer))
        score = self.comparators[f"{output}:{metric}"](expected, answer)
        if isinstance(score, dm.Score):
            return score
        return dm.Score(float(score), "" if score == 1.0 else f"{output} is {_shown(answer)}, not {_shown(expected)}")

    def __str__(self) -> str:
        if len(self.by) == 1:
            return next(iter(self.by.values()))
        parts = ", ".join(f"{name}: {metric}" for name, metric in self.by.items())
        return f"{'least' if self.all_of else 'mean'} of {parts}"


def read_scoring(
    card: Card, shapes: Mapping[str, Shape], database: Database | None, override: str | None = None
) -> Scoring:
    """Find the metric of each output, by the override or else by the rules.

    Raises:
        UsageError: the words name no known metric, or one that is not for the kind of output.
    """
    kinds: dict[str, Kind] = {name: shape.kind for name, shape in shapes.items()}
    named = _overridden(override, kinds) if override else _understood(card, kinds)
    chosen = {name: [metric for metric in found if metric in FITS] for name, found in named.items()}
    if any("sql_execution" in found for found in chosen.values()) and database is None:
        raise dm.UsageError(f"sql_execution needs a database.json in the task's folder; {_options(kinds)}")
    return Scoring(
        by={name: found[0] for name, found in chosen.items()},
        also={name: tuple(m for m in found if m != chosen[name][0]) for name, found in named.items()},
        all_of=not override and len(kinds) > 1 and bool(_ALL_OF.search(card.metric)),
        comparators={
            f"{name}:{metric}": _comparator(metric, kinds[name], card.labels_of(name), database)
            for name, found in chosen.items()
            for metric in found
        },
    )


def _understood(card: Card, kinds: Mapping[str, Kind]) -> dict[str, list[str]]:
    """The metrics that the card's words name, by output; a part that names no output is for the remaining ones."""
    found: dict[str, list[str]] = {name: [] for name in kinds}
    common: list[Rule] = []
    for part in re.split(r"[;,]|\band\b", card.metric):
        rule = next((rule for rule in RULES if re.search(rule.words, part, re.IGNORECASE)), None)
        if rule is None:
            continue
        meant = [name for name in kinds if _mentions(part, name)]
        for name in meant:
            found[name] += _names(rule, kinds[name])
        if not meant:
            common.append(rule)
    for name, metrics_of in found.items():
        if not metrics_of or len(kinds) == 1:
            metrics_of += [metric for rule in common for metric in _names(rule, kinds[name])]
    missing = [name for name, metrics_of in found.items() if not any(metric in FITS for metric in metrics_of)]
    if missing:
        raise dm.UsageError(
            f"the card's metric {card.metric!r} names none that is known for {', '.join(map(repr, missing))}; "
            + _options(kinds)
        )
    return {name: list(dict.fromkeys(metrics_of)) for name, metrics_of in found.items()}


def _names(rule: Rule, kind: Kind) -> list[str]:
    """The metrics of a rule for a kind of output: the row's first, then the one of the whole corpus."""
    row = next((metric for metric in (rule.metric, *rule.instead) if kind in FITS[metric]), None)
    corpus = [rule.corpus] if rule.corpus and kind in CORPUS_FITS[rule.corpus] else []
    return [row, *corpus] if row else []


def _mentions(part: str, output: str) -> bool:
    singular = re.sub(r"ies$", "y", output) if output.endswith("ies") else output.removesuffix("s")
    return any(re.search(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])", part) for word in {output, singular})


def _overridden(override: str, kinds: Mapping[str, Kind]) -> dict[str, list[str]]:
    """`NAME` for all outputs, or `OUTPUT=NAME,OUTPUT=NAME`."""
    found: dict[str, list[str]] = {}
    for part in override.split(","):
        output, equals, metric = part.strip().rpartition("=")
        names = [output] if equals else list(kinds)
        for name in names:
            if name not in kinds or kinds[name] not in FITS.get(metric, ()):
                what = f"{metric!r} for the output {name!r}" + (f", a {kinds[name]}" if name in kinds else "")
                raise dm.UsageError(f"--metric {override}: there is no {what}; {_options(kinds)}")
            found[name] = [metric]
    return found


def _options(kinds: Mapping[str, Kind]) -> str:
    options = (f"{name!r}: {', '.join(m for m, fits in FITS.items() if kind in fits)}" for name, kind in kinds.items())
    return f"pass --metric NAME or --metric OUTPUT=NAME,...; the metrics are, for {'; for '.join(options)}"


# --- one output


def _comparator(metric: str, kind: Kind, labels: tuple[str, ...], database: Database | None) -> Comparator:
    if metric == "sql_execution":
        assert database is not None
        return SqlExecution(database)
    if metric == "flag_accuracy":
        return FlagAccuracy(labels)
    if metric == "exact_match":
        return same_text if kind == "text" else same_items if kind == "labels" else same
    plain: Mapping[str, Comparator] = {
        "f1": metrics.f1,
        "set_f1": metrics.set_f1,
        "number_match": metrics.number_match,
        "option_letter": same_option,
    }
    return plain[metric]


def same(gold: Any, got: Any) -> float:
    """Equality."""
    return float(gold == got)


def same_items(gold: Sequence[str], got: Sequence[str]) -> float:
    """The same labels, in any order and however often."""
    return float(set(gold) == set(got))


def same_text(gold: str, got: str) -> float:
    """Exact match as SQuAD has it; a text of which nothing remains that way, such as "A", counts as it stands."""
    if metrics.normalized(gold):
        return metrics.exact(gold, got)
    return float(gold.strip().casefold() == got.strip().casefold())


def same_option(gold: str, got: str) -> float:
    """The same option of a multiple choice, whatever stands around its letter: "(B)", "B." or "(B) 5 May"."""
    letter = _letter(gold)
    return float(letter is not None and letter == _letter(got))


@dataclass(frozen=True)
class FlagAccuracy:
    """Share of all labels that are rightly present or rightly absent."""

    labels: tuple[str, ...]

    def __call__(self, gold: Sequence[str], got: Sequence[str]) -> float:
        """Compare two lists of labels as sets."""
        return 1.0 - len(set(gold) ^ set(got)) / len(self.labels)


def _letter(text: str) -> str | None:
    found = re.search(r"\(([A-Za-z])\)", text) or re.match(r"\W*([A-Za-z])(?:[).:]|\W*$)", text)
    return found[1].upper() if found else None


# --- all rows together

CORPUS_FITS: Mapping[str, frozenset[Kind]] = {"micro_f1": _LISTS, "macro_f1": frozenset({"label"})}
"""The figures over all rows together, and the kinds of outputs that they are for."""

Pair = tuple[Any, Any]
"""Gold value and answer of one row; an answer of None is one that could not be read."""


def corpus_figure(name: str, pairs: Sequence[Pair]) -> float:
    """`micro_f1` over all items, or `macro_f1`, the mean over the gold labels."""
    return micro_f1(pairs) if name == "micro_f1" else macro_f1(pairs)


def micro_f1(pairs: Iterable[Pair]) -> float:
    """F1 of all items of all rows together; 1.0 if there are none and none was found."""
    common = total = 0
    for gold, got in pairs:
        expected, found = _items(gold), _items(got or ())
        common += len(expected & found)
        total += len(expected) + len(found)
    return 2.0 * common / total if total else 1.0


def macro_f1(pairs: Sequence[Pair]) -> float:
    """Mean over the gold labels of the F1 of each."""
    golds, answers = Counter(gold for gold, _ in pairs), Counter(got for _, got in pairs)
    hits = Counter(gold for gold, got in pairs if gold == got)
    return sum(2.0 * hits[label] / (golds[label] + answers[label]) for label in golds) / len(golds)


def _items(values: Iterable[Any]) -> set[str]:
    return {json.dumps(to_jsonable_python(value), sort_keys=True) for value in values}


def outputs(row: dm.Signature) -> dict[str, Any]:
    """The outputs of a row by name."""
    return dm.spec(type(row)).split(row)[1]


def _shown(value: Any) -> str:
    text = json.dumps(to_jsonable_python(value), ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."
