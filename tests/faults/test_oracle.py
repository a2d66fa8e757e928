"""Random histories: what the function makes of requests, faults, crashes and redeliveries is what the README promises.

A failing example is a plan. `carry_out` repeats it, step by step, and `Audit` says what is wrong with it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.harness.audit import Audit
from tests.harness.faults import FAULTS, SERVICES
from tests.harness.history import (
    FORGETS,
    Deliver,
    Happening,
    Instances,
    Move,
    Picture,
    Plan,
    Push,
    Redeliver,
    Redrive,
    Repository,
    Trouble,
    Variables,
    Wait,
    carry_out,
    digest_of,
)

type Json = dict[str, Any]

EXAMPLES = 30 if settings().derandomize else settings().max_examples
"""In `make test`; with the profile of `make faults` as many as that has."""

_TAGS = ["a", "b", "c", "d", "pr-1", "pr-2", "pr-3", "prod-1", "keep-1"]
_ABSENT = 0xFFF
_OPERATIONS = ["BatchDeleteImage", "DescribeImages", "BatchGetImage", "ListImageReferrers", "UpdateItem", "sqs"]
_KINDS = [*FAULTS, FORGETS]
_MOST = 6
"""Images of any kind in a repository."""


def often(draw: st.DrawFn, percent: int) -> bool:
    """Draws true so often; examples shrink to false."""
    return draw(st.sampled_from([False] * (20 - percent // 5) + [True] * (percent // 5)))


@st.composite
def repositories(draw: st.DrawFn) -> Repository:
    """Up to six images of any kind, each pushed on another day, and in some repositories a hundred more."""
    days = draw(st.permutations(range(2, 2 + 5 * _MOST, 5)))
    free = list(_TAGS)
    pictures: list[Picture] = []
    for number in range(draw(st.sampled_from([_MOST, 5, 4, 3, 2, 0]))):
        picture = draw(pictures_of(number, free))
        free = [tag for tag in free if tag not in picture.tags]
        pushed = days[number] + 0.5
        pulled = None if picture.pulled is None else min(picture.pulled, pushed - 0.2)
        pictures.append(replace(picture, days=pushed, pulled=pulled))
    large = draw(st.sampled_from([(0, 0)] * 15 + [(101, 0), (0, 101), (120, 110)]))
    return Repository(tuple(pictures), *large)


@st.composite
def pictures_of(draw: st.DrawFn, number: int, free: list[str]) -> Picture:
    """An image that may name, or belong to, those that were pushed before it, under tags that are free."""
    earlier = st.integers(0, max(0, number - 1))
    tags = tuple(draw(st.lists(st.sampled_from(free), max_size=3, unique=True))) if free else ()
    kind = draw(st.sampled_from(["plain", "index", "index", "referrer", "signature"])) if number else "plain"
    return Picture(
        tags=tags if kind in ("plain", "index") or often(draw, 20) else (),
        children=tuple(draw(st.lists(earlier, min_size=1, max_size=3, unique=True))) if kind == "index" else (),
        subject=draw(earlier) if kind == "referrer" else None,
        signs=draw(earlier) if kind == "signature" else None,
        pulled=draw(st.sampled_from([None, None, 3.4, 20.4])),
        archived=often(draw, 5),
        readable=kind == "signature" or not often(draw, 5),
    )


@st.composite
def image_ids(draw: st.DrawFn, repository: Repository) -> list[Json | str]:
    """Ids by tag, by digest and by both, of images that are there or not; some malformed, some by the hundred."""
    there = [(digest_of(n), tag) for n, picture in enumerate(repository.pictures) for tag in picture.tags]
    digests = [digest_of(number) for number in range(len(repository.pictures))]
    tag = st.sampled_from([*(tag for _, tag in there), *(tag for _, tag in there), "zz"])
    digest = st.sampled_from([*digests, *digests, digest_of(_ABSENT)])
    both = st.tuples(digest, tag) if not there or often(draw, 30) else st.sampled_from(there)
    malformed: list[Json] = [{}, {"imageTag": ""}, {"imageTag": "-x"}, {"imageDigest": "sha256:x"}]
    one = st.one_of(
        tag.map(lambda name: {"imageTag": name}),
        tag.map(lambda name: f"imageTag={name}"),
        digest.map(lambda name: {"imageDigest": name}),
        both.map(lambda names: {"imageDigest": names[0], "imageTag": names[1]}),
        both.map(lambda names: f"imageDigest={names[0]},imageTag={names[1]}"),
    )
    ids: list[Json | str] = draw(st.lists(one, min_size=1, max_size=5))
    if often(draw, 10):
        ids.append(draw(st.sampled_from(malformed)))
    if repository.named and often(draw, 60):
        ids.append("imageTag=big")
    if repository.single and often(draw, 60):
        ids += [f"imageTag=f-{n}" for n in range(draw(st.sampled_from([99, 104])))]
        ids = ids[::-1] if often(draw, 50) else ids
    return ids


@st.composite
def selections(draw: st.DrawFn) -> Json:
    """Selections that the contract allows."""
    words: Json = {"tagStatus": draw(st.sampled_from(["any", "tagged", "untagged"]))}
    if words["tagStatus"] == "tagged":
        patterns = st.sampled_from([["*"], ["pr-*"], ["f-*"], ["a"], ["pr-*", "*1"], ["sha256-*"]])
        words |= draw(st.one_of(patterns.map(lambda p: {"tagPatternList": p}), st.just({"tagPrefixList": ["pr-"]})))
    since = ["sinceImagePushed", "sinceImagePulled"]
    count = draw(st.sampled_from(["imageCountMoreThan", *since, None]))
    if count:
        words |= {"countType": count, "countNumber": draw(st.sampled_from([1, 2, 3, 10, 14, 70]))}
    if count in since:
        words["countUnit"] = "days"
    if often(draw, 30) or (not count and words["tagStatus"] != "tagged"):
        words["keepMostRecent"] = draw(st.integers(1, 3))
    if words["tagStatus"] != "untagged" and often(draw, 30):
        words["excludeTagPatternList"] = draw(st.sampled_from([["keep-*"], ["b", "pr-2"], ["*1"]]))
    return words


@st.composite
def payloads(draw: st.DrawFn, number: int, there: Mapping[str, Repository]) -> Json:
    """Requests that keep to the contract, or nearly."""
    several = st.sampled_from([["*"], ["app"], ["*", "app"], ["app", "w*"], ["app", "nowhere"], ["none-*"]])
    name = draw(st.sampled_from([*there] * 8 + ["nowhere"]))
    payload: Json = {"repositoryNames": draw(several)} if often(draw, 15) else {"repositoryName": name}
    if often(draw, 35):
        payload["selection"] = draw(selections())
        if often(draw, 80):
            payload["allowPercent"] = draw(st.sampled_from([100, 60]))
    else:
        payload["imageIds"] = draw(image_ids(there.get(name, Repository())))
        payload |= draw(
            st.sampled_from([{}, {}, {"cascade": True}, {"cascade": True}, {"cascade": False}, {"untag": True}])
        )
    if often(draw, 70):
        payload["requestId"] = f"r-{number}" if often(draw, 90) else "r"
    payload |= draw(st.sampled_from([{}, {"notify": "always"}, {"notify": "always", "reason": "why"}]))
    payload |= draw(st.sampled_from([{}] * 8 + [{"dryRun": True}, {"registryId": "123456789012"}]))
    return payload


@st.composite
def bodies(draw: st.DrawFn, number: int, there: Mapping[str, Repository]) -> str:
    """Messages and events with a request; some break the contract."""
    payload = draw(payloads(number, there))
    if often(draw, 10):
        return draw(st.sampled_from([*poisons(payload)]))
    if often(draw, 15):
        event = {"id": f"event-{number}", "source": "somebody", "detail-type": "ECR Image Deletion Request"}
        return json.dumps(event | {"detail": payload})
    return json.dumps(payload)


def poisons(payload: Json) -> Iterator[str]:
    """Yields ways in which a request may break the contract."""
    wrong: list[Json] = [
        *({"force": True}, {"notify": "never"}, {"registryId": "999999999999"}, {"imageIds": []}, {"selection": {}}),
        *({"cascade": True, "untag": True}, {"imageIds": ["a"]}, {"imageIds": [{"tag": "a"}]}, {"allowPercent": 0}),
        *({"repositoryName": "App"}, {"requestId": ""}, {"repositoryNames": ["app"], "repositoryName": "app"}),
    ]
    yield from (json.dumps(payload | change) for change in wrong)
    body = json.dumps(payload)
    yield from (body[:-1], f"[{body}]", body.replace("{", '{"reason": "", "reason": "", ', 1))


_DRY: Variables = (("DRY_RUN", "true"),)
_GUARDED: Variables = (("PROTECTED_TAGS", "prod-?,keep*"), ("MAX_PERCENT_OF_REPOSITORY", "100"))
VARIABLES: st.SearchStrategy[Variables] = st.sampled_from(
    [
        *((), (), (), _GUARDED, _GUARDED),
        *((("PROTECTED_TAGS", "prod*"),), (("PROTECTED_REPOSITORIES", "w*"),), (("MAX_IMAGES_PER_REQUEST", "3"),)),
        (("MAX_IMAGES_PER_REQUEST", "105"), ("PROTECTED_TAGS", "f-7")),
        (("MAX_PERCENT_OF_REPOSITORY", "20"),),
    ]
)
"""Of the stack, for most deliveries and in the end."""
CHANGED: st.SearchStrategy[Variables] = st.sampled_from(
    [
        *((), _GUARDED, _DRY, _DRY, (("PROTECTED_TAGS", "*"),), (("PROTECTED_REPOSITORIES", "*"),)),
        *((("MAX_IMAGES_PER_REQUEST", "1"),), (("MAX_IMAGES_PER_REQUEST", "1"), ("MAX_PERCENT_OF_REPOSITORY", "1"))),
    ]
)
"""Of the stack for single deliveries: mostly stricter, which may not undo what was admitted."""

TROUBLES = st.one_of(
    st.builds(
        Trouble,
        service=st.sampled_from([*SERVICES, *_OPERATIONS]),
        kind=st.sampled_from(_KINDS),
        after=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 6, 9, 14, 22]),
        calls=st.sampled_from([1, 1, 2, 5, 10, 100]),
    ),
    # Work is done, and its outcome stays unknown: the hardest to get right. The look-ups that follow must fail too.
    st.builds(
        Trouble,
        service=st.just("ecr"),
        kind=st.sampled_from(["cut after", "truncated"]),
        after=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5, 6]),
        calls=st.just(100),
    ),
)


@st.composite
def deliveries(draw: st.DrawFn, variables: Variables) -> Deliver:
    """One delivery of what waits, in which one thing goes wrong: faults, a kill, too little time, a second instance."""
    calls = st.sampled_from([*range(16), 19, 23, 30, 40])
    wrong = draw(st.sampled_from(["nothing", *["faults"] * 4, "kill", "kill", "time", "time", "beside"]))
    return Deliver(
        variables,
        batch=draw(st.sampled_from([10, 1, 3])),
        troubles=tuple(draw(st.lists(TROUBLES, min_size=1, max_size=3))) if wrong == "faults" else (),
        kill=draw(calls) if wrong == "kill" else None,
        patience=1 + draw(calls) if wrong == "time" else 0,
        beside=draw(calls) if wrong == "beside" else None,
    )


@st.composite
def happenings(draw: st.DrawFn, variables: Variables) -> tuple[Happening, ...]:
    """One to five deliveries; in between, pushes, redeliveries, redrives, time, and changes of the stack's settings."""
    where, tag = st.sampled_from(["app", "app", "web"]), st.sampled_from(_TAGS)
    again = st.builds(Push, where, st.builds(lambda name: Picture((name,), days=0), tag))
    outside = st.one_of(
        *(again, again, again),
        st.builds(Push, where, st.builds(lambda child: Picture(days=0, children=(child,)), st.integers(0, _MOST))),
        st.builds(Push, where, st.builds(lambda subject: Picture(days=0, subject=subject), st.integers(0, _MOST))),
        st.builds(Move, where, tag, st.integers(0, _MOST)),
        st.builds(Wait, st.sampled_from([0.3, 4.0])),
    )
    others: st.SearchStrategy[Happening] = st.one_of(st.just(Redeliver()), st.just(Redrive()), outside)
    interfering, changing = often(draw, 40), often(draw, 40)
    steps: list[Happening] = [draw(deliveries(variables))]
    for _ in range(draw(st.integers(0, 4))):
        if interfering and often(draw, 60):
            steps.append(draw(others))
        changed = draw(CHANGED) if changing and often(draw, 80) else variables
        steps.append(draw(deliveries(changed)))
    return tuple(steps)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Repositories, the messages about them, and what happens to these."""
    there = {"app": draw(repositories())} | ({"web": draw(repositories())} if often(draw, 70) else {})
    messages = [draw(bodies(number, there)) for number in range(draw(st.integers(1, 4)))]
    if often(draw, 20):
        messages.append(messages[0])
    variables = draw(VARIABLES)
    return Plan(there, tuple(messages), draw(happenings(variables)), variables)


@pytest.fixture(scope="module")
def instances() -> Instances:
    """Returns the instances of the function that serve all examples."""
    return Instances()


@pytest.mark.filterwarnings("ignore:No application metrics")  # those of two instances in one process are one
@settings(max_examples=EXAMPLES)
@given(plans())
def test_what_is_deleted_and_reported_is_what_the_readme_promises(instances: Instances, plan: Plan) -> None:
    """Whatever fails: nothing goes that must stay, each request has its due outcome, and every report is true."""
    history = carry_out(plan, instances)
    for number, one in enumerate(history.aws.tries):
        note(f"try {number}: {one}")
    assert list(Audit(history).complaints()) == []
