"""The simulated learner behind chat requests: reads the prompts of any framework, replies in the form that they ask.

A request whose output fields are the task's is a question about a row; any other is asked for texts, such as
instructions: then the learner writes some, and tells to look out for values of rows that the request quotes, so that
a proposal made from examples is worth more than one made from nothing.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from learner import REGIMES, Mind, Prompt, Question, Regime, Shown, questions, text_of
from prompt_server import Exchange
from tasks import Task
from typing_extensions import Self

TAKEN = frozenset("model messages temperature max_tokens response_format seed top_p".split())
"""What a request to the learner may hold."""

CLUES = 5
"""Values at most that a written instruction names."""

STYLES = (
    "Read the whole text before you decide.",
    "Be exact.",
    "Think about what the writer needs.",
    "Choose the most specific answer that fits.",
    "Do not be misled by single words.",
    "Give one answer and nothing else.",
    "Compare the likely answers before you choose.",
    "Mind the difference between similar answers.",
    "Look at what has happened already and what has not.",
    "When in doubt, take the plainest reading.",
    "You have done this for many years.",
    "A wrong answer is costly.",
    "Ask yourself what the text is really about.",
    "Weigh every part of the text.",
    "Take the text at its word.",
    "Answer as a careful expert would.",
)

_OBJECTIVE = re.compile(r"your objective is:(.*)", re.DOTALL)
_MARKED = re.compile(r"field `\[\[ ## (\w+) ## \]\]`|then `\[\[ ## (\w+) ## \]\]`")
_ORDERED = re.compile(r"in the following order of fields:([^\n]*)")
_TICKED = re.compile(r"`(\w+)`")
_TEXTS = re.compile(r"instruction|rule|advice|prompt")

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How a reply must look: output fields with their types in JSON schema, and whether between markers or as JSON."""

    fields: Mapping[str, str]
    is_marked: bool

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Form:
        """The form that a request asks for; no fields if it does not say."""
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
        if schema:
            return cls({key: str(part.get("type", "string")) for key, part in schema["properties"].items()}, False)
        last = content(body["messages"][-1])
        marked = [a or b for a, b in _MARKED.findall(last) if (a or b) != "completed"]
        if marked:
            return cls(dict.fromkeys(marked, "string"), True)
        ordered = _ORDERED.search(last)
        return cls(dict.fromkeys(_TICKED.findall(ordered.group(1)) if ordered else (), "string"), False)

    def reply(self, values: Mapping[str, Any]) -> str:
        """The values in this form; without fields the first one, fenced."""
        if not self.fields:
            return f"```\n{next(iter(values.values()))}\n```"
        if not self.is_marked:
            return json.dumps(values, ensure_ascii=False)
        parts = [f"[[ ## {key} ## ]]\n{v if isinstance(v, str) else json.dumps(v)}" for key, v in values.items()]
        return "\n\n".join([*parts, "[[ ## completed ## ]]"])


@dataclass
class Learner:
    """Answers chat requests about the rows of some tasks (a `prompt_server.Model`)."""

    tasks: Sequence[Task]
    regimes: Mapping[str, Regime]
    _asked: Counter[str] = field(default_factory=Counter[str], init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @classmethod
    def of(cls, tasks: Sequence[Task], regime: str | Mapping[str, str]) -> Self:
        """A learner of these tasks; `regime` is a name for all of them, or one by the task's name."""
        names = {task.name: regime if isinstance(regime, str) else regime[task.name] for task in tasks}
        return cls(tasks, {name: REGIMES[of] for name, of in names.items()})

    def answer(self, body: Mapping[str, Any]) -> Exchange:
        """Answer the body of a chat completion."""
        messages: Sequence[Message] = body["messages"]
        form = Form.of(body)
        row = self._row(content(messages[-1]))
        if row is not None and set(row) <= set(form.fields):
            values = self._answers(row, form, messages, self._turn(body))
        else:
            values = self._texts(form, messages, self._turn(body))
        text = form.reply(values)
        return Exchange(text, "stop", sum(len(content(m)) for m in messages) // 4, len(text) // 4 + 1)

    def _turn(self, body: Mapping[str, Any]) -> str:
        """Differs between repetitions of a request at a temperature; else the replies are the same."""
        if not body.get("temperature"):
            return ""
        key = json.dumps(body["messages"], sort_keys=True)
        with self._lock:
            self._asked[key] += 1
            return str(self._asked[key])

    # --- answering rows

    def _answers(
        self, row: Mapping[str, Question], form: Form, messages: Sequence[Message], turn: str
    ) -> dict[str, Any]:
        told = instruction(messages)
        pairs = list(self._demos(messages))
        values: dict[str, Any] = {}
        for key in form.fields:
            question = row.get(key)
            if question is None:
                values[key] = "The text says what is asked."
                continue
            demos = tuple(
                Shown(text, shown) for text, said in pairs if (shown := said_value(said, key, question.values))
            )
            salt = json.dumps([told, [(demo.text, demo.value) for demo in demos], turn])
            values[key] = loaded(
                Mind(self.regimes[question.task]).answer(question, Prompt(told, demos, salt)), question
            )
        return values

    def _demos(self, messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
        """The input's text and the reply of each demo."""
        for asked, said in pairwise(messages):
            if asked["role"] == "user" and said["role"] == "assistant":
                row = self._row(content(asked))
                if row is not None:
                    yield next(iter(row.values())).text, content(said)

    def _row(self, text: str) -> Mapping[str, Question] | None:
        """The row whose input ends up in a message: the longest that does."""
        if text not in self._found:
            held = [known for known in self._texts_of_rows if known in text]
            self._found[text] = self._texts_of_rows[max(held, key=len)] if held else None
        return self._found[text]

    @cached_property
    def _found(self) -> dict[str, Mapping[str, Question] | None]:
        return {}

    @cached_property
    def _texts_of_rows(self) -> dict[str, Mapping[str, Question]]:
        rows = [(task, row) for task in self.tasks for row in (*task.train, *task.dev, *task.test)]
        return {text_of(row).strip(): questions(task, row) for task, row in rows}

    # --- writing

    def _texts(self, form: Form, messages: Sequence[Message], turn: str) -> dict[str, Any]:
        prompt = "\n".join(map(content, messages))
        rng = random.Random(prompt + turn)
        made: dict[str, Any] = {}
        for key, kind in (form.fields or {"instruction": "string"}).items():
            text = self._instruction(prompt, rng) if _TEXTS.search(key) else " ".join(rng.sample(STYLES, 2))
            made[key] = {"array": [text], "boolean": True, "integer": 1, "number": 1.0}.get(kind, text)
        return made

    def _instruction(self, prompt: str, rng: random.Random) -> str:
        """A wording, and what to look out for: values of rows that the prompt quotes."""
        quoted = [row for text, row in self._texts_of_rows.items() if text in prompt]
        values = sorted({q.right for row in quoted for q in row.values() if q.right in prompt})
        named = rng.sample(values, min(len(values), rng.randint(1, CLUES))) if values else []
        look = [f"Look out for {', '.join(named)}."] if named else []
        return " ".join([*rng.sample(STYLES, 3), *look])


def content(message: Message) -> str:
    """The text of a message, also where it comes in parts."""
    raw = message.get("content") or ""
    return raw if isinstance(raw, str) else "\n".join(part.get("text", "") for part in raw)


def instruction(messages: Sequence[Message]) -> str:
    """The instruction in a prompt, whatever a framework writes around it; blanks don't matter."""
    system = "\n".join(content(m) for m in messages if m["role"] in ("system", "developer"))
    told = _OBJECTIVE.search(system)
    text = told.group(1) if told else system.split("\n\nReply with ")[0]
    return " ".join(text.split())


def said_value(reply: str, key: str, values: Sequence[str]) -> str | None:
    """The value of an output in a demo's reply: the longest that is named after the output's key."""
    after = reply.split(key, 1)[-1]
    held = [value for value in values if value in after]
    return max(held, key=len) if held else None


def loaded(value: str, question: Question) -> Any:
    """A value as JSON has it, where it was no text."""
    if question.is_text:
        return value
    return json.loads(value)
