"""Recordings inside ComfyUI: dropped before its own work, refused with a reason where they cannot be."""

import pytest
import torch
from comfy.cli_args import args

from pack.nodes.host.model import memory
from pack.nodes.host.previews import previewer
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import cuda_graphs
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.trainer.training.recorders import Broken, Repeater
from pack.trainer.config.speed import SpeedConfig

pytestmark = pytest.mark.main_host

ON = SpeedConfig(cuda_graphs=True)
PREVIEWS = PreviewConfig(("thing",), every=7, width=64, height=64, steps=1)


@pytest.fixture
def recorder(monkeypatch):
    """Steps are recorded by a stand-in, as if the CPU were a CUDA device."""
    return stand_in(monkeypatch, Repeater())


def stand_in(monkeypatch, recorder):
    made = cuda_graphs.Graphs

    def make(_, network, *rest):
        recorder.network = network
        return made(recorder, network, *rest)

    monkeypatch.setattr(cuda_graphs, "obstacle", lambda device, trains_text: None)
    monkeypatch.setattr(cuda_graphs, "CudaRecorder", lambda device: None)
    monkeypatch.setattr(cuda_graphs, "Graphs", make)
    return recorder


def train(tiny, cached, elsewhere=lambda: None, **settings):
    elsewhere()
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    request = scene.request(tiny, cached, scene.config(12, **settings), **extra)
    with torch.inference_mode():
        return training.train_lora(request)[0]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"compact": True}, {"checkpointing": "full"}])
def test_a_run_with_a_preview_is_the_plain_one(
    tiny, cached, recorder, monkeypatch, elsewhere, settings
):
    plain = train(tiny, cached, **settings)
    counts, sample = [], previewer.Previewer.sample

    def noting(self, *args):
        counts.append((recorder.recorded, recorder.replayed, recorder.freed))
        return sample(self, *args)

    monkeypatch.setattr(previewer.Previewer, "sample", noting)
    before = scene.snapshot(tiny.model)
    recorded = train(tiny, cached, elsewhere, speed=ON, **settings)
    assert recorded.losses == plain.losses
    assert all(torch.equal(recorded.lora[key], plain.lora[key]) for key in plain.lora)
    (recordings, replays, freed), end = counts[0], recorder
    assert recordings and replays and freed, "recordings must be dropped before the preview"
    assert end.recorded > recordings and end.replayed > replays
    assert end.freed > freed, "the end must drop them too"
    after = scene.snapshot(tiny.model)
    assert [key for key in before if before[key] != after[key]] == []


@pytest.mark.slow
def test_an_error_while_recording_ends_no_training(tiny, cached, monkeypatch, elsewhere, caplog):
    plain = train(tiny, cached)
    recorder = stand_in(monkeypatch, Broken(RuntimeError("forbidden")))
    recorded = train(tiny, cached, elsewhere, speed=ON)
    assert recorder.recorded == 1 and recorded.losses == plain.losses
    assert caplog.text.count("could not be recorded (forbidden)") == 1


def test_weights_of_which_one_is_changed_at_every_use_are_not_recorded(
    tiny, cached, recorder, monkeypatch, caplog
):
    layer, make_room = tiny.model.model.diffusion_model.out[2], memory.make_room

    def patched(*args, **options):
        make_room(*args, **options)
        layer.weight_function = [lambda weight: weight]

    monkeypatch.setattr(memory, "make_room", patched)
    train(tiny, cached, speed=ON)
    assert recorder.recorded == 0 and caplog.text.count("not all weights") == 1


@pytest.mark.parametrize(
    "backend, device, trains_text, reason",
    [
        ("native", "cuda", False, None),
        ("native", "cpu", False, "runs on cpu"),
        ("cudaMallocAsync", "cuda", False, "--disable-cuda-malloc"),
        ("native", "cuda", True, "text encoders"),
    ],
)
def test_reasons_of_a_whole_training(monkeypatch, backend, device, trains_text, reason):
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: backend)
    found = cuda_graphs.obstacle(torch.device(device), trains_text=trains_text)
    assert found is None if reason is None else reason in found


def test_no_step_is_recorded_where_comfyui_records_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    monkeypatch.setattr(args, "disable_cuda_graphs", True, raising=False)
    assert "--disable-cuda-graphs" in cuda_graphs.obstacle(torch.device("cuda"), trains_text=False)


def test_a_training_that_cannot_be_recorded_says_so_once(tiny, cached, caplog):
    assert train(tiny, cached, speed=ON).trained
    assert caplog.text.count("cuda_graphs: the model runs on cpu") == 1


def test_what_is_not_asked_for_is_not_mentioned(tiny, cached, caplog):
    train(tiny, cached)
    assert "cuda_graphs" not in caplog.text
