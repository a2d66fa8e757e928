"""DynamoDB in memory: conditional updates, consistent reads and queries, whatever the expressions say.

`tests/functional/test_fakes_and_moto.py` holds it to moto's.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.dynamodb_expressions import Item, holds, updated
from tests.fakes.errors import ServiceError

type Json = dict[str, Any]

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
        capacity = {"ConsumedCapacity": {"CapacityUnits": 1.0}} if call.get("ReturnConsumedCapacity") == "TOTAL" else {}
        return capacity | ({"Item": dict(item)} if item else {})

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
            answer["LastEvaluatedKey"] = {name: last[name] for name in (attribute, "step", "item") if name in last}
        return answer

    def _update_item(self, call: Json) -> Json:
        table, key = self.tables[call["TableName"]], _key(call["Key"])
        names, values = call["ExpressionAttributeNames"], call.get("ExpressionAttributeValues", {})
        expressions = f"{call['UpdateExpression']} {call.get('ConditionExpression', '')}"
        if used := names.keys() ^ set(re.findall(r"#\w+", expressions)):
            raise ServiceError(400, "ValidationException", f"names unused or not given: {used}")
        if used := values.keys() ^ set(re.findall(r":\w+", expressions)):
            raise ServiceError(400, "ValidationException", f"values unused or not given: {used}")
        old = table.get(key, {})
        if not holds(call, old):
            shown: Json = {"Item": dict(old)} if old and "ReturnValuesOnConditionCheckFailure" in call else {}
            raise ServiceError(400, "ConditionalCheckFailedException", **shown)
        new = updated(call, old)
        if sum(len(name) + len(str(next(iter(value.values())))) for name, value in new.items()) > _ITEM_BYTES:
            raise ServiceError(400, "ValidationException", "Item size has exceeded the maximum allowed size")
        table[key] = new
        return {}


def _key(key: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(value["S"]) for _, value in sorted(key.items()))


def _key_of(item: Item, like: Mapping[str, Any]) -> tuple[str, ...]:
    return _key({name: item[name] for name in like})
