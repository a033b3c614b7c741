"""Pages and notebook displays: self-contained, complete, and safe whatever the rows contain."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

import declm as dm
from declm.evaluation import Report, RowResult
from declm.evaluation.report import Run

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</style><script>alert(1)</script>",
    "</td></tr></table><iframe src=javascript:alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "'-alert(1)-'",
    "<!--",
    "]]>",
    "\u2028</script\u2029>",
]
VOID = {"meta", "input", "br", "rect"}


class Page(HTMLParser):
    """Elements and attributes of a page, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def render(kind: str, report: Report[Any, Any], folder: Any) -> str:
    if kind == "notebook":
        return report._repr_html_()
    report.save(folder / "page.html")
    return str((folder / "page.html").read_text(encoding="utf-8"))


def rows(texts: list[str]) -> tuple[RowResult[Any, Any], ...]:
    return tuple(
        RowResult(i, str(i), {text: text}, {"answer": text, "parts": [text]}, i / len(texts), text,
                  error=dm.ParseError(text, text=text) if i % 3 == 0 else None)
        for i, text in enumerate(texts)
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["page", "notebook"])
def test_no_value_becomes_markup(kind: str, tmp_path: Any) -> None:
    run = Run(program=PAYLOADS[0], metric=PAYLOADS[1], metric_hash="", models=(PAYLOADS[2],), name=PAYLOADS[3])
    hostile = Page(render(kind, Report(rows(PAYLOADS), run), tmp_path))
    benign = Page(render(kind, Report(rows(["x"] * len(PAYLOADS)), Run("p", "m", "", ("l",), name="n")), tmp_path))
    assert hostile.open == []
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in benign.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [sorted(a) for _, a in benign.elements]
    text = "".join(hostile.text)
    for payload in PAYLOADS[:3]:
        assert payload in text
    assert "49" not in text.replace("0.49", "")


@pytest.mark.parametrize("kind", ["page", "notebook"])
def test_nothing_is_loaded_and_nothing_runs(kind: str, tmp_path: Any) -> None:
    shown = render(kind, Report(rows(["a", "b"])), tmp_path)
    for tag, attributes in Page(shown).elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "form"}
        assert not {"src", "href", "style", "onclick", "onload", "onerror"} & attributes.keys()
    assert "url(" not in shown
    assert "@import" not in shown
    if kind == "page":
        assert "default-src 'none'" in shown


def test_colours_follow_the_theme(tmp_path: Any) -> None:
    fragment = render("notebook", Report(rows(["a"])), tmp_path)
    assert "currentColor" in fragment
    assert "#fff" not in fragment
    assert "color-scheme: light dark" in render("page", Report(rows(["a"])), tmp_path)


def test_a_page_has_every_row_and_a_notebook_the_worst(tmp_path: Any) -> None:
    results = tuple(RowResult(i, str(i), {"q": f"row-{i}"}, "x", i / 100) for i in range(100))
    page, fragment = (render(kind, Report(results), tmp_path) for kind in ("page", "notebook"))
    assert all(f"row-{i}<" in page for i in range(100))
    assert all((f"row-{i}<" in fragment) == (i < 20) for i in range(100))
    assert "80 more in the saved report" in fragment


def test_a_report_without_scores_renders(tmp_path: Any) -> None:
    empty = Report[Any, Any](())
    failed = Report((RowResult(0, "0", {"q": 1}, None, None, error=dm.ServerError("down")),))
    for report in (empty, failed):
        assert Page(render("page", report, tmp_path)).open == []
        assert Page(render("notebook", report, tmp_path)).open == []


def test_long_values_are_clipped(tmp_path: Any) -> None:
    page = render("page", Report((RowResult(0, "0", {"q": "x" * 100_000}, "y", 1.0),)), tmp_path)
    assert len(page) < 30_000
    assert "more characters" in page
