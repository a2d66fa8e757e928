"""Which images of a repository a selection means, and how they are taken."""

from .engine import take_planned as take_planned
from .plan import Plan as Plan
from .plan import Protection as Protection
from .plan import make_plan as make_plan
