"""Published figures are generated from the kept results, never typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from demo_seeds import main as demo_seeds
from imports import main as imports
from imports import measure
from publish import PAGE, RESULTS, TABLES, filled

import declm as dm
from declm.cli.demo import Outcome

PLACE = {"date": "2000-01-01", "declm": "1.0", "python": "3.12.0", "system": "Linux", "cores": "2"}


def outcome(seed: int, out: Path) -> Outcome:
    """The demo's figures, without the demo: seed 1 loses."""
    gain = -0.1 if seed == 1 else 0.2
    return Outcome(
        seed=seed,
        plain=0.5,
        plain_interval=(0.4, 0.6),
        optimized=0.5 + gain,
        optimized_interval=(0.45 + gain, 0.55 + gain),
        p_value=0.001,
        accepted=True,
        demos=8,
        calls=900,
        seconds=100.0,
    )


def test_the_page_shows_what_the_results_hold() -> None:
    page = PAGE.read_text("utf-8")
    assert filled(page, RESULTS) == page, "run  python benchmarks/publish.py"
    assert [name for name in TABLES if f"<!-- table: {name} -->" not in page] == []


def test_tables_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = "before\n<!-- table: imports -->\nold\n<!-- end of table -->\nafter\n"
    missing = filled(page, tmp_path)
    assert "No runs yet" in missing
    measured = [{"statement": "import a", "ms": 12.4, "mib": 9.6, "loaded": ["numpy"], "sockets": 0}]
    line = {"times": 3, "measured": measured, "surroundings": PLACE}
    (tmp_path / "imports.jsonl").write_text(json.dumps(line))
    made = filled(missing, tmp_path)
    assert "| `import a` | 12 | 10 | numpy | 0 |" in made
    assert made.startswith("before\n<!-- table: imports -->\n")
    assert made.endswith("<!-- end of table -->\nafter\n")
    assert filled(made, tmp_path) == made


def test_a_table_of_no_known_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table 'speed'; there are demo_seeds, real_tasks, faults"):
        filled("<!-- table: speed -->\n<!-- end of table -->", tmp_path)


def test_every_seed_is_kept_and_shown_the_bad_ones_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "demo_seeds.jsonl"
    assert demo_seeds(["--seeds", "2", "--out", str(out)], play=outcome) == 0
    assert demo_seeds(["--seeds", "1", "--first", "2", "--out", str(out)], play=outcome) == 0
    assert [json.loads(line)["seed"] for line in out.read_text().splitlines()] == [0, 1, 2]
    shown = capsys.readouterr().out
    assert "| 1 | 0.500 (0.400 to 0.600) | 0.400 (0.350 to 0.450) | -0.100 | 0.0010 | yes | 8 | 900 | 100 |" in shown
    assert "1 of 2 seeds are better than the plain program with p < 0.05; 1 are worse." in shown


def test_seeds_that_are_finished_are_kept_when_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(seed: int, out: Path) -> Outcome:
        if seed == 1:
            raise dm.TransportError("the model is gone")
        return outcome(seed, out)

    out = tmp_path / "demo_seeds.jsonl"
    assert demo_seeds(["--out", str(out)], play=fails) == 1
    assert "TransportError: the model is gone" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 1


def test_imports_are_measured_in_fresh_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "imports.jsonl"
    statements = {"nothing": "pass", "a socket": "import socket; socket.socket().close()"}
    assert imports(["--times", "1", "--out", str(out)], statements) == 0
    nothing, socket = json.loads(out.read_text())["measured"]
    assert nothing["sockets"] == 0
    assert socket["sockets"] == 1
    assert nothing["ms"] < socket["ms"]
    assert nothing["mib"] > 1
    assert "| `nothing` | 0 |" in capsys.readouterr().out


def test_heavy_modules_are_named() -> None:
    assert measure("import sys, types; sys.modules['numpy'] = types.ModuleType('numpy')")["loaded"] == ["numpy"]


def test_a_statement_that_fails_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert imports(["--times", "1"], {"x": "import no_such_package"}) == 1
    assert "No module named 'no_such_package'" in capsys.readouterr().err
