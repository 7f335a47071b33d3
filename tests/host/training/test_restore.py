"""Training leaves the MODEL and the process as they were, however it ends."""

from contextlib import nullcontext

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.frozen import forward as frozen

pytestmark = pytest.mark.slow


def fail_in_forward(monkeypatch, error, *, in_preview=False, call=40):
    """Raise inside the UNet, whose SiLU modules are called in every forward, from this call on."""
    original, calls = torch.nn.SiLU.forward, [0]

    def forward(self, x):
        if torch.is_inference_mode_enabled() == in_preview:
            calls[0] += 1
            if calls[0] >= call:
                raise error
        return original(self, x)

    monkeypatch.setattr(torch.nn.SiLU, "forward", forward)


def fail_in_backward(monkeypatch, error, call=30):
    """The same in backward."""
    original, calls = frozen._FrozenLinear.backward, [0]

    def backward(ctx, *grads):
        calls[0] += 1
        if calls[0] >= call:
            raise error
        return original(ctx, *grads)

    monkeypatch.setattr(frozen._FrozenLinear, "backward", staticmethod(backward))


def assert_untouched(tiny, act):
    """Run `act` between two samples and two snapshots, which must be equal."""
    scene.sample(tiny.model, tiny.clip, steps=1)  # loads the model as sampling does
    image = scene.sample(tiny.model, tiny.clip, steps=1)
    before = scene.snapshot(tiny.model)
    act()
    after = scene.snapshot(tiny.model)
    assert [key for key in before if before[key] != after[key]] == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip, steps=1), image)


def train(tiny, cached, previews=None, joins=(), **settings):
    request = scene.request(
        tiny, cached, scene.config(**settings), clip=tiny.clip, vae=tiny.vae, previews=previews
    )
    with torch.inference_mode():
        return training.train_lora(request, *joins)


PREVIEWS = PreviewConfig(
    ("thing",), every=2, width=64, height=64, steps=2, sampler="euler_ancestral"
)


@pytest.mark.parametrize("checkpointing", ["off", "full"])
def test_a_normal_end(tiny, cached, checkpointing):
    def act():
        result, _ = train(tiny, cached, PREVIEWS, checkpointing=checkpointing)
        assert len(result.losses) == 4
        assert any(value.abs().sum() for key, value in result.lora.items() if "lora_up" in key)

    assert_untouched(tiny, act)


ERRORS = {
    "interrupt": mm.InterruptProcessingException(),
    "keyboard": KeyboardInterrupt(),
    "error": RuntimeError("broken"),
    "memory": mm.OOM_EXCEPTION("out of memory"),
}


ON_ALL_HOSTS = ("interrupt", "memory")  # errors that ComfyUI itself raises
KINDS = [
    pytest.param(kind, marks=() if kind in ON_ALL_HOSTS else pytest.mark.main_host)
    for kind in ERRORS
]


@pytest.mark.parametrize("checkpointing", ["off", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_inside_forward(tiny, cached, monkeypatch, kind, checkpointing):
    def act():
        with monkeypatch.context() as patch, pytest.raises(type(ERRORS[kind])):
            fail_in_forward(patch, ERRORS[kind])
            train(tiny, cached, checkpointing=checkpointing)

    assert_untouched(tiny, act)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_inside_backward(tiny, cached, monkeypatch, kind):
    def act():
        with monkeypatch.context() as patch, pytest.raises(type(ERRORS[kind])):
            fail_in_backward(patch, ERRORS[kind])
            train(
                tiny, cached, speed=SpeedConfig(auto_compact=False)
            )  # whose layers are no frozen ones

    assert_untouched(tiny, act)


@pytest.mark.parametrize("kind", ["interrupt", "memory"])
def test_a_failure_inside_a_recomputed_block(tiny, cached, monkeypatch, kind):
    """With checkpointing, backward runs forwards again; fail in the first of those."""

    def act():
        unet = tiny.model.model.diffusion_model
        per_forward = sum(type(m) is torch.nn.SiLU for m in unet.modules())
        with monkeypatch.context() as patch, pytest.raises(type(ERRORS[kind])):
            fail_in_forward(patch, ERRORS[kind], call=per_forward + 3)
            train(tiny, cached, checkpointing="full", batch_size=1)

    assert_untouched(tiny, act)


@pytest.mark.parametrize(
    "kind", ["interrupt", "memory", pytest.param("error", marks=pytest.mark.main_host)]
)
def test_a_failure_inside_a_preview(tiny, cached, monkeypatch, kind):
    """Only previews are left out where memory runs out; anything else ends the training."""
    ends = nullcontext() if kind == "memory" else pytest.raises(type(ERRORS[kind]))

    def act():
        with monkeypatch.context() as patch, ends:
            fail_in_forward(patch, ERRORS[kind], in_preview=True, call=20)
            train(tiny, cached, PREVIEWS)

    assert_untouched(tiny, act)


def test_the_users_cancel_is_answered_within_a_step(tiny, cached):
    steps = []

    def on_step(event):
        steps.append(event.step)
        mm.interrupt_current_processing(True)

    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cached, joins=[scene.told(on_step)], steps=50)
    assert steps == [1]


def test_a_foreign_forward_is_noticed(tiny, cached, monkeypatch):
    """Something that puts its own forward over an adapter must not pass silently."""
    target = tiny.model.model.diffusion_model.input_blocks[4][1].proj_in
    original = Previewer.sample

    def sample(self, at_strength):
        pictures = original(self, at_strength)
        target.forward = lambda x: x
        return pictures

    monkeypatch.setattr(Previewer, "sample", sample)
    with pytest.raises(RuntimeError, match=r"input_blocks\.4\.1\.proj_in"):
        train(tiny, cached, PREVIEWS)
    assert "forward" not in target.__dict__


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_other_storage_dtypes(tiny_checkpoint, tmp_path, load_tiny, dtype):
    import comfy.sd

    with torch.inference_mode():
        loaded = comfy.sd.load_checkpoint_guess_config(
            str(tiny_checkpoint), model_options={"dtype": dtype}
        )
    tiny = type(load_tiny(tiny_checkpoint))(*loaded[:3])
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    assert next(tiny.model.model.diffusion_model.parameters()).dtype == dtype
    assert_untouched(tiny, lambda: train(tiny, cached, PREVIEWS))
