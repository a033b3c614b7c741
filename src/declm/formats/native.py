"""The `native` format: the best that the provider's own API has for structured output, through instructor.

That is a JSON schema of the reply, else a tool that the LM must call (the gateway hands its arguments
on as the reply), else plain JSON mode, in which the words of the `json` format describe the object.

instructor writes the request's options and reads the completion; what it prepares is made once per
signature class, since its full wrapper rebuilds models and schemas on every call. Pydantic then
validates the signature as a whole, as in every format, and re-asking is ours (`native/reask.jinja`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel
from typing_extensions import Self

from declm.formats.base import Dialect, Prompt, View, dumped
from declm.formats.json import JSON
from declm.formats.schema import is_strict
from declm.formats.subsets import fitted
from declm.messages import Fields, NativeMode, Request, Response, SchemaRules
from declm.specs import spec


class Native:
    """Inputs as lines of text, outputs as an object that the provider's API constrains."""

    name = "native"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key, with the API's own options."""
        request = prompt.request(self._words(prompt), inputs, prompt.constraint)
        return replace(request, options={**_contract_of(prompt).options, **request.options})

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs.

        Raises:
            ParseError: the reply holds no object with any of the keys.
        """
        return _contract_of(prompt).read(response.text)

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self._words(prompt), request, response, reason)

    def partial(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The outputs so far."""
        return prompt.partial_object(text)

    def answer(self, prompt: Prompt, outputs: Mapping[str, Any]) -> str:
        """Write the reply that says these outputs, given as JSON values by key."""
        return prompt.answer(self._words(prompt), outputs)

    def _words(self, prompt: Prompt) -> Dialect:
        """Whose templates: JSON mode is refused where no message asks for JSON, and knows no schema."""
        return _JSON if _mode(prompt) == "json" else self

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """The value itself: nothing that an input holds has a meaning in a JSON reply."""
        return value

    def write(self, field: View, value: Any) -> str:
        """Text as it is, everything else as JSON."""
        return value if isinstance(value, str) else dumped(value)


_JSON = JSON()


def _mode(prompt: Prompt) -> NativeMode:
    """The mode of a request; an LM of which nothing is known is asked for what most servers have."""
    able = prompt.capabilities
    if able.native in ("tools", "json"):
        return able.native
    if fitted(prompt.schema, able.schemas) is not None:
        return "json_schema"
    return "tools" if able.tools else "json"


@dataclass(frozen=True, slots=True)
class _Contract:
    """What instructor made of one signature: options of every request, and the reader of replies."""

    options: Mapping[str, Any]
    read: Callable[[str], Fields]


# What instructor reads of a chat completion; OpenAI's own classes take five times as long to build.


@dataclass(frozen=True, slots=True)
class _Message:
    content: str
    refusal: None = None


@dataclass(frozen=True, slots=True)
class _Choice:
    message: _Message
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class _Completion:
    choices: list[_Choice]


def _contract_of(prompt: Prompt) -> _Contract:
    wanted = (prompt.spec.cls, prompt.reasoning, _mode(prompt), prompt.capabilities.schemas)
    return _contract(*wanted)  # type: ignore[arg-type]  # mypy takes no model class for hashable


@lru_cache(maxsize=256)
def _contract(signature: type[BaseModel], reasoning: str | None, mode: NativeMode, rules: SchemaRules) -> _Contract:
    # Importing instructor takes two seconds; only this format needs it.
    from instructor import Mode
    from instructor.processing.response import handle_response_model
    from instructor.processing.response import (
        process_response as process,  # pyright: ignore[reportUnknownVariableType]  # partly untyped
    )

    process_response: Callable[..., Any] = process  # pyright: ignore[reportUnknownVariableType]  # as above
    prompt = Prompt(spec(signature), reasoning=reasoning)
    modes = {"json_schema": Mode.JSON_SCHEMA, "tools": Mode.TOOLS, "json": Mode.JSON}
    schema = (fitted(prompt.schema, rules) if mode == "json_schema" else None) or prompt.schema
    model, made = handle_response_model(_reply_class(prompt, schema, is_tool=mode == "tools"), mode=modes[mode])
    options: dict[str, Any] = {name: made[name] for name in _OPTIONS if name in made}
    if mode == "json_schema":
        options["response_format"]["json_schema"]["strict"] = is_strict(schema)
    elif mode == "tools":
        del options["tools"][0]["function"]["description"]

    def read(text: str) -> Fields:
        completion = _Completion([_Choice(_Message(text))])
        reply = process_response(completion, response_model=model, stream=False, mode=Mode.JSON_SCHEMA)
        return cast("Fields", reply.fields)  # instructor returns an instance of its own subclass

    return _Contract(options, read)


_OPTIONS = ("response_format", "tools", "tool_choice")
"""What is taken of instructor's work; its messages are not, since every word is a template's."""


def _reply_class(prompt: Prompt, schema: dict[str, Any], *, is_tool: bool) -> type[BaseModel]:
    """A response model for instructor: the reply's schema, and leniently read values.

    It leaves validation to the signature, whose validators may read inputs and must run once.
    """

    class Reply(BaseModel):
        fields: Fields

        @classmethod
        def model_json_schema(cls, *_args: Any, **_options: Any) -> dict[str, Any]:
            # Without a description instructor would give a tool one in words of its own.
            return {"title": cls.__name__, "description": "", **schema} if is_tool else schema

        @classmethod
        def model_validate_json(cls, json_data: str | bytes | bytearray, **_options: Any) -> Self:
            text = json_data if isinstance(json_data, str) else json_data.decode("utf-8", "replace")
            return cls.model_construct(fields=prompt.read_object(text))

    # The API takes letters, digits, - and _ only; a generic class is called `Box[int]`.
    Reply.__name__ = re.sub(r"[^A-Za-z0-9_-]", "_", prompt.spec.name)[:64]
    return Reply
