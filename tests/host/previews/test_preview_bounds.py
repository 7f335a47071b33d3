"""What a preview may ask for, and that an interrupt is answered in the middle of one."""

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.model.clip import conditioning, encode_caption
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.previews.previewer import MAX_IMAGES, PreviewConfig, Previewer
from pack.trainer.config.cache import TextConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

SMALL = {"width": 64, "height": 64, "steps": 4}
LARGE = "x --w 4096 --h 4096"


@pytest.mark.main_host
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x --w 1000000", "--w is 1000000; allowed: up to 4096"),
        ("x --h 4097", "--h is 4097"),
        ("x --w " + "9" * 5000, "--w is 1e+21"),
        ("x --h 4096 --w 99999999999999999999", "--w is"),
        ("x --l 1e9 --l 101", "--l is 101; allowed: up to 100"),
        ("x --l " + "9" * 400, "--l is inf"),
        ("x --d 18446744073709551616", "--d is 1.84467e+19"),
        ("x" * 10_001, "characters is 10001"),
        ("x --n " + "y" * 10_001, "characters of --n is 10001"),
        ("\n".join([LARGE] * 9), "9 images of 144 megapixels"),
        ("\n".join(["x"] * (MAX_IMAGES + 1)), f"are {MAX_IMAGES + 1} images"),
    ],
)
def test_a_line_that_asks_for_too_much_is_refused(line, said):
    with pytest.raises(ValueError, match="Preview settings") as caught:
        PreviewConfig(tuple(line.split("\n")), **SMALL)
    assert said in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.main_host
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 8192), ("height", 1_000_000), ("steps", 1001), ("cfg", 1e9), ("cfg", float("nan")),
        ("seed", -1), ("seed", 2**64), ("strengths", tuple(i / 100 for i in range(501))),
        ("negative", "x" * 10_001),
    ],
)  # fmt: skip
def test_a_setting_that_asks_for_too_much_is_refused(name, value):
    with pytest.raises(ValueError, match="Preview settings"):
        PreviewConfig(("x",), **SMALL | {name: value})


def test_the_largest_that_is_allowed_passes():
    lines = tuple([f"{LARGE} --s 99999 --l 100 --d 18446744073709551615"] * 8)
    assert PreviewConfig(lines, **SMALL).shots()[0][2:7] == (4096, 4096, 2**64 - 1, 100.0, 1000)


@pytest.fixture
def no_interrupt():
    yield
    mm.interrupt_current_processing(False)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_sde", "uni_pc", "lcm"])
def test_an_interrupt_is_answered_within_a_step(tiny, sampler, no_interrupt):
    """Pressed in the third evaluation of the model: soon there are no more, and nothing is decoded.

    ComfyUI's layers look at interrupts themselves; those that train do not.
    """
    calls = []

    def press(*_):
        calls.append("step")
        if len(calls) == 3:
            mm.interrupt_current_processing()

    config = PreviewConfig(("a", "b"), sampler=sampler, cfg=1.0, **SMALL | {"steps": 12})
    unet = tiny.model.model.diffusion_model
    network = Network(find_targets(unet, LoraConfig(4, 2.0)), weights=ComfyWeights())
    hook = unet.register_forward_pre_hook(press)
    try:
        with torch.inference_mode():
            previewer = Previewer(tiny.model, tiny.clip, Decoder(calls), config)
            live = Attachment(leaf_plan(unet, network, ComfyWeights()))
            with live, pytest.raises(mm.InterruptProcessingException):
                previewer.sample()
    finally:
        hook.remove()
    assert "decode" not in calls and len(calls) <= 6  # heun: two evaluations a step


@pytest.mark.slow
def test_an_interrupt_is_answered_after_one_decoding(tiny, no_interrupt):
    calls = []
    config = PreviewConfig(("a", "b", "c"), cfg=1.0, **SMALL | {"steps": 1})
    vae = Decoder(calls, mm.interrupt_current_processing)
    with torch.inference_mode():
        previewer = Previewer(tiny.model, tiny.clip, vae, config)
        with pytest.raises(mm.InterruptProcessingException):
            previewer.sample()
    assert calls == ["decode"]


class Decoder:
    """A VAE that says when it decodes, and looks at no interrupt itself."""

    def __init__(self, calls, when=lambda: None):
        self._calls, self._when = calls, when

    def decode(self, latents):
        self._calls.append("decode")
        self._when()
        return torch.zeros(1, 8 * latents.shape[-2], 8 * latents.shape[-1], 3)


@pytest.mark.parametrize("text", ["(" * 2000 + "a", "a" * 10_001, "[(" * 30])
def test_a_text_that_the_tokenizer_cannot_take_is_refused(tiny, text):
    weighted = TextConfig(weighted=True)
    for encode in (conditioning, lambda clip, text: encode_caption(clip, text, weighted)):
        with pytest.raises(ValueError, match="The caption or prompt that begins with"):
            encode(tiny.clip, text)


def test_brackets_that_are_letters_may_be_as_deep_as_they_like(tiny):
    with torch.inference_mode():
        context, _ = encode_caption(tiny.clip, "(" * 200)
    assert context.ndim == 2
