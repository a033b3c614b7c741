"""A task's card and rows as a typed signature.

The card (`task.json`) names inputs, outputs and labels; the rows show what their values look like.
Nothing else is known of a task, so that a folder never seen before gets its types by the same rules.
"""

from __future__ import annotations

import json
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, create_model

import declm as dm

Kind = Literal["label", "labels", "text", "list", "flag", "object"]
"""What an output is: one of the labels, a list of labels, free text, any other list, a truth value, an object."""

USUAL = 0.95
"""Share of objects that have a member, from which one without it is a bad row."""


class Card(BaseModel):
    """What is read of `task.json`; other keys are for people."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    name: str = ""
    task: str = ""
    inputs: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[str, ...] = Field(min_length=1)
    metric: str = ""
    labels: tuple[str, ...] | dict[str, tuple[str, ...]] = ()

    def labels_of(self, output: str) -> tuple[str, ...]:
        """The values that the card allows for an output; empty if it does not say."""
        return self.labels.get(output, ()) if isinstance(self.labels, dict) else self.labels


@dataclass(frozen=True)
class Shape:
    """The type of a field, and what that makes it for a metric."""

    annotation: Any
    kind: Kind


def read_card(folder: Path) -> Card:
    """Read and check `task.json`.

    Raises:
        DataError: there is no card, or it lacks or contradicts what a signature needs.
    """
    path = folder / "task.json"
    if not path.is_file():
        raise dm.DataError(f"{folder.name!r} is no task: there is no {str(path)!r}")
    try:
        card = Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise dm.DataError(f"{str(path)!r} is no card of a task: {told}") from error
    twice = set(card.inputs) & set(card.outputs)
    if twice:
        raise dm.DataError(f"{str(path)!r}: {_list(twice)} can't be input and output at once")
    if isinstance(card.labels, dict) and card.labels.keys() - set(card.outputs):
        unknown = card.labels.keys() - set(card.outputs)
        raise dm.DataError(
            f"{str(path)!r}: `labels` is a list, or one list for each output; "
            f"{_list(unknown)} is no output, the outputs are {_list(card.outputs)}"
        )
    return card


def peek(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that can be read, to infer types from; `dm.data.read` reports the others.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        raise dm.DataError(f"there is no file {str(path)!r}; a task has train.jsonl, dev.jsonl and test.jsonl")
    found: list[dict[str, Any]] = []
    for line in path.read_text("utf-8", "replace").split("\n"):
        try:
            row: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)  # pyright: ignore[reportUnknownArgumentType]  # any JSON object
    return found


def shapes(card: Card, rows: Sequence[Mapping[str, Any]]) -> dict[str, Shape]:
    """Infer the type of each output.

    Labels become a `Literal`, a list of labels a list of them, objects a small model; numbers stay text. What most
    rows have decides, so that reading names the rows that are otherwise.

    Raises:
        DataError: an output is in no row, or the labels fit nothing of it.
    """
    found: dict[str, Shape] = {}
    for name in card.outputs:
        values = [row[name] for row in rows if name in row]
        if not values:
            raise dm.DataError(f"no row has the output {name!r}; the rows have {_list(_columns(rows)) or 'nothing'}")
        labels = card.labels_of(name)
        if len(card.outputs) > 1 and not isinstance(card.labels, dict) and not _fit(values, labels):
            labels = ()  # one list for a card of several outputs: it belongs to those that it fits
        found[name] = Shape(_annotation(values, labels, name), _kind(values, labels))
    return found


def signature(
    card: Card, outputs: Mapping[str, Shape], rows: Sequence[Mapping[str, Any]], descriptions: Mapping[str, str]
) -> type[dm.Signature]:
    """Build the task's signature: the card's inputs and outputs; all other columns are notes.

    Args:
        card: the card; its `task` is the instruction.
        outputs: the types of the outputs.
        rows: rows to infer the inputs' types from.
        descriptions: of fields, by name.

    Raises:
        DataError: an input is in no row.
    """
    fields: dict[str, Any] = {}
    for name in card.inputs:
        values = [row[name] for row in rows if name in row]
        if not values:
            raise dm.DataError(f"no row has the input {name!r}; the rows have {_list(_columns(rows)) or 'nothing'}")
        attribute, alias = _names(name, fields)
        fields[attribute] = (_annotation(values, (), name), dm.Input(descriptions.get(name, ""), alias=alias))
    for name, shape in outputs.items():
        attribute, alias = _names(name, fields)
        fields[attribute] = (shape.annotation, dm.Output(descriptions.get(name, ""), alias=alias))
    for name in _columns(rows):
        if name not in card.inputs and name not in card.outputs:
            attribute, alias = _names(name, fields)
            fields[attribute] = (Any, dm.Note(alias=alias))
    return create_model(_title(card.name or "task"), __base__=dm.Signature, __doc__=_sentence(card.task), **fields)


# --- types


def _number_as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


_Text = Annotated[str, BeforeValidator(_number_as_text)]


def _annotation(values: Sequence[Any], labels: tuple[str, ...], name: str) -> Any:
    """The type of most of the values, or None as well if it occurs."""
    sort = _sort_of_most(values)
    present = [value for value in values if _sort(value) == sort]
    annotation: Any
    if sort == "text":
        annotation = _literal(labels) if labels else _Text
    elif sort == "flag":
        annotation = bool
    elif sort == "list":
        item: Any = _part([item for value in present for item in value], labels, name)
        annotation = list[item]
        if _kind(values, labels) == "labels":  # a set of labels; without an end, small models repeat themselves
            annotation = Annotated[annotation, Field(max_length=len(labels))]
    else:
        annotation = _model(present, labels, name)
    return annotation | None if None in values else annotation


def _part(values: Sequence[Any], labels: tuple[str, ...], name: str) -> Any:
    """The type of the parts of lists or objects; where they differ by design, any JSON."""
    is_mixed = len({_sort(value) for value in values if value is not None}) > 1
    return JsonValue if is_mixed and not labels else _annotation(values, labels, name)


def _model(objects: Sequence[Mapping[str, Any]], labels: tuple[str, ...], name: str) -> Any:
    """A small model; the labels are those of the members that they fit."""
    columns = {key: [value[key] for value in objects if key in value] for key in _columns(objects)}
    labelled = {key for key, values in columns.items() if labels and _fit(values, labels)}
    if labels and not labelled:
        raise dm.DataError(f"the card's labels fit none of the members of {name!r}, which are {_list(columns)}")
    fields: dict[str, Any] = {}
    for key, values in columns.items():
        attribute, alias = _names(key, fields)
        annotation = _part(values, labels if key in labelled else (), f"{name}.{key}")
        if len(values) >= USUAL * len(objects):
            fields[attribute] = (annotation, Field(alias=alias))
        else:
            fields[attribute] = (annotation | None, Field(default=None, alias=alias))
    config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    return create_model(_title(name), __config__=config, **fields)


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, (str, int, float)):
        return "text"
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "nothing"


def _sort_of_most(values: Iterable[Any]) -> str:
    counts = Counter(_sort(value) for value in values if value is not None)
    return counts.most_common(1)[0][0] if counts else "text"


def _kind(values: Sequence[Any], labels: tuple[str, ...]) -> Kind:
    sort = _sort_of_most(values)
    if sort == "list":
        return "labels" if labels and _sort_of_most(_items(values)) == "text" else "list"
    if sort == "text":
        return "label" if labels else "text"
    return "flag" if sort == "flag" else "object"


def _fit(values: Iterable[Any], labels: tuple[str, ...]) -> bool:
    """Whether most of the values, or of the items of the values, are labels."""
    texts = [_number_as_text(item) for item in _items(values) if item is not None]
    return 2 * sum(isinstance(text, str) and text in labels for text in texts) > len(texts)


def _items(values: Iterable[Any]) -> list[Any]:
    """The items of the lists among the values, and the other values themselves."""
    found: list[Any] = []
    for value in values:
        found += value if isinstance(value, list) else [value]
    return found


def _literal(labels: tuple[str, ...]) -> Any:
    special: Any = Literal  # type checkers take no variables inside its brackets
    return Annotated[special[labels], BeforeValidator(_number_as_text)]


# --- names


def _names(column: str, taken: Mapping[str, Any]) -> tuple[str, str | None]:
    """An attribute for a column, and the column as its alias where it can't be the attribute itself."""
    attribute = re.sub(r"\W", "_", column).strip("_") or "column"
    if attribute[0].isdigit():
        attribute = f"column_{attribute}"
    while (
        attribute in taken
        or keyword.iskeyword(attribute)
        or attribute.startswith("model_")
        or attribute in dir(dm.Signature)
    ):
        attribute = f"the_{attribute}"
    return attribute, None if attribute == column else column


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _title(name: str) -> str:
    words = re.findall(r"[^\W_]+", name)
    found = "".join(word[:1].upper() + word[1:] for word in words)
    return found if found[:1].isalpha() else f"Task{found}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "?", "!")) else ".")


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
