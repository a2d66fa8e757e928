"""What BatchDeleteImage does where its documentation says nothing."""

from functools import partial

from acceptance import images
from acceptance.asking import left
from acceptance.questions.conftest import Ask
from acceptance.repositories import Repository


def test_tag_and_digest_together(repository: Repository, ask: Ask) -> None:
    """Does a tag together with its digest delete the tag alone, or the image with its other tags?

    Guards and dry runs assume the worse, an image with all its tags.
    """
    digest = repository.push_image("both", "one", "other")
    both = {"imageDigest": digest, "imageTag": "one"}
    ask("BatchDeleteImage of a tag with its digest; the image has another tag", lambda: repository.delete(both))
    ask.note("what is left", left(repository))


def test_malformed_ids(repository: Repository, ask: Ask) -> None:
    """Does a malformed id fail by itself, or does it fail the whole call?

    The function never sends one. Each is sent beside an id of an image that is there.
    """
    malformed = {
        "a digest that is too short": {"imageDigest": "sha256:abc"},
        "a digest of another algorithm": {"imageDigest": "md5:" + "0" * 32},
        "a tag with a slash": {"imageTag": "feature/login"},
        "a tag of 301 characters": {"imageTag": "a" * 301},
        "an id without digest and tag": {},
    }
    for what, image_id in malformed.items():
        repository.push_image("beside", "beside")
        ask(
            f"BatchDeleteImage of an image, and of {what}", partial(repository.delete, {"imageTag": "beside"}, image_id)
        )


def test_upper_case_digests(repository: Repository, ask: Ask) -> None:
    """Does a digest in upper-case hex name the image?

    If it does, the function must know that two digests are the same.
    """
    digest = repository.push_image("upper", "upper")
    upper = {"imageDigest": f"sha256:{digest.removeprefix('sha256:').upper()}"}
    ask("BatchGetImage of the digest in upper case", lambda: repository.read(upper))
    ask("BatchDeleteImage of the same", lambda: repository.delete(upper))
    ask.note("what is left", left(repository))


def test_an_id_twice(repository: Repository, ask: Ask) -> None:
    """What does the answer say of an id that a call names twice?

    The function sends each once.
    """
    digest = repository.push_image("twice", "twice")
    for what, image_id in {"a tag": {"imageTag": "twice"}, "a digest": {"imageDigest": digest}}.items():
        repository.push_image("twice", "twice")
        ask(f"BatchDeleteImage of {what}, twice", partial(repository.delete, image_id, image_id))


def test_a_child_of_an_index(repository: Repository, ask: Ask) -> None:
    """How is the deletion of an index's child refused, by its tag and by its digest?

    And does it help to name the index first in the same call?
    """
    children = [images.image("child"), images.image("child", architecture="arm64")]
    repository.push(children[0], "child", "second")
    repository.push(children[1])
    repository.push(images.index(children), "index")
    by_digest = {"imageDigest": children[1].digest}
    ask("BatchDeleteImage of one of two tags of a child", lambda: repository.delete({"imageTag": "second"}))
    ask("BatchDeleteImage of the last tag of a child", lambda: repository.delete({"imageTag": "child"}))
    ask("BatchDeleteImage of a child by its digest", lambda: repository.delete(by_digest))
    ask("BatchDeleteImage of the index, then a child", lambda: repository.delete({"imageTag": "index"}, by_digest))
    ask.note("what is left", left(repository))
