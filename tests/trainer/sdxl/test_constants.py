import pytest
import torch

from pack.trainer.config.loss import LossConfig
from pack.trainer.sdxl import constants
from pack.trainer.sdxl.schedule import sdxl_alphas_cumprod
from pack.trainer.sdxl.size_embedding import size_vector


def test_the_parts_that_are_built_by_them_have_their_sizes():
    pooled, sizes = torch.zeros(1, constants.POOLED_WIDTH), [range(constants.SIZE_NUMBERS)]
    assert size_vector(pooled, sizes).shape == (1, constants.Y_WIDTH) == (1, 2816)
    assert len(sdxl_alphas_cumprod()) == constants.TIMESTEPS == LossConfig().max_timestep == 1000


@pytest.mark.parametrize("number", ["0.13025", "2816", "VAE_SCALE =", "LATENT_PIXELS ="])
def test_a_number_stands_in_one_file(root, number):
    folders = (
        "base",
        "trainer",
        "tagger",
        "nodes",
        "replay",
        "bench",
    )  # demo imports nothing of them
    paths = [path for folder in folders for path in (root / folder).rglob("*.py")]
    found = [path.name for path in paths if number in path.read_text("utf-8")]
    assert found == ["constants.py"]
