"""The JSON schema of a reply, in the form that engines which constrain their output take.

OpenAI's strict mode wants closed objects whose members are all required; grammar converters such as
llama.cpp's reject patterns that are not anchored. Pydantic checks the full constraints afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_KEPT = frozenset(
    "type enum const format minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength "
    "minItems maxItems".split()
)
_NESTED = frozenset("items prefixItems anyOf allOf".split())
_PLAIN_PATTERN = re.compile(r"\^(?:[^\\()^$]|\\[\-./\[\]{}()*+?|])*\$")


def object_schema(members: Mapping[str, Schema]) -> dict[str, Any]:
    """Schema of an object with exactly these members, in this order, their definitions hoisted."""
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for key, member in members.items():
        closer = _Closer(_renamed(member.get("$defs", {}), definitions))
        properties[key] = closer.close(member)
        for name, definition in member.get("$defs", {}).items():
            definitions[closer.names[name]] = closer.close(definition)
    schema = {"type": "object", "properties": properties, "required": list(members), "additionalProperties": False}
    return {**schema, "$defs": definitions} if definitions else schema


def is_strict(schema: Schema) -> bool:
    """Whether OpenAI's strict mode takes a closed schema: no free-form maps, tuples or untyped values."""
    if "allOf" in schema or "prefixItems" in schema or not schema.keys() & {"type", "$ref", "anyOf", "enum", "const"}:
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    members = (*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ()))
    items = schema.get("items")
    return all(is_strict(member) for member in members) and (items is None or is_strict(items))


def is_text(schema: Schema) -> bool:
    """Whether every value that the schema allows is a string."""
    return _is_text(schema, schema.get("$defs", {}))


def _is_text(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    if "$ref" in schema:
        return _is_text(definitions.get(schema["$ref"].rsplit("/", 1)[-1], {}), definitions)
    if "anyOf" in schema:
        return all(_is_text(branch, definitions) for branch in schema["anyOf"])
    return schema.get("type") == "string"


def _renamed(new: Schema, taken: Mapping[str, Any]) -> dict[str, str]:
    """Names under which definitions can be hoisted: two fields may use two classes of one name."""
    same = _Closer({name: name for name in new})
    clash = any(name in taken and taken[name] != same.close(definition) for name, definition in new.items())
    return {name: f"{name}_{len(taken)}" if clash else name for name in new}


class _Closer:
    """Keeps what constrains a reply; drops titles, defaults and prose, which the prompt holds."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def close(self, schema: Schema) -> dict[str, Any]:
        found = {key: value for key, value in schema.items() if key in _KEPT}
        found |= {key: self._nested(value) for key, value in schema.items() if key in _NESTED}
        if "$ref" in schema:
            found["$ref"] = f"#/$defs/{self.names[schema['$ref'].rsplit('/', 1)[-1]]}"
        if "oneOf" in schema:
            found["anyOf"] = self._nested(schema["oneOf"])
        if _PLAIN_PATTERN.fullmatch(str(schema.get("pattern", ""))):
            found["pattern"] = schema["pattern"]
        if "properties" in schema:
            found["properties"] = {key: self.close(member) for key, member in schema["properties"].items()}
            found["required"] = list(schema["properties"])
            found["additionalProperties"] = False
        elif schema.get("type") == "object":
            found["additionalProperties"] = self._nested(schema.get("additionalProperties", True))
        return found

    def _nested(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.close(value)  # pyright: ignore[reportUnknownArgumentType]  # a schema is any JSON
        if isinstance(value, list):
            items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # as above
            return [self._nested(item) for item in items]
        return value
