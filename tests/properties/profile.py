"""How the property tests are run: the same examples every time, no time limit, nothing left in the checkout."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Not examples, but tables of Unicode and of constants in the code.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")

REPEATABLE = settings(
    database=None,
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
