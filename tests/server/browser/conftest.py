"""Tests by clicks and keys in Chromium: both renderers, the host's own frontend and the newest one."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import pack.bootstrap as bootstrap
from pack.tests.server.conftest import load, new_page

STILL = """(() => {
  const ask = window.requestAnimationFrame.bind(window);
  let waiting = [];
  window.requestAnimationFrame = call => window.isStill ? -waiting.push(call) : ask(call);
  window.setStill = still => {
    window.isStill = still;
    if (!still) waiting.splice(0).forEach(call => ask(call));
  };
})()"""
"""A page that no test looks at draws nothing: ComfyUI's draws all the time, on the processor here."""
NEWEST = bootstrap.HOSTS / f"frontend-{bootstrap.FRONTEND}" / "comfyui_frontend_package" / "static"


@pytest.fixture(scope="session")
def opened_pages():
    """Pages that are open, by renderer and frontend, and the JavaScript errors of all of them."""
    return {}, []


@pytest.fixture
def browser_page(server, chromium, opened_pages):
    """A function: (vue, newest) → a page without a graph; the same one for later tests.

    The test fails where any page had a JavaScript error. ``fresh``: a page of its own, which nobody used.
    """
    pages, errors = opened_pages
    mine = []

    def opened(vue=False, newest=False, fresh=False):
        page = None if fresh else pages.get((vue, newest))
        if page is None:
            page = new_page(server, chromium, vue)
            page.add_init_script(STILL)
            if newest:
                page.route("**/*", lambda route: serve(route, newest_frontend()))
            page.on("pageerror", lambda error: errors.append(str(error)))
            mine.append(page) if fresh else pages.update({(vue, newest): page})
            load(page, server)
        page.evaluate("setStill(false)")
        page.evaluate(
            "app.loadGraphData({nodes: [], links: [], version: 0.4}, true, true, 'empty')"
        )
        return page

    errors.clear()
    yield opened
    for page in mine:
        page.close()
    for page in pages.values():
        page.evaluate("setStill(true)")
    assert errors == []


def newest_frontend():
    """The folder of its files."""
    static = Path(os.environ.get("COMFYUI_FRONTEND_PATH", NEWEST))
    assert (static / "index.html").is_file(), "it comes with: python quickstart.py test"
    return static


def serve(route, static):
    """Answer with the file of another frontend where it has one; all else is the server's."""
    path = static / (urlsplit(route.request.url).path.lstrip("/") or "index.html")
    if path.is_file():
        route.fulfill(path=path)
    else:
        route.fallback()
