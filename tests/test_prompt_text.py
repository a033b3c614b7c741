"""Every word that an LM reads stands in `templates/`, none in Python.

The search is a heuristic: it looks for texts that give orders or speak to "you", and leaves out what
is written for people (errors, warnings, reprs, help texts, docstrings).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import SOURCES, Source, allowed, ancestors, called, fails

from declm import errors

PROMPT_TEXT = {
    "declm.cli": "speaks to the person at the terminal; its demo task is written as a user would write it",
    "declm.reports": "HTML for people",
    "declm.evaluation": "reports for people",
}


_FOR_PEOPLE = {
    "print", "echo", "secho", "write", "tell", "warn", "debug", "info", "warning", "exception", "fail", "Option",
    "Argument", "Typer", "command", "sub", "compile", "search", "match", "set_description", "set_postfix_str",
}  # fmt: skip
_PROMPT_CALLS = {"Input", "Output", "Note", "Message", "Signature", "with_instructions", "from_string"}


def literal_text(node: ast.AST) -> str:
    """The text of a literal or f-string, with placeholders left out."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) if isinstance(part, ast.Constant) else " x " for part in node.values)
    return ""


def is_for_people(node: ast.AST) -> bool:
    """Whether a text is part of an error, a warning, a log, a repr or a command's help."""
    for outer in ancestors(node):
        if isinstance(outer, ast.Raise | ast.Assert):
            return True
        if isinstance(outer, ast.Call):
            name = called(outer)
            error = getattr(errors, name, None)
            if name in _FOR_PEOPLE or name.endswith(("Error", "error", "Exception")) or isinstance(error, type):
                return True
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            returns = ast.unparse(outer.returns) if outer.returns else ""
            return outer.name.startswith(("__repr", "__str", "_repr_")) or "Error" in returns
    return False


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of docstrings and of the bare texts that document an attribute."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


# Words that open an instruction, and the second person: errors and reports speak in neither way.
_ORDERS = re.compile(
    r"""(?x)
    (?:^|[.!?:\n]\s+)(?:Please\s+)?(?:Always|Analy[sz]e|Answer|Choose|Classify|Compare|Consider|Decide|Explain|Extract|
        Fill|Follow|Generate|Given|Here\ are|Identify|Improve|Judge|Label|Let's|List|Never|Output|Pick|Produce|Propose|
        Provide|Read|Reason|Reflect|Reply|Respond|Return|Rewrite|Score|Select|Solve|Summari[sz]e|Think|Translate|Use|
        Write|You)\b
    | \b[Yy]ou(?:r|'re|\ are|\ will|\ must|\ can)?\b
    | step\ by\ step
    """
)


def prompt_like(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Texts of five and more words that order somebody to do something, and that are not for people."""
    skip = docstrings(source.tree)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Constant | ast.JoinedStr) or id(node) in skip:
            continue
        if isinstance(node, ast.Constant) and any(isinstance(a, ast.JoinedStr) for a in ancestors(node)):
            continue  # the whole f-string is looked at
        text = literal_text(node).replace("did you mean", "")  # what our errors say to people
        if len(text.split()) >= 5 and _ORDERS.search(text) and not is_for_people(node):
            yield node, text


def test_no_prompt_text_in_python() -> None:
    problems = [
        f"{source.where(node)}: {text[:80]!r} looks like words for an LM; they live in templates/"
        for source in SOURCES.values()
        if not allowed(source.name, PROMPT_TEXT)
        for node, text in prompt_like(source)
    ]
    fails(problems)


def test_signatures_and_messages_of_our_own_take_their_words_from_templates() -> None:
    problems: list[str] = []
    for source in SOURCES.values():
        if allowed(source.name, PROMPT_TEXT):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "Signature" for b in node.bases):
                if ast.get_docstring(node):
                    problems.append(f"{source.where(node)}: the docstring of {node.name} is an instruction to an LM")
            elif isinstance(node, ast.Call) and called(node) in _PROMPT_CALLS:
                texts = [literal_text(a) for a in [*node.args, *(k.value for k in node.keywords if k.arg != "role")]]
                if any(len(text.split()) > 1 for text in texts):
                    problems.append(f"{source.where(node)}: {called(node)}(...) with literal words")
    fails(problems)


@pytest.mark.parametrize(
    ("code", "is_prompt"),
    [
        ("x = 'Think step by step and then give the final answer.'", True),
        ("x = f'You are given {a}. Answer with one of the labels below, nothing else.'", True),
        ("def f():\n  return 'Read the text and write a short summary of it.'", True),
        ("raise ValueError('the text can not be read, please try again with another one')", False),
        ("def f():\n  'Read the text and write a short summary of it.'", False),
        ("log.warning('the text can not be read, please try again with another one')", False),
        ("x = 'one line: ' + 'Respond with a single JSON object.'", True),
        ("x = 'Some data. Summarize it in three short sentences.'", True),
        ("x = 'the reply was cut at the token limit of the model'", False),
        ("x = 'Return it'", False),
    ],
)
def test_the_search_for_prompt_text_tells_prompts_from_messages(code: str, is_prompt: bool, tmp_path: Path) -> None:
    source = Source("declm.sample", tmp_path / "sample.py")
    source.path.write_text(code)
    assert bool(list(prompt_like(source))) is is_prompt
