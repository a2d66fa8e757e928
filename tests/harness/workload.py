"""The workload of the endurance test: requests of all sizes; some name what does not exist, some are poison."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

POISON = 0.05
"""The share of requests that can never work."""
FIRST = "message-0"
"""Its key is taken by the time the others are sent."""

_SIZES, _WEIGHTS = (1, 3, 10, 100, 101, 250), (50, 30, 10, 5, 3, 2)
_WITH_MISSING = 0.2


@dataclass(frozen=True, slots=True)
class Message:
    """A request on the queue, and what there is to know about it."""

    id: str
    body: str
    repository: str
    there: frozenset[str]
    """The tags it names of images that exist."""
    missing: frozenset[str] = frozenset()
    """Those that nobody has pushed."""
    poison: bool = False

    @property
    def keeps(self) -> str:
        """A tag in its repository that nobody asks to delete."""
        return f"keep-{self.id}"


def messages(count: int, random: Random) -> Iterator[Message]:
    """Yields requests of one id up to three calls, mostly small."""
    for n in range(count):
        name, repository = f"message-{n}", f"repository-{n}"
        if name != FIRST and random.random() < POISON:
            body = random.choice(poisons(repository, f"tag-{n}"))
            yield Message(name, body, repository, there=frozenset({f"tag-{n}"}), poison=True)
            continue
        [size] = random.choices(_SIZES, _WEIGHTS)
        missing = random.choice((1, (size + 1) // 2)) if random.random() < _WITH_MISSING else 0
        tags = [f"missing-{n}-{i}" if i < missing else f"tag-{n}-{i}" for i in range(size)]
        random.shuffle(tags)
        # Every other request brings the key that it would have anyway.
        key = {"requestId": name} if n % 2 == 0 else {}
        body = json.dumps({**key, "repositoryName": repository, "imageIds": [f"imageTag={tag}" for tag in tags]})
        absent = frozenset(tag for tag in tags if tag.startswith("missing"))
        yield Message(name, body, repository, frozenset(tags) - absent, absent)


def poisons(repository: str, tag: str) -> list[str]:
    """Returns bodies of requests that can never work, though most name an image that is there."""
    request = {"repositoryName": repository, "imageIds": [f"imageTag={tag}"]}
    changes: list[dict[str, Any]] = [
        {"force": True},
        {"imageIds": []},
        {"imageIds": f"imageTag={tag}"},
        {"imageIds": [tag]},
        {"imageIds": [17, f"imageTag={tag}"]},
        {"imageIds": [{"imageTag": tag, "imageTagg": tag}]},
        {"reason": "\ud800"},
        {"registryId": "999999999999"},
        {"repositoryName": f"Capital/{repository}"},
        {"requestId": ""},
        {"requestId": FIRST},
    ]
    good = json.dumps(request)
    return [
        *("", "null", "17", tag, "[" * 50_000),
        *(json.dumps(good), f"[{good}]", good[:-1], good + good, good.replace("{", '{"repositoryName": "other", ')),
        *(json.dumps({key: request[key]}) for key in request),
        *(json.dumps({**request, **change}) for change in changes),
    ]
