"""tuspy lives here, hardened; maps its errors. Blocking: called in worker threads, broken off from any other.

uploader.py      tuspy's Uploader with requests of its own: POST, HEAD, PATCH, DELETE
session.py       one worker thread's connections; one request at a time
watch.py         what the request under way waits for, and how another thread breaks it
connections.py   urllib3's connections: watched, with a deadline for every step
locations.py     which upload URLs are accepted: pure
proxies.py       which proxy a request takes: pure
outages.py       which endpoints are in trouble as a whole: pure
answers.py       error answers → errors.py, as a table: pure
"""

from sse_agent.tus.answers import (
    Answered,
    BodyLimit,
    NotNow,
    OffsetConflict,
    Refused,
    Stranger,
    TokenRefused,
    UploadGone,
    classify,
    is_refusal,
)
from sse_agent.tus.locations import check_upload_url
from sse_agent.tus.outages import Outages
from sse_agent.tus.session import TusSession
from sse_agent.tus.uploader import TusUploader
from sse_agent.tus.watch import PATIENCE, Patience

__all__ = [
    "PATIENCE",
    "Answered",
    "BodyLimit",
    "NotNow",
    "OffsetConflict",
    "Outages",
    "Patience",
    "Refused",
    "Stranger",
    "TokenRefused",
    "TusSession",
    "TusUploader",
    "UploadGone",
    "check_upload_url",
    "classify",
    "is_refusal",
]
