"""What became of the requests of a fan-out, written down by each of them for the one summary.

There is an item for each repository, under a key of the fan-out's claim (partition key `id`; sort key `step`, the
repository). Each turn of the repository's request writes its entry there, as `t0`, `t1`, ... The summary reads them all
with a query. It marks what it could not sum up as `late`: whatever ends after that finds the mark instead of being
written down, and tells by itself. So everything is told, and by one of the two.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from .models.limits import MAX_TURNS
from .models.request import Key, Part, mark_of
from .models.summary import Entry
from .step_table import STEP_SECONDS, StepTable, item_key, number, or_unavailable

_PROBLEM = "DynamoDB did not take or tell what becomes of a fan-out"
_REJECTED = "rejected "
_OPEN = "(attribute_not_exists({0}) OR contains({0}, :goes_on) OR begins_with({0}, :rejected))"
_OPEN_VALUES = {":goes_on": {"S": '"continued": true'}, ":rejected": {"S": _REJECTED}}
"""The entry of a turn behind which another one may come."""
_NAME_BYTES = 1_024
"""The longest sort key."""

type Turns = dict[int, Entry]
"""The entries of one repository by turn, in the order of turns: usually one alone."""


class Written(NamedTuple):
    """What is written of one repository."""

    turns: Turns
    late: bool
    """The summary was made without what comes now."""


class Tally:
    """The entries of one fan-out."""

    def __init__(self, table: StepTable, parent: Key, mark: str) -> None:
        self._table = table
        self._key: Key = ("tally", parent, mark)

    @classmethod
    def of_part(cls, table: StepTable, key: Key) -> "tuple[Self, str] | None":
        """Returns where a request has its entry, with the repository's name; None if it is no part of a fan-out."""
        part = Part.of(key)
        if part is None or not 0 < len(part.repository_name.encode()) <= _NAME_BYTES:
            return None
        return cls(table, part.parent, part.mark), part.repository_name

    def add(self, name: str, turn: int, entry: Entry) -> bool:
        """Writes an entry; returns whether the summary has it or will. Raises ServiceUnavailableError.

        Written again, it is the same. Where it is not, for the summary was made before, its request must tell itself;
        and where a rejection comes after what was carried out.
        """
        text = _text(entry)
        condition = "attribute_not_exists(#late)"
        more = {}
        if entry.error is not None:
            condition += f" AND (attribute_not_exists(#t{turn}) OR begins_with(#t{turn}, :rejected))"
            more[":rejected"] = {"S": _REJECTED}
        values = {":entry": {"S": text}, ":expiration": number(int(time.time()) + STEP_SECONDS), **more}
        update = f"SET #t{turn} = :entry, #expiration = :expiration"
        first = f"{condition} AND {_OPEN.format(f'#t{turn - 1}')}" if turn else condition
        met = self._update(name, update, first, values | (_OPEN_VALUES if turn else {}))
        # A request that had ended is not marked as late; whether it has been summed up, only the summary tells.
        if met is not None and turn and not self._is_summed_up():
            met = self._update(name, update, condition, values)
        if met is None:
            return True
        with or_unavailable(_PROBLEM):  # a redrive may bring it once more, and again
            self._table.remember(met, STEP_SECONDS)
        return bool(met.get(f"t{turn}", {}).get("S") == text)

    def is_awaited(self) -> bool:
        """Returns whether there is a fan-out that will sum up, or has. Raises ServiceUnavailableError."""
        _, parent, mark = self._key
        with or_unavailable(_PROBLEM):
            claim = self._table.item(parent, "claim")
        return claim is not None and mark_of(claim["generation"]["S"]) == mark

    def _is_summed_up(self) -> bool:
        _, parent, mark = self._key
        with or_unavailable(_PROBLEM):
            summary = self._table.item(parent, "summary")
        return summary is not None and mark_of(summary["content"]["S"]) == mark

    def read(self) -> dict[str, Written]:
        """Returns what is written of each repository. Raises ServiceUnavailableError."""
        with or_unavailable(_PROBLEM):
            items = list(self._table.items(self._key))
        return {item["step"]["S"]: Written(_turns(item), late="late" in item) for item in items}

    def mark_late(self, name: str, turns: Turns) -> Turns | None:
        """Marks a repository as late, if that is all it has; returns what it has by now, where it is more.

        Raises ServiceUnavailableError.
        """
        # Whichever comes next: a turn may write before the one that led to it, if that was interrupted.
        missing = (turn for turn in range(MAX_TURNS + 1) if turn not in turns)
        condition = " AND ".join(f"attribute_not_exists(#t{turn})" for turn in missing)
        values: dict[str, Any] = {":late": {"BOOL": True}, ":expiration": number(int(time.time()) + STEP_SECONDS)}
        if turns:  # a rejected request may have been sent back meanwhile, and carried out
            last = max(turns)
            condition += f" AND #t{last} = :last"
            values[":last"] = {"S": _text(turns[last])}
        met = self._update(name, "SET #late = :late, #expiration = :expiration", condition, values)
        return None if met is None else _turns(met)

    def _update(self, name: str, update: str, condition: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Writes an item. Returns None, or the item where the condition does not hold."""
        with or_unavailable(_PROBLEM):
            return self._table.update(item_key(self._key, name), update, condition, values)


def has_ended(turns: Turns) -> bool:
    """Returns whether a request has come to its end, by its entries."""
    return turns.keys() == set(range(len(turns))) and bool(turns) and not turns[max(turns)].continued


def _turns(item: Mapping[str, Any]) -> Turns:
    texts = sorted((int(name[1:]), value["S"]) for name, value in item.items() if re.fullmatch(r"t\d+", name))
    return {turn: Entry.from_json(json.loads(text.removeprefix(_REJECTED))) for turn, text in texts}


def _text(entry: Entry) -> str:
    """Returns an entry as it is stored; of a rejected request, so that a condition can tell."""
    return (_REJECTED if entry.error is not None else "") + json.dumps(entry.to_json(), sort_keys=True)
