"""What must hold before anything is made: the scope of a run is its own, and the stack admits it."""

import re
from collections.abc import Iterable, Mapping

from .names import Run

SAMPLES = ("named", "twins/first")
"""Names of repositories as a run makes them, to be tried against the patterns of the stack."""

_PREFIX = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*[/-]")


class UnsafeError(Exception):
    """A run that would touch what is not its own, or that the stack does not admit."""


def matches(name: str, patterns: str) -> bool:
    """Returns whether a name matches one of the stack's patterns: `*` is any characters, `?` any one."""
    for pattern in filter(None, patterns.split(",")):
        regex = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern.strip())
        if re.fullmatch(regex, name, re.DOTALL):
            return True
    return False


def example_of(patterns: str) -> str:
    """Returns a name that the first of the patterns matches."""
    return patterns.split(",", maxsplit=1)[0].strip().replace("*", "acceptance").replace("?", "x")


def check_prefix(prefix: str) -> None:
    """Raises UnsafeError unless repositories can begin so, and other names hardly do by chance."""
    if not _PREFIX.fullmatch(prefix):
        raise UnsafeError(
            f'PREFIX must be the beginning of repository names and end in "/" or "-", like acceptance/, not "{prefix}"'
        )


def check_stack(run: Run, parameters: Mapping[str, str]) -> None:
    """Raises UnsafeError unless the stack admits the repositories of this run, and deletes in them."""
    names = [run.repository(name) for name in SAMPLES]
    pattern = parameters["RepositoryPattern"]
    if not all(matches(name, pattern) for name in names):
        raise UnsafeError(
            f"the stack's RepositoryPattern is {pattern}: it does not admit repositories that begin with {run.prefix}. "
            f"Deploy a stack with RepositoryPattern={run.prefix}*, or choose another PREFIX"
        )
    protected = parameters.get("ProtectedRepositories", "")
    if any(matches(name, protected) for name in names):
        raise UnsafeError(f"the stack's ProtectedRepositories, {protected}, protects what begins with {run.prefix}")
    if parameters.get("DryRun") == "true":
        raise UnsafeError("the stack deletes nothing: deploy it with DryRun=false")


def check_repositories(prefix: str, tagged: Mapping[str, bool]) -> None:
    """Raises UnsafeError if a repository under the prefix is not one of a run. `tagged` says of each whether it is."""
    if others := sorted(name for name, is_tagged in tagged.items() if name.startswith(prefix) and not is_tagged):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UnsafeError(f"{others[0]}{more} begins with {prefix}, and no run has made it: choose another PREFIX")


def check_scanning(prefix: str, scan_type: str, filters: Iterable[str]) -> None:
    """Raises UnsafeError if Amazon Inspector would scan, and charge for, each image that is pushed."""
    if scan_type == "ENHANCED" and any(matches(f"{prefix}any", pattern) for pattern in filters):
        raise UnsafeError(
            f"the registry's enhanced scanning includes what begins with {prefix}, and Amazon Inspector charges for "
            "each image that is pushed: leave it out of the filters, or choose another PREFIX"
        )
