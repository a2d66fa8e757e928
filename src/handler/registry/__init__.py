"""The only room that calls ECR."""

from .calls import bound as bound
from .calls import never_ask_twice_unseen as never_ask_twice_unseen
from .deletions import delete_images as delete_images
from .listing import RepositoryError as RepositoryError
from .listing import list_images as list_images
from .listing import read_indexes as read_indexes
from .listing import repository_names as repository_names
from .looks import find_relatives as find_relatives
