"""Tests against a real ComfyUI server with this pack: $COMFYUI_PATH says which ComfyUI.

The example workflows' names hold tiny stand-ins: sd_xl_base_1.0.safetensors,
wd-swinv2-tagger-v3 and input/lora_loop_example.
"""

import contextlib
import os
import time
from pathlib import Path

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures, tiny_tagger
from pack.demo.server import ComfyServer
from pack.tests.server import graphs

if not os.environ.get("COMFYUI_PATH"):
    collect_ignore_glob = ["test_*.py"]


CHROMIUM = Path("/usr/bin/chromium")
LOCAL = "--disable-features=LocalNetworkAccessChecks"
"""A page whose document a test answered, as those of the newest frontend, may open the server's websocket."""
PATIENCE = 120.0
SIZE = {"width": 1600, "height": 900}
READY = "window.app?.vueAppReady && window.app.extensionManager"

# Said to the pack as it is loaded: a state after few steps, so that a test can wait for one.
OFTEN = """
import lora_loop_pack.trainer.runs.state_keeper
lora_loop_pack.trainer.runs.state_keeper.STATE_STEPS = {steps}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running server (`pack.demo.server.ComfyServer`) with the pack and the stand-ins."""
    base = demo_base.prepare(tmp_path_factory.mktemp("comfyui"))
    with (base / "custom_nodes" / demo_base.PACK / "__init__.py").open("a") as loader:
        loader.write(OFTEN.format(steps=graphs.STATE_STEPS))
    tiny_tagger.write(demo_base.tagger_path(base))
    pictures.write(demo_base.dataset_path(base))
    with ComfyServer(os.environ["COMFYUI_PATH"], base) as running:
        yield running


@pytest.fixture(autouse=True)
def left_alone(request):
    """What a test that failed has left running would be in the way of the next one."""
    yield
    if "server" not in request.fixturenames:
        return
    server, deadline = request.getfixturevalue("server"), time.monotonic() + PATIENCE
    while any(server.get("/queue").values()):
        server.post("/queue", {"clear": True})
        server.interrupt()
        assert time.monotonic() < deadline, "it goes on running"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def object_info(server):
    """Every node's inputs and outputs."""
    return server.object_info()


@pytest.fixture
def example(root, object_info):
    """A function: name of an example workflow → its prompt, unedited."""
    return lambda name: graphs.example(root, name, object_info)


@pytest.fixture
def dataset(server):
    """The dataset folder of the example workflows, made again for each test."""
    folder = demo_base.dataset_path(server.base_directory)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    return pictures.write(folder)


@pytest.fixture(scope="session")
def chromium():
    """One Chromium for all tests."""
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[LOCAL])
        yield browser
        browser.close()


@pytest.fixture
def page(server, chromium):
    """A browser's page on the server, ready for a workflow; a function of the renderer."""
    with contextlib.ExitStack() as stack:

        def opened(vue):
            page = new_page(server, chromium, vue)
            stack.callback(page.close)
            load(page, server)
            return page

        yield opened


def new_page(server, chromium, vue):
    """A page, not loaded yet."""
    for setting, value in (
        ("Comfy.TutorialCompleted", True),
        ("Comfy.Workflow.Persist", False),
        ("Comfy.VueNodes.Enabled", vue),
    ):
        server.post(f"/settings/{setting}", value)
    return chromium.new_page(viewport=SIZE)


def load(page, server):
    """Open ComfyUI in the page, or load it again, and wait until it can be used."""
    page.goto(server.url, timeout=PATIENCE * 1000)
    page.wait_for_function(READY, timeout=PATIENCE * 1000)
    page.wait_for_selector(".p-blockui-mask", state="hidden")
