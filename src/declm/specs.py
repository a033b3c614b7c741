"""`spec(QA)`: a signature's fields, and how to validate, split, hash and derive it.

These stand outside the class so that a signature reserves no names besides Pydantic's: a field may
be called `inputs`, `instructions`, `demos`, `state`, `format`, `lm` or `score`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, field_validator
from pydantic_core import ErrorDetails, to_json

from declm.errors import InputError, ParseError, UsageError
from declm.fields import FieldSpec, Output, annotated, read_field
from declm.signature import Signature
from declm.text import clip, closest, digest

S = TypeVar("S", bound=BaseModel)

_SLOT = "__declm_spec__"

_PLAIN = (str, int, bool)
_Kinds = dict[str, tuple[str, type]]

_SILENT = ("annotated_types", "declm.fields", "pydantic.types", "pydantic._internal._fields")
"""Modules whose metadata constrain a field, and never change how it is written."""


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

    @cached_property
    def _key_of(self) -> dict[str, str]:
        """Keys by the names of the attributes."""
        return {f.name: f.key for f in self.fields}

    # --- rows

    def request(self, values: Mapping[str, Any]) -> S:
        """Build and validate a row from inputs alone.

        Raises:
            InputError: an input is missing, unknown or mistyped, or an output was given.
        """
        for word in values:
            key = self._key_of.get(word, word)
            if key in self.inputs:
                continue
            if key in self.outputs:
                raise InputError(f"{self.name}: {word!r} is no input but an output, which the call returns")
            if key in self.notes:
                raise InputError(f"{self.name}: {word!r} is no input but a note, which only metrics see")
            near = closest(word, list(self.inputs))
            hint = f"did you mean {near!r}? " if near else ""
            raise InputError(f"{self.name} has no input {word!r}; {hint}its inputs are {_list(self.inputs)}")
        try:
            return self.cls.model_validate(dict(values))
        except ValidationError as error:
            problems = "; ".join(self._complaint(e) for e in error.errors(include_url=False, include_context=False))
            raise InputError(f"{self.name}: {problems}; its inputs are {_list(self.inputs)}") from error

    def _complaint(self, error: ErrorDetails) -> str:
        place, message = _place(error["loc"]), f"{_place(error['loc'])}: {error['msg']}"
        if error["type"] == "missing" or place.split(".")[0] in self.sensitive:
            return message
        return f"{message}, not {clip(repr(error['input']), 80)}"

    def complete(self, row: S, outputs: Mapping[str, Any], unreadable: Mapping[str, str] | None = None) -> S:
        """Return `row` with `outputs` (by key) set, validated as a whole.

        Missing outputs take their default. All failures are reported together.

        Args:
            row: the request.
            outputs: Python or JSON values.
            unreadable: why an output that is missing could not be read.

        Raises:
            ParseError: an output is missing or invalid (`fields` names those), or a model validator
                refuses the whole.
        """
        if self.cls.model_config.get("frozen"):
            return self._rebuilt(row, outputs, unreadable or {})
        done = row.__copy__()
        problems: dict[str, list[str]] = {}
        assign = self.cls.__pydantic_validator__.validate_assignment
        for key, field in self.outputs.items():
            if key in outputs:
                value = outputs[key]
            elif field.required or key in (unreadable or {}):
                problems[key] = [_lacking(key, unreadable or {})]
                continue
            else:
                value = field.default
            try:
                assign(done, field.name, value)
            except ValidationError as first:
                try:
                    self._assign_json(done, field, value, first)
                except ValidationError as error:
                    problems[key] = _problems(error, field)
        if problems:
            told = [problem for found in problems.values() for problem in found]
            raise ParseError("; ".join(told), fields=problems)
        return done

    def _assign_json(self, row: S, field: FieldSpec, value: Any, refusal: ValidationError) -> None:
        """Set an output by the rules of JSON, under which strict fields take dates, enums and tuples."""
        try:
            value = field.adapter.validate_json(to_json(value))
        except ValueError:  # a ValidationError is one too
            value = None
        if value is None:
            raise refusal
        self.cls.__pydantic_validator__.validate_assignment(row, field.name, value)

    def _rebuilt(self, row: S, outputs: Mapping[str, Any], unreadable: Mapping[str, str]) -> S:
        missing = [k for k, f in self.outputs.items() if k not in outputs and (f.required or k in unreadable)]
        if missing:
            raise ParseError("; ".join(_lacking(k, unreadable) for k in missing), fields=missing)
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

    def given(self, row: BaseModel) -> dict[str, Any]:
        """The inputs that are set, as JSON values by key."""
        return _as_they_stand(row, self._plain_inputs) or self.dump(row)[0]

    def answered(self, row: BaseModel) -> dict[str, Any]:
        """The outputs that are set, as JSON values by key."""
        return _as_they_stand(row, self._plain_outputs) or self.dump(row)[1]

    @cached_property
    def _plain_inputs(self) -> _Kinds:
        return self._plain(self.inputs)

    @cached_property
    def plain_fields(self) -> Mapping[str, tuple[str, type]]:
        """Names and types of all fields by key, if all are JSON as they stand; else empty."""
        return self._plain({field.key: field for field in self.fields})

    @cached_property
    def _plain_outputs(self) -> _Kinds:
        return self._plain(self.outputs)

    def _plain(self, fields: Mapping[str, FieldSpec]) -> _Kinds:
        """Names and types of fields by key, if all are JSON as they stand, as most are; else empty."""
        own, config = self.cls.__pydantic_decorators__, self.cls.model_config
        if (
            own.field_serializers
            or own.model_serializers
            or "json_encoders" in config
            or config.get("extra") == "allow"
        ):
            return {}
        if not all(_is_plain(field) for field in fields.values()):
            return {}
        return {key: (field.name, cast("type", field.info.annotation)) for key, field in fields.items()}

    def dump(self, row: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
        """The inputs and the outputs that are set, as JSON values by key."""
        flat = _dumped(row)
        inputs = {k: flat[k] for k in self.inputs if k in flat}
        outputs = {k: flat[k] for k in self.outputs if k in flat}
        return inputs, outputs

    def hash(self, row: BaseModel) -> str:
        """Content hash of a row: equal for equal fields, notes included."""
        return row_hash(row)

    # --- derivation: new classes, never mutation

    def with_instructions(self, text: str) -> Callable[..., Any]:
        """A signature that differs in its instruction only."""
        return self._subclass({}, text)

    def with_field(self, name: str, annotation: Any, field: Any = None, *, first: bool = False) -> Callable[..., Any]:
        """A signature with one more field, or with `name` redeclared.

        Args:
            name: attribute name.
            annotation: any type that Pydantic takes.
            field: `Input(...)`, `Output(...)` or `Note(...)`; None declares a plain output.
            first: put an output before the others, so that the LM writes it first; the class is
                then built anew, as in `without`.
        """
        declared = annotated(annotation, Output() if field is None else field)
        if not first:
            return self._subclass({name: declared})
        before = {f.name: f.redeclared() for f in self.fields if f.role == "input" and f.name != name}
        after = {f.name: f.redeclared() for f in self.fields if f.role != "input" and f.name != name}
        return self._rebuild({**before, name: declared, **after})

    def reworded(self, **descriptions: str) -> Callable[..., Any]:
        """A signature whose named fields (by key) have other descriptions."""
        fields = [(self._field(key), text) for key, text in descriptions.items()]
        return self._subclass({f.name: f.redeclared(description=text) for f, text in fields})

    def without(self, *names: str) -> Callable[..., Any]:
        """A signature without the fields `names` (by key).

        Field validators of the remaining fields are kept; model validators, serializers and methods
        are not, since they may read what was dropped.
        """
        dropped = [self._field(key).name for key in names]
        return self._rebuild({f.name: f.redeclared() for f in self.fields if f.name not in dropped})

    def _field(self, key: str) -> FieldSpec:
        known = self.inputs | self.outputs | self.notes
        if key not in known:
            near = closest(key, list(known))
            hint = f"did you mean {near!r}? " if near else ""
            raise UsageError(f"{self.name} has no field {key!r}; {hint}its fields are {_list(known)}")
        return known[key]

    def _subclass(self, annotations: dict[str, Any], instructions: str | None = None) -> Callable[..., Any]:
        doc = self.instructions if instructions is None else instructions
        namespace = {"__module__": self.cls.__module__, "__doc__": doc, "__annotations__": annotations}
        metaclass = cast("Callable[..., Any]", type(self.cls))
        made: Callable[..., Any] = metaclass(self.name, (self.cls,), namespace)
        return made

    def _rebuild(self, annotations: Mapping[str, Any]) -> Callable[..., Any]:
        config = {"model_config": ConfigDict(**self.cls.model_config), "__module__": self.cls.__module__}
        return create_model(
            self.name,
            __base__=type("Derived", (Signature,), config),
            __doc__=self.instructions,
            __module__=self.cls.__module__,
            __validators__=self._validators(annotations),
            **cast("dict[str, Any]", annotations),
        )

    def _validators(self, names: Iterable[str]) -> dict[str, Any]:
        """The field validators of those fields, ready for another class."""
        found: dict[str, Any] = {}
        for name, decorator in self.cls.__pydantic_decorators__.field_validators.items():
            kept = [field for field in decorator.info.fields if field in names or field == "*"]
            if kept:
                # Bound to this class; the bare function is what a class body would hold.
                function = getattr(decorator.func, "__func__", decorator.func)
                mode: Any = decorator.info.mode
                wrap: Callable[[Any], Any] = field_validator(*kept, mode=mode, check_fields=False)
                found[name] = wrap(function)
        return found


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


def _is_plain(field: FieldSpec) -> bool:
    """Whether a field's values are dumped as they stand, under its key."""
    info = field.info
    kind: Any = info.annotation
    silent = all(type(note).__module__ in _SILENT for note in info.metadata)
    return kind in _PLAIN and silent and not info.exclude and info.serialization_alias in (None, field.key)


def _as_they_stand(row: BaseModel, kinds: Mapping[str, tuple[str, type]]) -> dict[str, Any] | None:
    """The values of these fields by key; None if one is no JSON of that type."""
    values = row.__dict__
    found: dict[str, Any] = {}
    for key, (name, kind) in kinds.items():
        value = values.get(name)
        if type(value) is not kind:  # an enum that is a text as well, or a row that was never validated
            return None
        found[key] = value
    return found


def row_hash(row: BaseModel) -> str:
    """Content hash of any row."""
    values = _as_they_stand(row, spec(type(row)).plain_fields) or _dumped(row)
    return digest([type(row).__name__, values])


def _dumped(row: BaseModel) -> dict[str, Any]:
    """What is set, as JSON values by key; computed fields stay out, as they may need an unset output."""
    computed = type(row).model_computed_fields
    return row.model_dump(mode="json", by_alias=True, fallback=repr, exclude=set(computed) or None)


def _lacking(key: str, unreadable: Mapping[str, str]) -> str:
    reason = unreadable.get(key, f"{key}: missing")
    return reason if reason.startswith(key) else f"{key}: {reason}"


def _problems(error: ValidationError, field: FieldSpec | None) -> list[str]:
    found: list[str] = []
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
