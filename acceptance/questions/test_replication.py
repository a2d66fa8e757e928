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

    A rule for the run's own repositories is added to the registry's replication. It is removed at the end with all
    else, and leads the cleanup to the other region, so the repository there comes after it.
    """
    region = world.options.replicate_to
    replication.add(world.clients("ecr"), world.run, region, world.stack.account)
    there = repositories.create(world.clients, world.run, name, region)
    here = world.repository(name)
    here.push_image("by tag", "one", "two")
    by_digest = here.push_image("by digest", "three")
    copied = world.seconds_until(lambda: there.tags() == {"one", "two", "three"}, SECONDS)
    ask.note("PutImage of two images", "not copied" if copied is None else f"copied after {copied:.0f} s")
    if copied is None:
        return
    [copy] = there.read({"imageDigest": by_digest})["images"]
    there.ecr.put_image(repositoryName=there.name, imageManifest=copy["imageManifest"], imageTag="only-the-copy")
    ask("BatchDeleteImage of one of two tags", lambda: here.delete({"imageTag": "one"}))
    ask("BatchDeleteImage of a digest; its copy has another tag", lambda: here.delete({"imageDigest": by_digest}))
    gone = world.seconds_until(lambda: not there.tags() & {"one", "three"}, SECONDS)
    ask.note("what is left here", left(here))
    ask.note("what is left of the copy", f"after {SECONDS if gone is None else gone:.0f} s: {left(there)}")
