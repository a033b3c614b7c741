"""`Predict`: one typed call of an LM; the unit that optimizers tune."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from typing import Any, Generic, cast, overload

from pydantic import BaseModel
from typing_extensions import ParamSpec, Self, TypeVar

from declm import lm as lms
from declm import protocols, settings, streams, trace
from declm.demo import Demo
from declm.errors import BadRequest, InputError, UsageError
from declm.messages import Messages
from declm.module import Module
from declm.predictors.flow import Answer, Flow, Other, Roles, Seen, adrive, drive, flow, instead
from declm.predictors.planning import Plan, Planner
from declm.predictors.watching import Show, View
from declm.shorthand import define
from declm.specs import Spec, spec
from declm.state import PredictorState, Stateful
from declm.text import clip
from declm.types import closed_values

# The defaults are what shorthand, which no checker reads, leaves unsolved.
P = ParamSpec("P", default=...)
S = TypeVar("S", default=Any)


class Predict(Stateful, Module, Generic[P, S]):
    """A typed call: the signature's inputs as keywords in, a validated instance out.

    Args:
        signature: a `Signature` class, or shorthand such as `"question -> answer: int"`.
        format: `"auto"`, `"native"`, `"json"`, `"chat"`, `"xml"` or `"two_step"`; None takes the format
            in force. What `auto` takes is logged once per LM (INFO, logger `declm`), and gives way to
            `json`, with a warning in the log, if the provider refuses it.
        lm: LM or model name of this predictor alone.
        template: own Jinja text: a text replaces the user message, a mapping replaces the parts
            it names (`system`, `user`, `assistant`, `reask`; of `two_step` also `extract`, `draft`), a
            folder shadows declm's templates.
        retries: how often an unacceptable reply is re-asked with the exact error.
        probabilities: ask how likely the LM found every value of each closed output (`Literal`, `Enum`,
            `bool`), for `run(...).probabilities`. Values that the first reply can't tell apart are asked for
            among themselves. For LMs that give log-probabilities, as local models do, and formats in JSON.

    Raises:
        UsageError: the signature has no outputs, `retries` is negative, or there is nothing to weigh.
        TemplateError: a template uses a variable or field that does not exist.

    Example:
        >>> from declm.testing import ScriptedLM
        >>> predict = Predict("question -> answer: int", lm=ScriptedLM(['{"answer": 42}']))
        >>> predict(question="six times seven").answer
        42
    """

    @overload
    def __init__(
        self,
        signature: str,
        *,
        format: str | None = None,
        lm: protocols.LM | str | None = None,
        template: str | Mapping[str, str] | Path | None = None,
        retries: int = 2,
        probabilities: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        signature: Callable[P, S],
        *,
        format: str | None = None,
        lm: protocols.LM | str | None = None,
        template: str | Mapping[str, str] | Path | None = None,
        retries: int = 2,
        probabilities: bool = False,
    ) -> None: ...
    def __init__(
        self,
        signature: Any,
        *,
        format: str | None = None,
        lm: protocols.LM | str | None = None,
        template: str | Mapping[str, str] | Path | None = None,
        retries: int = 2,
        probabilities: bool = False,
    ) -> None:
        if not isinstance(retries, int) or retries < 0:  # pyright: ignore[reportUnnecessaryIsInstance]  # notebooks are not type-checked
            raise UsageError(f"retries={retries!r} must be a whole number from 0")
        cls = define(signature) if isinstance(signature, str) else signature
        self._spec: Spec[Any] = spec(cls)
        if not self._spec.outputs:
            raise UsageError(f"{self._spec.name} has no outputs; declare one with `name: type = dm.Output(...)`")
        self._state = PredictorState()
        self._lm = lms.resolve(lm) if lm is not None else None
        if probabilities and not any(closed_values(field.schema) for field in self._spec.outputs.values()):
            raise UsageError(f"{self._spec.name} has no closed output (Literal, Enum, bool) to find probabilities of")
        self._retries, self._weighs = retries, probabilities
        self._format, self._template = format, template  # by which programs are told apart
        self._planner = Planner(self._spec, format, template, self.reasoning_key)

    def forward(self, /, *args: P.args, **kwargs: P.kwargs) -> S:
        """Predict; the same as calling the predictor."""
        return cast(S, self._invoke(args, kwargs))

    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[S]:
        """Predict, and yield the outputs as far as they are written; the last one is complete and validated.

        Outputs that can't be shown yet are unset, as in a request. Closing the iterator (leaving the loop)
        stops the LM's stream.

        Raises:
            InputError: an input is missing, unknown or mistyped; nothing has been sent.
        """
        self._row(args, kwargs)
        return _values(streams.pieces(lambda: self._run(args, kwargs).value))

    def astream(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[S]:
        """The same as `stream`, without blocking the event loop."""
        self._row(args, kwargs)
        return _avalues(self._apieces(args, kwargs))

    @property
    def spec(self) -> Spec[Any]:
        """The signature."""
        return self._spec

    @property
    def lm(self) -> protocols.LM:
        """The LM of this predictor, else the one in force.

        Raises:
            UsageError: none is set.
        """
        if self._lm is not None:
            return lms.in_force(self._lm)
        chosen = settings.current().lm
        if chosen is None:
            raise UsageError(
                "no LM is set: call dm.configure(lm='openai/gpt-5-mini'), or dm.configure(lm='local/smollm2') "
                "for the embedded model, or pass lm= to the predictor"
            )
        return lms.in_force(chosen)

    @property
    def format_name(self) -> str:
        """The format that a call would use now."""
        lm = self.lm
        return self._planner.choice(lm, self.predictor_state.variant(lm.model), self).format.name

    def render(self, /, *args: P.args, **kwargs: P.kwargs) -> Messages:
        """The exact messages that a call with these inputs would send; nothing is sent.

        Raises:
            InputError: an input is missing, unknown or mistyped.
            TemplateError: a template fails.
        """
        plan, inputs = self._plan(self.lm), self._spec.given(self._row(args, kwargs))
        return Messages(plan.choice.format.render(plan.prompt, inputs).messages)

    def with_demos(self, rows: Sequence[BaseModel | Demo], *, nearest: int | None = None) -> Self:
        """A copy that shows these worked examples: rows with all inputs and at least one output set.

        Args:
            rows: the examples.
            nearest: show in each call only so many, those whose inputs share most words with its own.

        Raises:
            UsageError: a row lacks inputs or outputs, or `nearest` is less than 1.
        """
        if nearest is not None and nearest < 1:
            raise UsageError(f"nearest={nearest!r} must be 1 or more, or None to show all demos")
        demos = tuple(row if isinstance(row, Demo) else self._demo(row) for row in rows)
        return self.with_predictor_state(self.predictor_state.model_copy(update={"demos": demos, "nearest": nearest}))

    def with_instructions(self, text: str) -> Self:
        """A copy with other instructions."""
        return self.with_predictor_state(self.predictor_state.model_copy(update={"instructions": text}))

    def with_lm(self, lm: protocols.LM | str) -> Self:
        """A copy with an LM of its own."""
        made = copy.copy(self)
        made._lm = lms.resolve(lm)
        return made

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(self._spec.inputs), ", ".join(self._spec.outputs)
        return f"{type(self).__name__}({self._spec.name}: {inputs} -> {outputs})"

    def _demo(self, row: BaseModel) -> Demo:
        if not isinstance(row, BaseModel):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise UsageError(f"a demo is a row such as {self._spec.name}(...), not {clip(repr(row), 100)}")
        inputs, outputs = self._spec.dump(row)
        missing = [key for key, field in self._spec.inputs.items() if field.required and key not in inputs]
        if missing or not outputs:
            lacking = ", ".join(f"`{key}`" for key in missing) or "any output"
            raise UsageError(f"a demo of {self._spec.name} lacks {lacking}: {clip(repr(row), 200)}")
        return Demo(inputs=inputs, outputs=outputs, row=self._spec.hash(row))

    def _row(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if args:
            raise InputError(f"{self._spec.name} takes its inputs by keyword: {', '.join(self._spec.inputs)}")
        return self._spec.request(kwargs)

    def _is_native(self) -> bool:
        return True

    def _is_async(self) -> bool:
        return False

    def _check(self, inputs: Mapping[str, Any]) -> None:
        self._row((), inputs)

    def _invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with trace.step(self, is_predictor=True) as call:
            row, lm = self._row(args, kwargs), self.lm
            seen = None if call is None else self._noted(call, row)
            steps, other = self._steps(row, lm)
            answer = drive(steps, self._roles(lm), seen, self._view(call, row, lm), other)
            if call is not None:
                self._note_answer(call, answer)
            return self._result(answer.row)

    async def _ainvoke(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with trace.step(self, is_predictor=True) as call:
            row, lm = self._row(args, kwargs), self.lm
            seen = None if call is None else self._noted(call, row)
            steps, other = self._steps(row, lm)
            answer = await adrive(steps, self._roles(lm), seen, self._view(call, row, lm), other)
            if call is not None:
                self._note_answer(call, answer)
            return self._result(answer.row)

    def _steps(self, row: BaseModel, lm: protocols.LM) -> tuple[Flow, Other | None]:
        """One call, and what follows it in another format where `auto` chose the one that is refused."""
        plan = self._plan(lm)
        steps = flow(plan.prompt, plan.choice.format, row, self._retries, weighs=self._weighs)
        return steps, None if plan.choice.fallback is None else partial(self._instead, plan, row)

    def _instead(self, plan: Plan, row: BaseModel, refusal: BadRequest) -> Flow:
        other = self._planner.instead(plan)

        def accepted() -> None:
            self._planner.adopt(other)
            plan.choice.log_fallback(plan.lm.model, repr(self), refusal)

        steps = flow(other.prompt, other.choice.format, row, self._retries, weighs=self._weighs)
        return instead(steps, accepted)

    def _plan(self, lm: protocols.LM) -> Plan:
        state = self.predictor_state
        return self._planner.plan(lm, state.variant(lm.model) if state.variants else state, self)

    def _roles(self, lm: protocols.LM) -> Roles:
        extractor = settings.current().extractor
        return Roles(lm, None if extractor is None else lms.in_force(extractor))

    def _view(self, call: trace.Call | None, row: BaseModel, lm: protocols.LM) -> Show | None:
        """What shows a reply while it is written, if somebody listens."""
        tell, path = streams.listener(), call.path if call is not None else ""
        if tell is None:
            return None
        return View(partial(self._plan, lm), row, lambda so_far: tell((path, self._result(so_far))))

    def _noted(self, call: trace.Call, row: BaseModel) -> Seen:
        """Write the inputs into a trace; gives what keeps the call's exchanges there."""
        call.inputs = self._masked(self._spec.given(row))
        return partial(call.exchanged, masked=bool(self._spec.sensitive))

    def _note_answer(self, call: trace.Call, answer: Answer) -> None:
        call.outputs = self._masked(self._spec.answered(answer.row))
        call.probabilities = {k: p for k, p in answer.probabilities.items() if k not in self._spec.sensitive}
        call.repairs = () if self._spec.sensitive else answer.repairs
        call.reasoning = trace.MASK if answer.reasoning and self._spec.sensitive else answer.reasoning

    def _result(self, row: BaseModel) -> Any:
        return row

    def _masked(self, values: dict[str, Any]) -> dict[str, Any]:
        hidden = self._spec.sensitive
        return {k: trace.MASK if k in hidden else v for k, v in values.items()} if hidden else values


def _values(pieces: Generator[streams.Piece]) -> Generator[Any]:
    with closing(pieces):
        for _, value in pieces:
            yield value


async def _avalues(pieces: AsyncGenerator[streams.Piece]) -> AsyncGenerator[Any]:
    async with aclosing(pieces):
        async for _, value in pieces:
            yield value
