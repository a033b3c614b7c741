"""Programs on disk: plain JSON with a schema version, signature hashes and a checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError

from declm.errors import SignatureMismatch, StateError
from declm.files import write_atomic
from declm.specs import Spec
from declm.state import Node, PredictorState, ProgramState, match, predictors, rebuild, snapshot
from declm.text import clip, closest, digest

N = TypeVar("N", bound=Node)

SCHEMA = 1
"""Version of the file layout; a reader takes its own version and older ones."""


class _Card(BaseModel):
    """A signature as a file remembers it: its hash, and its fields with their types for readable diffs."""

    hash: str
    inputs: dict[str, str] = Field(default_factory=dict[str, str])
    outputs: dict[str, str] = Field(default_factory=dict[str, str])

    @classmethod
    def of(cls, spec: Spec[Any]) -> _Card:
        return cls(hash=spec.fingerprint, **spec.card)


class _File(BaseModel):
    """The layout of a saved program, besides its version and its checksum."""

    program: str = ""
    signatures: dict[str, _Card]
    predictors: dict[str, PredictorState]


def dump(program: Node) -> str:
    """The file's text: the state of every predictor, and the signatures it was made for."""
    signatures = {path: _Card.of(predictor.spec) for path, predictor in predictors(program).items()}
    file = _File(program=type(program).__name__, signatures=signatures, predictors=snapshot(program).predictors)
    content = {"declm": SCHEMA, **file.model_dump(mode="json", exclude_defaults=True)}
    return json.dumps({**content, "checksum": digest(content)}, indent=2, ensure_ascii=False) + "\n"


def save(program: Node, path: str | Path) -> None:
    """Write a program's state atomically; no code, no keys, no weights.

    Raises:
        StateError: the file can't be written; an older file of that name is untouched.
    """
    try:
        write_atomic(path, dump(program))
    except (OSError, ValueError) as error:
        raise StateError(f"can't write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error


def load(program: N, path: str | Path) -> N:
    """A copy of `program` with the state in the file.

    Raises:
        SignatureMismatch: the file was saved for other predictors or fields; says which.
        StateError: the file is missing, torn, changed or from a newer declm.
    """
    file = _read(Path(path))
    differences = _differences(program, file.signatures)
    if differences:
        listed = "\n  ".join(differences)
        raise SignatureMismatch(
            f"{str(path)!r} was saved for another program than this {type(program).__name__}:\n  {listed}\n"
            "optimize again, or load it into the program that it was saved from",
            tuple(differences),
        )
    return rebuild(program, match(program, ProgramState(predictors=file.predictors)))


def _read(path: Path) -> _File:
    content = _parsed(path, _text(path))
    version = content.pop("declm", None)
    if not isinstance(version, int) or isinstance(version, bool):
        raise StateError(f"{str(path)!r} is no saved declm program")
    if version > SCHEMA:
        raise StateError(f"{str(path)!r} was saved by a newer declm (layout {version}); upgrade declm")
    checksum = content.pop("checksum", None)
    if checksum is not None and checksum != digest({"declm": version, **content}):
        raise StateError(
            f"{str(path)!r} was damaged or edited after it was saved; "
            'if the edit is yours, delete its "checksum" line and load it again'
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise StateError(f"{str(path)!r} does not hold the state of a program: {clip(problems, 500)}") from error
    if file.predictors.keys() != file.signatures.keys():
        raise StateError(f"{str(path)!r} names other predictors than signatures; restore it or save the program again")
    return file


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StateError(f"there is no file {str(path)!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"can't read {str(path)!r}: {error}") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{str(path)!r} is torn or no JSON ({error}); restore it or save the program again") from error
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _differences(program: Node, saved: Mapping[str, _Card]) -> list[str]:
    found = predictors(program)
    lines: list[str] = []
    for path in dict.fromkeys([*saved, *found]):
        if path not in found:
            near = closest(path, list(found))
            lines.append(f"predictor {path!r} is in the file only" + (f" (the program has {near!r})" if near else ""))
        elif path not in saved:
            lines.append(f"predictor {path!r} is in the program only")
        elif saved[path].hash != found[path].spec.fingerprint:
            now = _Card.of(found[path].spec)
            lines += _field_differences(path, "input", saved[path].inputs, now.inputs)
            lines += _field_differences(path, "output", saved[path].outputs, now.outputs)
            if not any(line.startswith(f"{path}: ") for line in lines):
                lines.append(f"{path}: the order or a detail of its fields differs")
    return lines


def _field_differences(path: str, role: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        if key not in new:
            lines.append(f"{path}: {role} {key!r} ({old[key]}) is in the file only")
        elif key not in old:
            lines.append(f"{path}: {role} {key!r} ({new[key]}) is in the program only")
        elif old[key] != new[key]:
            lines.append(f"{path}: {role} {key!r} was {old[key]} and is {new[key]}")
    return lines
