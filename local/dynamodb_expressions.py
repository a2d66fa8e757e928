"""DynamoDB's condition and update expressions, as far as the function writes them, for tables in memory.

The tables of the tests and of the benchmarks are made of these; the embedded AWS has moto's own. A name is `#name`, a
value is `:value`, as in every expression of the function.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

type Call = Mapping[str, Any]
"""The parameters of an UpdateItem."""
type Item = dict[str, dict[str, Any]]

_ASSIGNMENT = re.compile(r"(#\w+) = (?:if_not_exists\((#\w+), (:\w+)\)|(:\w+))")
_PYTHON = (
    (r"attribute_not_exists\((#\w+)\)", r'not has("\1")'),
    (r"attribute_exists\((#\w+)\)", r'has("\1")'),
    (r"begins_with\((#\w+), (:\w+)\)", r'begins("\1", "\2")'),
    (r"contains\((#\w+), (:\w+)\)", r'contains("\1", "\2")'),
    (r'(?<!")(#\w+)', r'attribute("\1")'),
    (r'(?<!")(:\w+)', r'value("\1")'),
    (r" <> ", " != "),
    (r" = ", " == "),
    (r"\bAND\b", "and"),
    (r"\bOR\b", "or"),
)


def holds(call: Call, item: Item) -> bool:
    """Returns whether an item, empty if there is none, meets the ConditionExpression; any does where there is none."""
    if "ConditionExpression" not in call:
        return True
    names, values = call["ExpressionAttributeNames"], call.get("ExpressionAttributeValues", {})
    scope = {
        "begins": lambda name, value: str(item.get(names[name], {}).get("S", "")).startswith(values[value]["S"]),
        "contains": lambda name, value: values[value]["S"] in str(item.get(names[name], {}).get("S", "")),
        "has": lambda name: names[name] in item,
        "attribute": lambda name: _Attribute(item.get(names[name])),
        "value": lambda name: _plain(values[name]),
    }
    return bool(eval(_compiled(call["ConditionExpression"]), scope))  # noqa: S307  # written by the function itself


def updated(call: Call, item: Item) -> Item:
    """Returns an item, empty if there is none, as the SET and the REMOVE of the UpdateExpression leave it."""
    names, values = call["ExpressionAttributeNames"], call.get("ExpressionAttributeValues", {})
    assignments, _, removed = f" {call['UpdateExpression']}".partition(" REMOVE ")
    new = {**call["Key"], **item}
    for name, kept, default, value in _ASSIGNMENT.findall(assignments):
        new[names[name]] = item.get(names[kept], values[default]) if kept else values[value]
    for name in re.findall(r"#\w+", removed):
        new.pop(names[name], None)
    return new


@cache
def _compiled(condition: str) -> CodeType:
    """Returns a condition as Python."""
    for pattern, python in _PYTHON:
        condition = re.sub(pattern, python, condition)
    return compile(condition, "condition", "eval")


class _Attribute:
    """An attribute in a comparison: one that is missing, or of another type, differs, and is neither less nor more."""

    def __init__(self, value: Mapping[str, Any] | None) -> None:
        self._value = None if value is None else _plain(value)

    def _comparable(self, other: Any) -> bool:
        return self._value is not None and type(self._value) is type(other)

    def __eq__(self, other: object) -> bool:
        return self._comparable(other) and bool(self._value == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._comparable(other) and bool(self._value < other)

    def __gt__(self, other: Any) -> bool:
        return self._comparable(other) and bool(self._value > other)

    def __hash__(self) -> int:
        return hash(self._value)


def _plain(value: Mapping[str, Any]) -> float | str | bool:
    return float(value["N"]) if "N" in value else next(iter(value.values()))
