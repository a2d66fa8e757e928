"""Which images of a repository a selection means, and taking them."""

from .choice import choose as choose
from .taking import Limits as Limits
from .taking import Repository as Repository
from .taking import carry_out as carry_out
