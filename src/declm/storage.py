"""Programs on disk: plain JSON with a schema version, signature hashes and a checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from declm.errors import SignatureMismatch, StateError
from declm.files import write_atomic
from declm.state import Node, PredictorState, ProgramState, match, predictors, rebuild, snapshot
from declm.text import closest, digest

N = TypeVar("N", bound=Node)

SCHEMA = 1
"""Version of the file layout; a reader takes its own version and older ones."""


def dump(program: Node) -> str:
    """The file's text: the state of every predictor, and the signatures it was made for."""
    found = predictors(program)
    content: dict[str, Any] = {
        "declm": SCHEMA,
        "program": type(program).__name__,
        "signatures": {path: {"hash": p.spec.fingerprint, **p.spec.card} for path, p in found.items()},
        "predictors": {
            path: state.model_dump(mode="json", exclude_defaults=True)
            for path, state in snapshot(program).predictors.items()
        },
    }
    return json.dumps({**content, "checksum": digest(content)}, indent=2, ensure_ascii=False) + "\n"


def save(program: Node, path: str | Path) -> None:
    """Write a program's state atomically; no code, no keys, no weights.

    Raises:
        StateError: the file can't be written; an older file of that name is untouched.
    """
    try:
        write_atomic(path, dump(program))
    except OSError as error:
        raise StateError(f"can't write {str(path)!r}: {error.strerror or error}") from error


def load(program: N, path: str | Path) -> N:
    """A copy of `program` with the state in the file.

    Raises:
        SignatureMismatch: the file was saved for other predictors or fields; says which.
        StateError: the file is missing, torn, changed or from a newer declm.
    """
    content = _read(Path(path))
    differences = _differences(program, content["signatures"])
    if differences:
        listed = "\n  ".join(differences)
        raise SignatureMismatch(
            f"{str(path)!r} was saved for another program than this {type(program).__name__}:\n  {listed}\n"
            "optimize again, or load it into the program that it was saved from",
            tuple(differences),
        )
    try:
        states = {name: PredictorState.model_validate(s) for name, s in content["predictors"].items()}
    except ValidationError as error:
        raise StateError(f"{str(path)!r} holds a state that does not fit: {error}") from error
    return rebuild(program, match(program, ProgramState(predictors=states)))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StateError(f"there is no file {str(path)!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"can't read {str(path)!r}: {error}") from error
    try:
        read: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{str(path)!r} is torn or no JSON ({error}); restore it or save the program again") from error
    content = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    if not isinstance(content.get("declm"), int):
        raise StateError(f"{str(path)!r} is no saved declm program")
    if content["declm"] > SCHEMA:
        raise StateError(f"{str(path)!r} was saved by a newer declm (layout {content['declm']}); upgrade declm")
    checksum = content.pop("checksum", None)
    if checksum is not None and checksum != digest(content):
        raise StateError(
            f"{str(path)!r} was damaged or edited after it was saved; "
            'if the edit is yours, delete its "checksum" line and load it again'
        )
    if not all(isinstance(content.get(key), dict) for key in ("signatures", "predictors")):
        raise StateError(f"{str(path)!r} lacks its signatures or predictors")
    return content


def _differences(program: Node, saved: Mapping[str, Any]) -> list[str]:
    found, lines = predictors(program), list[str]()
    for path in dict.fromkeys([*saved, *found]):
        if path not in found:
            near = closest(path, list(found))
            lines.append(f"predictor {path!r} is in the file only" + (f" (the program has {near!r})" if near else ""))
        elif path not in saved:
            lines.append(f"predictor {path!r} is in the program only")
        elif saved[path].get("hash") != found[path].spec.fingerprint:
            lines += _field_differences(path, saved[path], found[path].spec.card)
    return lines


def _field_differences(path: str, saved: Mapping[str, Any], card: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = list[str]()
    for role in ("inputs", "outputs"):
        old: Mapping[str, str] = saved.get(role) or {}
        new = card[role]
        for key in dict.fromkeys([*old, *new]):
            if key not in new:
                lines.append(f"{path}: {role[:-1]} {key!r} ({old[key]}) is in the file only")
            elif key not in old:
                lines.append(f"{path}: {role[:-1]} {key!r} ({new[key]}) is in the program only")
            elif old[key] != new[key]:
                lines.append(f"{path}: {role[:-1]} {key!r} was {old[key]} and is {new[key]}")
    return lines or [f"{path}: the order or a detail of its fields differs"]
