"""JSON answers: no cache on the way keeps one, for each is somebody's."""

import pydantic_core
from fastapi import Response


def json_answer(value: object, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(
        pydantic_core.to_json(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
