"""Tests against a real ComfyUI server with this pack: $COMFYUI_PATH says which ComfyUI.

The example workflows' names hold tiny stand-ins: sd_xl_base_1.0.safetensors,
wd-swinv2-tagger-v3 and input/lora_loop_example.
"""

import os
from pathlib import Path

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures, tiny_tagger
from pack.demo.server import ComfyServer
from pack.tests.server import graphs

if not os.environ.get("COMFYUI_PATH"):
    collect_ignore_glob = ["test_*.py"]


CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 120.0

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


@pytest.fixture
def page(server):
    """A browser's page on the server, ready for a workflow; a function of the renderer."""
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM))

        def opened(vue):
            for setting, value in (
                ("Comfy.TutorialCompleted", True),
                ("Comfy.Workflow.Persist", False),
                ("Comfy.VueNodes.Enabled", vue),
            ):
                server.post(f"/settings/{setting}", value)
            page = browser.new_page()
            page.goto(server.url)
            page.wait_for_function(
                "window.app?.vueAppReady && window.app.extensionManager", timeout=PATIENCE * 1000
            )
            page.wait_for_selector(".p-blockui-mask", state="hidden")
            return page

        yield opened
        browser.close()
