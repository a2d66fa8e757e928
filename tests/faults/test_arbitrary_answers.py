"""Whatever a request asks for, and whatever ECR answers, in any order: the function keeps its promise, and stops."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.ecr import CALL_LIMIT
from tests.harness.arbitrary import DELETED, FAILED, FINAL, GARBLED, LOST, NOT_NOW, SILENT, Answer, ArbitraryAWS
from tests.harness.function import function
from tests.harness.request_queue import Invoke
from tests.harness.watched import WatchedAWS

type Json = dict[str, Any]

MOST = 12
"""Answers in a row for a chunk; each costs at most one delivery."""
TRIES = 4
"""As often as an image is asked for that ECR cannot delete at the moment."""
ATTEMPTS = 3
"""As often as a chunk is asked for whose answer was lost, in one invocation."""

ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.lists(st.sampled_from(DELETED + SILENT + FAILED), min_size=1, max_size=7).map(tuple),
    st.sampled_from(NOT_NOW + FINAL + GARBLED),
    st.sampled_from([500, 502, 503, 504]),
    st.sampled_from(LOST),
)
WAYS = st.sampled_from(["tag", "digest", "both", "malformed"])


@st.composite
def image_ids(draw: st.DrawFn) -> list[Json]:
    """Images of which each is named in one way, and names that are no image's."""
    ways = draw(st.lists(WAYS, min_size=1, max_size=7))
    count = draw(st.one_of(*[st.integers(1, 12)] * 9, st.sampled_from([99, 100, 101, 205])))
    return [_image_id(n, ways[n % len(ways)]) for n in range(count)]


def _image_id(number: int, way: str) -> Json:
    tag, digest = {"imageTag": f"v-{number:06x}"}, {"imageDigest": f"sha256:{number:064x}"}
    return {"tag": tag, "digest": digest, "both": tag | digest, "malformed": {"imageTag": f"-{number:06x}"}}[way]


def name(image_id: Json) -> str:
    """Returns what an id is known by."""
    return str(image_id.get("imageTag") or image_id["imageDigest"])


class Stage(WatchedAWS):
    """Where one AWS takes the place of another, before the same instance of the function."""

    current = WatchedAWS()

    def answer(self, *call: Any) -> Any:
        return self.current.answer(*call)


@pytest.fixture(scope="module")
def stage() -> Stage:
    """Returns what each example puts its AWS on."""
    return Stage()


@pytest.fixture(scope="module")
def invoke(stage: Stage) -> Iterator[Invoke]:
    """Yields one instance of the function for all examples."""
    with function(stage) as invoke:
        yield invoke


@settings(max_examples=60 if settings().derandomize else settings().max_examples)
@given(image_ids(), st.lists(ANSWERS, max_size=MOST))
def test_any_request_and_any_answers(stage: Stage, invoke: Invoke, ids: list[Json], answers: list[Answer]) -> None:
    """No call of more than 100 ids, nothing asked again that is settled, each id reported once, the same when replayed.

    The AWS itself watches over the calls.
    """
    stage.current = aws = ArbitraryAWS(answers=answers)
    aws.push_all(ids)
    request = {"requestId": "r-1", "repositoryName": "app", "imageIds": ids}
    answer = delivered(invoke, request, aws)

    assert aws.violations == []
    failed = {name(failure["imageId"]): failure for failure in answer["failures"]}
    assert len(failed) == len(answer["failures"])
    assert [key for key in map(name, ids) if key in failed] == list(failed)
    assert failed.keys() <= set(map(name, ids))
    unconfirmed = [i for i in ids if not check(aws, i, failed.get(name(i)))]
    assert len(unconfirmed) == answer.get("unconfirmed", 0)
    gone = {entry.get(key) for entry in answer["imageIds"] for key in ("imageTag", "imageDigest")}
    assert {name(i) for i in ids} - failed.keys() <= gone | {name(i) for i in ids if i.get("imageDigest") in gone}

    asked = Counter(name for names in aws.deletions for name in names)
    assert max(asked.values(), default=0) <= (len(answers) + TRIES + (len(ids) - len(failed)) + 1) * ATTEMPTS
    calls = len(aws.deletions)
    assert delivered(invoke, request, aws) == answer
    assert len(aws.deletions) == calls
    assert [notice["failures"] for notice in aws.notices] == ([answer["failures"]] if failed else [])


def check(aws: ArbitraryAWS, image_id: Json, failure: Json | None) -> bool:
    """An id that failed did so under the last code that ECR gave it, or was never answered for; others were deleted.

    Returns whether ECR itself said so: what it does not find after an answer was lost is taken as deleted.
    """
    words = [word for word in aws.said.get(name(image_id), []) if word not in SILENT + NOT_NOW]
    code = failure["failureCode"] if failure else None
    if image_id.get("imageTag", "v").startswith("-"):
        assert code == "InvalidImageTag"
    elif code == "Unanswered":
        assert not words or words[-1] in DELETED + FAILED
    elif code is None:
        assert words[-1] in (*DELETED, "ImageNotFound")
        return words[-1] in DELETED
    else:
        assert code == {"failed without a code": "Unknown"}.get(words[-1], words[-1])
    return True


def delivered(invoke: Invoke, request: Json, aws: WatchedAWS) -> Json:
    """Returns the answer of the first invocation that has one, tried again as Lambda does."""
    for _ in range(MOST * (1 + len(request["imageIds"]) // CALL_LIMIT)):
        try:
            return invoke(request)
        except Exception:  # noqa: BLE001  # whatever it is, it must be cured when no answers are left
            aws.let_time_pass(720)
    return invoke(request)
