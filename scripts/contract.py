"""Writes the contract's documents for programs into docs/reference; with --check it says which are not current."""

import json
import sys
from pathlib import Path
from typing import Any

from scripts.contract_documents import asyncapi, schemas, served

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def documents() -> dict[Path, dict[str, Any]]:
    """Every file and what is in it."""
    return {
        REFERENCE / "openapi.json": served.openapi(),
        REFERENCE / "asyncapi.json": asyncapi.document(),
        **{REFERENCE / "schemas" / f"{name}.json": schema for name, schema in schemas.files().items()},
    }


def text(document: dict[str, Any]) -> str:
    """As it is written."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """0 if everything is current, or was made so."""
    made = documents()
    there = {*REFERENCE.glob("*api.json"), *(REFERENCE / "schemas").glob("*.json")}
    if "--check" in sys.argv[1:]:
        wrong = [path for path, document in made.items() if not path.exists() or path.read_text() != text(document)]
        for path in sorted([*wrong, *(there - made.keys())]):
            print(f"{path.relative_to(ROOT)} is not what the code says; run scripts/contract", file=sys.stderr)
        return 1 if wrong or there - made.keys() else 0
    for path, document in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(document))
    for path in there - made.keys():
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
