"""The `native` format: the best that the provider's own API has for structured output, through instructor.

That is a JSON schema of the reply, else a tool that the LM must call (the gateway hands its arguments
on as the reply), else plain JSON mode, in which the words of the `json` format describe the object.

instructor writes the request's options, once per signature class, since its full wrapper rebuilds models and
schemas on every call. Replies are read by the parser of all formats, Pydantic validates the signature as a
whole, and re-asking is ours (`native/reask.jinja`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from declm.formats.base import Dialect, Prompt, View, dumped
from declm.formats.json import JSON
from declm.formats.schema import is_strict
from declm.formats.subsets import fitted
from declm.messages import Capabilities, Fields, NativeMode, Request, Response, SchemaRules
from declm.specs import spec


class Native:
    """Inputs as lines of text, outputs as an object that the provider's API constrains."""

    name = "native"

    def render(self, prompt: Prompt, inputs: Mapping[str, Any]) -> Request:
        """Write the request for inputs given as JSON values by key, with the API's own options."""
        mode, options = _plan(prompt.spec.cls, prompt.reasoning, prompt.capabilities)  # type: ignore[arg-type]  # as below
        request = prompt.request(_JSON if mode == "json" else self, inputs, prompt.constraint)
        return replace(request, options={**options, **request.options} if request.options else options)

    def parse(self, prompt: Prompt, response: Response) -> Fields:
        """Read the outputs.

        Raises:
            ParseError: the reply holds no object with any of the keys.
        """
        return prompt.read_object(response.text)

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
    return _chosen(prompt.spec.cls, prompt.reasoning, prompt.capabilities)  # type: ignore[arg-type]  # as below


@lru_cache(maxsize=256)
def _chosen(signature: type[BaseModel], reasoning: str | None, able: Capabilities) -> NativeMode:
    if able.native in ("tools", "json"):
        return able.native
    if fitted(Prompt(spec(signature), reasoning=reasoning).schema, able.schemas) is not None:
        return "json_schema"
    return "tools" if able.tools else "json"


@lru_cache(maxsize=256)
def _plan(
    signature: type[BaseModel], reasoning: str | None, able: Capabilities
) -> tuple[NativeMode, Mapping[str, Any]]:
    """The mode of requests about one signature, and their options."""
    mode = _chosen(signature, reasoning, able)
    return mode, _options(signature, reasoning, mode, able.schemas)


def _options(
    signature: type[BaseModel], reasoning: str | None, mode: NativeMode, rules: SchemaRules
) -> Mapping[str, Any]:
    """What instructor adds to every request about one signature."""
    # Importing instructor takes two seconds; only this format needs it.
    from instructor import Mode
    from instructor.processing.response import handle_response_model

    prompt = Prompt(spec(signature), reasoning=reasoning)
    modes = {"json_schema": Mode.JSON_SCHEMA, "tools": Mode.TOOLS, "json": Mode.JSON}
    schema = (fitted(prompt.schema, rules) if mode == "json_schema" else None) or prompt.schema
    _, made = handle_response_model(_reply_class(prompt, schema, is_tool=mode == "tools"), mode=modes[mode])
    options: dict[str, Any] = {name: made[name] for name in _OPTIONS if name in made}
    if mode == "json_schema":
        options["response_format"]["json_schema"]["strict"] = is_strict(schema)
    elif mode == "tools":
        del options["tools"][0]["function"]["description"]
    return options


_OPTIONS = ("response_format", "tools", "tool_choice")
"""What is taken of instructor's work; its messages are not, since every word is a template's."""


def _reply_class(prompt: Prompt, schema: dict[str, Any], *, is_tool: bool) -> type[BaseModel]:
    """A response model for instructor, which says the reply's schema.

    Replies are read by the parser of all formats: instructor would add 100 us to each, and take fewer.
    """

    class Reply(BaseModel):
        @classmethod
        def model_json_schema(cls, *_args: Any, **_options: Any) -> dict[str, Any]:
            # Without a description instructor would give a tool one in words of its own.
            return {"title": cls.__name__, "description": "", **schema} if is_tool else schema

    # The API takes letters, digits, - and _ only; a generic class is called `Box[int]`.
    Reply.__name__ = re.sub(r"[^A-Za-z0-9_-]", "_", prompt.spec.name)[:64]
    return Reply
