"""DynamoDB in memory: conditional updates, consistent reads and queries, whatever the expressions say.

`tests/functional/test_fakes.py` holds it to moto's.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any

from tests.fakes.errors import ServiceError

type Json = dict[str, Any]
type Item = dict[str, dict[str, Any]]

_ASSIGNMENT = re.compile(r"(#\w+) = (?:if_not_exists\((#\w+), (:\w+)\)|(:\w+))")
_ITEM_BYTES = 400_000


@dataclass
class FakeDynamoDB:
    """Tables with a partition key and maybe a sort key, which come into being with their first item."""

    tables: dict[str, dict[tuple[str, ...], Item]] = field(default_factory=lambda: defaultdict(dict))
    page: int = 3
    """Items in one page of a query."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def items(self, table: str) -> list[Item]:
        return list(self.tables[table].values())

    def call(self, operation: str, parameters: Json) -> Json:
        """Answers one call; raises ServiceError."""
        operations: dict[str, Callable[[Json], Json]] = {
            "GetItem": self._get_item,
            "Query": self._query,
            "UpdateItem": self._update_item,
        }
        with self._lock:
            return operations[operation](parameters)

    def _get_item(self, call: Json) -> Json:
        item = self.tables[call["TableName"]].get(_key(call["Key"]))
        return {"Item": dict(item)} if item else {}

    def _query(self, call: Json) -> Json:
        """All items of a partition, in the order of their sort keys."""
        match = re.fullmatch(r"(#\w+) = (:\w+)", call["KeyConditionExpression"])
        assert match, call
        attribute = call["ExpressionAttributeNames"][match[1]]
        wanted = call["ExpressionAttributeValues"][match[2]]
        found = [item for _, item in sorted(self.tables[call["TableName"]].items()) if item[attribute] == wanted]
        start = call.get("ExclusiveStartKey")
        if start:
            found = [item for item in found if _key_of(item, start) > _key(start)]
        answer: Json = {"Items": [dict(item) for item in found[: self.page]], "Count": min(len(found), self.page)}
        if len(found) > self.page:
            last = found[self.page - 1]
            answer["LastEvaluatedKey"] = {name: last[name] for name in (attribute, "step") if name in last}
        return answer

    def _update_item(self, call: Json) -> Json:
        table, key = self.tables[call["TableName"]], _key(call["Key"])
        names, values = call["ExpressionAttributeNames"], call["ExpressionAttributeValues"]
        expressions = f"{call['UpdateExpression']} {call.get('ConditionExpression', '')}"
        if used := names.keys() ^ set(re.findall(r"#\w+", expressions)):
            raise ServiceError(400, "ValidationException", f"names unused or not given: {used}")
        if used := values.keys() ^ set(re.findall(r":\w+", expressions)):
            raise ServiceError(400, "ValidationException", f"values unused or not given: {used}")
        old = table.get(key)
        if (condition := call.get("ConditionExpression")) and not _holds(condition, names, values, old or {}):
            shown: Json = {"Item": dict(old)} if old and "ReturnValuesOnConditionCheckFailure" in call else {}
            raise ServiceError(400, "ConditionalCheckFailedException", **shown)
        new = {**call["Key"], **(old or {})}
        for attribute, kept, default, value in _ASSIGNMENT.findall(call["UpdateExpression"]):
            new[names[attribute]] = (old or {}).get(names.get(kept), values.get(default)) if kept else values[value]
        _, _, removed = call["UpdateExpression"].partition(" REMOVE ")
        for attribute in re.findall(r"#\w+", removed):
            new.pop(names[attribute], None)
        if sum(len(name) + len(str(next(iter(value.values())))) for name, value in new.items()) > _ITEM_BYTES:
            raise ServiceError(400, "ValidationException", "Item size has exceeded the maximum allowed size")
        table[key] = new
        return {}


def _key(key: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(value["S"]) for _, value in sorted(key.items()))


def _key_of(item: Item, like: Mapping[str, Any]) -> tuple[str, ...]:
    return _key({name: item[name] for name in like})


def _holds(condition: str, names: Mapping[str, str], values: Mapping[str, Any], item: Item) -> bool:
    """Whether an item meets a condition."""

    def attribute(name: str) -> Any:
        return _Operand(_plain(item[names[name]]) if names[name] in item else None)

    scope = {
        "has": lambda name: names[name] in item,
        "attribute": attribute,
        "value": lambda name: _plain(values[name]),
    }
    return bool(eval(_compiled(condition), scope))  # noqa: S307  # written by the function itself


class _Operand:
    """An attribute in a comparison: neither equal to anything nor less, where it is missing or of another type."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def _comparable(self, other: Any) -> bool:
        return self.value is not None and type(self.value) is type(other)

    def __eq__(self, other: object) -> bool:
        return self._comparable(other) and bool(self.value == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._comparable(other) and bool(self.value < other)

    def __hash__(self) -> int:
        return hash(self.value)


@cache
def _compiled(expression: str) -> CodeType:
    """A condition as Python."""
    for pattern, python in (
        (r"attribute_not_exists\((#\w+)\)", r'not has("\1")'),
        (r"attribute_exists\((#\w+)\)", r'has("\1")'),
        (r'(?<!")(#\w+)', r'attribute("\1")'),
        (r"(:\w+)", r'value("\1")'),
        (r" <> ", " != "),
        (r" = ", " == "),
        (r"\bAND\b", "and"),
        (r"\bOR\b", "or"),
    ):
        expression = re.sub(pattern, python, expression)
    return compile(expression, "condition", "eval")


def _plain(value: Mapping[str, Any]) -> float | str | bool:
    return float(value["N"]) if "N" in value else next(iter(value.values()))
