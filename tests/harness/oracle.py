"""The oracle: what the README promises, as plain functions of a request, the stack, and what a repository holds.

It knows nothing of deliveries, faults and steps. Where the README leaves something open, it names all that may come.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from jsonschema import Draft4Validator

type Json = dict[str, Any]
type Id = tuple[str | None, str | None]
"""Digest and tag, as a request names them."""

ACCOUNT = "123456789012"
DELETED = "deleted"
"""Beside the failure codes: what may come of an id."""
REFERENCED = "ImageReferencedByManifestList"

_SCHEMA = Path(__file__).parents[2] / "src" / "handler" / "deletion_request.schema.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")
_SIGNATURE = re.compile(r"sha256-([0-9a-f]{64})(\.sig|\.att|\.sbom)?")
_SHORTHAND = re.compile(r"(imageTag|imageDigest)=([^,]*)")


class Image(NamedTuple):
    """An image as ECR knows it; times are in days before now."""

    tags: frozenset[str]
    pushed: float
    children: tuple[str, ...] = ()
    subject: str | None = None
    pulled: float | None = None
    archived: bool = False
    readable: bool = True
    size: int = 1


class Images(dict[str, Image]):
    """The images of a repository by digest, and how they belong together."""

    @cached_property
    def parents(self) -> dict[str, set[str]]:
        """The indexes that name each image."""
        found: dict[str, set[str]] = {digest: set() for digest in self}
        for digest, image in self.items():
            for child in image.children:
                found.setdefault(child, set()).add(digest)
        return found

    @cached_property
    def owners(self) -> dict[str, set[str]]:
        """The owners of each image: the indexes that name it, and its subject."""
        found = {digest: set(self.parents[digest]) for digest in self}
        for digest, image in self.items():
            found[digest] |= {
                subject for subject in (image.subject, self.signed(digest)) if subject and subject in self
            }
        return found

    @cached_property
    def belongings(self) -> dict[str, set[str]]:
        """The relatives of each image."""
        found: dict[str, set[str]] = {digest: set() for digest in self}
        for digest, owners in self.owners.items():
            for owner in owners:
                found[owner].add(digest)
        return found

    @cached_property
    def tagged(self) -> dict[str, str]:
        """The image of each tag."""
        return {tag: digest for digest, image in self.items() for tag in image.tags}

    def signed(self, digest: str, *, wide: bool = False) -> str | None:
        """Returns the image whose signature this is, if it is one by its only tag and that image is there.

        With `wide`, it may have further tags, which make it an image of its own.
        """
        tags = self[digest].tags
        subjects = {f"sha256:{match[1]}" for tag in tags if (match := _SIGNATURE.fullmatch(tag))} & self.keys()
        return next(iter(subjects - {digest}), None) if wide or len(tags) == 1 else None

    def own_tags(self, digest: str) -> frozenset[str]:
        """Returns the tags that make something an image of its own."""
        return frozenset() if self.signed(digest) else self[digest].tags

    def target(self, image_id: Id) -> str | None:
        """Returns the image that an id names, by its tag where it has one."""
        digest, tag = image_id
        target = digest if tag is None else self.tagged.get(tag)
        return target if target in self else None

    def family(self, roots: Iterable[str], *, wide: bool = False) -> set[str]:
        """Returns these images and all that belongs to them; with `wide`, also signatures with further tags."""
        more = {d: owner for d in self if (owner := self.signed(d, wide=True))} if wide else {}
        found, waiting = set[str](), [*roots]
        while waiting:
            if (digest := waiting.pop()) not in found:
                found.add(digest)
                waiting += self.belongings[digest] | {d for d, owner in more.items() if owner == digest}
        return found


class Stack(NamedTuple):
    """The parameters of the stack that decide what may be deleted."""

    protected_tags: tuple[str, ...]
    protected_repositories: tuple[str, ...]
    max_images: int
    max_percent: int
    dry_run: bool

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        tags, repositories = (
            tuple(filter(None, variables[name].split(","))) for name in ("PROTECTED_TAGS", "PROTECTED_REPOSITORIES")
        )
        most, percent = int(variables["MAX_IMAGES_PER_REQUEST"]), int(variables["MAX_PERCENT_OF_REPOSITORY"])
        return cls(tags, repositories, most, percent, variables["DRY_RUN"] == "true")

    def protects(self, tags: Iterable[str]) -> bool:
        return any(matches(pattern, tag) for tag in tags for pattern in self.protected_tags)

    def protects_repository(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.protected_repositories)


class Request(NamedTuple):
    """A request that keeps to the contract."""

    payload: Json
    ids: tuple[Id, ...] = ()
    """Each once."""

    def targets(self, images: Images) -> dict[Id, str]:
        """Returns the images that its ids name."""
        return {image_id: target for image_id in self.ids if (target := images.target(image_id))}

    @property
    def repository(self) -> str | None:
        return self.payload.get("repositoryName")

    @property
    def selection(self) -> Json | None:
        return self.payload.get("selection")

    @property
    def cascade(self) -> bool | None:
        return self.payload.get("cascade")

    @property
    def untag(self) -> bool:
        return self.payload.get("untag", False)

    @property
    def dry_run(self) -> bool:
        return self.payload.get("dryRun", False)

    @property
    def notify(self) -> bool:
        return "notify" in self.payload

    def of_each(self, repositories: Iterable[str], stack: Stack) -> dict[str, "Request"]:
        """Returns the requests that one for several repositories leads to, by repository."""
        meant = {
            name: None
            for entry in self.payload["repositoryNames"]
            for name in (
                [name for name in repositories if matches(entry, name) and not stack.protects_repository(name)]
                if "*" in entry
                else [entry]
            )
        }
        words = {key: value for key, value in self.payload.items() if key != "repositoryNames"}
        return {name: Request(words | {"repositoryName": name}, self.ids) for name in meant}


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a whole name; `*` stands for any characters, `?` for any one."""
    return bool(_compiled(pattern).fullmatch(name))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


# The contract


@cache
def _validator() -> Draft4Validator:
    return Draft4Validator(json.loads(_SCHEMA.read_text()))


class _TwiceError(ValueError):
    """A key is said twice."""


def _once(pairs: list[tuple[str, Any]]) -> Json:
    if len(dict(pairs)) < len(pairs):
        raise _TwiceError
    return dict(pairs)


def parse(body: str, message_id: str) -> tuple[str, Request | None]:
    """Returns the key of what arrived as a message, and its request, or None for one that breaks the contract."""
    try:
        payload = json.loads(body, object_pairs_hook=_once)
    except ValueError:
        return message_id, None
    key = message_id
    if isinstance(payload, dict) and "detail-type" in payload:
        key, payload = payload["id"], payload["detail"]
    if not _validator().is_valid(payload) or not _fits_together(payload):
        return key, None
    ids = tuple(dict.fromkeys(_image_id(entry) for entry in payload.get("imageIds", ())))
    return payload.get("requestId", key), Request(payload, ids)


def _image_id(entry: Json | str) -> Id:
    values = dict(_SHORTHAND.findall(entry)) if isinstance(entry, str) else entry
    return values.get("imageDigest"), values.get("imageTag")


def _fits_together(payload: Json) -> bool:
    """Whether what a request says can be meant together, and is for this account."""
    if payload.get("registryId", ACCOUNT) != ACCOUNT:
        return False
    selection = payload.get("selection")
    if selection is None:
        return "allowPercent" not in payload and not (payload.get("untag") and payload.get("cascade"))
    if payload.keys() & {"untag", "cascade"}:
        return False
    tagged, count = selection["tagStatus"] == "tagged", selection.get("countType")
    since = count in ("sinceImagePushed", "sinceImagePulled")
    return (
        len(selection.keys() & {"tagPatternList", "tagPrefixList"}) == tagged
        and ("countNumber" in selection) == (count is not None)
        and ("countUnit" in selection) == since
        and (tagged or count is not None or "keepMostRecent" in selection)
    )


# Named images


@dataclass
class Named:
    """The outcomes that a request for named images may have."""

    codes: dict[Id, set[str]] = field(default_factory=dict)
    """The outcomes that each id may have: DELETED, or a failure code."""
    one_stays: list[set[Id]] = field(default_factory=list)
    """Of each of these, exactly one is refused; which one is left open."""
    relatives: set[str] = field(default_factory=set)
    """That go along."""
    kept: dict[str, set[str]] = field(default_factory=dict)
    """Relatives that stay, and the codes that say truly why."""
    required: set[str] = field(default_factory=set)
    """Those of them that must be in the answer; others belong to images whose ids were refused."""
    left_untagged: tuple[int, int] = (0, 0)
    """The least and the most. Open is whether to count what belongs to relatives, signatures, which have a tag, and
    what is still needed by an image that stays."""
    rejected: bool | None = False
    """None where it is open: whether relatives that stay, or that are named too, count beside the ids."""


def name_images(request: Request, images: Images | None, stack: Stack) -> Named:
    """Returns what is to come of a request by name; `images` is None where there is no such repository."""
    too_many = len(request.ids) > stack.max_images
    if stack.protects_repository(str(request.repository)):
        return Named(_refused_whole(request, stack, "ProtectedRepository"), rejected=too_many)
    if images is None:
        return Named(_refused_whole(request, stack, "RepositoryNotFoundException"), rejected=too_many)
    result = Named({i: _refusal(i, images, stack, untag=request.untag) for i in request.ids})
    targets = request.targets(images)
    belongs = (
        {target: images.family([target]) for target in set(targets.values())} if request.cascade is not None else {}
    )
    for image_id, target in targets.items():
        if any(not images[digest].readable for digest in belongs.get(target, ())):
            result.codes[image_id].add("UnreadableIndex")
    asked: dict[str, list[Id]] = {}
    for image_id, target in targets.items():
        if not result.codes[image_id]:
            asked.setdefault(target, []).append(image_id)
    kin = {digest for target, found in belongs.items() for digest in found - {target}}
    relatives = kin - asked.keys()
    loose = {d for d in relatives if request.cascade and not images.own_tags(d)}
    gone = _gone(request, images, asked, loose)
    for target, ids in asked.items():
        _fates(result, request, images[target].tags, ids, gone=target in gone)
    for (digest, tag), possible in result.codes.items():
        if digest and tag and DELETED in result.codes.get((None, tag), ()):  # the tag may be gone before it is judged
            possible.update({DELETED, "ImageNotFound"} if images.tagged[tag] == digest else {"ImageNotFound"})
    _kin(result, request, images, (targets, belongs, kin, gone))
    wide = {digest for target in belongs for digest in images.family([target], wide=True) - {target}}
    least = len(request.ids) + (len(relatives & gone) if request.cascade else 0)
    most = len(request.ids) + (len(wide) if request.cascade else 0)
    result.rejected = True if least > stack.max_images else None if most > stack.max_images else False
    return result


def _refused_whole(request: Request, stack: Stack, code: str) -> dict[Id, set[str]]:
    """Returns what may come of each id where nothing of the repository is deleted: which refusal is told is open."""
    codes = {i: _malformed(i) | {code} for i in request.ids}
    for (_, tag), possible in codes.items():
        if tag is not None and stack.protects([tag]):
            possible.add("ProtectedTag")
        if request.untag and tag is None:
            possible.add("TagRequired")
    return codes


def _malformed(image_id: Id) -> set[str]:
    digest, tag = image_id
    codes = {"MissingDigestAndTag"} if image_id == (None, None) else set[str]()
    codes |= {"InvalidImageDigest"} if digest is not None and not _DIGEST.fullmatch(digest) else set()
    return codes | ({"InvalidImageTag"} if tag is not None and not _TAG.fullmatch(tag) else set())


def _refusal(image_id: Id, images: Images, stack: Stack, *, untag: bool) -> set[str]:
    """Returns why an id is refused, whatever else is asked for; nothing, where it is not."""
    digest, tag = image_id
    if codes := _malformed(image_id):
        return codes | ({"TagRequired"} if untag and tag is None else set())
    if untag and tag is None:
        return {"TagRequired"}
    target = images.target(image_id)
    codes = {"ProtectedTag"} if tag is not None and stack.protects([tag]) else set()
    if target is None:
        return codes or {"ImageNotFound"}  # a tag is protected whether it is there or not
    if digest is not None and digest != target:
        return codes | {"ImageTagDoesNotMatchDigest"}
    if digest is not None and not (untag or codes) and stack.protects(images[digest].tags):
        return {"ProtectedTag"}
    return codes


def _gone(request: Request, images: Images, asked: Mapping[str, list[Id]], loose: set[str]) -> set[str]:
    """Returns the images that go whole: asked for, or loose relatives, and needed by nothing that stays."""
    leaving = {
        target
        for target, ids in asked.items()
        if not request.untag and (any(tag is None for _, tag in ids) or images[target].tags <= {tag for _, tag in ids})
    }
    needed_by = {digest: images.parents[digest] for digest in leaving}
    needed_by |= {digest: images.owners[digest] for digest in loose - leaving}
    gone = set[str]()
    while more := {digest for digest, needing in needed_by.items() if digest not in gone and needing <= gone}:
        gone |= more
    return gone


def _fates(result: Named, request: Request, tags: frozenset[str], ids: list[Id], *, gone: bool) -> None:
    """Notes what comes of the ids of one image, none of which a guard has refused."""
    named = {tag for _, tag in ids if tag is not None}
    twice = len(named) < len(ids) and len(ids) > 1  # one image or tag by several ids: the second may find it gone
    refused = "LastTag" if request.untag else REFERENCED
    stays = not gone and tags <= named  # all of its tags are asked for, and yet it stays
    for image_id in ids:
        whole = image_id[1] is None
        result.codes[image_id] = {refused} if not gone and (whole or (stays and len(ids) == 1)) else {DELETED}
        if stays and len(ids) > 1 and not whole:
            result.codes[image_id].add(refused)
        if twice:
            result.codes[image_id].add("ImageNotFound")
    if stays and not twice and len(ids) > 1:
        result.one_stays.append(set(ids))


def _kin(
    result: Named,
    request: Request,
    images: Images,
    found: tuple[Mapping[Id, str], Mapping[str, set[str]], set[str], set[str]],
) -> None:
    """Notes what comes of relatives."""
    targets, belongs, kin, gone = found
    taken = {target for image_id, target in targets.items() if DELETED in result.codes[image_id]}
    result.relatives = (kin & gone) - taken
    if request.cascade is False:
        direct = {digest for owner in taken & gone for digest in images.belongings[owner]}
        least = {digest for digest in direct - gone if not images[digest].tags and images.owners[digest] <= gone}
        most = {digest for digest in images.family(taken & gone) - gone if not images.own_tags(digest)}
        result.left_untagged = len(least), len(most)
    wide = {digest for target in belongs for digest in images.family([target], wide=True) - {target}}
    for digest in wide - gone:
        staying = images.owners[digest] - gone
        # Whether the tag of a signature is its own, where only an index brings it in, is open.
        codes = {"StillTagged"} if images[digest].tags and (images.own_tags(digest) or staying) else set()
        codes |= {"StillUsed"} if staying or images.signed(digest, wide=True) in images.keys() - gone else set()
        result.kept[digest] = codes | ({REFERENCED} if staying & images.parents[digest] else set())
    sure = {target for target in taken if any(t == target and result.codes[i] == {DELETED} for i, t in targets.items())}
    if request.cascade is False:
        return
    named = set(targets.values())  # those that are asked for too need not be told twice
    result.required = ({d for target in sure for d in belongs.get(target, ())} & result.kept.keys()) - named


# Selections


class Selected(NamedTuple):
    """The outcome that a selection must have."""

    planned: frozenset[str]
    """That are selected, with all that belongs to them."""
    goes: frozenset[str]
    """That can go: others are named by an index that could not be read."""
    reasons: Mapping[str, frozenset[str]]
    """All that says truly why an image stays."""
    rejected: bool


def select_images(request: Request, images: Images, stack: Stack) -> Iterator[Selected]:
    """Yields what may come of a selection: whether archived images count among the most recent is left open."""
    yield _select(request, images, stack, archived_count=False)
    yield _select(request, images, stack, archived_count=True)


def _select(request: Request, images: Images, stack: Stack, *, archived_count: bool) -> Selected:
    words = request.selection or {}
    visible = Images({d: i if i.readable else i._replace(children=()) for d, i in images.items()})
    unreadable = {digest for digest, image in images.items() if image.children and not image.readable}
    roots = {d for d in visible if visible.own_tags(d) or not visible.owners[d]}
    reasons: dict[str, set[str]] = {digest: set() for digest in visible}
    for digest, image in images.items():
        _state(reasons[digest], image, words, stack, meant=digest not in roots or _meant(image, words))
        if digest in unreadable or (unreadable and not images.own_tags(digest)):
            reasons[digest].add("UnreadableIndex")
    counted = {d for d in roots if not reasons[d] & {"NotMatched", "Excluded"}}
    if not archived_count:
        counted = {d for d in counted if not images[d].archived}
    most = max(
        words.get("keepMostRecent", 0), words["countNumber"] if words.get("countType") == "imageCountMoreThan" else 0
    )
    for digest in sorted(counted, key=lambda d: images[d].pushed)[:most]:
        reasons[digest].add("MostRecent")
    for digest in roots:
        if _too_recent(images[digest], words):
            reasons[digest].add("TooRecent")
    planned = _without_used(visible, {d for d in visible if not reasons[d]}, reasons)
    goes = _without_used(images, planned, {digest: set() for digest in images})
    share = request.payload.get("allowPercent", stack.max_percent)
    rejected = len(planned) > stack.max_images or len(planned) * 100 > share * len(images)
    why = {digest: frozenset(given) for digest, given in reasons.items()}
    return Selected(frozenset(planned), frozenset(goes), why, rejected)


def _without_used(images: Images, going: set[str], reasons: Mapping[str, set[str]]) -> set[str]:
    """Returns those that nothing needs that stays."""
    going = set(going)
    while used := {digest for digest in going if images.owners[digest] - going}:
        going -= used
    for digest in images.keys() - going:
        if images.owners[digest] - going:
            reasons[digest].add("StillUsed")
    return going


def _state(reasons: set[str], image: Image, words: Json, stack: Stack, *, meant: bool) -> None:
    """Notes why an image stays, whatever else the repository holds."""
    if not meant:
        reasons.add("NotMatched")
    if any(matches(pattern, tag) for pattern in words.get("excludeTagPatternList", ()) for tag in image.tags):
        reasons.add("Excluded")
    if stack.protects(image.tags):
        reasons.add("ProtectedTag")
    if image.archived:
        reasons.add("Archived")


def _meant(image: Image, words: Json) -> bool:
    match words["tagStatus"]:
        case "any":
            return True
        case "untagged":
            return not image.tags
    patterns = words.get("tagPatternList") or [f"{prefix}*" for prefix in words["tagPrefixList"]]
    return all(any(matches(pattern, tag) for tag in image.tags) for pattern in patterns)


def _too_recent(image: Image, words: Json) -> bool:
    match words.get("countType"):
        case "sinceImagePushed":
            return image.pushed <= words["countNumber"]
        case "sinceImagePulled":
            return (image.pushed if image.pulled is None else image.pulled) <= words["countNumber"]
    return False
