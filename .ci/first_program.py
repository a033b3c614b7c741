"""A first program on an installed wheel: imports, templates and all, without a network."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Literal

import declm as dm
from declm.testing import FunctionLM


class Triage(dm.Signature):
    """Route a support ticket to the team that can fix it."""

    ticket: str = dm.Input("the customer's own words")
    team: Literal["billing", "bugs"] = dm.Output("who should answer")


assert "site-packages" in dm.__file__, f"declm comes from {dm.__file__}, not from the wheel"
templates = files("declm") / "_templates"
assert (templates / "_macros.jinja").is_file(), f"no templates in {templates}"
assert (files("declm") / "py.typed").is_file(), "the wheel is not typed"

for name in ("json", "chat"):
    triage = dm.Predict(Triage, format=name, lm=FunctionLM(lambda _: '{"team": "billing"}'))
    messages = triage.render(ticket="I was charged twice")
    assert "charged twice" in messages[-1].content
assert dm.Predict(Triage, format="json", lm=triage.lm)(ticket="I was charged twice").team == "billing"

done = subprocess.run([sys.executable, "-c", "import declm; print(declm.__version__)"], capture_output=True, check=True)
print(f"declm {done.stdout.decode().strip()} works from {Path(dm.__file__).parent}")
