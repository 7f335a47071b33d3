"""The server driver itself, with core nodes only: start, run, refuse, fail, interrupt."""

import time

import pytest
from PIL import Image

from pack.demo.base import CHECKPOINT
from pack.demo.prompt import to_prompt
from pack.demo.server import NodeError

WORKFLOW = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": [CHECKPOINT]},
        {
            "id": 2,
            "type": "CLIPTextEncode",
            "inputs": [{"name": "clip", "type": "CLIP", "link": 1}],
            "widgets_values": ["a red cat"],
        },
        {"id": 3, "type": "EmptyLatentImage", "widgets_values": [64, 96, 1]},
        {
            "id": 4,
            "type": "KSampler",
            "inputs": [
                {"name": "model", "type": "MODEL", "link": 2},
                {"name": "positive", "type": "CONDITIONING", "link": 3},
                {"name": "negative", "type": "CONDITIONING", "link": 4},
                {"name": "latent_image", "type": "LATENT", "link": 5},
            ],
            "widgets_values": [5, "randomize", 2, 1.0, "euler", "normal", 1],
        },
        {
            "id": 5,
            "type": "VAEDecode",
            "inputs": [
                {"name": "samples", "type": "LATENT", "link": 6},
                {"name": "vae", "type": "VAE", "link": 7},
            ],
        },
        {
            "id": 6,
            "type": "SaveImage",
            "inputs": [{"name": "images", "type": "IMAGE", "link": 8}],
            "widgets_values": ["plain/picture"],
        },
    ],
    "links": [
        [1, 1, 1, 2, 0, "CLIP"],
        [2, 1, 0, 4, 0, "MODEL"],
        [3, 2, 0, 4, 1, "CONDITIONING"],
        [4, 2, 0, 4, 2, "CONDITIONING"],
        [5, 3, 0, 4, 3, "LATENT"],
        [6, 4, 0, 5, 0, "LATENT"],
        [7, 1, 2, 5, 1, "VAE"],
        [8, 5, 0, 6, 0, "IMAGE"],
    ],
}


@pytest.fixture
def prompt(object_info):
    return to_prompt(WORKFLOW, object_info)


@pytest.mark.old_host
def test_a_plain_workflow_makes_a_picture(server, prompt):
    (path,) = server.outputs(server.run(prompt, timeout=120), "6")
    with Image.open(path) as picture:
        assert picture.size == (64, 96)


def test_a_refused_prompt_names_node_and_value(server, prompt):
    prompt["1"]["inputs"]["ckpt_name"] = "not_there.safetensors"
    with pytest.raises(NodeError, match=r"CheckpointLoaderSimple \(1\).*not_there"):
        server.queue(prompt)


def test_a_failing_node_tells_its_reason(server, prompt):
    prompt["2"]["inputs"]["clip"] = ["1", 0]  # the MODEL where the CLIP belongs
    with pytest.raises(NodeError, match="CLIPTextEncode"):
        server.run(prompt, timeout=120)


def test_interrupt_ends_the_prompt(server, prompt):
    prompt["4"]["inputs"] |= {"steps": 5000, "seed": 8}
    prompt_id = server.queue(prompt)
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.1)
    time.sleep(1)
    server.interrupt()
    with pytest.raises(NodeError, match="interrupted"):
        server.wait(prompt_id, timeout=60)
