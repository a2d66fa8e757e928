"""Scenarios: images, requests to delete them on a queue, what is to come of them, and what happens meanwhile."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tests.fakes.aws import seconds_ago
from tests.harness.request_queue import RequestQueue
from tests.harness.watched import WatchedAWS

type Json = dict[str, Any]
type Build = Callable[[WatchedAWS, str], "Expected"]

OLD, YOUNG = 30, 1
"""Days since the push; two weeks are the limit of the selections here."""
GUARDS = {"PROTECTED_TAGS": "prod*", "PROTECTED_REPOSITORIES": "kept-*", "MAX_CONCURRENT_CALLS": "2"}
LARGE = {"MAX_IMAGES_PER_REQUEST": "100000"}
ARCHIVES = {"ALLOW_ARCHIVE": "true"}
GRACE = {"GRACE_PERIOD_DAYS": "30", **ARCHIVES}
PROTECTS_IN_USE = {"PROTECT_IN_USE": "ecs", "USAGE_TABLE": "usage"}

_PUSHED_AGAIN = 3
"""Tags of each request that get a new image once theirs is gone."""
_OLD_PREVIEWS: Json = {
    "tagStatus": "tagged",
    "tagPatternList": ["pr-*"],
    "excludeTagPatternList": ["*-keep"],
    "countType": "sinceImagePushed",
    "countUnit": "days",
    "countNumber": 14,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """One request, and what is to come of it."""

    request: Json
    goes: frozenset[str] = frozenset()
    """The tags and digests that are gone in the end. All others stay."""
    archived: frozenset[str] = frozenset()
    """The digests that are in the archive in the end. All others are not."""
    fails: Mapping[str, str] = field(default_factory=dict)
    """The failure code of each tag, or digest, that is refused."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """The code of each relative that stays."""
    reports: tuple[str, ...] = ("",)
    """The requests that are reported on, by what their requestId has behind that of the request."""
    asked: int | None = None
    """How many images are asked for, where that is not the number of ids."""
    repositories: int = 0
    """How many repositories the one summary is of, where the request asks for that."""
    events: bool = False
    """Each report is an event too."""


def named(aws: WatchedAWS, repository: str, *, size: int, failing: bool = True) -> Expected:
    """So many images by tag; the last one does not exist, if there are several or it is to fail."""
    tags = [f"tag-{repository}-{n}" for n in range(size)]
    missing = f"missing-{repository}"
    aws.ecr.repositories[repository]  # it is there, though it may hold nothing
    if size > 1 or failing:
        tags[-1] = missing
    there = {tag: aws.ecr.push(repository, tag) for tag in tags if tag != missing}
    request = {"repositoryName": repository, "imageIds": [f"imageTag={tag}" for tag in tags]}
    fails = {missing: "ImageNotFound"} if missing in tags else {}
    return Expected(request, frozenset({*there, *there.values()}), fails=fails, reports=("",) if fails else ())


def protected(aws: WatchedAWS, repository: str) -> Expected:
    """Named images, some with a protected tag, in two calls."""
    asked: list[Json] = []
    goes: set[str] = set()
    fails: dict[str, str] = {}
    push = aws.ecr.push
    for n in range(21):
        tag = f"{repository}-{n}"
        lone = push(repository, tag)
        _, by_both, by_digest = (push(repository, f"{tag}-{name}") for name in ("moved", "both", "digest"))
        prod = push(repository, f"prod-{tag}", f"{tag}-x")
        other = push(repository, f"{tag}-y", f"prod-{tag}-y")
        asked += [{"imageTag": tag}, {"imageDigest": by_digest}, {"imageTag": f"{tag}-both", "imageDigest": by_both}]
        asked += [{"imageTag": f"prod-{tag}"}, {"imageDigest": other}]
        asked += [{"imageTag": f"{tag}-x"}, {"imageTag": f"{tag}-moved", "imageDigest": prod}]
        goes |= {tag, lone, by_digest, f"{tag}-digest", by_both, f"{tag}-both", f"{tag}-x"}
        fails |= {f"prod-{tag}": "ProtectedTag", other: "ProtectedTag", f"{tag}-moved": "ImageTagDoesNotMatchDigest"}
    missing = f"sha256:{'f' * 63}{repository[-1]}"  # so that all are looked up one by one
    asked.append({"imageDigest": missing})
    fails[missing] = "ImageNotFound"
    return Expected({"repositoryName": repository, "imageIds": asked}, frozenset(goes), fails=fails)


def in_use(aws: WatchedAWS, repository: str) -> Expected:
    """Named images in two calls, some of them in use: by themselves, by what they name or sign, by what names them."""
    asked: list[Json] = []
    goes: set[str] = set()
    fails: dict[str, str] = {}
    push = aws.ecr.push
    for n in range(20):
        tag = f"{repository}-{n}"
        by_digest, by_tag = push(repository, tag, f"{tag}-x"), push(repository, f"{tag}-t", f"{tag}-used")
        inner = push(repository)
        push(repository, f"{tag}-i", children=(inner,))
        named = push(repository)
        signature = push(repository, subject=by_digest)
        push(repository, f"{tag}-whole", children=(named,))
        lone = push(repository, f"{tag}-lone")
        _use(aws, repository, digests=(by_digest, inner), tags=(f"{tag}-used", f"{tag}-whole"))
        refused = (f"{tag}-x", by_tag, f"{tag}-i", named, signature)
        names = (*refused, f"{tag}-lone")
        asked += [{"imageDigest" if name.startswith("sha256:") else "imageTag": name} for name in names]
        fails |= dict.fromkeys(refused, "ImageInUse")
        goes |= {f"{tag}-lone", lone}
    return Expected({"repositoryName": repository, "imageIds": asked}, frozenset(goes), fails=fails)


def selected_but_in_use(aws: WatchedAWS, repository: str) -> Expected:
    """Old previews, some of which run: as they are, as an index, and as one of its platforms."""
    expected = selected(aws, repository)
    push = aws.ecr.push
    running = push(repository, f"pr-{repository}-running", days=OLD)
    push(repository, days=OLD, subject=running)
    platform = push(repository, days=OLD)
    push(repository, f"pr-{repository}-index", days=OLD, children=(platform, push(repository, days=OLD)))
    push(repository, f"pr-{repository}-named", days=OLD)
    _use(aws, repository, digests=(running, platform), tags=(f"pr-{repository}-named",))
    return expected


def _use(aws: WatchedAWS, repository: str, *, digests: tuple[str, ...], tags: tuple[str, ...]) -> None:
    """Has these be in use in the table, whose source is believed."""
    table = aws.dynamodb.tables["usage"]
    month = {"N": str(seconds_ago(-30 * 86_400))}
    table['["sources"]', "ecs"] = {
        "id": {"S": '["sources"]'},
        "item": {"S": "ecs"},
        "began": {"N": str(seconds_ago(60))},
        "expires": month,
    }
    partition = json.dumps(["repository", repository])
    for kind, names in (("digest", digests), ("tag", tags)):
        for name in names:
            table[partition, name] = {
                "id": {"S": partition},
                "item": {"S": name},
                kind: {"S": name},
                "user": {"S": "ECS service web in cluster prod"},
                "source": {"S": "ecs"},
                "since": {"N": str(seconds_ago(86_400))},
                "expiration": month,
            }


def cascade(aws: WatchedAWS, repository: str) -> Expected:
    """Indexes with more relatives than fit one chunk: all go but what others need, or what has a tag of its own."""
    asked: list[Json] = []
    goes: set[str] = set()
    kept: dict[str, str] = {}
    push = aws.ecr.push
    for n in range(22):
        tag = f"{repository}-{n}"
        mine, shared, deep, *more = (push(repository) for _ in range(8))
        own = push(repository, f"{tag}-amd64")
        inner = push(repository, children=(deep,))
        index = push(repository, tag, children=(mine, shared, own, inner, *more))
        push(repository, f"{tag}-other", children=(shared,))
        signature = push(repository, subject=index)
        by_tag = push(repository, f"{index.replace(':', '-')}.sig")
        asked.append({"imageTag": tag})
        goes |= {tag, index, mine, deep, inner, signature, by_tag, f"{index.replace(':', '-')}.sig", *more}
        goes.add(push(repository, subject=signature))
        kept |= {own: "StillTagged", shared: "ImageReferencedByManifestList"}
    request = {"repositoryName": repository, "imageIds": asked, "cascade": True, "notify": "always"}
    return Expected(request, frozenset(goes), kept=kept)


def untag(aws: WatchedAWS, repository: str) -> Expected:
    """One tag of two, of many images; and the only one."""
    tags = [f"{repository}-{n}" for n in range(60)]
    for tag in tags:
        aws.ecr.push(repository, tag, f"{tag}-stays")
    last = f"{repository}-last"
    aws.ecr.push(repository, last)
    asked = [{"imageTag": tag} for tag in [*tags, last]]
    request = {"repositoryName": repository, "imageIds": asked, "untag": True}
    return Expected(request, frozenset(tags), fails={last: "LastTag"})


def selected(aws: WatchedAWS, repository: str) -> Expected:
    """Old previews in two calls, among images that are young, excluded, protected, or something else."""
    goes: set[str] = set()
    push = aws.ecr.push
    for n in range(101):
        goes |= {f"pr-{repository}-{n}", push(repository, f"pr-{repository}-{n}", days=OLD)}
    for name in (f"pr-{repository}-x", f"pr-{repository}-keep", f"main-{repository}"):
        push(repository, name, days=YOUNG if name.endswith("x") else OLD)
    push(repository, f"prod-{repository}", f"pr-{repository}-prod", days=OLD)
    index = [push(repository, days=OLD), push(repository, days=OLD)]
    push(repository, f"v1-{repository}", days=OLD, children=index)
    return Expected({"repositoryName": repository} | _selection(), frozenset(goes), asked=101)


def wholes(aws: WatchedAWS, repository: str) -> Expected:
    """All but the newest two, by what was pushed: with their platform images, and signatures of today."""
    goes: set[str] = set()
    push = aws.ecr.push
    for n in range(6):
        tag = f"pr-{repository}-{n}"
        child = push(repository, days=OLD + n)
        index = push(repository, tag, days=OLD + n, children=(child,))
        signature = push(repository, days=0, subject=index)
        by_tag = push(repository, f"{index.replace(':', '-')}.sig", days=0)
        if n > 1:
            goes |= {tag, child, index, signature, by_tag, f"{index.replace(':', '-')}.sig"}
    meant = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}
    return Expected({"repositoryName": repository} | _selection(meant), frozenset(goes), asked=16)


def archived(aws: WatchedAWS, repository: str) -> Expected:
    """Images for two platforms with signatures, which share one with others; and some that a tag protects."""
    asked: list[Json] = []
    goes: set[str] = set()
    fails: dict[str, str] = {}
    push = aws.ecr.push
    for n in range(12):
        tag = f"{repository}-{n}"
        mine, shared, deep = (push(repository) for _ in range(3))
        inner = push(repository, children=(deep,))
        index = push(repository, tag, f"{tag}-x", children=(mine, shared, inner))
        push(repository, f"{tag}-other", children=(shared,))
        goes |= {index, mine, inner, deep, push(repository, subject=index)}
        goes.add(push(repository, f"{mine.replace(':', '-')}.sig"))
        push(repository, f"prod-{tag}", f"{tag}-y")
        asked += [{"imageTag": tag}, {"imageTag": f"{tag}-y"}]
        fails[f"{tag}-y"] = "ProtectedTag"
    request = {"repositoryName": repository, "imageIds": asked, "action": "archive", "notify": "always"}
    return Expected(request, archived=frozenset(goes), fails=fails)


def restored(aws: WatchedAWS, repository: str) -> Expected:
    """Images by tag, some of them in the archive; and one that does not exist."""
    tags = [f"{repository}-{n}" for n in range(101)]
    for n, tag in enumerate(tags):
        status = "ARCHIVED" if n % 4 else "ACTIVE"
        aws.ecr.push(repository, tag, status=status, archived=seconds_ago(100) if n % 4 else None)
    left = aws.ecr.push(repository, f"{repository}-other", status="ARCHIVED", archived=seconds_ago(100))
    missing = f"missing-{repository}"
    asked = [{"imageTag": tag} for tag in [*tags, missing]]
    request = {"repositoryName": repository, "imageIds": asked, "action": "restore"}
    return Expected(request, archived=frozenset({left}), fails={missing: "ImageNotFound"})


def kept_for_a_grace_period(build: Build) -> Build:
    """The same, where the stack has a grace period: what would go is archived."""

    def build_kept(aws: WatchedAWS, repository: str) -> Expected:
        expected = build(aws, repository)
        digests = frozenset(name for name in expected.goes if name.startswith("sha256:"))
        return Expected(expected.request, archived=digests, asked=expected.asked)

    return build_kept


def fan_out(aws: WatchedAWS, repository: str) -> Expected:
    """A selection in every repository of a team, but for one that is protected."""
    goes: set[str] = set()
    for name in (f"{repository}/a", f"{repository}/b"):
        for n in range(3):
            goes |= {f"pr-{name}-{n}", aws.ecr.push(name, f"pr-{name}-{n}", days=OLD)}
        aws.ecr.push(name, f"pr-{name}-keep", days=OLD)
    aws.ecr.push(f"kept-{repository}/a", f"pr-kept-{repository}", days=OLD)
    request = {"repositoryNames": [f"*{repository}/*"]} | _selection()
    return Expected(request, frozenset(goes), reports=(f"/{repository}/a", f"/{repository}/b"), asked=3)


def summarized(aws: WatchedAWS, repository: str) -> Expected:
    """The same with one summary; and one more repository, which does not exist."""
    expected = fan_out(aws, repository)
    names = [*expected.request["repositoryNames"], f"gone-{repository}"]
    request = {**expected.request, "repositoryNames": names, "notify": "summary"}
    return Expected(request, expected.goes, asked=6, repositories=3)


def with_events(build: Build) -> Build:
    """The same, where the stack puts all results on a bus."""

    def build_with_events(aws: WatchedAWS, repository: str) -> Expected:
        return replace(build(aws, repository), events=True)

    return build_with_events


def dry(build: Build) -> Build:
    """The same without effect."""

    def build_dry(aws: WatchedAWS, repository: str) -> Expected:
        expected = build(aws, repository)
        request = {**expected.request, "dryRun": True, "notify": "always"}
        return Expected(request, fails=expected.fails, asked=expected.asked)

    return build_dry


def _selection(meant: Json = _OLD_PREVIEWS) -> Json:
    return {"selection": meant, "allowPercent": 100, "notify": "always"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, and the services and operations that may fail for it."""

    build: Build
    services: tuple[str, ...]
    batch: int = 1
    """Requests in the SQS batch."""
    hurried: bool = False
    """The first invocations are short of time."""
    counts: bool = False
    """New images would change what is meant."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the function, beside those that all kinds have."""


_ALL = ("ecr", "dynamodb", "sns")
KINDS = {
    "protected tags": Kind(protected, (*_ALL, "DescribeImages", "BatchGetImage"), batch=2),
    "in use": Kind(in_use, (*_ALL, "BatchGetImage", "Query"), variables=PROTECTS_IN_USE),
    "selection with some in use": Kind(
        selected_but_in_use, ("ecr", "dynamodb", "Query"), counts=True, variables=PROTECTS_IN_USE
    ),
    "cascade": Kind(cascade, (*_ALL, "BatchGetImage", "ListImageReferrers")),
    "untag": Kind(untag, ("ecr", "dynamodb", "DescribeImages")),
    "dry run": Kind(dry(protected), _ALL),
    "dry run of a selection": Kind(dry(selected), ("ecr", "dynamodb")),
    "selection": Kind(selected, (*_ALL, "DescribeImages", "BatchGetImage")),
    "selection of whole images": Kind(wholes, ("ecr", "dynamodb", "BatchGetImage"), counts=True),
    "selection in turns": Kind(selected, ("ecr", "dynamodb", "sqs"), hurried=True),
    "archive": Kind(archived, (*_ALL, "UpdateImageStorageClass", "DescribeImages"), variables=ARCHIVES),
    "restore": Kind(restored, ("ecr", "dynamodb", "UpdateImageStorageClass"), variables=ARCHIVES),
    "grace period": Kind(
        kept_for_a_grace_period(wholes), ("ecr", "dynamodb", "UpdateImageStorageClass"), counts=True, variables=GRACE
    ),
    "grace period in turns": Kind(
        kept_for_a_grace_period(selected), ("ecr", "dynamodb", "sqs"), hurried=True, variables=GRACE
    ),
    "fan-out with a summary": Kind(summarized, ("ecr", "dynamodb", "sns", "sqs", "Query")),
    "result events": Kind(
        with_events(protected), ("dynamodb", "sns", "eventbridge"), batch=2, variables={"RESULT_EVENTS": "all"}
    ),
    "fan-out": Kind(fan_out, ("ecr", "dynamodb", "sqs", "DescribeRepositories")),
}


@dataclass
class Scenario:
    """Requests of one kind on a queue, before an AWS in memory."""

    aws: WatchedAWS
    queue: RequestQueue
    expected: dict[str, Expected]
    """By requestId, which is the repository's name too."""
    counts: bool = False
    there: dict[str, set[str]] = field(default_factory=dict)
    """The tags and digests of each repository in the beginning."""
    put_away: dict[str, set[str]] = field(default_factory=dict)
    """The digests of each repository that were in the archive in the beginning."""
    pushed_again: dict[str, set[str]] = field(default_factory=dict)
    """Tags that were pushed again, by repository."""

    @classmethod
    def of(cls, build: Build, batch: int = 1, *, aws: WatchedAWS | None = None, counts: bool = False) -> Self:
        """Returns a scenario of so many requests, each in a repository of its own."""
        aws = aws or WatchedAWS()
        expected = {f"repository-{n}": build(aws, f"repository-{n}") for n in range(batch)}
        bodies = {name: json.dumps(one.request | {"requestId": name}) for name, one in expected.items()}
        aws.overlapping = any("selection" in one.request for one in expected.values())
        there = {repository: aws.ecr.names(repository) for repository in list(aws.ecr.repositories)}
        put_away = {repository: aws.ecr.archived(repository) for repository in there}
        return cls(aws, RequestQueue(bodies), expected, counts, there, put_away)

    @classmethod
    def of_images(cls, requests: int, size: int, *, aws: WatchedAWS | None = None, failing: bool = True) -> Self:
        """Returns requests for so many images each; of those for a single one, every other one fails."""

        def build(aws: WatchedAWS, repository: str) -> Expected:
            return named(aws, repository, size=size, failing=(int(repository[-1]) % 2 == 0) == failing)

        return cls.of(build, requests, aws=aws)

    @classmethod
    def of_kind(cls, kind: Kind) -> Self:
        return cls.of(kind.build, kind.batch, counts=kind.counts)

    def add_small(self, count: int) -> None:
        """Adds requests for a single image each, which is there."""
        for n in range(count):
            name = f"neighbour-{n}"
            self.expected[name] = named(self.aws, name, size=1, failing=False)
            self.queue.bodies[name] = json.dumps(self.expected[name].request | {"requestId": name})
            self.there[name] = self.aws.ecr.names(name)

    def push_again(self) -> None:
        """Pushes new images under some of the tags that are gone by now, unless that would change what is meant."""
        if self.counts:
            return
        for repository, there in self.there.items():
            gone = sorted(n for n in there - self.aws.ecr.names(repository) if not n.startswith(("sha256:", "sha256-")))
            self.pushed_again[repository] = set(gone[:: max(1, len(gone) // _PUSHED_AGAIN)])
            for tag in self.pushed_again[repository]:
                self.aws.ecr.push(repository, tag, days=0)

    def deliver_follow_ups(self) -> None:
        """Puts what the function has sent on the queue."""
        sent, self.aws.sent = self.aws.sent, []
        number = len(self.queue.done | self.queue.dead | self.queue.bodies)
        self.queue.send({f"sent-{number + n}": body for n, body in enumerate(sent)})
