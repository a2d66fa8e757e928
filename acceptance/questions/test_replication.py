"""What becomes of copies in another region."""

import pytest

from acceptance import replication, repositories
from acceptance.asking import left
from acceptance.questions.conftest import Ask
from acceptance.world import World

SECONDS = 15 * 60


@pytest.mark.opt_in("replicate_to", "REPLICATE_TO=<region>")
def test_replicated_deletions(world: World, name: str, ask: Ask) -> None:
    """Are deletions replicated, and do they take tags that only the copy has?

    A rule for the run's own repositories is added to the registry's replication, and taken out again.
    """
    region = world.options.replicate_to
    here = world.repository(name)
    there = repositories.create(world.clients, world.run, name, region)
    replication.add(here.ecr, world.run, region, world.stack.account)
    try:
        by_tag, by_digest = here.push_image("by tag", "one", "two"), here.push_image("by digest", "three")
        copied = world.seconds_until(lambda: len(there.images()) == 2, SECONDS)  # what was pushed
        ask.note("pushed two images", "not copied" if copied is None else f"copied after {copied:.0f} s")
        if copied is None:
            return
        [copy] = there.read({"imageDigest": by_digest})["images"]
        there.ecr.put_image(repositoryName=there.name, imageManifest=copy["imageManifest"], imageTag="only-the-copy")
        ask("BatchDeleteImage of one of two tags", lambda: here.delete({"imageTag": "one"}))
        ask(
            "BatchDeleteImage of a digest, which has another tag in the copy",
            lambda: here.delete({"imageDigest": by_digest}),
        )
        gone = world.seconds_until(lambda: by_digest not in {digest for digest, _ in there.images()}, SECONDS)
        ask.note("the copy", ("still there" if gone is None else f"gone after {gone:.0f} s") + f": {left(there)}")
        ask.note("the image with two tags here", by_tag[:15] + f": {left(here)}")
    finally:
        replication.remove(here.ecr, world.run.repository(""))
