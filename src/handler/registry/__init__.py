"""The only room that calls ECR."""

from .calls import never_ask_twice_unseen as never_ask_twice_unseen
from .deletions import delete_images as delete_images
from .looks import find_relatives as find_relatives
