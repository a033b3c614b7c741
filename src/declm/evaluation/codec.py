"""A program's outputs, traces and usage as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError

from declm.errors import StateError, UsageError
from declm.messages import Request, Response
from declm.predictors import Predict, PredictedFunction
from declm.state import Node
from declm.text import clip
from declm.trace import Call
from declm.usage import Usage


class OutputCodec:
    """Writes outputs of one program and reads them back by the program's return type.

    A program without a return annotation may return what JSON has: texts, numbers, lists, dicts.
    """

    def __init__(self, adapter: TypeAdapter[Any] | None) -> None:
        self._adapter = adapter

    @classmethod
    def of(cls, program: Callable[..., Any]) -> OutputCodec:
        """The codec for a program, by its signature or annotation."""
        if isinstance(program, PredictedFunction):
            (output,) = program.spec.outputs.values()
            return cls(output.adapter)
        if isinstance(program, Predict):
            return cls(TypeAdapter(program.spec.cls))
        return cls(_annotated(program))

    def dump(self, value: Any) -> Any:
        """The output as JSON values.

        Raises:
            UsageError: reading it back would give something else.
        """
        try:
            dumped = self._dump(value)
            again = self.load(dumped)
            if type(again) is type(value) and self._dump(again) == dumped:
                return dumped
        except (PydanticSerializationError, StateError, TypeError, ValueError):
            pass
        raise UsageError(
            f"a named evaluation keeps outputs as JSON, and {clip(repr(value), 200)} of type {type(value).__name__} "
            "can't be kept so; annotate what the program returns (a Pydantic class, a list of texts, ...), "
            "or leave name= out"
        )

    def load(self, data: Any) -> Any:
        """The output that `dump` wrote.

        Raises:
            StateError: it does not fit the program's return type.
        """
        if self._adapter is None:
            return data
        try:
            return self._adapter.validate_json(json.dumps(data))
        except ValidationError as error:
            try:  # half of a surrogate pair, as LMs write at times, is no JSON for Pydantic
                return self._adapter.validate_python(data)
            except ValidationError:
                raise StateError(f"a kept output does not fit the program's return type: {error}") from error

    def _dump(self, value: Any) -> Any:
        if self._adapter is None:
            return json.loads(json.dumps(value))
        return self._adapter.dump_python(value, mode="json", by_alias=True, warnings="error")


def body_of(program: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a program runs: a module's `forward`, or the function itself."""
    module = cast("Any", program)  # every node that can be called is a Module, whose `forward` its users write
    body: Callable[..., Any] = module.forward if _is_node(program) else program
    return body


def _is_node(program: object) -> bool:
    return isinstance(program, Node)


def _annotated(program: Callable[..., Any]) -> TypeAdapter[Any] | None:
    body = body_of(program)
    annotated: Any = body if hasattr(body, "__annotations__") else type(body).__call__
    try:
        returned = get_type_hints(annotated, include_extras=True).get("return", Any)
        return None if returned is Any else TypeAdapter(returned)
    except (NameError, TypeError, PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None  # a name or type that can't be resolved: outputs must then be plain


def dump_usage(usage: Usage) -> dict[str, Any]:
    """Usage as JSON."""
    return dataclasses.asdict(usage)


def load_usage(data: Mapping[str, Any]) -> Usage:
    """The usage that `dump_usage` wrote; counters that are not known any more are dropped."""
    known = {f.name for f in dataclasses.fields(Usage)}
    return Usage(**{k: v for k, v in data.items() if k in known})


def dump_usages(usages: Mapping[str, Usage]) -> dict[str, Any]:
    """What `dump_usage` writes, by the same keys."""
    return {key: dump_usage(usage) for key, usage in usages.items()}


def load_usages(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Usage]:
    """The usages that `dump_usages` wrote."""
    return {key: load_usage(usage) for key, usage in data.items()}


def dump_trace(call: Call) -> dict[str, Any]:
    """A trace as JSON, without the messages, which take most of its room and can be rendered again."""
    return {
        "path": call.path,
        "name": call.name,
        "inputs": call.inputs,
        "outputs": call.outputs,
        "reasoning": call.reasoning,
        "seconds": call.seconds,
        "is_predictor": call.is_predictor,
        "exchanges": [[response.model, dump_usage(response.usage)] for _, response in call.exchanges],
        "children": [dump_trace(child) for child in call.children],
    }


def load_trace(data: Mapping[str, Any]) -> Call:
    """The trace that `dump_trace` wrote; its exchanges carry model and usage only."""
    fields = {k: data[k] for k in ("path", "name", "inputs", "outputs", "reasoning", "seconds", "is_predictor")}
    exchanges = [
        (Request(messages=()), Response(text="", model=model, usage=load_usage(usage)))
        for model, usage in data["exchanges"]
    ]
    return Call(**fields, exchanges=exchanges, children=[load_trace(child) for child in data["children"]])
