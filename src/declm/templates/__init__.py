"""Prompt templates: where they are found, loaded, checked and compiled.

Every word that is sent to a model stands in a Jinja file `<format>/<part>.jinja`. For one part the
first of these wins: the text that a predictor or its state gives, the user's folders in order,
declm's own.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from declm.errors import TemplateError
from declm.templates.check import Names, check
from declm.templates.environment import UNTIMED, Environment, render
from declm.templates.forms import Form, learnt, marks, only_prints
from declm.text import digest

__all__ = ["UNTIMED", "Form", "Names", "Part", "Templates", "marks", "own_folder"]

SOURCE_LIMIT = 256_000
"""Characters of one template file."""

# What a template can raise while it runs; the data it gets is plain, so nothing else can.
_FAILURES = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError)

# What it can raise while it is read: Python's compiler has limits of nesting of its own.
_UNREADABLE = (jinja2.TemplateError, SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Part:
    """One compiled part of a prompt.

    Args:
        name: its file, or says which predictor gave its text.
        template: compiled.
        only_prints: whether it prints the values of fields and does nothing else with them.
    """

    name: str
    template: jinja2.Template
    only_prints: bool

    def render(self, context: Mapping[str, Any]) -> str:
        """Write the part; `context` holds plain data, which is never rendered again.

        Raises:
            TemplateError: it failed or passed its limits.
        """
        try:
            return render(self.template, context).strip("\n")
        except _FAILURES as error:
            raise _failure(self.name, error) from error

    def form(self, context: Mapping[str, Any], keys: tuple[str, ...]) -> Form | None:
        """What the part writes around values; None where that can't be told.

        Args:
            context: as for `render`, with `marks(keys)` in the place of the values.
            keys: of the values.
        """
        return learnt(render(self.template, context), keys) if self.only_prints else None


@dataclass(frozen=True)
class Templates:
    """The templates in force for one predictor.

    Args:
        folders: searched in order before declm's own; laid out like it (`json/user.jinja`).
        overrides: Jinja text by part (`system`, `user`, `assistant`, `reask`), before all folders.
        owner: the predictor's name, for messages.
    """

    folders: tuple[Path, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    owner: str = ""

    def part(self, format: str, part: str, names: Names) -> Part:
        """Load, check and compile one part of a format's prompt.

        Raises:
            TemplateError: there is no such template, its syntax is wrong, or it uses a variable or
                field that does not exist.
        """
        return self._load(*self._source(format, part), names)

    def hash(self, format: str) -> str:
        """Content hash of everything that a format's prompt may be made of."""
        found = {part: self._source(format, part)[1] for part in ("system", "user", "assistant", "reask")}
        return digest([found, self._read("_macros.jinja")[1]])

    def source(self, path: str) -> str:
        """The text of any template file, as it is.

        Raises:
            TemplateError: there is none of that name.
        """
        return self._read(path)[1]

    def text(self, path: str, context: Mapping[str, Any]) -> str:
        """Render any template file that belongs to no signature, such as `propose/example.jinja`.

        Raises:
            TemplateError: there is none of that name, it uses a variable that is not in `context`,
                or it fails.
        """
        return self._load(*self._read(path), Names(tuple(context))).render(context)

    def _load(self, name: str, text: str, names: Names) -> Part:
        environment = _environment(self._search)
        try:
            compiled = _compiled(environment, text, name)
            _check(environment, text, name, names)
        except _UNREADABLE as error:
            raise _failure(name, error) from error
        return Part(name, compiled, _only_prints(environment, text, name, names))

    def _source(self, format: str, part: str) -> tuple[str, str]:
        """A part's name for messages, and its text."""
        if part in self.overrides:
            return f"<template of predictor {self.owner or '?'}, part {part}>", self.overrides[part]
        return self._read(f"{format}/{part}.jinja")

    def _read(self, path: str) -> tuple[str, str]:
        try:
            text, filename, _ = _Loader(self._search).get_source(_environment(self._search), path)
        except jinja2.TemplateNotFound as error:
            places = ", ".join(map(str, self._search))
            raise TemplateError(f"there is no template {path!r} in {places}", name=path) from error
        except (OSError, UnicodeError) as error:
            raise TemplateError(f"the template {path!r} can't be read: {error}", name=path) from error
        return filename or path, text

    @cached_property
    def _search(self) -> tuple[Path, ...]:
        # absolute: a later change of the working directory must not change what is found
        return (*(folder.absolute() for folder in self.folders), own_folder())


@lru_cache(maxsize=1)
def own_folder() -> Path:
    """The folder of declm's templates: in the installed package, or beside our `pyproject.toml`.

    Raises:
        TemplateError: neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    shipped, checkout = package / "_templates", package.parents[1]
    if shipped.is_dir():
        return shipped
    if package.parent.name == "src" and (checkout / "pyproject.toml").is_file() and (checkout / "templates").is_dir():
        return checkout / "templates"
    raise TemplateError(f"declm's templates are missing from {shipped}: install declm again", name=str(shipped))


class _Loader(jinja2.FileSystemLoader):
    """Reads the files of the search path, below a size limit."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Any]:
        text, filename, fresh = super().get_source(environment, template)
        _check_size(text, filename)
        return text, filename, fresh


def _check_size(text: str, name: str) -> None:
    if len(text) > SOURCE_LIMIT:
        raise TemplateError(f"{name} has {len(text):,} characters; the limit is {SOURCE_LIMIT:,}", name=name)


@lru_cache(maxsize=1)
def _base() -> Environment:
    return Environment()


@lru_cache(maxsize=64)
def _environment(search: tuple[Path, ...]) -> jinja2.Environment:
    """An environment over one search path; Jinja itself notices when an imported file has changed."""
    return _base().overlay(loader=_Loader(search))


# Compiling takes about 2 ms, and a search makes hundreds of prompts from the same few texts.
@lru_cache(maxsize=512)
def _tree(environment: jinja2.Environment, text: str, name: str) -> nodes.Template:
    _check_size(text, name)
    return environment.parse(text, name, name)


@lru_cache(maxsize=512)
def _compiled(environment: jinja2.Environment, text: str, name: str) -> jinja2.Template:
    code = environment.compile(text, name, name)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


@lru_cache(maxsize=2048)
def _check(environment: jinja2.Environment, text: str, name: str, names: Names) -> None:
    tree = _tree(environment, text, name)
    check(tree, name, names)
    for node in tree.find_all((nodes.Import, nodes.FromImport)):
        if isinstance(node.template, nodes.Const):  # type: ignore[attr-defined]  # both kinds name a template
            environment.get_template(node.template.value)  # type: ignore[attr-defined]


@lru_cache(maxsize=2048)
def _only_prints(environment: jinja2.Environment, text: str, name: str, names: Names) -> bool:
    return bool(names.fields) and only_prints(_tree(environment, text, name), names)


def _failure(name: str, error: BaseException) -> TemplateError:
    """Say where and why a template failed."""
    where, line = name, None
    if isinstance(error, jinja2.TemplateSyntaxError):
        where, line = error.filename or error.name or name, error.lineno
    elif isinstance(error, jinja2.TemplateNotFound):
        return TemplateError(f"{name}: there is no template {error.name!r} to import", name=name)
    else:
        # Jinja rewrites tracebacks so that the frames of compiled code show the template's lines.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        line = frames[-1].lineno if frames else None
    place = f"{where}, line {line}" if line else where
    return TemplateError(f"{place}: {error}", name=where, line=line)
