"""A real Chromium without a screen, and what it complained of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.doubles.programs import debian

WITHIN_MS = 30_000
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; gone after the block."""
    program = debian("chromium")
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page of a context of its own; certificates are not checked, for the tests make theirs."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(ignore_https_errors=True, **options)
        self.context.add_init_script(_WATCH)
        self.errors: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog: " + dialog.message), dialog.dismiss()))

    @property
    def violations(self) -> list[str]:
        """What the page's policy kept from happening."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def require_clean(self) -> None:
        """Nothing went wrong in the page, and its policy had nothing to forbid."""
        assert self.errors == []
        assert self.violations == []

    def close(self) -> None:
        """With its cookies and everything."""
        self.context.close()
