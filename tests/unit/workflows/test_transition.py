"""Named images into the archive and back: in which order ECR is asked, and what is done side by side."""

import pytest

from handler.models.images import ImageId
from handler.models.request import Selection
from handler.workflows.from_archive import RestoredImages
from handler.workflows.selected_to_archive import ArchivedSelection
from handler.workflows.to_archive import ArchivedImages
from handler.workflows.untag import SelectedTags
from tests.fakes.clients import Clients
from tests.fakes.ecr import FakeECR
from tests.fakes.execution import execution
from tests.fakes.scripted import ScriptedAWS, refused
from tests.fakes.steps import MemorySteps, StepMemory
from tests.values import deletion_request

REPOSITORY = "team/app"
OPERATION = "UpdateImageStorageClass"


def asked(aws: ScriptedAWS) -> list[str]:
    """Returns the digests of which ECR was asked for the storage class, in order."""
    return [call["imageId"]["imageDigest"] for call in aws.asked(OPERATION)]


def test_an_index_is_archived_first_and_restored_last(clients: Clients) -> None:
    """So that it can be pulled as a whole or not at all, as far as that is in the order of the calls."""
    ecr = FakeECR(archived_image_failure=None)
    deep = ecr.push(REPOSITORY)
    inner = ecr.push(REPOSITORY, children=[deep])
    index = ecr.push(REPOSITORY, "v1", children=[inner])
    aws = clients.use(ScriptedAWS(ecr=ecr))
    archiving, restoring = (ArchivedImages, [index, inner, deep]), (RestoredImages, [deep, inner, index])
    for workflow, order in (archiving, restoring):
        aws.requests.clear()
        request = deletion_request(ImageId(tag="v1"), action="archive" if workflow is ArchivedImages else "restore")
        report = workflow(execution(clients, request, MemorySteps())).carry_out()
        assert (report.failures, report.done) == ((), 1)
        # ECR refuses what an index needs that is still there, until that is gone.
        assert list(dict.fromkeys(asked(aws)))[:: len(order) - 1] == order[:: len(order) - 1]


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_unreadable_keeps_relatives_and_not_the_image(clients: Clients, *, dry_run: bool) -> None:
    """Another index that may name them: nobody can know, and each of them is told."""
    ecr = FakeECR()
    child = ecr.push(REPOSITORY)
    index = ecr.push(REPOSITORY, "v1", children=[child])
    ecr.push(REPOSITORY, "v2", children=[ecr.push(REPOSITORY)], failure="KmsError")
    clients.use(ScriptedAWS(ecr=ecr))
    request = deletion_request(ImageId(tag="v1"), action="archive", dry_run=dry_run)
    report = ArchivedImages(execution(clients, request, MemorySteps())).carry_out()
    assert [image_id.digest for image_id in report.image_ids] == [index]
    assert [(failure.image_id.digest, failure.code) for failure in report.failures] == [(child, "UnreadableIndex")]
    assert ecr.archived(REPOSITORY) == (set() if dry_run else {index})


def test_chunks_that_must_not_meet_go_one_after_the_other(clients: Clients) -> None:
    """Those of tags; those that change storage classes make their calls side by side themselves."""
    clients.use(ScriptedAWS())
    request = deletion_request(selection=Selection("tagged", ("*",)))
    under = execution(clients, request, MemorySteps())
    assert SelectedTags(under).width == 1
    assert ArchivedSelection(under._replace(request=request._replace(action="archive"))).width == 2


def test_an_image_that_is_archived_costs_one_record(clients: Clients) -> None:
    """Its record stays as it was written, whatever becomes of other chunks: its turn may come when theirs are over."""
    ecr = FakeECR()
    aws = clients.use(ScriptedAWS(ecr=ecr))
    image_ids = [ImageId(tag=f"v{n}") for n in range(250)]
    for image_id in image_ids:
        ecr.push(REPOSITORY, str(image_id.tag))
    request = deletion_request(*image_ids, action="archive")
    report = ArchivedImages(execution(clients, request, MemorySteps())).carry_out()
    assert (report.done, len(aws.asked("UpdateItem"))) == (250, 250)


@pytest.mark.parametrize("code", ["AccessDeniedException", "RepositoryPolicyNotFoundException"])
def test_a_list_that_is_refused_keeps_relatives(clients: Clients, code: str) -> None:
    """Whether anything else needs them cannot be known; the image itself was asked for by name."""
    ecr = FakeECR()
    child = ecr.push(REPOSITORY)
    index = ecr.push(REPOSITORY, "v1", children=[child])
    aws = clients.use(ScriptedAWS(ecr=ecr))
    aws.plays["DescribeImages"] = [refused(code)]
    request = deletion_request(ImageId(tag="v1"), action="archive")
    report = ArchivedImages(execution(clients, request, MemorySteps())).carry_out()
    assert (ecr.archived(REPOSITORY), [failure.code for failure in report.failures]) == ({index}, [code])


def test_a_request_that_is_done_asks_for_nothing(clients: Clients) -> None:
    """Its duplicate has all that it needs in its steps."""
    ecr = FakeECR()
    ecr.push(REPOSITORY, "v1", children=[ecr.push(REPOSITORY)])
    aws = clients.use(ScriptedAWS(ecr=ecr))
    request, memory = deletion_request(ImageId(tag="v1"), action="archive"), StepMemory()
    first = ArchivedImages(execution(clients, request, MemorySteps(memory))).carry_out()
    aws.requests.clear()
    steps = MemorySteps(memory)
    steps.replaying = True
    again = ArchivedImages(execution(clients, request, steps)).carry_out()
    assert (again.image_ids, aws.requests) == (first.image_ids, [])
