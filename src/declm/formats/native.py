"""The `native` format: the provider's own structured output, through instructor.

instructor writes the request's options and reads the completion; what it prepares is made once per
signature class, since its full wrapper rebuilds models and schemas on every call. Pydantic then
validates the signature as a whole, as in every format, and re-asking is ours (`native/reask.jinja`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel
from typing_extensions import Self

from declm.formats.base import Prompt, View, dumped
from declm.formats.parsing import parse_object
from declm.formats.schema import is_strict
from declm.messages import Request, Response
from declm.specs import spec


class Native:
    """Inputs as lines of text, outputs as an object that the provider's API constrains."""

    name = "native"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key, with the API's own options."""
        request = prompt.request(self, inputs, prompt.schema if prompt.capabilities.structured else None)
        return replace(request, options={**_contract_of(prompt).options, **request.options})

    def parse(self, prompt: Prompt, response: Response) -> dict[str, Any]:
        """Read the output values by key.

        Raises:
            ParseError: the reply holds no JSON object with any of the keys.
        """
        return _contract_of(prompt).read(response.text)

    def reask(self, prompt: Prompt, request: Request, response: Response, reason: str) -> Request:
        """Write the request that follows a reply which could not be accepted."""
        return prompt.reask(self, request, response, reason)

    def guard(self, value: Any) -> Any:
        """The value itself: nothing that an input holds has a meaning in a JSON reply."""
        return value

    def write(self, field: View, value: Any) -> str:
        """Text as it is, everything else as JSON."""
        return value if isinstance(value, str) else dumped(value)


@dataclass(frozen=True, slots=True)
class _Contract:
    """What instructor made of one signature: options of every request, and the reader of replies."""

    options: Mapping[str, Any]
    read: Callable[[str], dict[str, Any]]


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
    return _contract(prompt.spec.cls, prompt.reasoning)  # type: ignore[arg-type]  # mypy takes no model class for hashable


@lru_cache(maxsize=256)
def _contract(signature: type[BaseModel], reasoning: str | None) -> _Contract:
    # Importing instructor takes two seconds; only this format needs it.
    from instructor import Mode
    from instructor.processing.response import handle_response_model
    from instructor.processing.response import (
        process_response as process,  # pyright: ignore[reportUnknownVariableType]  # partly untyped
    )

    process_response: Callable[..., Any] = process  # pyright: ignore[reportUnknownVariableType]  # as above
    prompt = Prompt(spec(signature), reasoning=reasoning)
    model, options = handle_response_model(_reply_class(prompt), mode=Mode.JSON_SCHEMA)
    wanted = options["response_format"]["json_schema"]
    wanted["strict"] = is_strict(wanted["schema"])

    def read(text: str) -> dict[str, Any]:
        completion = _Completion([_Choice(_Message(text))])
        reply = process_response(completion, response_model=model, stream=False, mode=Mode.JSON_SCHEMA)
        return cast("dict[str, Any]", reply.outputs)  # instructor returns an instance of its own subclass

    return _Contract({"response_format": options["response_format"]}, read)


def _reply_class(prompt: Prompt) -> type[BaseModel]:
    """A response model for instructor: the reply's schema, and leniently read values.

    It leaves validation to the signature, whose validators may read inputs and must run once.
    """

    class Reply(BaseModel):
        outputs: dict[str, Any]

        @classmethod
        def model_json_schema(cls, *_args: Any, **_options: Any) -> dict[str, Any]:
            return prompt.schema

        @classmethod
        def model_validate_json(cls, json_data: str | bytes | bytearray, **_options: Any) -> Self:
            text = json_data if isinstance(json_data, str) else json_data.decode("utf-8", "replace")
            return cls.model_construct(outputs=parse_object(text, prompt.keys))

    # The API takes letters, digits, - and _ only; a generic class is called `Box[int]`.
    Reply.__name__ = re.sub(r"[^A-Za-z0-9_-]", "_", prompt.spec.name)[:64]
    return Reply
