"""The summary of a request for several repositories: what became of the requests that it led to."""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from .failure_codes import RESTORED_IN_PART
from .images import Json
from .limits import truncate_to_fit
from .report import WORDS, DeletionReport
from .request import Action, DeletionRequest

_ERROR_CHARACTERS = 300
_STOPPED = "StoppedByDryRun"


class Entry(NamedTuple):
    """What became of one request of a fan-out, or of one of its turns."""

    action: Action = "delete"
    done: int = 0
    asked: int = 0
    failed: int = 0
    bytes: int = 0
    codes: Mapping[str, int] = {}
    """How many failures have each code."""
    continued: bool = False
    """Another turn goes on with it."""
    error: str | None = None
    """Why it was rejected."""
    arrival: str | None = None
    """The messageId of what was rejected: sent back from the dead-letter queue, it is another one."""

    @classmethod
    def of(cls, report: DeletionReport) -> Self:
        """Returns what counts of a report: nothing, if it is a dry run only because the stack has become one since."""
        if report.request.dry_run and not report.request.payload.get("dryRun"):
            stopped = report.asked or len(report.failures)
            return cls(report.action, asked=report.asked, failed=stopped, codes={_STOPPED: stopped} if stopped else {})
        return cls(
            action=report.action,
            done=report.done,
            asked=report.asked,
            failed=report.failed,
            bytes=report.selection.bytes if report.selection else report.bytes,
            codes=report.failures_by_code,
            continued=report.selection is not None and report.selection.continued_as is not None,
        )

    @classmethod
    def rejected(cls, error: str, arrival: str) -> Self:
        """Returns the same of a request that was rejected, as it arrived in this message."""
        return cls(error=error[:_ERROR_CHARACTERS], arrival=arrival)

    @property
    def met_images(self) -> bool:
        """Whether it came to look at images: it was not rejected, and did not fail as a whole.

        One that fails as a whole may know what an earlier try has done, and knows of no image that is left.
        """
        return self.error is None and not (self.failed and self.asked <= self.done)

    def before_another(self) -> Self:
        """Returns what counts of a turn whose images the next one has met: what failed or was left, counts there."""
        codes = {code: count for code, count in self.codes.items() if code == RESTORED_IN_PART}
        failed = sum(codes.values())
        return self._replace(asked=self.done + failed, failed=failed, codes=codes)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(**value)

    def to_json(self) -> Json:
        """Returns what is not as usual."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}


class SummaryOutcome(NamedTuple):
    """What one check on the requests of a fan-out has found."""

    counts: Mapping[str, Any] = {}
    """The numbers of the summary, under the names that it has for them."""
    rejected: Sequence[Json] = ()
    failed: Sequence[Json] = ()
    unfinished: Sequence[str] = ()
    omitted: tuple[int, int, int] = (0, 0, 0)
    """How many entries of these three were left out to fit the store."""
    continued_as: str | None = None
    """The requestId of the next check, where there is one; there is no summary then."""

    @classmethod
    def of(cls, request: DeletionRequest, entries: Mapping[str, Sequence[Entry]], unfinished: Sequence[str]) -> Self:
        """Sums up the entries of each repository, in the order of its turns; some have not come to their end."""
        rejected, failed = list[Json](), list[Json]()
        done: Counter[Action] = Counter({request.action: 0})
        codes, asked, failures, size, going_on = Counter[str](), 0, 0, 0, set(unfinished)
        for name, turns in entries.items():
            own, own_failures = Counter[str](), 0
            for turn, following in itertools.zip_longest(turns, turns[1:]):
                entry = turn.before_another() if following and following.met_images else turn
                done[entry.action] += entry.done
                asked, size, own_failures = asked + entry.asked, size + entry.bytes, own_failures + entry.failed
                own.update(entry.codes)
                if entry.error is not None and name not in going_on:
                    rejected.append({"repositoryName": name, "error": entry.error})
            if own_failures:
                failed.append(
                    {"repositoryName": name, "failed": own_failures, "failuresByCode": dict(sorted(own.items()))}
                )
            codes.update(own)
            failures += own_failures
        counts = {
            "repositories": len(entries),
            "finished": len(entries) - len(rejected) - len(unfinished),
            "rejected": len(rejected),
            "unfinished": len(unfinished),
            "requested": asked,
            **{WORDS[action].number: count for action, count in done.items()},
            "failed": failures,
            "bytes": size,
            "failuresByCode": dict(sorted(codes.items())),
        }
        return cls(counts, rejected, failed, unfinished)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(**{**value, "omitted": tuple(value["omitted"])})

    def to_json(self) -> Json:
        return self._asdict()

    @property
    def entries(self) -> int:
        """How many repositories it names."""
        return len(self.rejected) + len(self.failed) + len(self.unfinished)

    def first(self, count: int) -> "SummaryOutcome":
        """Returns the first so many of the repositories that it names, the rejected before the failed; others count."""
        rejected = self.rejected[:count]
        failed = self.failed[: count - len(rejected)]
        unfinished = self.unfinished[: count - len(rejected) - len(failed)]
        whole, some = (self.rejected, self.failed, self.unfinished), (rejected, failed, unfinished)
        left_out = (before + len(a) - len(b) for before, a, b in zip(self.omitted, whole, some, strict=True))
        a, b, c = left_out
        return self._replace(rejected=rejected, failed=failed, unfinished=unfinished, omitted=(a, b, c))

    def truncated(self, limit: int) -> "SummaryOutcome":
        """Returns as much of it as `limit` bytes hold."""
        return truncate_to_fit(self.first, self.entries, lambda outcome: len(json.dumps(outcome.to_json())), limit)


class SummaryReport(NamedTuple):
    """One check on the requests of a fan-out; the last one is its summary."""

    request: DeletionRequest
    outcome: SummaryOutcome
    replayed: bool = False

    def to_answer(self, registry_id: str) -> Json:
        """Returns what the check has found."""
        return {
            "requestId": self.request.root_id,
            "registryId": self.request.registry_id or registry_id,
            **({"continuedAs": self.outcome.continued_as} if self.outcome.continued_as else self.outcome.counts),
        }
