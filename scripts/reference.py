"""Write the parts of the reference that the code knows best; with --check, only say what is out of date.

.env.example and, in docs/reference/: settings.md, states.md, log-events.md, commands.md, hostile-peers.md. Error and
exit codes get their explanations by hand in error-codes.md and exit-codes.md; here it is only checked that each has
one. With --wrong-starts, wrong-starts.md as well: some eighty real starts, a minute or two.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from scripts.reference_pages import commands, hostile, log_events, settings, states
from sse_agent.errors import ErrorCode, ExitCode

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    ".env.example": settings.env_example,
    "docs/reference/settings.md": settings.page,
    "docs/reference/states.md": states.page,
    "docs/reference/log-events.md": log_events.page,
    "docs/reference/commands.md": commands.page,
    "docs/reference/hostile-peers.md": hostile.page,
}


def missing_explanations() -> list[str]:
    """Codes that the pages written by hand do not explain, or explain although there are none such."""
    problems = []
    for page, names in (
        ("docs/reference/error-codes.md", {str(code) for code in ErrorCode}),
        ("docs/reference/exit-codes.md", {str(int(code)) for code in ExitCode}),
    ):
        text = (ROOT / page).read_text()
        rows = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
        problems += [f"{page} does not explain {name}" for name in sorted(names - rows)]
        problems += [f"{page} explains {name}, which does not exist" for name in sorted(rows - names)]
    return problems


def main() -> int:
    """0 if everything is as the code says, or was made so."""
    parser = argparse.ArgumentParser(prog="scripts/reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    parser.add_argument("--wrong-starts", action="store_true", help="write wrong-starts.md as well")
    options = parser.parse_args()
    problems = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if not options.check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            problems.append(f"{name} is not what the code says; run scripts/reference")
    if options.wrong_starts and not options.check:
        subprocess.run([sys.executable, "-m", "tests.cli.wrong_starts"], cwd=ROOT, check=True)
    problems += missing_explanations()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
