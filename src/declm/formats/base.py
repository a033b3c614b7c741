"""`Prompt`: a signature at one predictor state, and how any format writes it as messages.

What stays the same from call to call (the system message and the demonstrations) is rendered once
per prompt and format; a call renders its own last message only, and may choose among the demonstrations.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from declm.errors import InputError, ParseError
from declm.fields import FieldSpec
from declm.formats.parsing import (
    NOTHING,
    TEXT,
    Member,
    Parsed,
    Record,
    Scalar,
    beginning,
    checked,
    described,
    is_null,
    parse_field,
    parse_members,
    partial_members,
    read_partial,
)
from declm.formats.schema import is_text, object_schema
from declm.formats.subsets import fitted
from declm.likeness import Likeness, among, text_of
from declm.messages import Capabilities, Fields, Message, Request, Response
from declm.specs import Spec
from declm.state import PredictorState
from declm.templates import UNTIMED, Form, Names, Part, Templates, marks
from declm.text import clip

View = dict[str, Any]
"""A field as templates see it: `key`, `type`, `description`, `default`, `examples`, `text`, ..."""

PARTS = ("system", "user", "assistant", "reask")
"""The templates of every format."""

EXTRACTION_PARTS = ("extract", "draft")
"""What a format in two steps has besides: the words of the extraction, and how they quote the draft."""

INPUT_LIMIT = 15_000_000
"""Characters of an input; no LM's window comes near, and templates write little more (`OUTPUT_LIMIT`)."""

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_FORMS = 64
"""Forms of user messages kept per prompt; each stands for which inputs are there, and which have several lines."""

_SHARED = ("instructions", "inputs", "outputs", "definitions")
_REPLY_LIMIT = 8_000
_REASON_LIMIT = 2_000


class Dialect(Protocol):
    """How one format writes values."""

    @property
    def name(self) -> str:
        """Name of the format, and of its folder of templates."""
        ...

    def guard(self, value: Any, keys: Collection[str]) -> Any:
        """A JSON value as it may stand in a prompt: the marks of a reply with these keys escaped."""
        ...

    def write(self, field: View, value: Any) -> str:
        """An output's guarded value as the ideal reply has it; `field` is the view of its field."""
        ...


@dataclass(frozen=True, eq=False)
class Prompt:
    """A signature at one predictor state; make it once per state and keep it.

    Args:
        spec: the signature.
        state: instructions, demos and rewordings in force.
        templates: where the words come from.
        capabilities: of the LM that will answer.
        reasoning: key of a text that the LM writes before the outputs, None for none. It is no
            field of the signature; demos may hold it among their outputs.
        extractor: capabilities of the LM that reads outputs from a draft, None for the same LM.
    """

    spec: Spec[Any]
    state: PredictorState = field(default_factory=PredictorState)
    templates: Templates = field(default_factory=Templates)
    capabilities: Capabilities = field(default_factory=Capabilities)
    reasoning: str | None = None
    extractor: Capabilities | None = None
    _written: dict[str, _Written] = field(default_factory=dict[str, "_Written"], init=False, repr=False)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of a reply in the order in which they are written, the reasoning first."""
        return (*([self.reasoning] if self.reasoning else []), *self.spec.outputs)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of a reply: a closed object of all `keys`, in order."""
        members = {key: field.schema for key, field in self.spec.outputs.items()}
        return object_schema({self.reasoning: {"type": "string"}, **members} if self.reasoning else members)

    @cached_property
    def constraint(self) -> dict[str, Any] | None:
        """The schema that the LM can hold its reply to, None for none."""
        return self.sayable(self.capabilities)

    @cached_property
    def record(self) -> Record:
        """What the parser needs to know of a reply: its keys with their types."""
        record = Record(self.spec.name)
        members: dict[str, Member] = {}
        for key, output in self.spec.outputs.items():
            shape, source = described(output.adapter)
            members[key] = Member(key, shape, output.required, (output.name,), output.name, source)
        own = {self.reasoning: Member(self.reasoning, TEXT, required=False)} if self.reasoning else {}
        record.fill({**own, **members})
        return record

    @cached_property
    def cacheable(self) -> bool:
        """Whether no input or output is sensitive."""
        return not any(f.sensitive for f in (*self.spec.inputs.values(), *self.spec.outputs.values()))

    @cached_property
    def inputs(self) -> dict[str, View]:
        """Views of the inputs by key."""
        return {key: self._view(field) for key, field in self.spec.inputs.items()}

    @cached_property
    def outputs(self) -> dict[str, View]:
        """Views of the outputs by key, the reasoning first."""
        views = {key: self._view(field) for key, field in self.spec.outputs.items()}
        if self.reasoning is None:
            return views
        words = self.state.descriptions.get(self.reasoning, "")
        own: View = {"key": self.reasoning, "type": "string", "description": words, "default": None, "examples": []}
        return {self.reasoning: {**own, "reasoning": True, "lone": False, "is_text": True, "bare": not words}, **views}

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The variables of every template: `instructions`, `inputs`, `outputs`, `definitions`."""
        fields = (*self.spec.inputs.values(), *self.spec.outputs.values())
        return {
            "instructions": self.state.instructions or self.spec.instructions,
            "inputs": list(self.inputs.values()),
            "outputs": list(self.outputs.values()),
            "definitions": {name: text for f in fields for name, text in f.sketch.definitions.items()},
        }

    def check(self, format: str, parts: Collection[str] = PARTS) -> None:
        """Load and check every template of a format.

        Raises:
            TemplateError: one is missing, can't be compiled or uses what does not exist.
        """
        for part in parts:
            self.part(format, part)

    def part(self, format: str, part: str) -> Part:
        """One compiled template of a format, checked against the signature."""
        if part == "user":
            names = Names((*_SHARED, "values"), tuple(self.inputs))
        elif part == "assistant":
            names = Names((*_SHARED, "values"), tuple(self.outputs))
        else:
            own = {"reask": ("reason", "reply"), "draft": ("text",)}
            names = Names((*_SHARED, *own.get(part, ())))
        return self.templates.part(format, part, names)

    def request(self, dialect: Dialect, inputs: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> Request:
        """The request for inputs given as JSON values by key."""
        written = self._write(dialect)
        return Request(
            messages=(*written.prefix(inputs), Message("user", written.user(inputs))),
            schema=schema,
            options=self.state.options,
            cacheable=self.cacheable,
        )

    def reask(self, dialect: Dialect, request: Request, response: Response, reason: str) -> Request:
        """The request that shows a refused reply and says why; schema and options stay."""
        reply = clip(response.text, _REPLY_LIMIT)
        context = {**self.shared, "reason": clip(reason, _REASON_LIMIT), "reply": reply}
        words = self.part(dialect.name, "reask").render(context)
        said = (Message("assistant", reply),) if reply.strip() else ()
        return replace(request, messages=(*request.messages, *said, Message("user", words)), asked=request.asked + 1)

    def answer(self, dialect: Dialect, outputs: Mapping[str, Any]) -> str:
        """The reply that says these outputs, given as JSON values by key."""
        return self._write(dialect).assistant(outputs)

    def read_part(self, key: str, text: str) -> Parsed[Any]:
        """One output that stands alone; texts may be quoted.

        Raises:
            ParseError: it is no such value.
        """
        shape, part = self.record.members[key].shape, text.strip()
        if isinstance(shape, Scalar) and shape.kind == "text":
            return Parsed(unquoted(part))
        # What is written as a text, such as bytes, may look like JSON and mean itself.
        stands_alone = self.outputs[key]["is_text"] and not is_null(part)
        if stands_alone and checked(unquoted(part), self.record.members[key]) is not NOTHING:
            return Parsed(unquoted(part))
        return parse_field(part, shape)

    def partial_part(self, key: str, text: str, *, grows: bool) -> Any:
        """One output that stands alone, as far as it is written; `NOTHING` if it can't be shown yet."""
        member = self.record.members[key]
        if grows:
            return read_partial(text, member.shape, member.source)
        try:
            return checked(self.read_part(key, text).value, member)
        except ParseError:
            return NOTHING

    def partial_object(self, text: str) -> dict[str, Any]:
        """The outputs that the beginning of an object shows so far, by key."""
        return partial_members(beginning(text, self.record), self.record)

    def read_object(self, text: str) -> Fields:
        """The outputs that an object in a reply holds.

        Raises:
            ParseError: there is no object with any of the keys.
        """
        found = parse_members(text, self.record)
        return Fields(found.values, found.problems, tuple(map(str, found.repairs)))

    def sayable(self, capabilities: Capabilities) -> dict[str, Any] | None:
        """The schema that such an LM can hold its reply to, None for none."""
        return fitted(self.schema, capabilities.schemas) if capabilities.structured else None

    def _is_lone(self, role: str) -> bool:
        """Whether the fields of that role are just one."""
        return len(self.spec.inputs if role == "input" else self.keys) == 1

    def _write(self, dialect: Dialect) -> _Written:
        written = self._written.get(dialect.name)
        if written is None:
            written = self._written[dialect.name] = _Written(self, dialect)
        return written

    def _view(self, field: FieldSpec) -> View:
        description = self.state.descriptions.get(field.key, field.description)
        examples = [dumped(_dump(field, example)) for example in field.info.examples or ()]
        shows_default = field.role == "output" and not field.required
        return {
            "key": field.key,
            "type": field.sketch.text,
            "description": description,
            "default": dumped(_dump(field, field.default)) if shows_default else None,
            "examples": examples,
            "reasoning": False,
            "lone": self._is_lone(field.role),
            "is_text": is_text(field.schema),
            "bare": field.sketch.text == "string" and not description and not examples,
        }


class _Written:
    """A prompt in one dialect: compiled templates and the constant messages."""

    def __init__(self, prompt: Prompt, dialect: Dialect) -> None:
        self._prompt, self._dialect = prompt, dialect
        self._forms: dict[tuple[tuple[str, bool], ...], Form | None] = {}
        self._user = prompt.part(dialect.name, "user")
        self._assistant = prompt.part(dialect.name, "assistant")
        system = prompt.part(dialect.name, "system").render(prompt.shared)
        self._system = Message("system", system)
        # A demo without any output of this signature would teach an empty reply.
        self._demos = [demo for demo in prompt.state.demos if prompt.outputs.keys() & demo.outputs.keys()]
        self._turns: dict[int, tuple[Message, Message]] = {}
        self._nearest = prompt.state.nearest
        self._constant = self._with(range(len(self._demos))) if self._nearest is None else ()

    def prefix(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """What stands before the inputs: the same for all calls, unless the state shows the nearest demos only."""
        if self._nearest is None:
            return self._constant
        return self._with(reversed(self._likeness.nearest(text_of(inputs), self._nearest)))

    @cached_property
    def _likeness(self) -> Likeness:
        return among(self._demos)

    def _with(self, places: Iterable[int]) -> tuple[Message, ...]:
        return (self._system, *(message for place in places for message in self._turn(place)))

    def user(self, inputs: Mapping[str, Any]) -> str:
        """The message that holds the inputs.

        Raises:
            InputError: one is longer than `INPUT_LIMIT`.
        """
        guard, keys = self._dialect.guard, self._prompt.keys
        values: View = {}
        texts: dict[str, str] = {}
        several: dict[str, bool] = {}
        for key in self._prompt.inputs:
            if key in inputs:
                value = values[key] = guard(inputs[key], keys)
                text = texts[key] = value if isinstance(value, str) else dumped(value)
                several[key] = len(text.splitlines()) > 1
                if len(text) > INPUT_LIMIT:
                    raise InputError(f"{key!r} has {len(text):,} characters; an input may have {INPUT_LIMIT:,}")
        form = self._forms.get(tuple(several.items()))
        if form is not None and form.length(texts) < UNTIMED:  # what is longer, a rendering has to pay for
            return form.fill(texts).strip("\n")
        return self._rendered(values, texts, several)

    def _rendered(self, values: View, texts: Mapping[str, str], several: Mapping[str, bool]) -> str:
        written = self._user.render(self._context(values, texts, several))
        shape, keys = tuple(several.items()), tuple(several)
        if shape not in self._forms and len(self._forms) < _FORMS:
            marked = marks(keys)
            form = self._user.form(self._context(marked, marked, several), keys)
            is_right = form is not None and form.fill(texts).strip("\n") == written
            self._forms[shape] = form if is_right else None
        return written

    def _context(self, values: View, texts: Mapping[str, str], several: Mapping[str, bool]) -> View:
        fields = _filled(self._prompt.inputs, values, texts, several)
        return {**values, **self._prompt.shared, "inputs": fields, "values": values}

    def assistant(self, outputs: Mapping[str, Any]) -> str:
        """The ideal reply, as far as the outputs are known."""
        views = self._prompt.outputs
        values = {key: self._dialect.guard(outputs[key], views) for key in views if key in outputs}
        texts = {key: self._dialect.write(views[key], value) for key, value in values.items()}
        fields = _filled(views, values, texts, {key: len(text.splitlines()) > 1 for key, text in texts.items()})
        return self._assistant.render({**values, **self._prompt.shared, "outputs": fields, "values": values})

    def _turn(self, place: int) -> tuple[Message, Message]:
        """A demo as messages, rendered once."""
        turn = self._turns.get(place)
        if turn is None:
            demo = self._demos[place]
            turn = Message("user", self.user(demo.inputs)), Message("assistant", self.assistant(demo.outputs))
            self._turns[place] = turn
        return turn


def _filled(
    views: Mapping[str, View], values: View, texts: Mapping[str, str], several: Mapping[str, bool]
) -> list[View]:
    """Views of the fields that have a value, with `value` and `text`, and whether it is `multiline`."""
    return [
        {**views[key], "value": values[key], "text": text, "multiline": several[key]} for key, text in texts.items()
    ]


def unquoted(text: str) -> str:
    """The text that JSON quotes hold, if they hold all of it; else the text."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            found = json.loads(text)
        except ValueError:
            return text
        return found if isinstance(found, str) else text
    return text


def dumped(value: Any) -> str:
    """A JSON value as readable JSON on one line."""
    return _ENCODER.encode(value)


def _dump(field: FieldSpec, value: Any) -> Any:
    return field.adapter.dump_python(value, mode="json", by_alias=True, fallback=repr, warnings=False)
