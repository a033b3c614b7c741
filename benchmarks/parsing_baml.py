"""BAML as one of the peers: its own parser, given any JSON schema, without its code generator.

BAML reads types from its own language only; its source text is written here from the schema and
compiled at run time. Types that BAML has no words for (any value, tuples) count as refused.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

_SCALARS = {"string": "string", "integer": "int", "number": "float", "boolean": "bool", "null": "null"}
_CLIENT = 'client<llm> None {\n  provider openai\n  options {\n    model "none"\n    api_key "none"\n  }\n}'
_FUNCTION = 'function Read(x: string) -> %s {\n  client None\n  prompt #"{{ x }}{{ ctx.output_format }}"#\n}\n'


class Unsupported(Exception):
    """BAML has no way to say that type."""


class Baml:
    """A parser for one JSON schema.

    Fields are called `f0`, `f1`, ... (`o0`, ... where they may be missing) with their names as aliases,
    since BAML's names are narrower; the number is unique in the schema, since inner objects come back as
    plain dicts.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import baml_py  # pyright: ignore[reportMissingImports]  # in the peers' environment only

        self._schema = schema
        self._sources, self._keys = dict[str, str](), dict[str, str]()
        wanted = self._type(schema, "Root")
        source = "\n".join([_CLIENT, *self._sources.values(), _FUNCTION % wanted])
        self._runtime = baml_py.BamlRuntime.from_files("/baml", {"main.baml": source}, {})
        self._classes = _Classes("baml_classes")

    def read(self, text: str, *, partial: bool) -> Any:
        """The value as JSON."""
        made = self._classes
        context = self._runtime.create_context_manager()
        found = self._runtime.parse_llm_response("Read", text, made, made, made, partial, context, None, None, {})
        return self._plain(found)

    def _type(self, node: Mapping[str, Any], name: str) -> str:
        if "$ref" in node:
            name = str(node["$ref"]).rsplit("/", 1)[-1]
            return _own(name) if _own(name) in self._sources else self._type(self._schema["$defs"][name], name)
        if "const" in node or "enum" in node:
            return "(" + " | ".join(json.dumps(one) for one in node.get("enum", [node.get("const")])) + ")"
        options = node.get("anyOf", node.get("oneOf"))
        if options:
            return "(" + " | ".join(self._type(one, f"{name}{at}") for at, one in enumerate(options)) + ")"
        kind = str(node.get("type"))
        if kind == "array" and "prefixItems" not in node:
            return f"{self._type(node.get('items', {}), name + 'Item')}[]"
        if kind == "object":
            return self._object(node, name)
        if kind not in _SCALARS:
            raise Unsupported(f"BAML has no type for {json.dumps(node)}")
        return _SCALARS[kind]

    def _object(self, node: Mapping[str, Any], name: str) -> str:
        if "properties" not in node:
            values = node.get("additionalProperties")
            if not isinstance(values, dict) or not values:
                raise Unsupported("BAML has no type for any value")
            return f"map<string, {self._type(values, name + 'Value')}>"
        own = _own(name)
        self._sources[own] = ""  # named before its fields are, one of which may be of this class
        members = list[str]()
        for key, one in node["properties"].items():
            required = key in node.get("required", ())
            member = f"{'f' if required else 'o'}{len(self._keys)}"
            self._keys[member] = key
            wanted = self._type(one, f"{name}{member}") + ("" if required else " | null")
            members.append(f"  {member} ({wanted}) @alias({json.dumps(key)})")
        self._sources[own] = "\n".join([f"class {own} {{", *members, "}"])
        return own

    def _plain(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            value = value.model_extra
        if isinstance(value, dict):
            shown = {name: one for name, one in value.items() if one is not None or name[:1] != "o"}
            return {self._keys.get(name, name): self._plain(one) for name, one in shown.items()}
        return [self._plain(one) for one in value] if isinstance(value, list) else value


class _Classes(types.ModuleType):
    """Where BAML looks for the classes of its values: any name is a model that takes all fields."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return create_model(name, __config__=ConfigDict(extra="allow"))


def _own(name: str) -> str:
    return "C" + "".join(char for char in name if char.isalnum())
