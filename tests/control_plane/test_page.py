"""The page's files, over real HTTP against the real process."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sse_agent.control_plane import page
from tests.doubles.planes import Plane, plane, slug

ASSETS = Path(page.__file__).parent / "assets"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


def test_every_file_is_handed_out_with_its_type_under_a_strict_policy(running: Plane) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    paths = {"/": ASSETS / "index.html"} | {f"/page/{file.name}": file for file in ASSETS.iterdir()}
    assert len(paths) > 10
    for path, file in paths.items():
        answer = running.client.get(path)
        assert (answer.status_code, answer.content) == (200, file.read_bytes()), path
        assert answer.headers["content-type"].startswith(types[file.suffix])
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'; base-uri 'none'; form-action 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_what_a_browser_has_already_is_not_sent_again(running: Plane) -> None:
    first = running.client.get("/page/app.js")
    again = running.client.get("/page/app.js", headers={"If-None-Match": f'W/{first.headers["etag"]}, "other"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert running.client.get("/page/app.js", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/page/", "/page/nothing.js", "/page/../serving.py", "/page/%2e%2e/serving.py", "/page//app.js"]
)
def test_nothing_else_is_handed_out(running: Plane, path: str) -> None:
    assert slug(running.client.get(path)) == "unknown-path"


def test_it_is_read_only(running: Plane) -> None:
    assert slug(running.client.post("/")) == "method-not-allowed"
    assert running.client.head("/").status_code == 200


def test_the_page_needs_nothing_from_elsewhere_and_makes_no_markup_from_text() -> None:
    for file in ASSETS.iterdir():
        text = file.read_text()
        elsewhere = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"http://www\.w3\.org/2000/svg", "", text))
        assert not elsewhere, file.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
        )
        assert not re.search(r"localStorage|sessionStorage|indexedDB", text), file.name
        if file.suffix == ".html":
            assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", text)
