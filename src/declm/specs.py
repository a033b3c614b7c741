"""`spec(QA)`: a signature's fields, and how to validate, split, hash and derive it.

These stand outside the class so that a signature reserves no names besides Pydantic's: a field may
be called `inputs`, `instructions`, `demos`, `state`, `format`, `lm` or `score`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, field_validator

from declm.errors import InputError, ParseError, UsageError
from declm.fields import FieldSpec, Output, read_field
from declm.signature import Signature
from declm.text import closest, digest

S = TypeVar("S", bound=BaseModel)

_SLOT = "__declm_spec__"


@dataclass(frozen=True)
class Spec(Generic[S]):
    """What declm knows of a signature class; get it with `spec(cls)`.

    `inputs`, `outputs` and `notes` map keys (aliases where there are any) to fields, in order of
    declaration.
    """

    cls: type[S]
    fields: tuple[FieldSpec, ...]

    @property
    def name(self) -> str:
        """The class name."""
        return self.cls.__name__

    @cached_property
    def inputs(self) -> dict[str, FieldSpec]:
        """Input fields by key."""
        return {f.key: f for f in self.fields if f.role == "input"}

    @cached_property
    def outputs(self) -> dict[str, FieldSpec]:
        """Output fields by key."""
        return {f.key: f for f in self.fields if f.role == "output"}

    @cached_property
    def notes(self) -> dict[str, FieldSpec]:
        """Note fields by key."""
        return {f.key: f for f in self.fields if f.role == "note"}

    @cached_property
    def instructions(self) -> str:
        """The docstring of the class or of the signature that it derives from; may be empty."""
        for base in self.cls.__mro__:
            if base is Signature or base is BaseModel:
                break
            if base.__dict__.get("__doc__"):
                return inspect.cleandoc(base.__dict__["__doc__"])
        return ""

    @cached_property
    def sensitive(self) -> frozenset[str]:
        """Keys of the fields that are masked in traces, logs and reports."""
        return frozenset(f.key for f in self.fields if f.sensitive)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of field names, roles and types; wording does not count."""
        return digest([[f.role, f.key, f.schema] for f in self.fields if f.role != "note"])

    @cached_property
    def card(self) -> dict[str, dict[str, str]]:
        """Inputs and outputs with their types in compact form, for files and readable diffs."""
        return {
            "inputs": {k: f.sketch.text for k, f in self.inputs.items()},
            "outputs": {k: f.sketch.text for k, f in self.outputs.items()},
        }

    # --- rows

    def request(self, values: Mapping[str, Any]) -> S:
        """Build and validate a row from inputs alone.

        Raises:
            InputError: an input is missing, unknown or mistyped, or an output was given.
        """
        by_name = {f.name: f.key for f in self.fields}
        for word in values:
            key = by_name.get(word, word)
            if key in self.outputs or key in self.notes:
                raise InputError(f"{self.name}: {word!r} is no input; it is an output, which the call returns")
            if key not in self.inputs:
                near = closest(word, list(self.inputs))
                hint = f"did you mean {near!r}? " if near else ""
                raise InputError(f"{self.name} has no input {word!r}; {hint}its inputs are {_list(self.inputs)}")
        try:
            return self.cls.model_validate(dict(values))
        except ValidationError as error:
            problems = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False))
            raise InputError(f"{self.name}: {problems}; its inputs are {_list(self.inputs)}") from error

    def complete(self, row: S, outputs: Mapping[str, Any]) -> S:
        """Return `row` with `outputs` (by key) set, validated as a whole.

        Missing outputs take their default. All failures are reported together.

        Raises:
            ParseError: an output is missing or invalid, or a model validator refuses the whole.
        """
        if self.cls.model_config.get("frozen"):
            return self._rebuilt(row, outputs)
        done, problems = row.model_copy(), list[str]()
        validator = self.cls.__pydantic_validator__
        for key, field in self.outputs.items():
            if key in outputs:
                value = outputs[key]
            elif field.required:
                problems.append(f"{key}: missing")
                continue
            else:
                value = field.default
            try:
                validator.validate_assignment(done, field.name, value)
            except ValidationError as error:
                problems += _problems(error, field)
        if problems:
            raise ParseError("; ".join(problems))
        return done

    def _rebuilt(self, row: S, outputs: Mapping[str, Any]) -> S:
        missing = [k for k, f in self.outputs.items() if f.required and k not in outputs]
        if missing:
            raise ParseError("; ".join(f"{k}: missing" for k in missing))
        given = {f.name: row.__dict__[f.name] for f in self.fields if f.name in row.__dict__}
        answered = {f.name: outputs.get(k, f.default) for k, f in self.outputs.items()}
        try:
            return self.cls.model_validate({**given, **answered})
        except ValidationError as error:
            raise ParseError("; ".join(_problems(error, None))) from error

    def split(self, row: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
        """The inputs and the outputs that are set, as Python values by key."""
        values = row.__dict__
        inputs = {k: values[f.name] for k, f in self.inputs.items() if f.name in values}
        outputs = {k: values[f.name] for k, f in self.outputs.items() if f.name in values}
        return inputs, outputs

    def dump(self, row: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
        """The inputs and the outputs that are set, as JSON values by key."""
        flat = row.model_dump(mode="json", by_alias=True)
        inputs = {k: flat[k] for k in self.inputs if k in flat}
        outputs = {k: flat[k] for k in self.outputs if k in flat}
        return inputs, outputs

    def hash(self, row: BaseModel) -> str:
        """Content hash of a row: equal for equal fields, notes included."""
        return row_hash(row)

    # --- derivation: new classes, never mutation

    def with_instructions(self, text: str) -> Callable[..., Any]:
        """A signature that differs in its instruction only."""
        return self._subclass({"__doc__": text, "__annotations__": {}})

    def with_field(self, name: str, annotation: Any, field: Any = None, *, first: bool = False) -> Callable[..., Any]:
        """A signature with one more field, or with `name` redeclared.

        Args:
            name: attribute name.
            annotation: any type that Pydantic takes.
            field: `Input(...)`, `Output(...)` or `Note(...)`; None declares a plain output.
            first: put an output before the others, so that the LM writes it first.
        """
        info = Output() if field is None else field
        if not first:
            return self._subclass({"__doc__": self.instructions, "__annotations__": {name: annotation}, name: info})
        own = {f.name: (f.info.annotation, f.info) for f in self.fields if f.name != name}
        order = {k: v for k, v in own.items() if read_field(k, v[1]).role == "input"}
        return self._rebuild({**order, name: (annotation, info), **own})

    def reworded(self, **descriptions: str) -> Callable[..., Any]:
        """A signature whose named fields (by key) have other descriptions."""
        changed = dict[str, tuple[Any, Any]]()
        for key, text in descriptions.items():
            field = self.inputs.get(key) or self.outputs.get(key) or self.notes.get(key)
            if field is None:
                raise UsageError(f"{self.name} has no field {key!r}; its fields are {_list(self.inputs | self.outputs)}")
            info = field.info._copy() if hasattr(field.info, "_copy") else field.info
            info.description = text
            changed[field.name] = (field.info.annotation, info)
        namespace: dict[str, Any] = {name: info for name, (_, info) in changed.items()}
        annotations = {name: annotation for name, (annotation, _) in changed.items()}
        return self._subclass({"__doc__": self.instructions, "__annotations__": annotations, **namespace})

    def without(self, *names: str) -> Callable[..., Any]:
        """A signature without the fields `names` (by key).

        Field validators of the remaining fields are kept; model validators are not, since they may
        read what was dropped.
        """
        known = self.inputs | self.outputs | self.notes
        unknown = [n for n in names if n not in known]
        if unknown:
            raise UsageError(f"{self.name} has no field {unknown[0]!r}; its fields are {_list(known)}")
        return self._rebuild({f.name: (f.info.annotation, f.info) for f in self.fields if f.key not in names})

    def _subclass(self, namespace: dict[str, Any]) -> Callable[..., Any]:
        return type(self.cls)(self.name, (self.cls,), {"__module__": self.cls.__module__, **namespace})

    def _rebuild(self, fields: Mapping[str, tuple[Any, Any]]) -> Callable[..., Any]:
        validators = dict[str, Any]()
        for name, decorator in self.cls.__pydantic_decorators__.field_validators.items():
            kept = tuple(f for f in decorator.info.fields if f in fields or f == "*")
            if kept:
                wrap = field_validator(*kept, mode=decorator.info.mode, check_fields=False)
                validators[name] = wrap(getattr(decorator.func, "__func__", decorator.func))
        base = type("Derived", (Signature,), {"model_config": ConfigDict(**self.cls.model_config), "__module__": self.cls.__module__})
        definitions = cast("dict[str, Any]", dict(fields))
        return create_model(self.name, __base__=base, __doc__=self.instructions, __validators__=validators, __module__=self.cls.__module__, **definitions)


def spec(signature: Callable[..., S]) -> Spec[S]:
    """Describe a signature class (or any Pydantic model, whose fields then all count as inputs).

    Raises:
        UsageError: `signature` is no Pydantic class.
    """
    if not (isinstance(signature, type) and issubclass(signature, BaseModel)):
        raise UsageError(f"a signature is a class derived from dm.Signature, not {signature!r}")
    cls = cast("type[S]", signature)
    known = cls.__dict__.get(_SLOT)
    if known is None:
        if not cls.__pydantic_complete__:
            cls.model_rebuild()
        known = Spec(cls, tuple(read_field(n, i) for n, i in cls.__pydantic_fields__.items()))
        type.__setattr__(cls, _SLOT, known)
    return known


def row_hash(row: BaseModel) -> str:
    """Content hash of any row."""
    return digest([type(row).__name__, row.model_dump(mode="json", by_alias=True, fallback=repr)])


def _problems(error: ValidationError, field: FieldSpec | None) -> list[str]:
    found = list[str]()
    for e in error.errors(include_url=False, include_context=False):
        place = _place(e["loc"])
        if field and place.split(".")[0] == field.name:
            place = field.key + place[len(field.name) :]
        found.append(f"{place}: {e['msg']}" if place else e["msg"])
    return found


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _list(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in fields) or "none"


