"""Answers rows with DSPy: `python benchmarks/prompt_score_peers.py < rows`, in the peers' environment.

Reads one line of JSON that says what to ask (`Asked`), then one line for each row, the inputs by name; it
answers each with a line before it reads the next one: the outputs as JSON, or why there are none. The
signature holds the same instruction, names, types, limits and descriptions as declm's.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, create_model
from pydantic_core import to_jsonable_python

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a run asks.

    Args:
        name: of the signature.
        instructions: of the signature.
        inputs: schema and description of each input by name.
        outputs: the same of each output.
        adapter: `chat` or `json`.
        plain: one call a row; else ChatAdapter falls back to JSONAdapter, as it does by default.
        url: base of the API.
        model: its name there.
        max_tokens: of one reply.
    """

    name: str
    instructions: str
    inputs: Mapping[str, tuple[Schema, str]]
    outputs: Mapping[str, tuple[Schema, str]]
    adapter: str
    plain: bool
    url: str
    model: str
    max_tokens: int


def type_of(schema: Schema, definitions: Schema) -> Any:
    """The Python type that a JSON schema of simple types was made from."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return _model(name, definitions[name], definitions)
    if "enum" in schema:
        special: Any = Literal
        return special[tuple(schema["enum"])]
    if "anyOf" in schema:
        first, *others = (type_of(one, definitions) for one in schema["anyOf"])
        for other in others:
            first = first | other
        return first
    if schema.get("type") == "array":
        item = type_of(schema.get("items", {}), definitions)
        return list[item]
    scalars: dict[Any, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
    return scalars.get(schema.get("type"), Any)


def _model(name: str, schema: Schema, definitions: Schema) -> Any:
    required = schema.get("required", ())
    members: dict[str, Any] = {
        key: (type_of(member, definitions), Field(default=... if key in required else None))
        for key, member in schema["properties"].items()
    }
    return create_model(name, **members)


def predictor(asked: Asked) -> Any:
    """DSPy's `Predict`, ready to be called."""
    import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only

    library: Any = dspy
    library.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    lm = library.LM(
        f"openai/{asked.model}", api_base=asked.url, api_key="none", temperature=0.0, max_tokens=asked.max_tokens
    )
    library.configure(lm=lm, adapter=_adapter(library, asked))
    fields: dict[str, Any] = {}
    for make, given in ((library.InputField, asked.inputs), (library.OutputField, asked.outputs)):
        for name, (schema, words) in given.items():
            limits = {"max_length": schema["maxItems"]} if "maxItems" in schema else {}
            described = {"desc": words} if words else {}
            fields[name] = (type_of(schema, schema.get("$defs", {})), make(**described, **limits))
    return library.Predict(library.make_signature(fields, asked.instructions, asked.name))


def _adapter(library: Any, asked: Asked) -> Any:
    if asked.adapter == "json":
        return library.JSONAdapter()
    return library.ChatAdapter(use_json_adapter_fallback=not asked.plain)


def answer(predict: Any, asked: Asked, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of one row, or the refusal."""
    from dspy.utils.exceptions import AdapterParseError  # pyright: ignore[reportMissingImports]  # as above

    refusal: Any = AdapterParseError
    try:
        found = predict(**inputs)
    except refusal as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"outputs": to_jsonable_python({name: found[name] for name in asked.outputs})}


def main() -> int:
    """Run the command; returns the exit status."""
    logging.disable(logging.CRITICAL)
    asked = Asked(**json.loads(sys.stdin.readline()))
    predict = predictor(asked)
    for line in sys.stdin:
        print(json.dumps(answer(predict, asked, json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
