"""What ECR takes for a pull."""

from acceptance.questions.conftest import Ask
from acceptance.repositories import Repository
from acceptance.world import World


def pull_time(repository: Repository, digest: str) -> str:
    """Returns when ECR says that an image was last pulled."""
    [image] = [image for image in repository.described() if image["imageDigest"] == digest]
    return str(image.get("lastRecordedPullTime", "none"))


def test_reading_a_manifest(world: World, name: str, repository: Repository, ask: Ask) -> None:
    """Does BatchGetImage move lastRecordedPullTime, and does the exclusion of a role prevent that?

    Selections by last pull depend on it. The caller of the run is not excluded, the function is where the stack has
    ExcludeFromPullTimes.
    """
    ours = repository.push_signed("read by the run", "ours")
    theirs = repository.push_signed("read by the function", "theirs")
    for digest in (ours.index.digest, ours.children[0].digest):
        repository.read({"imageDigest": digest})
    request = {"repositoryName": repository.name, "imageIds": ["imageTag=theirs"], "cascade": True, "dryRun": True}
    world.invoke(request | {"requestId": world.run.request_id(name)})
    minutes = 30 if world.options.slow else 1
    moved = world.seconds_until(lambda: pull_time(repository, ours.index.digest) != "none", minutes * 60)
    waited = f"after {minutes} minutes" if moved is None else f"after {moved:.0f} s"
    excluded = world.stack.parameters.get("ExcludeFromPullTimes", "false")
    ask.note(f"BatchGetImage of an index by the run, {waited}", pull_time(repository, ours.index.digest))
    ask.note(f"BatchGetImage of its child by the run, {waited}", pull_time(repository, ours.children[0].digest))
    ask.note(
        f"BatchGetImage of an index by the function, ExcludeFromPullTimes={excluded}, {waited}",
        pull_time(repository, theirs.index.digest),
    )
