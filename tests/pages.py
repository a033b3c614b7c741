"""The code blocks of a Markdown page, and how to run them as a reader would.

Two marks, in comments that a rendered page does not show, stand on lines of their own before a block:

    <!-- reply: {"team": "bugs"} -->    what the model says next (`\\n` ends a line); without it, the first
                                        choice of everything
    <!-- skip: needs a key -->          the block is not run; its test is skipped with that reason

and in a block, lines that start with `#>` hold what it prints (`...` stands for anything).
"""

from __future__ import annotations

import doctest
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from declm.messages import Capabilities, Request
from declm.testing import FunctionLM

ROOT = Path(__file__).parent.parent
_MARK = re.compile(r"<!-- (reply|skip): (.+) -->")
_NAMED_LM = re.compile(r'\b(dm\.(?:configure|context)\((?:lm|extractor))="[^"]*"')
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One block of Python; `line` is where its code begins, from 1."""

    page: Path
    line: int
    code: str
    replies: tuple[str, ...] = ()
    skip: str = ""

    @property
    def expected(self) -> str:
        """What the block says that it prints."""
        shown = [line.lstrip()[2:].strip() for line in self.code.splitlines() if line.lstrip().startswith("#>")]
        return "\n".join(shown)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    return list(_read(page, page.read_text("utf-8").splitlines()))


def _read(page: Path, lines: list[str]) -> Iterator[Block]:
    marks: list[tuple[str, str]] = []
    start: int | None = None
    for number, line in enumerate(lines, 1):
        if start is not None:
            if line == "```":
                code = "\n".join(lines[start - 1 : number - 1])
                replies = tuple(text.replace("\\n", "\n") for kind, text in marks if kind == "reply")
                yield Block(page, start, code, replies, next((text for kind, text in marks if kind == "skip"), ""))
                start, marks = None, []
        elif line == "```python":
            start = number + 1
        elif mark := _MARK.fullmatch(line):
            marks.append((mark[1], mark[2]))
        elif line.strip():
            assert not marks, f"{page}, line {number}: a mark must stand right before its block"
    assert start is None, f"{page}: the block of line {start} never ends"


@dataclass
class Reader:
    """Somebody who runs the blocks of a page one after the other, with a double for the model."""

    replies: deque[str] = field(default_factory=deque[str])
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    lm: FunctionLM = field(init=False)

    def __post_init__(self) -> None:
        self.lm = FunctionLM(self._answer, capabilities=Capabilities(structured=True))
        self.namespace["lm"] = self.lm

    def run(self, block: Block) -> None:
        """Run one block as written, but for the model, and compare what it prints."""
        self.replies.extend(block.replies)
        code = "\n" * (block.line - 1) + _NAMED_LM.sub(r"\1=lm", block.code)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(block.page), "exec", dont_inherit=True), self.namespace)
        assert not self.replies, f"{block}: these replies were not asked for: {[*self.replies]}"
        if block.expected:
            got = printed.getvalue()
            is_right = doctest.OutputChecker().check_output(block.expected, got, _FLAGS)
            assert is_right, f"{block} prints\n{got}\nand says\n{block.expected}"

    def _answer(self, request: Request) -> str:
        if self.replies:
            return self.replies.popleft()
        assert request.schema is not None, "a request without a schema needs a <!-- reply: ... --> mark"
        return json.dumps(_sample(request.schema, request.schema.get("$defs", {})))


def _sample(schema: Any, definitions: Any) -> Any:
    """A value that fits a JSON schema: the first choice of everything."""
    if "$ref" in schema:
        return _sample(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _sample(schema[key][0], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "object":
        return {name: _sample(s, definitions) for name, s in schema.get("properties", {}).items()}
    return {"array": [], "integer": schema.get("minimum", 1), "number": 0.5, "boolean": True}.get(
        schema["type"], "some text"
    )
