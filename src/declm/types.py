"""What JSON schemas say: types as one-line expressions, such as `{"name": string, "tags"?: string[]}`, and closed sets.

A prompt that carries a dumped JSON schema costs several times the tokens and small models answer
with the schema itself. The notation is TypeScript's, with constraints after the type; names are quoted
as in JSON, since small models copy what they see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

Schema = Mapping[str, Any]

_FORMATS = {
    "date": "date (YYYY-MM-DD)",
    "date-time": "date-time (ISO 8601)",
    "time": "time (HH:MM:SS)",
    "duration": "duration (ISO 8601)",
}


_DECIMAL = "^(?!^[-+.]*$)"
"""Start of the pattern that Pydantic before 2.14 writes for a Decimal; it says no more than "a number"."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A type expression, and the definitions that it names because they are recursive."""

    text: str
    definitions: Mapping[str, str]


def sketch(schema: Schema) -> Sketch:
    """Write a JSON schema (as Pydantic makes it) as a compact type expression."""
    writer = _Writer(schema.get("$defs", {}))
    text = writer.write(schema)
    return Sketch(text, writer.definitions)


def closed_values(schema: Schema) -> dict[str, Any] | None:
    """The values of a closed set by name (a text's name is itself); None if the set is not closed."""
    node = schema
    while "$ref" in node:
        node = schema.get("$defs", {}).get(str(node["$ref"]).rsplit("/", 1)[-1], {})
    values = node.get("enum")
    if values is None and node.get("type") == "boolean":
        values = [True, False]
    known: list[Any] = values or []
    if len(known) < 2:
        return None
    return {value if isinstance(value, str) else json.dumps(value): value for value in known}


class _Writer:
    def __init__(self, defs: Mapping[str, Schema]) -> None:
        self._defs = defs
        self._open: list[str] = []
        self._recursive: set[str] = set()
        self.definitions: dict[str, str] = {}

    def write(self, schema: Schema) -> str:
        if "$ref" in schema:
            return self._reference(schema["$ref"].rsplit("/", 1)[-1])
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return " | ".join(_literal(v) for v in schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return " | ".join(dict.fromkeys(self.write(s) for s in schema[key]))
        if "allOf" in schema:
            return " & ".join(self.write(s) for s in schema["allOf"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            return " | ".join(self.write({**schema, "type": k}) for k in kinds)
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        return _scalar(schema)

    def _reference(self, name: str) -> str:
        if name in self._open:
            self._recursive.add(name)
            return name
        if name in self.definitions:
            return name
        self._open.append(name)
        text = self.write(self._defs[name])
        self._open.pop()
        if name in self._recursive:
            self.definitions[name] = text
            return name
        return text

    def _array(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            return "[" + ", ".join(self.write(s) for s in schema["prefixItems"]) + "]"
        item = self.write(schema.get("items", {}))
        text = f"({item})[]" if " " in item and not item.startswith("{") else f"{item}[]"
        marks = _span(schema.get("minItems"), schema.get("maxItems"), "items")
        if schema.get("uniqueItems"):
            marks = ["distinct", *marks]
        return _with(text, marks)

    def _object(self, schema: Schema) -> str:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        if not properties:
            values: Any = schema.get("additionalProperties")
            key = self.write(schema["propertyNames"]) if "propertyNames" in schema else "key"
            return f"{{[{key}]: {self.write(values)}}}" if values and values is not True else "{}"
        required = schema.get("required", ())
        members = [self._member(name, s, name in required) for name, s in properties.items()]
        return "{" + ", ".join(members) + "}"

    def _member(self, name: str, schema: Schema, required: bool) -> str:
        words = " ".join(schema.get("description", "").split())
        note = f" /* {words} */" if words else ""
        return f"{_literal(name)}{'' if required else '?'}: {self.write(schema)}{note}"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _scalar(schema: Schema) -> str:
    kind: str = schema.get("type", "any")
    named: str = schema.get("format", "") if kind == "string" else ""
    text = _FORMATS.get(named, named) or kind
    marks = _span(schema.get("minimum"), schema.get("maximum"))
    marks += _span(schema.get("minLength"), schema.get("maxLength"), "characters")
    if "exclusiveMinimum" in schema:
        marks.append(f"> {schema['exclusiveMinimum']}")
    if "exclusiveMaximum" in schema:
        marks.append(f"< {schema['exclusiveMaximum']}")
    if "multipleOf" in schema:
        marks.append(f"multiple of {schema['multipleOf']}")
    if "pattern" in schema and not schema["pattern"].startswith(_DECIMAL):
        marks.append(f"/{schema['pattern']}/")
    return _with(text, marks)


def _span(low: float | None, high: float | None, unit: str = "") -> list[str]:
    if low is None and high is None:
        return []
    if low is None:
        text = f"<= {high}"
    elif high is None:
        text = f">= {low}"
    else:
        text = f"{low}" if low == high else f"{low} to {high}"
    return [f"{text} {unit}".strip()]


def _with(text: str, marks: list[str]) -> str:
    return f"{text} ({', '.join(marks)})" if marks else text
