"""Which folders can be allowed ones."""

import sys
import tempfile
from pathlib import Path

import pytest

from sse_agent.errors import CannotStart, ExitCode
from sse_agent.files import AllowedFolders
from tests.files.forms import FORMS, Hold, as_nobody, descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing", ExitCode.WRONG_CONFIGURATION),
        ("allowed/report.txt", ExitCode.WRONG_CONFIGURATION),
        ("allowed/report.txt/x", ExitCode.WRONG_CONFIGURATION),
        ("allowed/fifo", ExitCode.WRONG_CONFIGURATION),
        ("allowed/loop", ExitCode.WRONG_CONFIGURATION),
        ("/proc", ExitCode.WRONG_CONFIGURATION),
        ("/proc/self/task", ExitCode.WRONG_CONFIGURATION),
        ("/sys/kernel", ExitCode.WRONG_CONFIGURATION),
        ("/dev", ExitCode.WRONG_CONFIGURATION),
        ("allowed/magic/proc", ExitCode.WRONG_CONFIGURATION),
    ],
)
def test_a_folder_that_cannot_be_one_stops_the_start(tree: Path, hold: Hold, path: str, code: ExitCode) -> None:
    before = descriptors()
    with pytest.raises(CannotStart) as refused:
        AllowedFolders([tree / "allowed", tree / path], hold=hold)
    assert refused.value.exit_code is code
    assert repr(str(tree / path)) in str(refused.value)
    assert descriptors() == before


@pytest.mark.parametrize("mode", [0, 0o644])
@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_a_folder_that_may_not_be_searched_stops_the_start(form: str, mode: int, below: str) -> None:
    # Not in tmp_path: nobody gets that far.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        (folder / "below").mkdir(parents=True)
        Path(place).chmod(0o755)
        folder.chmod(mode)
        try:
            with as_nobody(), pytest.raises(CannotStart) as refused:
                AllowedFolders([folder / below], hold=FORMS[form])
        finally:
            folder.chmod(0o700)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED
