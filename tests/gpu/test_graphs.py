"""CUDA graphs on a device: the LoRA of a plain run, memory given back for previews, no trace left."""

import pytest
import torch

from pack.nodes.host.model import memory
from pack.nodes.host.previews import previewer
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import cuda_graphs
from pack.nodes.host.training import train as training
from pack.tests.gpu.card import DEVICE, IS_CARD, changed, difference, needs_card
from pack.tests.host import scene
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.training import cuda_recorder
from pack.trainer.training.cuda_recorder import CudaRecorder
from pack.trainer.training.gradients import Losses

ON = SpeedConfig(cuda_graphs=True)
PREVIEWS = PreviewConfig(("thing",), every=8, width=64, height=64, steps=2)

pytestmark = [
    needs_card,
    pytest.mark.skipif(
        IS_CARD and torch.cuda.get_allocator_backend() != "native",
        reason="recordings need PyTorch's own allocator",
    ),
]


@pytest.fixture
def tiny(tiny):
    """Resident and in the dtype that is computed in: else nothing could be recorded."""
    if memory.is_dynamic(tiny.model):
        pytest.skip("ComfyUI pages the weights of this model by itself")
    unet = tiny.model.model.diffusion_model
    with torch.inference_mode():
        unet.to(torch.float32).dtype = torch.float32
    tiny.model.model.manual_cast_dtype = None
    return tiny


@pytest.fixture
def cached(tiny, tmp_path):
    """Two buckets."""
    return scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")


@pytest.fixture
def replays(monkeypatch):
    """A list with an entry for every replay."""
    found, record = [], CudaRecorder.record

    def counted(self, work):
        replay = record(self, work)

        def run():
            found.append(1)
            return replay()

        return run

    monkeypatch.setattr(CudaRecorder, "record", counted)
    return found


def train(tiny, cached, folder, monkeypatch, **settings):
    monkeypatch.setattr("pack.nodes.host.folders.output_root", lambda: folder)
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    request = scene.request(tiny, cached, scene.config(16, seed=21, **settings), **extra)
    with torch.inference_mode():
        return training.train_lora(request)[0]


def assert_near(recorded, plain, again):
    """As near as two runs of the same are to each other; where these are equal, within rounding."""
    spread = max(difference(again.lora, plain.lora), 1e-5)
    assert difference(recorded.lora, plain.lora) <= 2 * spread
    assert recorded.losses == pytest.approx(plain.losses, rel=2 * spread)


@pytest.mark.parametrize(
    "settings",
    [{}, {"compact": True}, {"checkpointing": "full"}, {"accumulation": 2, "batch_size": 2}],
    ids=str,
)
def test_the_lora_is_that_of_a_plain_run(tiny, cached, tmp_path, monkeypatch, replays, settings):
    """Two buckets, a preview in the middle, the MODEL as before."""
    scene.sample(tiny.model, tiny.clip)
    image, before = scene.sample(tiny.model, tiny.clip), scene.snapshot(tiny.model)
    plain = train(tiny, cached, tmp_path / "plain", monkeypatch, **settings)
    again = train(tiny, cached, tmp_path / "again", monkeypatch, **settings)
    assert not replays
    recorded = train(tiny, cached, tmp_path / "recorded", monkeypatch, speed=ON, **settings)
    assert len(replays) >= 4
    assert_near(recorded, plain, again)
    assert changed(before, tiny) == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)


def test_a_preview_has_the_memory_of_the_recordings(tiny, cached, tmp_path, monkeypatch, replays):
    """Before ComfyUI samples, nothing of the pool is left, neither in use nor set aside."""
    seen, sample, free = [], previewer.Previewer.sample, CudaRecorder.free

    def noting(self):
        held = [
            segment for segment in torch.cuda.memory_snapshot() if pool_of(segment) == self._pool
        ]
        free(self)
        left = [segment for segment in torch.cuda.memory_snapshot() if any(pool_of(segment))]
        seen.append((len(held), len(left)))

    monkeypatch.setattr(CudaRecorder, "free", noting)
    monkeypatch.setattr(
        previewer.Previewer, "sample", lambda *a, **k: seen.append("preview") or sample(*a, **k)
    )
    train(tiny, cached, tmp_path / "run", monkeypatch, speed=ON)
    first = seen.index("preview")
    held, left = seen[first - 1]
    assert replays and held > 0 and left == 0


def pool_of(segment):
    return tuple(segment["segment_pool_id"])


def test_a_micro_batch_never_waits_for_the_device(tiny, cached, tmp_path, monkeypatch):
    """Where something would, PyTorch raises here, and in a recording CUDA breaks it off."""
    made = cuda_graphs.Graphs.around

    def strict(self, compute):
        def run(micro):
            torch.cuda.set_sync_debug_mode("error")
            try:
                return compute(micro)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return made(self, run)

    monkeypatch.setattr(cuda_graphs.Graphs, "around", strict)
    assert train(tiny, cached, tmp_path / "run", monkeypatch, speed=ON).trained


def test_a_step_that_waits_is_not_recorded_and_training_goes_on(
    tiny, cached, tmp_path, monkeypatch, replays, caplog
):
    made = cuda_graphs.Graphs.around

    def waiting(self, compute):
        def run(micro):
            losses = compute(micro)
            losses.terms.sum().item()
            return losses

        return made(self, run)

    plain = train(tiny, cached, tmp_path / "plain", monkeypatch)
    again = train(tiny, cached, tmp_path / "again", monkeypatch)
    monkeypatch.setattr(cuda_graphs.Graphs, "around", waiting)
    recorded = train(tiny, cached, tmp_path / "recorded", monkeypatch, speed=ON)
    assert caplog.text.count("could not be recorded") == 1 and not replays
    assert_near(recorded, plain, again)


def test_after_an_abandoned_recording_memory_is_still_released_for_others():
    """The allocator must not believe that something is still being recorded."""
    recorder, tensor = CudaRecorder(DEVICE), torch.ones(8, device=DEVICE)

    def waits():
        return Losses(tensor * 2, torch.full((8,), tensor.sum().item(), device=DEVICE))

    recorder.rehearse(waits)
    with pytest.raises(RuntimeError):
        recorder.record(waits)
    recorder.free()
    assert torch.cuda.current_stream(DEVICE) != cuda_recorder._side_stream(DEVICE)
    cached = torch.empty(1 << 28, dtype=torch.uint8, device=DEVICE)
    del cached
    reserved = torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= reserved - (1 << 28)


def test_a_float16_scale_is_read_at_every_replay():
    recorder, scale = CudaRecorder(DEVICE), torch.full((), 2.0, device=DEVICE)
    base = torch.ones(4, device=DEVICE)

    def work():
        return Losses(base * scale, base + scale)

    assert recorder.rehearse(work).terms.tolist() == [2.0] * 4
    replay = recorder.record(work)
    scale.fill_(8.0)
    assert replay().terms.tolist() == [8.0] * 4
    recorder.free()
