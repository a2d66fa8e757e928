"""The properties, each in a process of its own, with as many examples as the profile `faults` makes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.harness.matrix import Result

ROOT = Path(__file__).parents[2]
SEEDS = 2
"""Of 1,000 examples each, or of the part of that which a slow test says."""
MORE_SEEDS = {
    "tests/faults/test_arbitrary_answers.py": 10,
    "tests/faults/test_oracle.py": 4,
    "tests/unit/test_request_parser_properties.py": 10,
}

_SECONDS = 540
_NAME = re.compile(r"^@given\((?:.|\n)*?^def (\w+)", re.MULTILINE)
_PASSING = re.compile(r"(\d+) passing")


def properties() -> Iterator[str]:
    """The tests that hypothesis feeds, as pytest names them."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in _NAME.findall(file.read_text()):
            yield f"{file.relative_to(ROOT)}::{name}"


def seeds(test: str) -> range:
    """Those that a property is tried with."""
    return range(MORE_SEEDS.get(test.partition("::")[0], SEEDS))


def run(test: str, seed: int) -> Result:
    """Tries one property; a failing example is told as hypothesis tells it."""
    command = [sys.executable, "-m", "pytest", "--quiet", "--show-capture=no", "--hypothesis-show-statistics"]
    try:
        result = subprocess.run(
            [*command, f"--hypothesis-seed={seed}", test],
            cwd=ROOT,
            env=os.environ | {"HYPOTHESIS_PROFILE": "faults"},
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Result([f"{test}: not done within {_SECONDS} s"], cases=0)
    examples = sum(int(passing) for passing in _PASSING.findall(result.stdout))
    return Result([] if result.returncode == 0 else [f"{test}:\n{result.stdout}{result.stderr}"], cases=examples)
