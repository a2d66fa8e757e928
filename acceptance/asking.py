"""What questions look at, in few words."""

from .repositories import Repository


def left(repository: Repository) -> str:
    """Returns what is in a repository: a short digest, the tags and, if it is not active, the status of each image."""
    described = sorted(repository.described(), key=lambda image: str(image["imageDigest"]))
    images = [
        f"{image['imageDigest'][:15]}{list(image.get('imageTags', []))}"
        + ("" if (status := image.get("imageStatus", "ACTIVE")) == "ACTIVE" else f" {status}")
        for image in described
    ]
    return "; ".join(images) or "nothing"
