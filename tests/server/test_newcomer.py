"""A newcomer's ComfyUI: the repository cloned into custom_nodes, images, and nothing else."""

import json
import os
import shutil

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures
from pack.demo.prompt import to_prompt
from pack.demo.server import ComfyServer, NodeError
from pack.tests.server import graphs
from pack.tests.server.conftest import load as load_page
from pack.tests.server.conftest import new_page

CLONE = "ComfyUI-LoRA-Loop"  # whatever the user called the folder
RUNTIME = (
    "base", "nodes", "trainer", "tagger", "js", "example_workflows", "subgraphs", "locales",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory, root):
    """No checkpoint, no tagger, no way to the internet."""
    base = tmp_path_factory.mktemp("newcomer")
    demo_base.prepare(base, with_pack=False, model=None)
    pictures.write(demo_base.dataset_path(base))
    clone = base / "custom_nodes" / CLONE
    for name in RUNTIME:
        shutil.copytree(root / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "pyproject.toml"):
        shutil.copy(root / name, clone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with ComfyServer(os.environ["COMFYUI_PATH"], base) as running:
            yield running


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


@pytest.fixture
def template(server, info):
    """A function: name → the prompt of the template as the server hands it to the browser."""

    def load(name):
        return to_prompt(server.get(f"/api/workflow_templates/{CLONE}/lora_loop_{name}.json"), info)

    return load


def test_the_templates_and_help_pages_are_served(server, root):
    listed = server.get("/api/workflow_templates")[CLONE]
    assert sorted(listed) == sorted(p.stem for p in (root / "example_workflows").glob("*.json"))
    extensions = server.get("/extensions")
    scripts = {p.relative_to(root / "js").as_posix() for p in (root / "js").rglob("*.js")}
    assert {f"/extensions/{CLONE}/{name}" for name in scripts} <= set(extensions)


def test_other_languages_and_the_blueprint_are_served(server, root):
    languages = server.get("/i18n")
    assert languages["zh"]["nodeDefs"]["LoraLoopTrain"]["inputs"]["rank"]["name"] == "秩 (rank)"
    assert languages["ja"]["nodeDefs"]["LoraLoopTrain"]["display_name"] == "SDXL LoRA を学習"
    blueprints = server.get("/api/global_subgraphs")
    (mine,) = (key for key, one in blueprints.items() if one["info"]["node_pack"].endswith(CLONE))
    served = server.get(f"/api/global_subgraphs/{mine}")
    assert served["name"] == "LoRA from a folder"
    text = (root / "subgraphs" / "LoRA from a folder.json").read_text("utf-8")
    assert json.loads(served["data"]) == json.loads(text)


@pytest.mark.main_host
def test_the_search_finds_templates_and_the_blueprint(server, chromium, root):
    page = new_page(server, chromium, False)
    load_page(page, server)
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_placeholder("Search").last.fill("lora loop")
    names = sorted(path.stem for path in (root / "example_workflows").glob("*.json"))
    page.get_by_text(f"Showing {len(names)} of").wait_for(timeout=60_000)
    for name in names:
        assert page.get_by_text(name, exact=True).count(), name
    page.keyboard.press("Escape")
    page.evaluate("app.loadGraphData({nodes: [], links: [], version: 0.4}, true, true, 'empty')")
    page.mouse.dblclick(800, 450)
    page.keyboard.type("LoRA from a folder", delay=20)
    page.get_by_text("LoRA from a folder").first.wait_for(timeout=60_000)
    page.keyboard.press("Enter")
    page.wait_for_function("app.graph.nodes.some(node => node.title === 'LoRA from a folder')")
    page.close()


def test_a_missing_checkpoint_is_refused_by_name(server, template):
    prompt = graphs.training_only(template("train_and_preview"))
    with pytest.raises(NodeError, match=rf"CheckpointLoaderSimple .*{demo_base.CHECKPOINT}"):
        server.queue(prompt)


def test_a_missing_tagger_comes_with_its_address(server, template):
    with pytest.raises(NodeError) as caught:
        server.run(template("tag_and_clean_captions"))
    message = str(caught.value)
    assert f"https://huggingface.co/SmilingWolf/{demo_base.TAGGER}" in message
    assert str(demo_base.tagger_path(server.base_directory)) in message
    assert not list(demo_base.dataset_path(server.base_directory).glob("*.txt"))


def test_the_workflow_carries_the_address_of_its_checkpoint(server):
    """The browser shows it when the file is missing."""
    workflow = server.get(f"/api/workflow_templates/{CLONE}/lora_loop_train_and_preview.json")
    (loader,) = (n for n in workflow["nodes"] if n["type"] == "CheckpointLoaderSimple")
    (model,) = loader["properties"]["models"]
    assert model["name"] == demo_base.CHECKPOINT == loader["widgets_values"][0]
    assert model["directory"] == "checkpoints"
    assert model["url"].startswith("https://") and model["url"].endswith(f"/{model['name']}")
