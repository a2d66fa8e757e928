"""The contents of a repository, and the names of all repositories, page by page."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import OutOfTimeError, RefusedLookUpError
from handler.models.images import INDEX_MEDIA_TYPES, Image, ImageFailure, ImageId, ListedImage, signature_subject
from handler.models.limits import CHUNK_SIZE

from .client import CALLS_AT_A_TIME, Repository
from .errors import final_error, member
from .lookup import get_manifests, look_up, optional_seconds, seconds
from .manifests import named_manifests, read_manifests

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import DescribeImagesFilterTypeDef

_PAGE = 1_000
_ALL: "DescribeImagesFilterTypeDef" = {"tagStatus": "ANY", "imageStatus": "ANY"}
_PARTS: "Sequence[DescribeImagesFilterTypeDef]" = (
    {"tagStatus": "TAGGED", "imageStatus": "ANY"},
    {"tagStatus": "UNTAGGED", "imageStatus": "ANY"},
    # An image whose first tag comes or whose last one goes meanwhile may be in neither of these. What an active index
    # names, ECR itself does not delete; that of an archived one is kept only if the index is known.
    {"tagStatus": "ANY", "imageStatus": "ARCHIVED"},
)
"""What is listed side by side of a repository that has more than one page."""
type _Page = tuple[list[Any], str | None]


class Contents(NamedTuple):
    """The contents of a repository."""

    images: Sequence[ListedImage]
    """Every image once, archived ones too."""
    named: Mapping[str, Sequence[str] | None] = {}
    """The digests that each index names; None for an index that cannot be read."""


def read_repository(repository: Repository, *, indexes: bool = True, in_parts: bool = False) -> Contents:
    """Returns what is in a repository; without what its indexes name, if nobody must know that.

    `in_parts` is faster, and may miss an index that is tagged or loses its tags meanwhile: only for deletions, as ECR
    does not delete what an active index names. It may well archive that.
    Raises ServiceUnavailableError, OutOfTimeError, and RefusedLookUpError.
    """
    listing = _Listing(repository, indexes=indexes)
    try:
        listing.run(in_parts=in_parts)
    except (ClientError, BotoCoreError) as error:
        raise RefusedLookUpError(*final_error(error, deleting=False)) from error
    except OutOfTimeError as error:
        raise OutOfTimeError(f"time ran out when {len(listing.found):,} images were listed") from error
    return Contents(list(listing.found.values()), listing.named)


class _Listing:
    """What is known of a repository so far, and the calls that are under way to know more."""

    def __init__(self, repository: Repository, *, indexes: bool) -> None:
        self._repository, self._reads_indexes = repository, indexes
        self.found: dict[str, ListedImage] = {}
        self.named: dict[str, list[str] | None] = {}
        """None also of an index that is yet to be read."""
        self._to_read: list[str] = []
        self._tasks: deque[Future[None]] = deque()
        self._failed = False
        self._lock = Lock()

    def run(self, *, in_parts: bool) -> None:
        """Lists the repository, and reads its indexes meanwhile. Raises what a call raises, once none is under way."""
        details, token = self._page(_ALL, None)
        self._add(map(_listed, details))
        if not token and len(self._to_read) <= CHUNK_SIZE:
            self._read(self._to_read)
            return
        with ThreadPoolExecutor(CALLS_AT_A_TIME) as executor:
            try:
                self._read_full_chunks(executor)
                if token and not in_parts:
                    self._begin(executor, partial(self._list, _ALL, token, executor))
                elif token:
                    for part in _PARTS:
                        self._begin(executor, partial(self._list, part, None, executor))
                    self._wait()
                    self._add_missing_subjects()
                self._wait()
                self._read_full_chunks(executor)
                self._begin(executor, partial(self._read, self._to_read))
                self._wait()
            finally:
                executor.shutdown(cancel_futures=True)

    def _list(self, part: "DescribeImagesFilterTypeDef", token: str | None, executor: ThreadPoolExecutor) -> None:
        """Lists a part of the repository from a page on, and has the indexes read that it finds.

        Each page names the next, which is on its way while this one is read.
        """
        with ThreadPoolExecutor(1) as ahead:
            page: Future[_Page] | None = ahead.submit(self._page, part, token)
            while page and not self._failed:
                details, token = page.result()
                page = ahead.submit(self._page, part, token) if token else None
                self._add(map(_listed, details))
                self._read_full_chunks(executor)

    def _page(self, part: "DescribeImagesFilterTypeDef", token: str | None) -> "_Page":
        """Returns the images on one page as ECR shows them, and the token of the next."""
        page: Any = {"nextToken": token} if token else {}
        with self._repository.calling():
            response = self._repository.ecr.describe_images(
                **self._repository.scope, maxResults=_PAGE, filter=part, **page
            )
        return member(response, "imageDetails"), response.get("nextToken")

    def _add(self, images: Iterable[ListedImage]) -> None:
        added = {image.digest: image for image in images}
        with self._lock:
            # An image that changes while it is listed may stand on two pages: the later has what is so by then.
            self.found |= added
            if self._reads_indexes:
                new = [image.digest for image in added.values() if image.is_index and image.digest not in self.named]
                self.named |= dict.fromkeys(new)
                self._to_read += new

    def _read_full_chunks(self, executor: ThreadPoolExecutor) -> None:
        """Has indexes read, as many in a call as ECR takes; the others wait until there are more of them."""
        with self._lock:
            full = len(self._to_read) // CHUNK_SIZE * CHUNK_SIZE
            chunks = itertools.batched(self._to_read[:full], CHUNK_SIZE, strict=True)
            self._to_read = self._to_read[full:]
        for chunk in chunks:
            self._begin(executor, partial(self._read, chunk))

    def _read(self, digests: Sequence[str]) -> None:
        """Learns what up to 100 indexes name."""
        if not digests:
            return
        try:
            manifests, _ = get_manifests(self._repository, [ImageId(digest=digest) for digest in digests])
        except (ClientError, BotoCoreError) as error:
            final_error(error, deleting=False)  # raises what a later try may cure
            return
        found = [manifest for answer in manifests.values() if (manifest := named_manifests(*answer))]
        with self._lock:
            self.named |= {manifest.digest: list(manifest.named) for manifest in found}

    def _add_missing_subjects(self) -> None:
        """Adds images of which only the signatures were listed: ECR would let these go without them.

        Where it cannot be seen whether such an image is there, its signatures are left out, and so left alone.
        """
        if not self._reads_indexes:
            return
        missing = {digest for image in self.found.values() for digest in _subjects(image)} - self.found.keys()
        ids = [ImageId(digest=digest) for digest in sorted(missing)]
        try:
            seen = look_up(self._repository, list(read_manifests(self._repository, ids)) if ids else [])
        except RefusedLookUpError:
            seen = {image_id: ImageFailure(image_id, "", "") for image_id in ids}
        self._add(_just_seen(image) for image in seen.values() if isinstance(image, Image))
        if hidden := {str(i.digest) for i, image in seen.items() if isinstance(image, ImageFailure)}:
            self.found = {d: image for d, image in self.found.items() if hidden.isdisjoint(_subjects(image))}

    def _begin(self, executor: ThreadPoolExecutor, task: Callable[[], None]) -> None:
        def run() -> None:
            try:
                task()
            except BaseException:
                self._failed = True
                raise

        self._tasks.append(executor.submit(run))

    def _wait(self) -> None:
        """Waits for all that was begun, by others of them too. Raises what one of them raised."""
        while self._tasks:
            self._tasks.popleft().result()


def _listed(detail: Any) -> ListedImage:
    return ListedImage(
        digest=detail["imageDigest"],
        tags=tuple(detail.get("imageTags", ())),
        pushed=seconds(detail["imagePushedAt"]),
        pulled=optional_seconds(detail.get("lastRecordedPullTime")),
        size=detail.get("imageSizeInBytes", 0),
        is_index=detail.get("imageManifestMediaType") in INDEX_MEDIA_TYPES,
        subject=detail.get("subjectManifestDigest"),
        status=detail.get("imageStatus", "ACTIVE"),
        activated=optional_seconds(detail.get("lastActivatedAt")),
        archived=optional_seconds(detail.get("lastArchivedAt")),
    )


def _just_seen(image: Image) -> ListedImage:
    """Returns an image that changed while its repository was listed, as one that was pulled a moment ago."""
    return ListedImage(
        image.digest,
        tuple(sorted(image.tags)),
        image.pushed,
        time.time(),
        image.size,
        image.is_index,
        image.subject,
        image.status,
        image.activated,
        image.archived,
    )


def _subjects(image: ListedImage) -> set[str]:
    """Returns the digests of what an image is a signature of, or the like: by its subject, and by its tags."""
    return {digest for digest in (image.subject, *map(signature_subject, image.tags)) if digest}


def repository_names(registry: Repository) -> list[str]:
    """Returns every repository of a registry, whichever is named.

    Raises ServiceUnavailableError, OutOfTimeError, and RefusedLookUpError.
    """
    arguments: Any = {"registryId": registry.registry_id} if registry.registry_id else {}
    found: list[str] = []
    while True:
        try:
            with registry.calling():
                response = registry.ecr.describe_repositories(maxResults=_PAGE, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise RefusedLookUpError(*final_error(error, deleting=False)) from error
        found += [repository["repositoryName"] for repository in member(response, "repositories")]
        if not (token := response.get("nextToken")):
            return found
        arguments["nextToken"] = token
