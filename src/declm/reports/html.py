"""HTML of reports: one self-contained page for a file, one fragment for a notebook cell.

Whatever rows contain is shown as text: the environment escapes every value, the page's content
security policy forbids everything that is not in the file, and no value reaches a script or a style.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jinja2

from declm.reports.values import is_object
from declm.templates import own_folder
from declm.text import clip

CELL = 4000
"""Characters of one value that a table shows."""


def page(view: Mapping[str, Any]) -> str:
    """A page that needs no network and no other file.

    `view` holds plain values: `title`, `run`, `figures` (name and text), `score`, `interval`,
    `histogram` (ten counts), `kinds` (error and count), `rows`, and `left_out` (rows not shown).
    """
    return _environment().get_template("report/page.html.jinja").render(view)


def fragment(view: Mapping[str, Any]) -> str:
    """The same for a notebook cell: no script, colours taken from the notebook's theme."""
    return _environment().get_template("report/notebook.html.jinja").render(view)


def search_page(view: Mapping[str, Any]) -> str:
    """A self-contained page on a search.

    `view` holds `program`, `conclusion`, `baseline`, `best_number`, `trials` (number, score, rows, fate,
    what), `differences`, `troubles`, `stopped` (what ended it early, or None) and `spent`.
    """
    return _environment().get_template("report/search.html.jinja").render({**view, "whole": True})


def search_fragment(view: Mapping[str, Any]) -> str:
    """The same for a notebook cell."""
    return _environment().get_template("report/search.html.jinja").render({**view, "whole": False})


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    # Own templates only, never a user's, so that the prompt templates' sandbox is not needed here.
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(own_folder()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"cell": _cell}  # pyright: ignore[reportUnknownMemberType]  # jinja2 leaves it open
    return made


def _cell(value: Any) -> str:
    """A value as readable text: `key: value` lines for a row, JSON for what is nested."""
    if is_object(value):
        return clip("\n".join(f"{key}: {_text(item)}" for key, item in value.items()), CELL)
    return clip(_text(value), CELL)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
