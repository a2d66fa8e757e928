"""Random histories of a grace period: whatever happens, nothing goes that must stay, and nothing stays for ever.

Archived again, restored, pushed and re-tagged by people; with every service failing in every way; delivered twice.
"""

import sys
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.fakes.ecr import DAY, FakeECR
from tests.harness.faults import FAULTS, Fault
from tests.harness.function import function
from tests.harness.grace_world import DAILY, GRACE_DAYS, REPOSITORY, GraceWorld
from tests.harness.scenario import GRACE

EXAMPLES = 40 if settings().derandomize else settings().max_examples
"""In `make test`; with the profile of `make faults` as many as that has."""
_OPERATIONS = ["ecr", "dynamodb", "sns", "UpdateImageStorageClass", "BatchDeleteImage", "Query", "DescribeImages"]
_OLD = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
_PREVIEWS: dict[str, Any] = {"tagStatus": "tagged", "tagPatternList": ["pr-*"], **_OLD}
_UNTAGGED: dict[str, Any] = {"tagStatus": "untagged", **_OLD}
_VARIABLES = GRACE | {"MAX_PERCENT_OF_REPOSITORY": "100", "PROTECTED_TAGS": "prod*"}

REQUESTS: dict[str, dict[str, Any]] = {
    "nightly": {"repositoryName": REPOSITORY, "selection": _PREVIEWS, "notify": "always"},
    "untagged": {"repositoryName": REPOSITORY, "selection": _UNTAGGED, "notify": "always"},
    "daily": DAILY,
}
numbers = st.integers(0, 9)
happenings = st.one_of(
    st.tuples(st.just("push"), st.sampled_from(["pr", "main", "prod", ""]), st.lists(numbers, max_size=2), numbers),
    st.tuples(st.sampled_from(["nightly", "nightly", "untagged", "daily", "daily"])),
    st.tuples(st.sampled_from(["restore by hand", "archive by hand", "push again"]), numbers),
    st.tuples(st.sampled_from(["archive", "delete", "restore"]), numbers),
    st.tuples(st.just("undo")),
    st.tuples(st.just("tag"), numbers, st.sampled_from(["pr", "prod"])),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0, 16.0, 31.0])),
    st.tuples(
        st.just("fault"), st.sampled_from(_OPERATIONS), st.sampled_from(FAULTS), st.integers(0, 12), st.integers(1, 3)
    ),
)


class History:
    """What happens, one after the other."""

    def __init__(self, aws: GraceWorld, invoke: Any) -> None:
        self._aws, self._invoke = aws, invoke
        self._images = aws.ecr.repositories[REPOSITORY]
        self._pushed = 0
        self._lifted_after = 0
        self._restore: dict[str, Any] | None = None

    def happen(self, what: str, *details: Any) -> None:
        """Lets one thing happen."""
        match what, *details:
            case "push", str(kind), list(children), int(days):
                there = [digest for n in children if (digest := self._image(n))]
                tags = [self._new_tag(kind)] if kind else []
                self._aws.ecr.push(REPOSITORY, *tags, days=10 + 3 * days, children=there)
            case "wait", float(days):
                self._aws.let_time_pass(days * DAY)
            case "fault", str(service), str(kind), int(begins), int(rounds):
                first = self._aws.calls[service] + begins
                self._aws.fault = Fault(service, kind, range(first, sys.maxsize).__contains__)
                self._lifted_after = rounds
            case ("undo",):
                if self._restore:
                    self._send(self._restore)
            case (str(name),) if name in REQUESTS:
                self._send(REQUESTS[name])
            case str(name), int(number), *more if digest := self._image(number):
                self._happen_to(digest, name, *more)

    def _happen_to(self, digest: str, what: str, *details: str) -> None:
        match what:
            case "tag":
                self._aws.ecr.tag(REPOSITORY, digest, self._new_tag(*details))
            case "push again":
                self._aws.push_again(digest)
            case "restore by hand" | "archive by hand":
                self._aws.by_hand(digest, "ARCHIVE" if what.startswith("archive") else "STANDARD")
            case _:
                self._named(what, digest)

    def _new_tag(self, kind: str) -> str:
        self._pushed += 1
        return f"{kind}-{self._pushed}"

    def _named(self, action: str, digest: str) -> None:
        self._aws.keeps, self._aws.deletes = action == "archive", {digest} if action == "delete" else set()
        self._send({"repositoryName": REPOSITORY, "imageIds": [{"imageDigest": digest}], "action": action})
        if action == "archive" and digest in self._aws.due:
            self._aws.due[digest] = False  # it was there already, and is to stay there
        self._aws.keeps, self._aws.deletes = False, set()

    def _send(self, request: dict[str, Any]) -> None:
        for notice in self._aws.deliver(self._invoke, request, self._lifted_after):
            self._restore = notice.get("restoreRequest", self._restore)
        self._lifted_after = 0

    def _image(self, number: int) -> str | None:
        return [*self._images][number % len(self._images)] if self._images else None


@given(
    history=st.lists(happenings, min_size=5, max_size=25),
    shown=st.sampled_from([None, "ImageInaccessible", "ImageNotFound"]),
    alone=st.booleans(),
)
@settings(max_examples=EXAMPLES)
def test_a_grace_period_keeps_its_promises(history: list[tuple[Any, ...]], shown: str | None, alone: bool) -> None:  # noqa: FBT001
    """It deletes nothing too soon, nothing that others archived, restored or keep; and in the end all that is due."""
    aws = GraceWorld(ecr=FakeECR(archived_image_failure=shown, children_can_be_archived=alone))
    aws.ecr.repositories[REPOSITORY]  # it is there, though it holds nothing
    with function(aws, _VARIABLES) as invoke:
        world = History(aws, invoke)
        for happening in history:
            note(f"{happening}")
            world.happen(*happening)
            assert aws.complaints == []
        aws.let_time_pass((GRACE_DAYS + 1) * DAY)
        for _ in range(2):  # what ECR refuses because of an index goes on the day after that
            world.happen("daily")
    assert aws.complaints == []
    images = aws.ecr.repositories[REPOSITORY]
    needed = {child for image in images.values() for child in image.children}
    protected = {digest for digest, image in images.items() if any(tag.startswith("prod") for tag in image.tags)}
    assert aws.overdue - needed - protected == set()
