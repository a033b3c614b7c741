"""What a predictor's calls need besides their inputs: the format for the LM, and the prompt at a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declm import lm as lms
from declm import protocols, settings
from declm.errors import UsageError
from declm.formats import Choice, choose, chosen
from declm.formats.base import EXTRACTION_PARTS, PARTS, Prompt
from declm.messages import Capabilities
from declm.settings import Settings
from declm.specs import Spec
from declm.state import PredictorState
from declm.templates import Templates
from declm.text import closest

_ALL_PARTS = (*PARTS, *EXTRACTION_PARTS)

_KEPT_PROMPTS = 64
"""Rendered prefixes kept per predictor: more than the candidates that a search has in flight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The format of a call and its prompt, and for what they hold."""

    choice: Choice
    prompt: Prompt
    lm: protocols.LM
    able: Capabilities
    state: PredictorState
    settings: Settings

    def holds(self, lm: protocols.LM, able: Capabilities, state: PredictorState, now: Settings) -> bool:
        """Whether a call now would need the same."""
        then = self.settings
        return (
            self.lm is lm
            and self.able is able
            and self.state is state
            and (then is now or (then.format == now.format and then.templates == now.templates))
            and then.extractor is now.extractor
        )


class Planner:
    """Chooses formats and makes prompts for one signature; each prompt is made once per state.

    Args:
        spec: the signature.
        format: that the predictor names; None for the one in force.
        template: as in `Predict`.
        reasoning: key of a text before the outputs, None for none.

    Raises:
        UsageError: there is no such format, part or folder.
        TemplateError: a template uses a variable or field that does not exist.
    """

    def __init__(
        self,
        spec: Spec[Any],
        format: str | None,
        template: str | Mapping[str, str] | Path | None,
        reasoning: str | None,
    ) -> None:
        self._spec, self._format, self._template, self._reasoning = spec, format, template, reasoning
        self._prompts: dict[tuple[Any, ...], Prompt] = {}
        self._choices: dict[tuple[str, Capabilities], Choice] = {}
        self._latest: Plan | None = None
        first = choose(format, Capabilities())  # a misspelled format fails here, not at the first call
        if template is not None:
            _check_template(template)
            own = Prompt(spec, templates=self._templates(PredictorState(), ()), reasoning=reasoning)
            own.check(first.name, _ALL_PARTS if protocols.is_drafting(first) else PARTS)

    def plan(self, lm: protocols.LM, state: PredictorState, owner: object) -> Plan:
        """What a call of an LM needs now.

        Args:
            lm: the task's.
            state: of the predictor.
            owner: the predictor, for the log.
        """
        now, able, known = settings.current(), lm.capabilities, self._latest
        if known is not None and known.holds(lm, able, state, now):
            return known
        choice = self.choice(lm, state, owner)
        made = Plan(choice, self._prompt(choice, state), lm, able, state, now)
        if not protocols.is_drafting(choice.format):  # whose prompts hang on another LM as well
            self._latest = made
        return made

    def instead(self, plan: Plan) -> Plan:
        """What a call goes on with whose format is refused."""
        other = plan.choice.fall_back()
        return Plan(other, self._prompt(other, plan.state), plan.lm, plan.able, plan.state, plan.settings)

    def adopt(self, plan: Plan) -> None:
        """Go on like that with this LM."""
        self._choices[plan.lm.identity, plan.able] = plan.choice
        self._latest = None

    def choice(self, lm: protocols.LM, state: PredictorState, owner: object) -> Choice:
        """The format that is named, else what `auto` takes for this LM, which is logged once."""
        able, wanted = lm.capabilities, state.format or self._format or settings.current().format
        if wanted is not None and wanted != "auto":
            return chosen(wanted, able)
        known = self._choices.get((lm.identity, able))
        if known is not None:
            return known
        made = chosen(wanted, able)
        kept = self._choices.setdefault((lm.identity, able), made)
        if kept is made:  # no other thread was faster
            made.log(lm.model, repr(owner))
        return kept

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles render anew: compiled templates can be neither copied nor pickled.
        return {**vars(self), "_prompts": {}, "_latest": None}

    def _prompt(self, choice: Choice, state: PredictorState) -> Prompt:
        """The signature at a state, with its rendered prefix."""
        now, format = settings.current(), choice.format
        extractor = now.extractor if protocols.is_drafting(format) else None
        reads = None if extractor is None else lms.in_force(extractor).capabilities
        key = (state.hash, format.name, now.templates, choice.capabilities, reads)
        prompt = self._prompts.get(key)
        if prompt is None:
            prompt = Prompt(
                spec=self._spec,
                state=state,
                templates=self._templates(state, now.templates),
                capabilities=choice.capabilities,
                reasoning=self._reasoning,
                extractor=reads,
            )
            if len(self._prompts) >= _KEPT_PROMPTS:
                self._prompts.clear()
            self._prompts[key] = prompt
        return prompt

    def _templates(self, state: PredictorState, folders: tuple[Path, ...]) -> Templates:
        own = self._template
        texts = {"user": own} if isinstance(own, str) else dict(own) if isinstance(own, Mapping) else {}
        if isinstance(own, Path):
            folders = (own, *folders)
        return Templates(folders=folders, overrides={**texts, **state.templates}, owner=self._spec.name)


def _check_template(template: str | Mapping[str, str] | Path) -> None:
    """Refuse what would be overlooked: parts that no format has, folders that are not there."""
    if isinstance(template, Path):
        if not template.is_dir():
            raise UsageError(f"template={str(template)!r} is no folder; for a template's text, pass the text itself")
    elif not isinstance(template, str):
        for part in template:
            if part not in _ALL_PARTS:
                near = closest(part, list(_ALL_PARTS))
                hint = f"did you mean {near!r}? " if near else ""
                raise UsageError(f"a prompt has no part {part!r}; {hint}its parts are {', '.join(_ALL_PARTS)}")
