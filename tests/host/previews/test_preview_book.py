"""What a line of prompts makes of the previews, and how images of several sizes are kept."""

import pytest
import torch

from pack.nodes.host.previews.preview_book import PreviewBook
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer, Shot
from pack.nodes.host.training import train
from pack.nodes.preview_settings import PreviewNode
from pack.tests.host import scene

SMALL = {"width": 64, "height": 64, "steps": 1}


def test_options_of_a_line_go_before_the_settings():
    settings = PreviewConfig(
        ("a --w 96 --n bad --s 2 --d 0", "b --ss euler_a --l 1"), "ugly", cfg=5, **SMALL
    )
    assert settings.shots() == (
        Shot("a", "bad", 96, 64, 0, 5, 2, "euler"),
        Shot("b", "ugly", 64, 64, 1, 1.0, 1, "euler_ancestral"),
    )


def test_a_sampler_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no sampler called 'unheard_of'"):
        PreviewConfig(("a --ss unheard_of",), **SMALL)


def test_the_node_keeps_lines_and_leaves_comments_out():
    typed = {field.id: field.default for field in PreviewNode.define_schema().inputs}
    settings = PreviewNode.execute(**{**typed, "prompts": "a --d 3\n# b\n\n"}).args[0]
    assert [(shot.text, shot.seed) for shot in settings.shots()] == [("a", 3)] and settings.wanted
    assert not PreviewNode.execute(**{**typed, "prompts": "# b\n"}).args[0].wanted


def test_seed_size_and_prompt_are_those_of_the_line(tiny):
    lines = ("thing --d 5", "thing --d 6", "thing --d 5 --w 96", "other --d 5", "thing --d 5")
    with torch.inference_mode():
        previewer = Previewer(tiny.model, tiny.clip, tiny.vae, PreviewConfig(lines, **SMALL))
        first, seed, wide, other, again = previewer.sample()
    assert first.shape == (1, 64, 64, 3) and wide.shape == (1, 64, 96, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, seed) and not torch.equal(first, other)


def test_pictures_of_several_sizes_are_one_batch(tmp_path):
    book = PreviewBook(tmp_path, 10)
    book.add(3, [torch.zeros(1, 64, 32, 3), torch.ones(1, 32, 64, 3)])
    batch = book.images()
    assert batch.shape == (2, 64, 64, 3)
    assert float(batch[0, 32, 32].sum()) == 0 and float(batch[1, 32, 32].sum()) == 3
    assert 0.4 < float(batch[0, 32, 2].mean()) < 0.6 and 0.4 < float(batch[1, 2, 32].mean()) < 0.6


def test_the_start_is_shown_if_asked(tiny, cached):
    settings = PreviewConfig(("thing",), every=2, at_start=True, **SMALL)
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": settings}
    with torch.inference_mode():
        result, book = train.train_lora(scene.request(tiny, cached, scene.config(), **extra))
        plain = Previewer(tiny.model, tiny.clip, tiny.vae, settings).sample()[0]
    assert [path.name for path in book.paths()] == [f"step{s:08}_0.png" for s in (0, 2, 4)]
    assert (book.images()[0] - plain[0].clamp(0, 1)).abs().max() <= 1 / 255
    assert result.trained and not settings.is_due(1) and settings.is_due(0)
