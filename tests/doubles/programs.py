"""Programs that tests start and that Python's packages do not bring."""

import os
import shutil

import pytest


def find(program: str, how: str) -> str:
    """Its path. Without it the test is skipped, but fails where everything is meant to be there (CI).

    `how`: the command that installs it.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        reason = f"{program} is not installed: {how}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def debian(program: str, package: str | None = None) -> str:
    """The path of a program of Debian's package of that name."""
    return find(program, f"apt-get install {package or program}")
