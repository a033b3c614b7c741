"""Read the shape of a type from the core schema that Pydantic makes of it.

The core schema resolves annotations, aliases, generics and references. Kinds that are not told apart
here are left to Pydantic's own validation.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter

from declm.formats.parsing.shapes import (
    ANY,
    NULL,
    OPAQUE,
    TEXT,
    Choices,
    Either,
    Embedded,
    Guarded,
    Items,
    Member,
    Node,
    Pairs,
    Record,
    Scalar,
    ScalarKind,
    Shape,
    Source,
)

_SCALARS: Mapping[str, ScalarKind] = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "decimal": "decimal",
    "bool": "boolean",
    "none": "null",
    "date": "temporal",
    "datetime": "temporal",
    "time": "temporal",
    "timedelta": "temporal",
    "any": "any",
}
_WRAPPERS = ("function-before", "function-after", "function-wrap", "nullable", "default", "model", "dataclass")


def shape_of(adapter: TypeAdapter[Any]) -> Shape:
    """The shape of a type."""
    return described(adapter)[0]


def described(adapter: TypeAdapter[Any]) -> tuple[Shape, Source]:
    """The shape of a type, and its source."""
    node: Node = adapter.core_schema
    reader = _Reader()
    return reader.read(node), Source(node, {})


class _Reader:
    def __init__(self) -> None:
        self._definitions: dict[str, Node] = {}
        self._records: dict[str, Shape] = {}
        self._open: set[str] = set()

    def read(self, node: Node) -> Shape:
        kind: str = node["type"]
        if kind in _SCALARS:
            return Scalar(_SCALARS[kind], kind, unit=node.get("le") == 1 or node.get("lt") == 1)
        reader = _READERS.get(kind, _Reader.opaque)
        shape: Shape = reader(self, node)
        return shape

    def definitions(self, node: Node) -> Shape:
        self._definitions |= {definition["ref"]: definition for definition in node["definitions"]}
        return self.read(node["schema"])

    def reference(self, node: Node) -> Shape:
        ref: str = node["schema_ref"]
        if ref in self._records:
            return self._records[ref]
        if ref not in self._definitions or ref in self._open:
            return ANY
        self._open.add(ref)
        shape = self.read(self._definitions[ref])
        self._open.discard(ref)
        self._records[ref] = shape
        return shape

    def source(self, node: Node) -> Source:
        return Source(node, self._definitions)

    def inner(self, node: Node) -> Shape:
        return self.read(node["schema"])

    def guarded(self, node: Node) -> Shape:
        shape = self.read(node["schema"])
        is_text = isinstance(shape, Scalar) and shape.kind in ("text", "any")  # which takes anything as it stands
        return shape if is_text else Guarded(shape, self.source(node), shape.name)

    def opaque(self, node: Node) -> Shape:
        return Guarded(OPAQUE, self.source(node), node["type"])

    def model(self, node: Node) -> Shape:
        inner: Node = node["schema"]
        is_guarded = False
        while inner["type"] in _WRAPPERS and inner["type"] not in ("model", "dataclass"):
            is_guarded = is_guarded or inner["type"] in ("function-before", "function-wrap")
            inner = inner["schema"]
        if inner["type"] not in ("model-fields", "dataclass-args"):
            return self.read(inner)  # a root model
        record = self._record(node, inner["fields"], node.get("config", {}))
        return Guarded(record, self.source(node), record.name) if is_guarded else record

    def typed_dict(self, node: Node) -> Shape:
        return self._record(node, node["fields"], node.get("config", {}))

    def _record(self, node: Node, fields: Any, config: Node) -> Record:
        behavior = config.get("extra_fields_behavior") or node.get("extra_behavior")
        cls = node.get("cls") if node["type"] in ("model", "dataclass") else None
        record = Record(
            getattr(node.get("cls"), "__name__", "object"),
            cls,
            open=behavior == "allow",
            positional=node["type"] == "named-tuple",
        )
        if "ref" in node:
            self._records[node["ref"]] = record
        named = cast(
            "Mapping[str, Node]", fields if isinstance(fields, Mapping) else {one["name"]: one for one in fields}
        )
        members = (self._member(name, one) for name, one in named.items())
        record.fill({member.key: member for member in members if member is not None})
        return record

    def _member(self, name: str, node: Node) -> Member | None:
        if node.get("init") is False:
            return None
        inner: Node = node["schema"]
        required = node.get("required", True)
        if inner["type"] == "default":
            required = False
        aliases = _aliases(node.get("validation_alias"))
        key = aliases[0] if aliases else name
        return Member(key, self.read(inner), bool(required), (name, *aliases), name, self.source(inner))

    def named_tuple(self, node: Node) -> Shape:
        return self._record(node, node["fields"], {})

    def choices(self, node: Node) -> Shape:
        if node["type"] == "enum":
            return self._enum(node)
        values = [value.value if isinstance(value, enum.Enum) else value for value in node["expected"]]
        names = {str(value): value for value in values}
        for value in node["expected"]:
            if isinstance(value, enum.Enum):
                names.setdefault(value.name, value.value)
            elif isinstance(value, bool):
                names.setdefault("yes" if value else "no", value)
        return Choices(tuple(values), names)

    def _enum(self, node: Node) -> Shape:
        cls: type[enum.Enum] = node["cls"]
        members: list[enum.Enum] = list(node["members"])
        names = {str(member.value): member.value for member in members}
        for name, member in cls.__members__.items():  # other names of the same members as well
            names.setdefault(name, member.value)
        known = Choices(tuple(member.value for member in members), names, flags=issubclass(cls, enum.Flag))
        knows_others = any("_missing_" in vars(base) for base in cls.__mro__ if base not in vars(enum).values())
        return Guarded(known, self.source(node), known.name) if known.flags or knows_others else known

    def items(self, node: Node) -> Shape:
        item = node.get("items_schema")
        if item is None:
            return Items(ANY, name=node["type"])
        return Items(self.read(item), name=node["type"], source=self.source(item))

    def tuple(self, node: Node) -> Shape:
        shapes = [self.read(item) for item in node["items_schema"]]
        sources = [self.source(item) for item in node["items_schema"]]
        at = node.get("variadic_item_index")
        if at is None:
            return Items(None, tuple(shapes), name="tuple", sources=tuple(sources))
        if at == len(shapes) - 1:
            return Items(shapes[-1], tuple(shapes[:-1]), "tuple", sources[-1], tuple(sources[:-1]))
        return Items(ANY, name="tuple")

    def pairs(self, node: Node) -> Shape:
        keys, values = node.get("keys_schema"), node.get("values_schema")
        shape = ANY if values is None else self.read(values)
        key = TEXT if keys is None else self.read(keys)
        source = None if values is None else self.source(values)
        key_source = None if keys is None or keys["type"] == "str" else self.source(keys)
        return Pairs(key, shape, source=source, key_source=key_source)

    def nullable(self, node: Node) -> Shape:
        return Either(
            [self.read(node["schema"]), NULL], sources=(self.source(node["schema"]), self.source({"type": "none"}))
        )

    def union(self, node: Node) -> Shape:
        listed: list[Any] = node["choices"]
        choices: list[Node] = [one[0] if isinstance(one, tuple) else one for one in listed]  # a tuple holds a label
        return Either([self.read(choice) for choice in choices], sources=tuple(self.source(one) for one in choices))

    def tagged_union(self, node: Node) -> Shape:
        options = list(node["choices"].values())
        return Either([self.read(one) for one in options], sources=tuple(self.source(one) for one in options))

    def in_json(self, node: Node) -> Shape:
        return self.read(node["json_schema"])

    def lax(self, node: Node) -> Shape:
        return self.read(node["lax_schema"])

    def chain(self, node: Node) -> Shape:
        return self.read(node["steps"][0])

    def embedded(self, node: Node) -> Shape:
        return Embedded(self.read(node["schema"]) if "schema" in node else ANY)


_READERS: Mapping[str, Any] = {
    "definitions": _Reader.definitions,
    "definition-ref": _Reader.reference,
    "function-before": _Reader.guarded,
    "function-after": _Reader.inner,
    "function-wrap": _Reader.guarded,
    "custom-error": _Reader.inner,
    "default": _Reader.inner,
    "model": _Reader.model,
    "dataclass": _Reader.model,
    "typed-dict": _Reader.typed_dict,
    "named-tuple": _Reader.named_tuple,
    "enum": _Reader.choices,
    "literal": _Reader.choices,
    "list": _Reader.items,
    "set": _Reader.items,
    "frozenset": _Reader.items,
    "generator": _Reader.items,
    "tuple": _Reader.tuple,
    "dict": _Reader.pairs,
    "nullable": _Reader.nullable,
    "union": _Reader.union,
    "tagged-union": _Reader.tagged_union,
    "json-or-python": _Reader.in_json,
    "lax-or-strict": _Reader.lax,
    "chain": _Reader.chain,
    "json": _Reader.embedded,
}


def _aliases(alias: Any) -> list[str]:
    """The names that a validation alias allows; paths into nested data are left out."""
    if alias is None:
        return []
    if isinstance(alias, str):
        return [alias]
    paths = [[one] if isinstance(one, str) else one for one in alias]
    return [path[0] for path in paths if len(path) == 1 and isinstance(path[0], str)]
