"""The routes of the page of runs: who may ask, which names are answered, what a run's settings become."""

import asyncio
import dataclasses
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pack.nodes.extension import NODES
from pack.nodes.host import folders
from pack.nodes.host.pages import runs_routes
from pack.nodes.host.pages.run_settings import SECTIONS, run_settings
from pack.nodes.host.web import routes
from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.slider import SliderConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.files.lock import folder_lock
from pack.trainer.runs.run_list import find_run, list_runs

pytestmark = pytest.mark.main_host

OURS = {"Sec-Fetch-Site": "same-origin"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
STRANGE = (
    "",
    "..",
    "../runs",
    "0" * 15,
    "0" * 17,
    "/etc/passwd",
    "0" * 16 + "/..",
    "\0" * 16,
    "é" * 16,
)
CHANGES = ("delete", "restore", "report")


@pytest.fixture
def ask(monkeypatch):
    """A function: (path, query or body, method, headers) → the status and what is answered."""

    class Page:
        routes = web.RouteTableDef()

    monkeypatch.setattr(routes, "prompt_server", lambda: Page)
    runs_routes.add_routes()

    def asked(name, told=None, method="GET", headers=OURS):
        async def send():
            app = web.Application()
            app.add_routes(Page.routes)
            async with TestClient(TestServer(app)) as client:
                given = {"params": told} if method == "GET" else {"json": told}
                answer = await client.request(
                    method, f"/lora_loop/runs/{name}", headers=headers, **given
                )
                return answer.status, await answer.json()

        return asyncio.run(send())

    return asked


@pytest.fixture
def made():
    """Two runs, the second finished."""
    root = folders.runs_root()
    return [
        make(root, n, days=3 - n, results=("steps-00000004",) * (n - 1), states=(2,))
        for n in (1, 2)
    ]


def test_the_list_and_what_a_run_says_of_itself(ask, made):
    status, found = ask("list")
    assert status == 200 and [run["name"] for run in found["runs"]] == [made[1].name, made[0].name]
    first = found["runs"][0]
    assert (first["status"], first["steps"], first["asked"]) == ("finished", 4, 4)
    assert first["settings"] == {"steps": 4} and found["usual"]["lora rank"] == 32
    assert ask("list", {"training": "1"})[1] == {"runs": [], "state": found["state"]}
    settings = ask("settings", {"run": made[1].name})[1]
    assert settings["train"]["steps"] == 4 and settings["lora"].endswith(
        "steps-00000004.safetensors"
    )
    assert settings["trigger"] == "sks" and all(part["usual"] for part in settings["sections"])


def test_deleted_and_brought_back(ask, made):
    name = made[0].name
    assert ask("delete", {"run": name}, "POST") == (200, {"run": name})
    assert [run.name for run in list_runs(folders.runs_root())] == [made[1].name]
    assert (folders.trash_root() / name / "run.json").is_file()
    assert [run["name"] for run in ask("list")[1]["runs"]] == [made[1].name]
    status, told = ask("delete", {"run": name}, "POST")
    assert (status, told) == (404, {"error": "There is no such run."})
    assert ask("restore", {"run": name}, "POST") == (200, {"run": name})
    assert len(ask("list")[1]["runs"]) == 2 and made[0].is_dir()
    status, told = ask("restore", {"run": name}, "POST")
    assert status == 404 and told["error"].startswith("Nothing was restored: there is no run")


def test_a_run_that_is_trained_stays(ask, made):
    with folder_lock(made[0]):
        now = ask("list", {"training": "1"})[1]
        (training,) = now["runs"]
        assert (training["name"], training["status"]) == (made[0].name, "training now")
        status, told = ask("delete", {"run": made[0].name}, "POST")
    assert status == 409 and "is being trained now" in told["error"] and made[0].is_dir()
    after = ask("list", {"training": "1"})[1]
    assert after["runs"] == [] and after["state"] != now["state"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_is_never_a_path(ask, made, name):
    before = sorted(folders.output_root().rglob("*"))
    assert ask("settings", {"run": name})[0] == 404
    for change in CHANGES:
        status, told = ask(change, {"run": name}, "POST")
        assert status in (400, 404) and told["error"].endswith(".")
    assert sorted(folders.output_root().rglob("*")) == before


def test_a_link_is_no_run(ask, made, tmp_path):
    elsewhere = make(tmp_path, 9)
    (folders.runs_root() / elsewhere.name).symlink_to(elsewhere)
    assert ask("delete", {"run": elsewhere.name}, "POST")[0] == 404
    assert len(ask("list")[1]["runs"]) == 2 and elsewhere.is_dir()


@pytest.mark.parametrize("change", CHANGES)
def test_pages_of_others_and_programs_change_nothing(ask, made, change):
    body = {"run": made[0].name}
    for headers in (FOREIGN, {}):
        assert ask(change, body, "POST", headers)[0] == 403
    assert ask("list", headers=FOREIGN)[0] == 403
    assert made[0].is_dir() and not folders.reports_root().exists()


def test_a_report_lies_where_the_page_can_fetch_it(ask, made):
    status, told = ask("report", {"run": made[1].name}, "POST")
    path = folders.output_root().parent / told["subfolder"] / told["name"]
    assert status == 200 and str(path) == told["path"] and path.is_file()


def test_a_damaged_run_is_listed_and_says_why_it_has_no_settings(ask, made):
    (made[0] / "run.json").write_text("{")
    damaged = next(run for run in ask("list")[1]["runs"] if run["name"] == made[0].name)
    assert damaged["settings"] == {} and "run.json" in damaged["damage"]
    status, told = ask("settings", {"run": made[0].name})
    assert status == 400 and "run.json" in told["error"]


ODD = TrainConfig(
    steps=70,
    batch_size=3,
    accumulation=2,
    seed=2**60 + 1,
    epochs=7,
    checkpointing="full",
    compact=True,
    lora=LoraConfig(
        rank=7,
        alpha=3.5,
        block_ranks=tuple(range(1, 24)),
        conv_block_alphas=(0.1,) * 23,
        block_rates=(1.0, *(0.0,) * 9, 1 / 3, 1.0, 2.0, *(0.7,) * 9, 1.0),
    ),
    optimiser=OptimiserConfig(
        type="AdamW", learning_rate=0.5, arguments=("eps=1e-7", "weight_decay=0.1"), warmup=0.1
    ),
    loss=LossConfig(loss_type="huber", min_snr_gamma=5.0),
    captions=CaptionConfig(shuffle=True, keep_tokens=1, prefix="a, b"),
    validation=ValidationConfig(held_out=2, every=5, seed=3),
    speed=SpeedConfig(prefetch_weights=True, frozen_weights="int8"),
)


SIMPLE = TrainConfig(
    lora=LoraConfig(rank=8), optimiser=OptimiserConfig(type="Lion", learning_rate=1e-5)
)
"""What Train says without a settings node."""


FULL = TrainConfig(
    lora=LoraConfig(
        algorithm="full",
        parts=("attention", "rest"),
        block_rates=(0.5,) * 23,
        fused_backward=True,
        bf16_weights=True,
    )
)
CONFIGS = {"usual": TrainConfig(), "simple": SIMPLE, "odd": ODD, "full": FULL}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_nodes_make_the_same_config_of_the_widgets(made, config):
    """Train's widgets and those of every settings node, through the nodes themselves."""
    text = json.dumps({"inputs": {"origin": f"{7:016x} 4 optimiser"}, "config": config.to_dict()})
    (made[0] / "run.json").write_text(text)
    found = run_settings(find_run(folders.runs_root(), made[0].name))
    nodes = {node.define_schema().node_id: node for node in NODES}
    parts, alone = {}, {"lora": {"rank", "alpha"}, "optimiser": {"learning_rate", "type"}}
    for (name, section), part in zip(SECTIONS.items(), found["sections"], strict=True):
        node = nodes[part["node"]]
        ids = {one.id for one in node.define_schema().inputs}
        assert part["widgets"].keys() == ids and part["input"] == section.input
        (parts[name],) = node.execute(**json.loads(json.dumps(part["widgets"]))).args
        plain = dataclasses.asdict(section.config())
        unlike = {
            key for key, value in dataclasses.asdict(parts[name]).items() if value != plain[key]
        }
        assert part["usual"] == (unlike <= alone.get(name, set()))
    train = found["train"]
    ids = {one.id for one in nodes["LoraLoopTrain"].define_schema().inputs}
    assert train.keys() <= ids and {part["input"] for part in found["sections"]} <= ids
    assert train.pop("continue_from") == f"{7:016x}" and train.pop("continue_stopped") is False
    speed = dataclasses.replace(parts["speed"], prefetch_weights=train.pop("prefetch_weights"))
    own = [part["own"] for part in found["sections"]]
    size = {"rank": config.lora.rank, "alpha": config.lora.alpha}
    assert own[:2] == [
        {} if config.lora.algorithm == "full" else size,
        {"learning_rate": config.optimiser.learning_rate, "optimiser": config.optimiser.type},
    ] and not any(own[2:])  # fmt: skip
    assert TrainConfig(**train).having(**{**parts, "speed": speed}) == config
    assert found["notes"] == []


def test_what_a_graph_has_to_be_given_by_hand(made):
    described = json.loads((made[0] / "run.json").read_text())
    for change, said in (
        (
            {"inputs": {"origin": "0123456789abcdef"}},
            ["It began with a LoRA file: connect that one to start_from."],
        ),
        (
            {"config": TrainConfig(lora=LoraConfig(algorithm="oft", oft_blocks=4)).to_dict()},
            [
                "It has oft_blocks 4, which Import kohya Config alone sets: connect its run settings."
            ],
        ),
        ({}, []),
    ):
        (made[0] / "run.json").write_text(json.dumps(described | change))
        assert run_settings(find_run(folders.runs_root(), made[0].name))["notes"] == said
    sliding = TrainConfig(slider=SliderConfig("cat", "old cat", "kitten")).to_dict()
    (made[0] / "run.json").write_text(json.dumps(described | {"config": sliding}))
    with pytest.raises(ValueError, match="This run is a slider, which Train does not make"):
        run_settings(find_run(folders.runs_root(), made[0].name))
    described["config"]["lora"]["of_the_future"] = 1
    (made[0] / "run.json").write_text(json.dumps(described))
    with pytest.raises(
        ValueError, match="A newer version of the pack made this run: of_the_future"
    ):
        run_settings(find_run(folders.runs_root(), made[0].name))
