"""`Signature`: a Pydantic class that is request, gold row and answer in one.

Outputs and notes may be missing from an instance. Pydantic has no notion of a field that is required
in the schema yet absent from an instance, so the class adjusts its own core schema (once per class,
when Pydantic builds it): such fields default to a private sentinel that is removed right after
validation. Dump, equality, copy and pickle then see an instance without them, and nesting and
`model_validate` behave like the constructor, since all of them run the same core schema.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticSerializationUnexpectedValue, core_schema
from typing_extensions import dataclass_transform

from declm.errors import OutputNotSet, UsageError
from declm.fields import FieldSpec, Input, Note, Output, read_field

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Missing(enum.Enum):
    MISSING = "missing"


_MISSING = _Missing.MISSING
_DONE = "declm_optional_outputs"


@dataclass_transform(kw_only_default=True, field_specifiers=(Input, Field))
class SignatureMeta(ModelMetaclass):
    """Pydantic's metaclass, told to type checkers: inputs are constructor keywords.

    `Output` and `Note` are deliberately no field specifiers: a checker then takes them for fields
    with a default, that is, optional in the constructor.
    """


def _late_fields(cls: type[BaseModel]) -> dict[str, FieldSpec]:
    """Fields that may be missing from an instance: outputs and notes, by attribute name."""
    found = (read_field(name, info) for name, info in cls.__pydantic_fields__.items())
    return {f.name: f for f in found if f.role != "input"}


class Signature(BaseModel, metaclass=SignatureMeta):
    """Base of all signatures; the docstring of a subclass is its instruction to the LM.

    Example:
        >>> class QA(Signature):
        ...     '''Answer briefly.'''
        ...
        ...     question: str = Input("what to answer")
        ...     answer: str = Output("a few words")
        >>> row = QA(question="Which is the largest planet?")
        >>> hasattr(row, "answer")
        False
        >>> QA(question="Which is the largest planet?", answer="Jupiter").answer
        'Jupiter'
    """

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, info in cls.__pydantic_fields__.items():
            if info.default in (Input, Output, Note):
                raise UsageError(f"{cls.__name__}.{name} = {info.default.__name__} lacks its parentheses")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        schema = handler(source)
        late = _late_fields(cls)
        if late:
            _make_optional(cls, handler.resolve_ref_schema(schema), late)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(schema)
        model = handler.resolve_ref_schema(found)
        required = list(model.get("required", ()))
        for field in _late_fields(cls).values():
            shown = model.get("properties", {}).get(field.key)
            if shown is None:
                continue
            shown.pop("default", None)
            if not field.required:
                shown["default"] = field.adapter.dump_python(field.default, mode="json")
            elif field.role == "output" and field.key not in required:
                required.append(field.key)
        if required:
            model["required"] = required
        return found

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        try:
            yield from list(super().__repr_args__())
        except OutputNotSet:  # a computed field needs an output
            yield from self.__dict__.items()

    if not TYPE_CHECKING:  # a declared __getattr__ would hide misspelled attributes from checkers

        def __getattr__(self, name: str) -> Any:
            field = _late_fields(type(self)).get(name)
            if field is not None:
                raise OutputNotSet(
                    f"{type(self).__name__}.{name} is not set: it is an {field.role} that no call "
                    f"has predicted and no gold row has given"
                )
            return super().__getattr__(name)


def _make_optional(cls: type[Signature], schema: Any, late: dict[str, FieldSpec]) -> None:
    """Rewrite the core schema of `cls` in place (see the module's docstring)."""
    outputs = tuple(name for name, f in late.items() if f.role == "output")
    node = schema
    while node["type"] != "model":
        if node["type"] == "function-after":
            node["function"] = _once_complete(node["function"], outputs)
        node = node["schema"]
    metadata = node.setdefault("metadata", {})
    if metadata.get(_DONE) is cls:
        return  # Pydantic hands out the finished schema of a class again when it is nested
    metadata[_DONE] = cls
    fields = node["schema"]
    while fields["type"] != "model-fields":
        fields = fields["schema"]
    for name in late:
        field = fields["fields"][name]
        bare = field["schema"]["schema"] if field["schema"]["type"] == "default" else field["schema"]
        field["schema"] = core_schema.with_default_schema(bare, default=_MISSING)
        field["serialization_exclude_if"] = _is_missing
    node["serialization"] = _serialization(cls, tuple(late), node.get("serialization"))
    inner: Any = dict(node)
    ref = inner.pop("ref", None)
    node.clear()
    node.update(core_schema.no_info_after_validator_function(_remover(tuple(late)), inner))
    if ref is not None:
        node["ref"] = ref


def _is_missing(value: Any) -> bool:
    return value is _MISSING


def _once_complete(function: Any, outputs: tuple[str, ...]) -> Any:
    """Hold back a `mode="after"` model validator until all outputs are set."""
    call: Callable[..., Any] = function["function"]
    if getattr(call, _DONE, False):
        return function

    def guarded(row: Any, *info: Any) -> Any:
        values = row.__dict__
        return call(row, *info) if all(name in values for name in outputs) else row

    setattr(guarded, _DONE, True)
    return {**function, "function": guarded}


def _remover(late: tuple[str, ...]) -> Callable[[Any], Any]:
    def remove(row: Any) -> Any:
        values = row.__dict__
        for name in late:
            if values.get(name) is _MISSING:
                del values[name]
        return row

    return remove


def _serialization(cls: type[Signature], late: tuple[str, ...], own: Any) -> Any:
    """Serialize rows with missing fields without Pydantic's warning about a wrong field count.

    `own` is the class's own `model_serializer`, which stays in force.
    """

    def fill(row: Any, handler: Callable[[Any], Any], info: core_schema.SerializationInfo) -> Any:
        return handler(_filled(cls, late, row, info))

    if own is None:
        return core_schema.wrap_serializer_function_ser_schema(fill, info_arg=True)
    if own["type"] != "function-wrap":
        return own
    call: Callable[..., Any] = own["function"]

    def serialize(row: Any, handler: Callable[[Any], Any], info: core_schema.SerializationInfo) -> Any:
        filled = partial(fill, handler=handler, info=info)
        return call(row, filled, info) if own.get("info_arg") else call(row, filled)

    return {**own, "function": serialize, "info_arg": True}


def _filled(cls: type[Signature], late: tuple[str, ...], row: Any, info: core_schema.SerializationInfo) -> Any:
    """The row with the sentinel in place of what is missing."""
    if not isinstance(row, cls):
        raise PydanticSerializationUnexpectedValue(f"expected {cls.__name__}")
    missing = [name for name in late if name not in row.__dict__]
    if not missing:
        return row
    for name, computed in cls.__pydantic_computed_fields__.items():
        if name not in (info.exclude or ()):
            computed.wrapped_property.__get__(row)  # raises `OutputNotSet` rather than compute with the sentinel
    shown = row.model_copy()
    vars(shown).update(dict.fromkeys(missing, _MISSING))
    return shown
