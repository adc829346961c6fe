"""The live page in a real browser: control plane, agent and tusd as processes, and a person's clicks and keys."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.doubles.browsers import Tab, chromium
from tests.doubles.nginx import free_port, under_a_path
from tests.doubles.planes import Agent, Plane, plane
from tests.doubles.processes import CLIENT, World, world
from tests.doubles.redis_server import redis_server
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
HOSTILE = "<img src=x onerror=alert(1)>.txt"
TURNED = "invoice\u202efdp.exe"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as there:
        yield there


def link(there: World) -> str:
    """A way in for one person."""
    prefix = "SSE_AGENT_CONTROL_PLANE_"
    headers = {"Authorization": f"Bearer {there.plane.settings[prefix + 'SERVICE_TOKEN']}", "Idempotency-Key": "k"}
    answer = httpx.post(
        f"{there.url}/api/v1/signin-links", json={}, headers=headers, verify=there.trust, trust_env=False
    )
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["link"]
    return found


@contextmanager
def signed_in(browser: Browser, where: str, *, checked: bool = True, **options: object) -> Iterator[Tab]:
    """A page that somebody looks at; at its end nothing went wrong in it."""
    tab = Tab(browser, **options)
    try:
        tab.page.goto(where)
        expect(tab.page.get_by_text("live", exact=True)).to_be_visible()
        yield tab
        if checked:
            tab.require_clean()
    finally:
        tab.close()


def choose(page: Page, client_id: str = CLIENT) -> None:
    page.get_by_role("navigation", name="Agents").get_by_role("button", name=re.compile(f"^{client_id}, ")).click()
    expect(page.get_by_role("heading", name=client_id)).to_be_visible()


def open_folder(page: Page) -> None:
    """The first of the allowed folders, on the tab Files."""
    page.get_by_role("tab", name="Files").click()
    top = page.get_by_role("navigation", name="Folder").get_by_role("button", name="Folders")
    if not top.is_visible():
        page.get_by_role("list", name="Files").get_by_role("button").first.click()
    expect(top).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Uploads").get_by_role("listitem").filter(has_text=name)


def upload(page: Page, name: str) -> Locator:
    """Ask for a file with the mouse; its row among the uploads."""
    open_folder(page)
    page.get_by_role("button", name=f"Upload {name}", exact=True).click()
    expect(page.get_by_text("Asked for 1 file")).to_be_visible()
    page.get_by_role("tab", name="Uploads").click()
    return row(page, name)


# --- signing in ---


def test_a_link_signs_in_once_and_leaves_no_secret_behind(browser: Browser, running: World) -> None:
    where = link(running)
    with signed_in(browser, where) as tab:
        assert "signin" not in tab.page.url
        assert tab.page.evaluate("localStorage.length + sessionStorage.length") == 0
        expect(tab.page.get_by_text(CLIENT).first).to_be_visible()
        expect(tab.page.get_by_text("1 of 1 connected")).to_be_visible()
        assert tab.page.evaluate("document.cookie") == ""
        # A reload needs no link: the cookie gives the next token.
        tab.page.reload()
        expect(tab.page.get_by_text("live", exact=True)).to_be_visible()
        tab.page.get_by_role("button", name="Sign out").click()
        expect(tab.page.get_by_role("heading", name="Sign in with a link")).to_be_visible()
        tab.page.reload()
        expect(tab.page.get_by_role("heading", name="Sign in with a link")).to_be_visible()
    second = Tab(browser)
    try:
        second.page.goto(where)
        expect(second.page.get_by_role("alert")).to_have_text("This link was used, has expired, or is none.")
        assert "signin" not in second.page.url
        second.page.get_by_label("Link").fill(link(running))
        second.page.get_by_role("button", name="Sign in").click()
        expect(second.page.get_by_text("live", exact=True)).to_be_visible()
    finally:
        second.close()


# --- uploads ---


def test_a_file_is_found_asked_for_and_seen_to_arrive(browser: Browser, running: World) -> None:
    content = os.urandom(3 * MIB)
    (running.files / "report.bin").write_bytes(content)
    stored_before = set(running.tusd.ids())
    with signed_in(browser, link(running)) as tab:
        choose(tab.page)
        found = upload(tab.page, "report.bin")
        expect(found).to_contain_text("complete")
    (new,) = set(running.tusd.ids()) - stored_before
    assert running.tusd.read(new) == content


def test_progress_moves_and_pause_resume_and_cancel_are_seen(browser: Browser, tmp_path: Path) -> None:
    with Relay(2 * MIB) as relay, world(tmp_path, relay=relay) as there:
        (there.files / "large.bin").write_bytes(os.urandom(24 * MIB))
        (there.files / "other.bin").write_bytes(os.urandom(24 * MIB))
        with signed_in(browser, link(there)) as tab:
            choose(tab.page)
            found = upload(tab.page, "large.bin")
            bar = found.get_by_role("progressbar")
            expect(found).to_contain_text(re.compile(r"uploading.*MiB/s"))
            expect(bar).not_to_have_attribute("aria-valuenow", "0")
            found.get_by_role("button", name="Pause large.bin").click()
            expect(found.locator("[data-state]").or_(found)).to_have_attribute("data-state", "paused")
            there.services.until_upload(_file_id(there, "large.bin"), "paused")
            found.get_by_role("button", name="Resume large.bin").click()
            expect(found).to_contain_text("uploading")
            other = upload(tab.page, "other.bin")
            other.get_by_role("button", name="Cancel other.bin").click()
            asked = tab.page.get_by_role("dialog", name="Cancel this upload?")
            expect(asked.get_by_role("button", name="Not now")).to_be_focused()
            tab.page.keyboard.press("Escape")
            expect(asked).to_be_hidden()
            other.get_by_role("button", name="Cancel other.bin").click()
            asked.get_by_role("button", name="Cancel the upload").click()
            expect(other).to_contain_text("cancelled")
            relay.rate = None
            expect(found).to_contain_text("complete")


def _file_id(there: World, name: str) -> str:
    headers = {"Authorization": f"Bearer {there.plane.settings['SSE_AGENT_CONTROL_PLANE_SERVICE_TOKEN']}"}
    path = f"{there.url}/api/v1/agents/{CLIENT}/uploads"
    found = httpx.get(path, headers=headers, verify=there.trust, trust_env=False).json()["uploads"]
    return next(str(one["fileId"]) for one in found if (one["fileName"] or "").endswith(name))


def test_a_refusal_is_told_with_its_reason(browser: Browser, running: World) -> None:
    (running.files / "vanishing.bin").write_bytes(b"x")
    with signed_in(browser, link(running)) as tab:
        choose(tab.page)
        open_folder(tab.page)
        button = tab.page.get_by_role("button", name="Upload vanishing.bin", exact=True)
        expect(button).to_be_visible()
        (running.files / "vanishing.bin").unlink()
        button.click()
        tab.page.get_by_role("tab", name="Uploads").click()
        expect(tab.page.get_by_role("alert").filter(has_text="vanishing.bin was refused")).to_be_visible()
        expect(row(tab.page, "vanishing.bin")).to_have_count(0)


def test_hostile_names_are_shown_and_nothing_of_them_runs(browser: Browser, running: World) -> None:
    for name in (HOSTILE, TURNED, "a\nb.txt", " a  c.txt"):
        (running.files / name).write_bytes(b"x")
    with signed_in(browser, link(running)) as tab:
        choose(tab.page)
        found = upload(tab.page, HOSTILE)
        expect(found).to_contain_text("complete")
        expect(found.get_by_text(HOSTILE, exact=True)).to_be_visible()
        open_folder(tab.page)
        for shown in (HOSTILE, "invoice\\u202efdp.exe", "a\\nb.txt", "␣a␣␣c.txt"):
            expect(tab.page.get_by_role("list", name="Files").get_by_text(shown, exact=True)).to_be_visible()
        assert tab.page.locator("img").count() == 1  # its own
        tab.page.get_by_role("tab", name="Chat").click()
        tab.page.get_by_label("Message").fill(f"{HOSTILE} \u202e")
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_text(f"{HOSTILE} \\u202e", exact=True)).to_be_visible()


def test_a_planted_script_is_refused_and_seen_to_be(browser: Browser, running: World) -> None:
    """Also the proof that the other tests would hear of it."""
    with signed_in(browser, link(running), checked=False) as tab:
        plant = """(text) => {
            const script = document.createElement("script");
            try { script.append(text); } catch { window.violations.push("refused"); }
            document.head.append(script);
            const image = document.createElement("img");
            image.src = "https://elsewhere.example/x.png";
            document.body.append(image);
            try {
                document.body.innerHTML += "<b onclick='planted = 1'>x</b>";
            } catch { window.violations.push("refused"); }
        }"""
        tab.page.evaluate(plant, "window.planted = 1")
        tab.page.wait_for_function("window.violations.length >= 2")
        assert tab.page.evaluate("window.planted") is None
        with pytest.raises(AssertionError):
            tab.require_clean()


# --- chat ---


def test_words_go_both_ways(browser: Browser, running: World) -> None:
    text = f"Is anybody there? {uuid.uuid4().hex}"
    with signed_in(browser, link(running)) as tab, signed_in(browser, link(running)) as other:
        for page in (tab.page, other.page):
            choose(page)
            page.get_by_role("tab", name="Chat").click()
        box = tab.page.get_by_label("Message")
        box.fill(text)
        box.press("Enter")
        for page in (tab.page, other.page):
            log = page.get_by_role("log", name="Chat")
            expect(log.get_by_role("listitem").filter(has_text=text)).to_have_count(1)
            expect(log.get_by_role("listitem").filter(has_text=text)).to_contain_text("delivered")
            expect(log.get_by_text(re.compile("Nobody is at the console")).first).to_be_visible()
        expect(box).to_have_value("")
        log = tab.page.get_by_role("log", name="Chat")
        box.fill("/status")
        box.press("Enter")
        answer = re.compile("uploads: .*disk free", re.DOTALL)
        for page in (tab.page, other.page):
            said = page.get_by_role("log", name="Chat")
            expect(said.get_by_role("listitem").filter(has_text="/status")).to_contain_text("completed")
            expect(said.get_by_text(answer)).to_have_count(1)
        box.fill("/nonsense")
        box.press("Enter")
        expect(tab.page.get_by_role("alert").filter(has_text="/upload FILE")).to_be_visible()
        # What was said is there for whoever comes later.
        tab.page.reload()
        expect(tab.page.get_by_role("log", name="Chat").get_by_text(text)).to_be_visible()
        assert tab.page.get_by_role("log", name="Chat").get_by_text(text).count() == 1
        expect(log.get_by_text("/status", exact=True)).to_have_count(1)
        expect(log.get_by_text(answer)).to_have_count(1)
        expect(log.get_by_role("listitem").filter(has_text=re.compile("/status|disk free"))).to_contain_text(
            ["/status", "disk free"]
        )


# --- trouble ---


def test_a_page_comes_back_by_itself_and_shows_what_happened_meanwhile(browser: Browser, tmp_path: Path) -> None:
    with Relay(2 * MIB) as relay, world(tmp_path, relay=relay) as there:
        (there.files / "long.bin").write_bytes(os.urandom(16 * MIB))
        with signed_in(browser, link(there)) as tab:
            choose(tab.page)
            found = upload(tab.page, "long.bin")
            expect(found).to_contain_text("uploading")
            there.plane.kill()
            expect(tab.page.get_by_role("status").filter(has_text="the control plane does not answer")).to_be_visible()
            # What counts down stands beside what is read out.
            assert tab.page.get_by_text("next try").evaluate("(found) => found.closest('[role=status]') === null")
            relay.rate = None
            there.agent.wait_for("upload.completed")
            there.start_plane()
            expect(tab.page.get_by_text("live", exact=True)).to_be_visible()
            expect(found).to_contain_text("complete")
            expect(tab.page.get_by_text("connected", exact=True).first).to_be_visible()


def test_an_agent_that_leaves_is_shown_as_away_with_its_age(browser: Browser, tmp_path: Path) -> None:
    with world(tmp_path) as there, signed_in(browser, link(there)) as tab:
        choose(tab.page)
        expect(tab.page.get_by_text("1 of 1 connected")).to_be_visible()
        there.agent.stop()
        expect(tab.page.get_by_text(re.compile("away · seen")).first).to_be_visible()
        expect(tab.page.get_by_text("0 of 1 connected")).to_be_visible()
        tab.page.get_by_role("tab", name="Files").click()
        expect(tab.page.get_by_role("alert").filter(has_text="away")).to_be_visible()
        there.connect()
        expect(tab.page.get_by_text("1 of 1 connected")).to_be_visible()
        expect(tab.page.get_by_role("list", name="Files").get_by_role("listitem")).to_have_count(1)


# --- keys, sizes ---


def test_everything_is_reached_with_the_keyboard_alone(browser: Browser, running: World) -> None:
    for name in ("a-first.bin", "keys.bin"):
        (running.files / name).write_bytes(b"x" * 1000)
    tab = Tab(browser)
    page = tab.page
    try:
        page.goto(f"{running.url}/")
        # The field is focused: a link is pasted, and Enter.
        expect(page.get_by_label("Link")).to_be_focused()
        page.keyboard.insert_text(link(running))
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 of 1 connected")).to_be_visible()
        _tab_to(page, "Sign out")
        page.keyboard.press("Tab")
        agent = page.get_by_role("list", name="Agents").get_by_role("button", name=f"{CLIENT}, connected")
        expect(agent).to_be_focused()
        expect(agent).not_to_have_attribute("aria-current", "true")
        page.keyboard.press("Space")
        expect(page.get_by_role("heading", name=CLIENT)).to_be_focused()
        expect(agent).to_have_attribute("aria-current", "true")
        _tab_to(page, "Uploads")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Files")).to_be_focused()
        expect(page.get_by_role("tab", name="Files")).to_have_attribute("aria-selected", "true")
        files = page.get_by_role("list", name="Files").get_by_role("listitem")
        expect(files).to_have_count(1)
        _tab_to(page, str(running.files))
        page.keyboard.press("Enter")
        expect(files.filter(has_text="keys.bin")).to_be_visible()
        expect(files.first.get_by_role("checkbox")).to_be_focused()
        assert "keys.bin" not in _focused(page)
        for _ in range(20):
            page.keyboard.press("ArrowDown")
            if "keys.bin" in _focused(page):
                break
        page.keyboard.press("Space")
        expect(page.get_by_role("checkbox", name="Choose keys.bin")).to_be_checked()
        _tab_to(page, "Upload 1 file", back=True)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Asked for 1 file")).to_be_visible()
        expect(page.get_by_role("tab", name="Uploads")).to_be_focused()
        page.keyboard.press("Enter")
        expect(row(page, "keys.bin")).to_contain_text("complete")
        _require_names(page)
        tab.require_clean()
    finally:
        tab.close()


def _require_names(page: Page) -> None:
    """Everything that can be pressed has a name."""
    found = page.locator("body").aria_snapshot()
    assert (
        re.search(r"- (button|tab|checkbox|textbox|searchbox|progressbar)( \[.*\])?:?$", found, re.MULTILINE) is None
    ), found


def _focused(page: Page) -> str:
    script = """() => {
        let found = document.activeElement;
        while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
        return `${found?.getAttribute("aria-label") ?? ""} ${found?.textContent ?? ""}`;
    }"""
    found: str = page.evaluate(script)
    return found


def _tab_to(page: Page, text: str, *, back: bool = False) -> None:
    """Press Tab until the focus is on what says so."""
    for _ in range(40):
        if text in _focused(page):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    pytest.fail(f"no Tab stop says {text!r}; the last says {_focused(page)!r}")


@pytest.mark.parametrize("width", [360, 768, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_at_any_width(browser: Browser, running: World, width: int, scheme: str) -> None:
    size = {"width": width, "height": 740}
    with signed_in(browser, link(running), viewport=size, color_scheme=scheme) as tab:
        choose(tab.page)
        tabs = tab.page.get_by_role("tab")
        for name in tabs.all_inner_texts():
            tabs.filter(has_text=name).click()
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, name
        ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(17, 21, 26)") is (scheme == "dark")


# --- ten thousand ---


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """An agent with ten thousand uploads."""
    with plane(tmp_path_factory.mktemp("plane"), heartbeat_seconds=15) as found:
        agent = found.fresh()
        for start in range(0, 10_000, 100):
            reports = []
            for number in range(start, start + 100):
                payload = {"fileId": f"file-{number:05}", "revision": 2, "offset": 5}
                kind = "UPLOAD_PAUSED" if number % 10 else "UPLOAD_CANCELLED"
                reports.append(agent.envelope(kind, payload))
            assert agent.report(*reports).status_code == 200
        yield found


def _plane_link(on: Plane) -> str:
    return str(on.ask("POST", "/api/v1/signin-links", key="k", json={}).json()["link"])


def test_ten_thousand_uploads_are_a_few_rows_that_can_be_scrolled_and_found(browser: Browser, crowded: Plane) -> None:
    with signed_in(browser, _plane_link(crowded)) as tab:
        page = tab.page
        choose(page, "agent-0")
        expect(page.get_by_role("button", name="All 10,000")).to_be_visible()
        rows = page.get_by_role("list", name="Uploads").get_by_role("listitem")
        expect(rows.first).to_have_attribute("aria-setsize", "10000")
        assert rows.count() < 60
        rows.first.focus()
        page.keyboard.press("End")
        expect(rows.and_(page.locator(":focus"))).to_have_attribute("aria-posinset", "10000")
        assert rows.count() < 60
        page.get_by_label("Find an upload by name").fill("file-07777")
        expect(rows).to_have_count(1)
        page.get_by_label("Find an upload by name").fill("")
        page.get_by_role("button", name=re.compile("^Cancelled")).click()
        expect(rows.first).to_have_attribute("aria-setsize", "1000")
        # One frame may not take long, wherever it is scrolled to: a list that draws them all takes seconds.
        nodes = page.evaluate(_COUNT)
        assert nodes < 3000, nodes


def test_what_was_asked_of_an_agent_that_is_away_is_seen_cancelled_and_followed(
    browser: Browser, crowded: Plane
) -> None:
    agent = crowded.fresh()

    def ask(number: int) -> str:
        payload = {"fileId": f"f{number}", "fileName": f"reports/{number}.txt"}
        return str(crowded.order(agent, type="UPLOAD_START", payload=payload).json()["id"])

    with signed_in(browser, _plane_link(crowded)) as tab:
        page = tab.page
        choose(page, agent.client_id)
        expect(page.get_by_text("No uploads yet")).to_be_visible()
        first, second = ask(1), ask(2)
        for _ in range(2):
            expect(page.get_by_role("button", name="Under way 2")).to_be_visible()
            for name in ("1.txt", "2.txt"):
                expect(row(page, name)).to_contain_text(re.compile("queued.*waits until the agent is back"))
            page.reload()
        row(page, "2.txt").get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel the upload").click()
        expect(row(page, "2.txt")).to_contain_text("cancelling")
        (*_, cancel) = [event["message"] for event in agent.poll().json()["events"]]
        assert (cancel["type"], cancel["payload"]) == ("UPLOAD_CANCEL", {"fileId": "f2"})
        cancelled = agent.envelope("UPLOAD_CANCELLED", {"fileId": "f2", "revision": 2, "offset": 0})
        agent.report(agent.ack(first, "accepted"), agent.ack(second, "accepted"), cancelled)
        expect(row(page, "2.txt")).to_contain_text("cancelled")
        expect(row(page, "1.txt")).to_contain_text(re.compile("queued.*accepted; waits"))
        agent.report(agent.ack(first, "rejected"))
        expect(row(page, "1.txt")).to_have_count(0)
        # The same of a line of chat that asks for one, also after a reload.
        page.get_by_role("tab", name="Chat").click()
        page.get_by_label("Message").fill("/upload long.bin")
        page.keyboard.press("Enter")
        line = page.get_by_role("log", name="Chat").get_by_role("listitem").filter(has_text="/upload long.bin")
        expect(line).to_contain_text("queued")
        page.reload()
        expect(line).to_contain_text("waits for the agent")
        (*_, order) = [event["message"] for event in agent.poll().json()["events"]]
        agent.report(agent.ack(order["id"], "accepted"))
        expect(line).to_contain_text("accepted")
        page.reload()
        expect(line).to_contain_text("accepted")
        agent.report(agent.ack(order["id"], "completed"))
        expect(line).to_contain_text("completed")
        # Another agent is shown whole, whatever was looked for at the last one.
        page.get_by_role("tab", name="Uploads").click()
        page.get_by_role("button", name="Cancelled 1").click()
        page.get_by_label("Find an upload by name").fill("2.txt")
        page.get_by_role("button", name=re.compile("^agent-0, ")).click()
        expect(page.get_by_role("button", name="All 10,000")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_label("Find an upload by name")).to_have_value("")


_COUNT = """() => {
    const inside = (element) => (element.shadowRoot ? count(element.shadowRoot) : 0);
    const count = (root) => [...root.querySelectorAll("*")].reduce((sum, element) => sum + 1 + inside(element), 0);
    return count(document);
}"""


def test_whoever_may_only_watch_sees_and_is_offered_nothing_else(browser: Browser, crowded: Plane) -> None:
    grant = {"subject": "eve", "agents": ["agent-0"], "scopes": ["watch"]}
    where = str(crowded.ask("POST", "/api/v1/signin-links", key="k", json=grant).json()["link"])
    with signed_in(browser, where) as tab:
        page = tab.page
        expect(page.get_by_text("0 of 1 connected")).to_be_visible()
        choose(page, "agent-0")
        rows = page.get_by_role("list", name="Uploads").get_by_role("listitem")
        expect(rows.first).to_contain_text("paused")
        assert page.get_by_role("tab").all_inner_texts() == ["Uploads", "Chat", "About"]
        for name in ("Add an agent", re.compile("^Resume"), re.compile("^Cancel "), "Send", "Readmit", "Delete …"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        page.get_by_role("tab", name="About").click()
        expect(page.get_by_role("button", name="Delete …")).to_have_count(0)


def test_an_agent_that_lost_its_journal_counts_anew_and_is_still_believed(browser: Browser, tmp_path: Path) -> None:
    with plane(tmp_path, heartbeat_seconds=15) as found:
        agent = found.fresh()

        def progress(speaker: Agent, revision: int, offset: int) -> None:
            payload = {"fileId": "f", "state": "uploading", "revision": revision, "n": 1, "offset": offset}
            speaker.report(speaker.envelope("UPLOAD_PROGRESS", {**payload, "bytesSent": offset, "fileSize": 100}))

        agent.report(agent.envelope("UPLOAD_PAUSED", {"fileId": "f", "revision": 8, "offset": 5}))
        progress(agent, 9, 50)
        with signed_in(browser, _plane_link(found)) as tab:
            choose(tab.page, agent.client_id)
            shown = row(tab.page, "f")
            expect(shown).to_contain_text("50 % confirmed")
            again = Agent(found.client, agent.client_id)
            facts = {"version": "1", "platform": "x", "hostname": "h", "allowedFolders": [], "capabilities": []}
            with again.stream():
                again.report(again.envelope("CLIENT_CONNECTED", {**facts, "uploads": {}, "unfinished": []}))
            progress(again, 2, 70)
            expect(shown).to_contain_text("70 % confirmed")


# --- pairing ---


def test_a_machine_is_paired_compared_confirmed_and_turns_green_by_itself(
    browser: Browser, running: World, tmp_path: Path
) -> None:
    with signed_in(browser, link(running)) as tab:
        page = tab.page
        page.get_by_role("button", name="Add an agent").click()
        dialog = page.get_by_role("dialog", name="Add an agent")
        dialog.get_by_role("textbox").fill("warehouse-7")
        dialog.get_by_role("button", name="Show a code").click()
        code = dialog.locator(".code").inner_text()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSE_AGENT_")}
        settings = {
            "SSE_AGENT_STATE_DIR": str(tmp_path / "state"),
            "SSE_AGENT_CA_FILE": running.agent.settings["SSE_AGENT_CA_FILE"],
            "SSE_AGENT_CONTROL_PLANE_URL": running.url,
        }
        enroll = [sys.executable, "-m", "sse_agent", "enroll", "--code-file", "-"]
        with subprocess.Popen(
            enroll,
            env={**environment, **settings},
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                assert child.stdin is not None
                child.stdin.write(code + "\n")
                child.stdin.close()
                expect(dialog.get_by_role("heading", name="Is this the machine?")).to_be_visible()
                fingerprint = dialog.locator(".fingerprint").inner_text()
                assert child.stdout is not None
                lines = []
                while not any("fingerprint" in line for line in lines):
                    line = child.stdout.readline()
                    assert line, lines
                    lines.append(line)
                assert fingerprint in lines[-1]
                dialog.get_by_role("button", name="Yes, they are the same").click()
                expect(dialog.get_by_text("Waiting until it connects")).to_be_visible()
                # It is among the others at once, under its name.
                expect(page.get_by_role("list", name="Agents").get_by_text("warehouse-7")).to_be_attached()
                assert child.wait(30) == 0
            finally:
                child.kill()
        identity = json.loads((tmp_path / "state" / "identity.json").read_text())
        files = tmp_path / "files"
        files.mkdir()
        machine = running.another_agent(
            SSE_AGENT_STATE_DIR=str(tmp_path / "state"), SSE_AGENT_ALLOWED_FOLDERS=json.dumps([str(files)])
        )
        for name in ("SSE_AGENT_TOKEN", "SSE_AGENT_CLIENT_ID"):
            del machine.settings[name]
        machine.start()
        try:
            expect(dialog.get_by_text("Connected.")).to_be_visible()
            dialog.get_by_role("button", name="Open it").click()
            expect(page.get_by_role("heading", name="warehouse-7")).to_be_visible()
            page.get_by_role("tab", name="About").click()
            expect(page.get_by_text(fingerprint)).to_be_visible()
            expect(page.get_by_text(identity["clientId"]).first).to_be_visible()
            page.get_by_role("button", name="Delete …").click()
            page.get_by_role("button", name="Delete for ever").click()
            expect(page.get_by_role("listitem").filter(has_text="warehouse-7")).to_have_count(0)
            until(lambda: any("deleted" in line for line in machine.lines), "the machine hears of it")
        finally:
            machine.kill()


# --- on Redis ---


def test_on_redis_it_comes_back_signed_in_to_a_server_that_started_anew(browser: Browser, tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as redis,
        plane(tmp_path, port=free_port(), redis_url=redis.url, heartbeat_seconds=15) as found,
    ):
        agent = found.fresh()

        def progress(n: int) -> None:
            payload = {"fileId": "f", "state": "uploading", "revision": 2, "n": n, "offset": n, "bytesSent": n}
            agent.report(agent.envelope("UPLOAD_PROGRESS", {**payload, "fileSize": 100}))

        with signed_in(browser, _plane_link(found)) as tab:
            choose(tab.page, agent.client_id)
            for n in (20, 40):
                progress(n)
                expect(row(tab.page, "f")).to_contain_text(f"{n} % confirmed")
            found.kill()
            expect(tab.page.get_by_text("the control plane does not answer")).to_be_visible()
            found.start()
            agent.client = found.client
            expect(tab.page.get_by_text("live", exact=True)).to_be_visible()
            progress(60)
            expect(row(tab.page, "f")).to_contain_text("60 % confirmed")
            tab.page.reload()
            expect(row(tab.page, "f")).to_contain_text("60 % confirmed")


# --- under a path ---


def test_it_works_under_a_path_that_a_proxy_takes_away(browser: Browser, tmp_path: Path) -> None:
    port, backend = free_port(), free_port()
    where = f"http://127.0.0.1:{port}/agents"
    with (
        plane(tmp_path, port=backend, issuer=where, heartbeat_seconds=15) as found,
        under_a_path(tmp_path / "nginx", port, backend),
    ):
        agent = found.fresh()
        way_in = _plane_link(found)
        assert way_in.startswith(f"{where}/#signin=")
        # Without the slash as well: nginx sends on, and the browser keeps what stands behind the #.
        with signed_in(browser, way_in.replace("/#", "#")) as tab:
            page = tab.page
            assert page.url == f"{where}/"
            choose(page, agent.client_id)
            agent.report(agent.envelope("UPLOAD_PAUSED", {"fileId": "f", "revision": 2, "offset": 5}))
            expect(row(page, "f")).to_contain_text("paused")
            page.get_by_role("button", name="Add an agent").click()
            page.get_by_role("button", name="Show a code").click()
            expect(page.get_by_text(f"sse-agent enroll --control-plane {where}", exact=True)).to_be_visible()
            page.reload()
            expect(page.get_by_text("live", exact=True)).to_be_visible()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("heading", name="Sign in with a link")).to_be_visible()
            page.reload()
            expect(page.get_by_role("heading", name="Sign in with a link")).to_be_visible()
            assert tab.context.cookies() == []
        # Whoever stands on its machine gets in there without the proxy.
        direct = f"{str(found.client.base_url).rstrip('/')}/#{_plane_link(found).partition('#')[2]}"
        with signed_in(browser, direct) as tab:
            expect(tab.page.get_by_text("0 of 60 connected")).to_be_visible()


# --- another page's ---


def test_another_page_embeds_the_elements_with_a_token_of_its_own(browser: Browser, crowded: Plane) -> None:
    body = {"subject": "ada", "agents": ["agent-0"], "scopes": ["watch"]}
    token = crowded.ask("POST", "/api/v1/viewer-tokens", key="k", json=body).json()["token"]
    base = str(crowded.client.base_url).rstrip("/")
    tab = Tab(browser)
    try:
        html = """<!doctype html><title>Mine</title><h1>My application</h1>
            <script type="module">
              import { source } from "/page/elements.js";
              source("", async () => window.mine);
            </script>
            <sse-agent-uploads agent="agent-0" style="display: flex; height: 400px"></sse-agent-uploads>
            <sse-agent-chat agent="agent-0" name="ada" style="display: flex; height: 300px"></sse-agent-chat>"""
        tab.context.add_init_script(f"window.mine = {json.dumps(token)};")
        tab.page.route(f"{base}/mine", lambda route: route.fulfill(body=html, content_type="text/html"))
        tab.page.goto(f"{base}/mine")
        expect(tab.page.get_by_role("button", name="All 10,000")).to_be_visible()
        expect(row(tab.page, "paused").first).to_be_visible()
        # The token may only watch.
        for name in (re.compile("^Resume"), re.compile("^Cancel "), "Send"):
            expect(tab.page.get_by_role("button", name=name)).to_have_count(0)
        assert tab.errors == []
    finally:
        tab.close()
