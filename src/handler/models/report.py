"""The report of a request, from which its answer, its notice and the metrics are made."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .images import ImageFailure, ImageId, Json
from .limits import ANSWER_BYTES, json_bytes, truncate_to_fit
from .outcomes import count_codes
from .request import Action, DeletionRequest

if TYPE_CHECKING:
    from .selection_outcome import SelectionOutcome
    from .summary import SummaryReport

UNCONFIRMED_REASON = (
    "these images are gone, and an earlier try of this request, whose outcome was lost, may have deleted them; whether "
    "each of them existed then cannot be known"
)


class FanOutReport(NamedTuple):
    """A request for several repositories became a separate one for each of these."""

    request: DeletionRequest
    repository_names: tuple[str, ...]
    replayed: bool = False
    """They were sent on an earlier receive: nothing was done now."""

    def to_answer(self, registry_id: str, limit: int = ANSWER_BYTES) -> Json:
        """Returns the repositories and whose they are; cut to `limit` bytes, with a count of the rest."""

        def first(count: int) -> Json:
            answer: Json = {
                "requestId": self.request.request_id,
                "registryId": self.request.registry_id or registry_id,
                "repositoryNames": list(self.repository_names[:count]),
            }
            omitted = len(self.repository_names) - count
            return answer | ({"repositoryNamesOmitted": omitted} if omitted > 0 else {})

        return truncate_to_fit(first, len(self.repository_names), json_bytes, limit)


class Words(NamedTuple):
    """What the results of an action are called in answers and notices."""

    images: str
    number: str
    size: str
    done: str
    """Behind "were" and "could not be"."""
    things: str = "images"

    @property
    def omitted(self) -> str:
        return f"{self.images}Omitted"


WORDS: Mapping[Action, Words] = {
    "delete": Words("imageIds", "deleted", "bytesReclaimed", "deleted"),  # as the AWS CLI has them
    "archive": Words("archived", "archivedCount", "bytesArchived", "archived"),
    "restore": Words("restored", "restoredCount", "bytesRestored", "restored"),
}
TAG_WORDS = WORDS["delete"]._replace(done="removed", things="tags")


class DeletionReport(NamedTuple):
    """The report on images: each id asked for is among those that are done or among the failures, once.

    Done is what was asked for: to be deleted, archived or restored.
    """

    request: DeletionRequest
    image_ids: tuple[ImageId, ...] = ()
    """Those that are done, relatives included; of the deleted, as ECR lists them, an entry per tag."""
    failures: tuple[ImageFailure, ...] = ()
    """Those that are not, relatives last."""
    unconfirmed: tuple[ImageId, ...] = ()
    """Those of the deleted that an earlier try may have deleted, whose answer was lost."""
    omitted: int = 0
    """Entries of image_ids that were left out to fit the store."""
    failed_relatives: int = 0
    """Failures of images that were not asked for by name."""
    kept: tuple[ImageFailure, ...] = ()
    """Relatives that stay on purpose, and why."""
    left_untagged: int = 0
    """Relatives without tags that nothing of the request needs any more, left because it said so."""
    activating: int = 0
    """How many of the restored cannot be pulled yet."""
    bytes: int = 0
    """The size of what was archived or restored, layers that others share included."""
    selection: "SelectionOutcome | None" = None
    """More of it, where the request is a selection."""
    replicated_to: tuple[tuple[str, str], ...] = ()
    """Regions and registries in which ECR deletes as well what is deleted here."""
    replayed: bool = False
    """It is that of an earlier receive: nothing was done now."""

    @property
    def asked(self) -> int:
        """How many images the request is about, with the relatives that failed."""
        return self.selection.selected if self.selection else len(self.request.image_ids) + self.failed_relatives

    @property
    def action(self) -> Action:
        """What became of the images."""
        return self.selection.action if self.selection else self.request.action

    @property
    def words(self) -> Words:
        return TAG_WORDS if self.request.untag else WORDS[self.action]

    @property
    def done(self) -> int:
        """How many of the ids asked for, or selected, are done."""
        return self.selection.deleted if self.selection else self.asked - len(self.failures)

    @property
    def failed(self) -> int:
        return len(self.failures) + self.failures_omitted

    @property
    def failures_by_code(self) -> Mapping[str, int]:
        """How many failures have each code."""
        stored = self.selection.codes if self.selection else {}
        return stored or count_codes(self.failures)

    @property
    def failures_omitted(self) -> int:
        """How many failures were left out to fit the store."""
        return self.selection.failures_omitted if self.selection else 0

    @property
    def unconfirmed_count(self) -> int:
        """How many of the deleted are unconfirmed."""
        return len(self.unconfirmed) + (self.selection.unconfirmed_omitted if self.selection else 0)

    @property
    def spared_in_use(self) -> int:
        """How many images stay only because they are in use."""
        counted = self.selection.kept.get("InUse", 0) if self.selection else 0
        told = self.failures if self.selection else (*self.failures, *self.kept)
        return counted + sum(failure.code == "ImageInUse" for failure in told)

    @property
    def kept_omitted(self) -> int:
        """How many of the images that a selection kept because they are in use are not among the kept."""
        return self.selection.kept.get("InUse", 0) - len(self.kept) if self.selection else 0

    @property
    def entries(self) -> int:
        """How many entries a complete answer has."""
        return len(self.failures) + len(self.kept) + len(self.image_ids)

    def to_answer(self, registry_id: str, limit: int = ANSWER_BYTES) -> Json:
        """Returns the CLI's output and whose it is; cut to `limit` bytes, failures last, with counts of the rest."""

        def first(count: int) -> Json:
            return self.first(count) | {
                "requestId": self.request.request_id,
                "registryId": self.request.registry_id or registry_id,
                "repositoryName": self.request.repository_name,
            }

        return truncate_to_fit(first, self.entries, json_bytes, limit)

    def first(self, count: int) -> Json:
        """Returns the first entries: failures, then what was kept, then what was done; the others are counted."""
        failures = self.failures[:count]
        kept = self.kept[: count - len(failures)]
        image_ids = self.image_ids[: count - len(failures) - len(kept)]
        words = self.words
        value: Json = {
            words.images: [image_id.to_json() for image_id in image_ids],
            "failures": [failure.to_json() for failure in failures],
        }
        if self.request.dry_run:
            value["dryRun"] = True
        if self.unconfirmed_count:
            value |= {"unconfirmed": self.unconfirmed_count, "unconfirmedReason": UNCONFIRMED_REASON}
        if self.kept:
            value["kept"] = [{"imageId": k.image_id.to_json(), "code": k.code, "reason": k.reason} for k in kept]
        if self.request.cascade is False:
            value["leftUntagged"] = self.left_untagged
        if self.selection:
            value |= {
                "selected": self.selection.selected,
                words.number: self.done,
                words.size: self.selection.bytes,
                "keptByReason": dict(self.selection.kept),
            }
            if self.selection.continued_as:
                value["continuedAs"] = self.selection.continued_as
        if self.action != "delete":
            value |= self._of_archive()
        if self.replicated_to:
            value["replicatedTo"] = [{"region": place, "registryId": owner} for place, owner in self.replicated_to]
        omitted = {
            words.omitted: self.omitted + len(self.image_ids) - len(image_ids),
            "keptOmitted": self.kept_omitted + len(self.kept) - len(kept),
            "failuresOmitted": self.failures_omitted + len(self.failures) - len(failures),
        }
        return value | {key: count for key, count in omitted.items() if count}

    def _of_archive(self) -> Json:
        """Returns what there is to say of images that were archived or restored: how they come back, and when."""
        value: Json = {}
        if not self.selection:
            value |= {self.words.number: self.done, self.words.size: self.bytes}
        if self.activating:
            value["activatingCount"] = self.activating
        until = self.selection.restorable_until if self.selection else None
        moved = self.done or until is not None if self.selection else self.bytes
        if self.action == "archive" and moved and not self.request.dry_run:
            if until is not None:
                value["restorableUntil"] = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
            registry = {"registryId": self.request.registry_id} if self.request.registry_id else {}
            selection = {"tagStatus": "any", "storageClass": "archive", "archivedBy": self.request.root_id}
            repository = {"repositoryName": self.request.repository_name, **registry}
            value["restoreRequest"] = {**repository, "action": "restore", "selection": selection}
        return value


class DeclarationReport(NamedTuple):
    """What a source declares to be in use is remembered."""

    source: str
    images: int
    elsewhere: int
    """Images that are in no ECR registry, where nothing can delete them here."""
    unreadable: int
    """Addresses in ECR registries that name no image."""

    def to_answer(self, registry_id: str) -> Json:
        """Returns how much that was, for people to compare with what they sent."""
        del registry_id  # the images may be of any
        counts = {"imagesInUse": self.images, "imagesElsewhere": self.elsewhere, "imagesNotUnderstood": self.unreadable}
        return {"source": self.source, **counts}


class ForwardedReport(NamedTuple):
    """A request from the request queue waits on the bulk queue now: nothing of it was carried out."""

    request: DeletionRequest

    def to_answer(self, registry_id: str) -> Json:
        """Returns which request it is."""
        del registry_id  # what it is about is told when it is carried out
        return {"requestId": self.request.request_id}


type Report = DeletionReport | FanOutReport | SummaryReport | DeclarationReport | ForwardedReport
