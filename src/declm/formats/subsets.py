"""Which part of JSON schema each provider takes for structured output; a request that says more is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from declm.formats.schema import Schema, is_strict
from declm.messages import SchemaRules


@dataclass(frozen=True, slots=True)
class _Subset:
    """What a provider does not take.

    Args:
        drops: keywords that are left out, since they only narrow a value.
        formats: values of `format` that it knows, None if it takes any.
        cycles: whether a type may hold itself: in any member, in members that are not required, never.
        open_types: whether it takes maps with free keys, tuples and values of any type.
        const: whether it takes `const`.
    """

    drops: Collection[str]
    formats: Collection[str] | None
    cycles: Literal["any", "optional", "never"] = "any"
    open_types: bool = True
    const: bool = True


_RANGES = frozenset("minimum maximum exclusiveMinimum exclusiveMaximum".split())
_LENGTHS = frozenset({"minLength", "maxLength"})
_COUNTS = frozenset({"minItems", "maxItems"})
_TIMES = frozenset({"date-time", "date", "time"})
_FORMATS = _TIMES | frozenset("duration email hostname ipv4 ipv6 uuid".split())

# By the providers' guides to structured output, autumn 2025:
# platform.openai.com/docs/guides/structured-outputs,
# learn.microsoft.com/azure/ai-foundry/openai/how-to/structured-outputs,
# platform.claude.com/docs/en/build-with-claude/structured-outputs,
# ai.google.dev/gemini-api/docs/structured-output.
_SUBSETS: Mapping[SchemaRules, _Subset] = {
    "openai": _Subset(_LENGTHS, _FORMATS),
    "azure": _Subset(_RANGES | _LENGTHS | _COUNTS | {"pattern"}, ()),
    "anthropic": _Subset(_RANGES | _LENGTHS | _COUNTS, _FORMATS | {"uri"}, cycles="never", open_types=False),
    "gemini": _Subset(
        _LENGTHS | {"pattern", "exclusiveMinimum", "exclusiveMaximum"}, _TIMES, cycles="optional", const=False
    ),
}


def fitted(schema: dict[str, Any], rules: SchemaRules) -> dict[str, Any] | None:
    """The part of a closed schema that a provider takes; None if it can't say the type at all."""
    subset = _SUBSETS.get(rules)
    if subset is None:
        return schema
    reached = _reached(schema.get("$defs", {}))
    if subset.cycles == "never" and any(name in names for name, names in reached.items()):
        return None
    if not subset.open_types and not is_strict(schema):
        return None
    return _Fitter(subset, reached).fit(schema, None)


def _reached(definitions: Schema) -> dict[str, set[str]]:
    """Names of the definitions that each one refers to, directly or not."""
    reached = {name: _references(definition) for name, definition in definitions.items()}
    for through, further in reached.items():  # Warshall's closure
        for names in reached.values():
            if through in names:
                names |= further
    return reached


def _references(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        inner: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # a schema is any JSON
        own = {inner["$ref"].rsplit("/", 1)[-1]} if isinstance(inner.get("$ref"), str) else set[str]()
        return own.union(*map(_references, inner.values()))
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # as above
        return set[str]().union(*map(_references, items))
    return set()


class _Fitter:
    """Leaves out what a provider does not take."""

    def __init__(self, subset: _Subset, reached: Mapping[str, set[str]]) -> None:
        self._subset, self._reached = subset, reached

    def fit(self, schema: Schema, owner: str | None) -> dict[str, Any]:
        """The schema without it; `owner` is the definition that it is a part of."""
        found = {key: self._value(key, value, owner) for key, value in schema.items() if self._takes(key, value)}
        if "const" in found and not self._subset.const:
            found["enum"] = [found.pop("const")]
        if "properties" in found:
            found["required"] = [key for key, member in schema["properties"].items() if self._needs(member, owner)]
        return found

    def _takes(self, key: str, value: Any) -> bool:
        known = key != "format" or self._subset.formats is None or value in self._subset.formats
        return known and key not in self._subset.drops

    def _needs(self, member: Schema, owner: str | None) -> bool:
        if self._subset.cycles != "optional" or owner is None:
            return True
        return not any(owner == name or owner in self._reached.get(name, ()) for name in _references(member))

    def _value(self, key: str, value: Any, owner: str | None) -> Any:
        if key in ("properties", "$defs"):
            return {name: self.fit(part, name if key == "$defs" else owner) for name, part in value.items()}
        if isinstance(value, list) and key in ("anyOf", "allOf", "prefixItems"):
            items: list[Schema] = value  # pyright: ignore[reportUnknownVariableType]  # a schema is any JSON
            return [self.fit(part, owner) for part in items]
        if isinstance(value, Mapping) and key in ("items", "additionalProperties"):
            part: Schema = value  # pyright: ignore[reportUnknownVariableType]  # as above
            return self.fit(part, owner)
        return value  # pyright: ignore[reportUnknownVariableType]  # as above
