"""JSON schemas as engines and providers take them: what may be said strictly, what must be bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_LARGEST = 2**53 - 1  # RFC 7493: every JSON reader agrees on integers up to here; larger ranges break llguidance
# What OpenAI's strict mode can't say: tuples, sets, free keys, negations, defaults.
_UNSAYABLE = frozenset(
    "prefixItems uniqueItems patternProperties propertyNames contains not allOf oneOf default".split()
)
_TYPED = frozenset({"type", "$ref", "anyOf", "enum", "const"})
_MAPS = frozenset({"properties", "$defs", "patternProperties"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties", "not"})

Schema = Mapping[str, Any]


def closed(schema: Schema) -> dict[str, Any]:
    """Forbid keys that an object does not declare, and integers that never end.

    Pydantic takes unknown keys silently, so a model that is free to add some writes them until its
    reply is cut; a small one also writes digits without end. An object that allows more keys in so
    many words (`dict[str, int]`, `extra="allow"`) stays open.
    """
    node = {key: _closed_part(key, value) for key, value in schema.items()}
    if "properties" in node:
        node.setdefault("additionalProperties", False)
    if node.get("type") == "integer" and not node.keys() & {"enum", "const"}:
        if not node.keys() & {"minimum", "exclusiveMinimum"}:
            node["minimum"] = -_LARGEST
        if not node.keys() & {"maximum", "exclusiveMaximum"}:
            node["maximum"] = _LARGEST
    return node


def is_strict(schema: Schema) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects, every property required, no tuples.

    See https://platform.openai.com/docs/guides/structured-outputs; a schema that says more is sent
    without `strict`, as a wish.
    """
    if schema.keys() & _UNSAYABLE or not schema.keys() & _TYPED:
        return False
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if schema.get("type") == "object":
        complete = set(schema.get("required", ())) == set(properties)
        if schema.get("additionalProperties") is not False or not complete:
            return False
    items: Schema | None = schema.get("items")
    inner = [*properties.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    return all(map(is_strict, inner)) and (items is None or is_strict(items))


def _closed_part(key: str, value: Any) -> Any:
    if key in _MAPS:
        return {name: closed(child) for name, child in value.items()}
    if key in _LISTS:
        return [closed(child) for child in value]
    if key in _SINGLE and isinstance(value, Mapping):
        return closed(cast("Schema", value))  # JSON objects have text keys
    return value
