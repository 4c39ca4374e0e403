"""The catalogue of planted bugs, in the order of the way that a payment takes."""

from tests.mutants.books import BOOKS
from tests.mutants.box import BOX
from tests.mutants.cloud import CLOUD
from tests.mutants.engine import ENGINE
from tests.mutants.online import ONLINE

MUTANTS = (*BOX, *ENGINE, *CLOUD, *ONLINE, *BOOKS)
