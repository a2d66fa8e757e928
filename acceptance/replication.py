"""A replication rule of the run's own in the registry's configuration; the rules of others stay as they are."""

from dataclasses import dataclass
from typing import Any

from .names import Run


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that a run has added."""

    name: str
    """The prefix that it replicates, by which it is known."""
    regions: tuple[str, ...]


def add(ecr: Any, run: Run, region: str, account: str) -> None:
    """Has what this run pushes replicated to a region, and its deletions too."""
    rule = {
        "destinations": [{"region": region, "registryId": account}],
        "repositoryFilters": [{"filter": run.repository(""), "filterType": "PREFIX_MATCH"}],
        "deleteReplication": {"enabled": True},
    }
    ecr.put_replication_configuration(replicationConfiguration={"rules": [*_all(ecr), rule]})


def rules(ecr: Any, prefix: str) -> list[Rule]:
    """Returns the rules of runs: those of one filter that names a run's own prefix."""
    return [
        Rule(name, tuple(destination["region"] for destination in rule["destinations"]))
        for rule in _all(ecr)
        if (name := _name(rule)).startswith(prefix) and len(name.removeprefix(prefix)) == len("01234567/")
    ]


def remove(ecr: Any, name: str) -> None:
    """Removes a rule of a run."""
    kept = [rule for rule in _all(ecr) if _name(rule) != name]
    ecr.put_replication_configuration(replicationConfiguration={"rules": kept})


def _all(ecr: Any) -> list[Any]:
    return list(ecr.describe_registry().get("replicationConfiguration", {}).get("rules", []))


def _name(rule: Any) -> str:
    filters = rule.get("repositoryFilters", [])
    return str(filters[0]["filter"]) if len(filters) == 1 else ""
