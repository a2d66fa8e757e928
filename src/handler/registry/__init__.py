"""The only package that calls ECR."""

from .batch_delete import delete_images as delete_images
from .client import Repository as Repository
from .client import disable_unsafe_retries as disable_unsafe_retries
from .client import limit_concurrency as limit_concurrency
from .listing import Contents as Contents
from .listing import read_repository as read_repository
from .listing import repository_names as repository_names
from .lookup import look_up as look_up
from .manifests import read_manifests as read_manifests
from .relatives import find_families as find_families
