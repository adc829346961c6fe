"""The contract as documents for programs: `GET /openapi.json`, and what scripts/contract writes into docs/reference.

schemas.py      JSON Schemas of everything that goes over the wire, made from the models
examples.py     real messages, made by the code that makes them
operations.py   who may call what, with what, and every answer to it
document.py     FastAPI's own document, and what it can't know
"""

from sse_agent.control_plane.openapi.document import document, publish

__all__ = ["document", "publish"]
