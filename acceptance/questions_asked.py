"""The questions in the order of FACTS.md: each is the first line of a function in `questions/`."""

import ast
from pathlib import Path

DURATIONS = "How long does each call to ECR take?"
"""Answered by all checks together, from where they run."""


def _questions() -> list[str]:
    folder = Path(__file__).resolve().parent / "questions"
    asked = [
        str(ast.get_docstring(node)).splitlines()[0]
        for path in sorted(folder.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return [*asked, DURATIONS]


QUESTIONS = _questions()
