"""A Kubernetes cluster in memory, as its API server shows it to one service account."""

from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

type Json = dict[str, Any]

PODS = "/api/v1/pods"
REPLICATION_CONTROLLERS = "/api/v1/replicationcontrollers"
DEPLOYMENTS = "/apis/apps/v1/deployments"
REPLICA_SETS = "/apis/apps/v1/replicasets"
STATEFUL_SETS = "/apis/apps/v1/statefulsets"
DAEMON_SETS = "/apis/apps/v1/daemonsets"
REVISIONS = "/apis/apps/v1/controllerrevisions"
JOBS = "/apis/batch/v1/jobs"
CRON_JOBS = "/apis/batch/v1/cronjobs"


def pod(*images: str, ran: tuple[str, ...] = (), kind: str = "containers", **spec: Any) -> Json:
    """Returns a pod with a container for each image; `ran` are the image ids in its status."""
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    statuses = [{"name": f"c{n}", "imageID": image_id} for n, image_id in enumerate(ran)]
    own = {kind: containers} if kind == "containers" else {kind: containers, "containers": []}
    return {"spec": own | spec, "status": {f"{kind.removesuffix('s')}Statuses": statuses}}


def owner(*images: str, **spec: Any) -> Json:
    """Returns an object that makes pods of these images."""
    return {"spec": {"template": pod(*images)} | spec}


class Cluster:
    """What a cluster has, in lists of pages; a list is read as it was when its first page was."""

    def __init__(self, objects: dict[str, list[Json]] | None = None, *, page: int = 250) -> None:
        self.objects = objects or {}
        self.page = page
        self.granted: set[tuple[str, str]] | None = None
        """The API groups and resources that may be listed; all, if it is None."""
        self.failures: dict[int, Exception] = {}
        """What is raised instead of the answer to a request, by its number, counted from one."""
        self.asked: list[str] = []
        self._snapshots: list[list[Json]] = []

    def get(self, path: str) -> Json:
        """Answers as the API server does."""
        url = urlsplit(path)
        self.asked.append(url.path)
        if failure := self.failures.get(len(self.asked)):
            raise failure
        group, _, resource = url.path.rsplit("/", 3)[1:]  # /apis/GROUP/VERSION/RESOURCE, or /api/v1/RESOURCE
        if self.granted is not None and (group.removeprefix("api"), resource) not in self.granted:
            raise http_error(403)
        query = parse_qs(url.query)
        if "continue" in query:
            snapshot, begin = (int(part) for part in query["continue"][0].split("/"))
        else:
            self._snapshots.append(list(self.objects.get(url.path, [])))
            snapshot, begin = len(self._snapshots) - 1, 0
        size = min(self.page, int(query["limit"][0]))
        found = self._snapshots[snapshot]
        end = begin + size
        metadata = {"resourceVersion": "1"} | ({"continue": f"{snapshot}/{end}"} if end < len(found) else {})
        return {"kind": "List", "metadata": metadata, "items": found[begin:end]}


def http_error(code: int) -> HTTPError:
    """Returns what urllib raises for a status."""
    return HTTPError("https://kubernetes.default.svc", code, "", Message(), None)
