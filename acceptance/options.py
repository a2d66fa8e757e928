"""What a person chooses of a run."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT_PREFIX = "acceptance/"


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one run, of its checks or of its cleanup alone."""

    stack: str
    prefix: str
    """How the names of the repositories begin that a run makes."""
    region: str
    """Empty for that of the environment or the profile."""
    slow: bool
    """Whether what takes an hour or more is checked too."""
    throttle: bool
    """Whether ECR is called until it throttles, for some seconds."""
    replicate_to: str
    """A region to try replicated deletions in; empty for none."""
    imitation: str
    """The imitation of AWS that is asked instead, of those in `imitations`; empty for AWS."""
    patience: float
    """A factor of all times that a check waits."""
    only: str
    """An expression as of `pytest -k`; empty for everything."""
    facts: Path | None
    """Where the answers are written; None for where they belong."""
    clean: bool
    """Whether what earlier runs left is removed, instead of a run."""
    run: str
    """With `clean`: the id of the only run to clean up after; empty for all of this stack and prefix."""


def read(arguments: Sequence[str] | None = None) -> Options:
    """Reads the command line. Ends the process with a hint where it makes no sense."""
    parser = ArgumentParser(prog="python -m acceptance", description="Proof of a deployed stack, on AWS itself.")
    parser.add_argument("--stack", default="", help="the name of the deployed stack")
    parser.add_argument("--prefix", default=DEFAULT_PREFIX, help="of the repositories that are made and removed again")
    parser.add_argument("--region", default="", help="of the stack")
    parser.add_argument("--slow", action="store_true", help="also what takes an hour or more")
    parser.add_argument("--throttle", action="store_true", help="also how many calls a second ECR lets through")
    parser.add_argument("--replicate-to", default="", metavar="REGION", help="also whether deletions are replicated")
    parser.add_argument("--imitation", default="", help="what is asked instead of AWS: embedded or ministack")
    parser.add_argument("--patience", type=float, default=1.0, help="a factor of all times that a check waits")
    parser.add_argument("--only", default="", metavar="EXPRESSION", help="some of the checks, as pytest's -k")
    parser.add_argument("--facts", type=Path, help="where to write the answers")
    parser.add_argument("--clean", action="store_true", help="remove what earlier runs left, and do nothing else")
    parser.add_argument("--run", default="", metavar="ID", help="with --clean: what this run left, and nothing else")
    chosen: Namespace = parser.parse_args(arguments)
    if not chosen.stack:
        parser.error("name the stack: make acceptance STACK=ecr-image-deletion")
    values: dict[str, Any] = {field.name: getattr(chosen, field.name) for field in fields(Options)}
    return Options(**values)
