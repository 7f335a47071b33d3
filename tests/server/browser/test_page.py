"""The pack's files are loaded by every frontend that the other browser tests use, without an error."""

import pytest

import pack.bootstrap as bootstrap

pytestmark = [pytest.mark.slow, pytest.mark.main_host]


@pytest.mark.parametrize("newest", [False, True], ids=["host", "newest"])
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_it_is_the_frontend_that_it_should_be(browser_page, vue, newest):
    page = browser_page(vue, newest)
    assert page.evaluate("LiteGraph.vueNodesMode") is vue
    version = page.evaluate("window.__COMFYUI_FRONTEND_VERSION__")
    assert (version == bootstrap.FRONTEND) is newest
    names = page.evaluate("app.extensions.map(extension => extension.name)")
    assert {"LoraLoop.Questions"} <= set(names)
