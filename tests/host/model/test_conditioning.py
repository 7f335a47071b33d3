"""What the UNet is told beside the image: text, sizes, noise schedule; as ComfyUI samples."""

import torch

from pack.nodes.host.model import clip, unet
from pack.trainer.cache.texts import stack_contexts
from pack.trainer.config.loss import LossConfig
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.sdxl.size_embedding import size_vector


def test_the_size_vector_is_comfyuis(tiny):
    pooled = torch.randn(2, 32)
    sizes = [(1080, 1920, 6, 3, 768, 1344), (512, 640, 0, 40, 1024, 1024)]
    ours = size_vector(pooled, sizes)
    for row, (height, width, top, left, target_height, target_width) in enumerate(sizes):
        theirs = tiny.model.model.encode_adm(
            pooled_output=pooled[row : row + 1],
            height=height,
            width=width,
            crop_h=top,
            crop_w=left,
            target_height=target_height,
            target_width=target_width,
        )
        assert (ours[row] - theirs[0]).abs().max() < 1e-6


def test_parentheses_in_captions_are_literal(tiny):
    with torch.inference_mode():
        literal, _ = clip.encode_caption(tiny.clip, "miku (vocaloid)")
        [[weighted, _]] = clip.conditioning(tiny.clip, "miku (vocaloid)")
        [[escaped, _]] = clip.conditioning(tiny.clip, r"miku \(vocaloid\)")
    assert torch.equal(literal, escaped[0].float())
    assert not torch.equal(literal, weighted[0].float())


def test_long_captions_become_whole_chunks(tiny):
    with torch.inference_mode():
        context, pooled = clip.encode_caption(tiny.clip, ", ".join(["long hair"] * 60))
        short, _ = clip.encode_caption(tiny.clip, "cat")
    assert context.shape == (77 * 3, 48)
    assert pooled.shape == (32,)
    assert stack_contexts([context, short]).shape == (2, 77 * 3, 48)


def test_the_schedule_of_an_eps_model(tiny):
    schedule, expected = unet.schedule(tiny.model, LossConfig()), Schedule.sdxl()
    assert schedule.prediction == "epsilon"
    assert not schedule.zero_terminal_snr
    assert (schedule.alphas_cumprod - expected.alphas_cumprod).abs().max() < 1e-6


def test_the_schedule_of_a_v_model_with_zero_terminal_snr(tiny_v):
    schedule = unet.schedule(tiny_v.model, LossConfig())
    expected = Schedule.sdxl("v", zero_terminal_snr=True)
    assert schedule.prediction == "v"
    assert schedule.zero_terminal_snr
    assert (schedule.alphas_cumprod - expected.alphas_cumprod).abs().max() < 1e-6
    assert torch.equal(schedule.snr, expected.snr)  # the weights keep the plain schedule's


def test_zero_terminal_snr_can_be_switched_on(tiny, tiny_v):
    """The MODEL's schedule goes through numbers of its own, so the last digits differ from kohya's."""
    on = LossConfig(zero_terminal_snr="on")
    schedule, expected = unet.schedule(tiny.model, on), Schedule.sdxl(zero_terminal_snr=True)
    assert schedule.zero_terminal_snr and schedule.prediction == "epsilon"
    assert (schedule.alphas_cumprod - expected.alphas_cumprod).abs().max() < 1e-6
    torch.testing.assert_close(schedule.snr, expected.snr, rtol=1e-4, atol=0)
    own = unet.schedule(tiny_v.model, LossConfig()).alphas_cumprod
    assert torch.equal(unet.schedule(tiny_v.model, on).alphas_cumprod, own)
