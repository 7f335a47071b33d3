"""Datasets to and from ComfyUI's IMAGE and STRING lists."""

import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.dataset.exchange import arrays_of, images_of, set_captions, set_masks
from pack.tests.host import scene
from pack.trainer.dataset.images import load_rgb
from pack.trainer.dataset.save_images import dataset_of
from pack.trainer.dataset.scan import scan_folder


@pytest.fixture
def dataset(tmp_path):
    return scan_folder(scene.write_pictures(tmp_path / "set", count=5))


def test_there_and_back_keeps_pixels_and_captions(dataset, tmp_path):
    images, captions = images_of(dataset, 1, 0, None)
    assert [tuple(image.shape) for image in images] == [
        (1, height, width, 3) for width, height in (s.size for _, s in dataset.samples())
    ]
    back = dataset_of(arrays_of(images), captions, tmp_path / "made", "back")
    again, texts = images_of(back, 1, 0, None)
    assert texts == captions == [s.caption for _, s in dataset.samples()]
    assert all(torch.equal(a, b) for a, b in zip(images, again, strict=True))


def test_a_part_of_the_dataset(dataset):
    _, everything = images_of(dataset, 1, 0, None)
    assert images_of(dataset, 2, 3, None)[1] == everything[1:4]
    assert images_of(dataset, 5, 100, None)[1] == everything[4:]
    with pytest.raises(ValueError, match="has 5 images; there is no image 6"):
        images_of(dataset, 6, 1, None)


def test_batches_are_taken_apart_and_values_rounded():
    batch = torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0]).view(5, 1, 1, 1).expand(5, 2, 3, 3)
    arrays = list(arrays_of([batch, batch[:1]]))
    assert [int(array[0, 0, 0]) for array in arrays] == [0, 128, 255, 255, 0, 0]
    assert {array.shape for array in arrays} == {(2, 3, 3)}


def test_captions_and_masks_of_other_nodes_follow_the_datasets_order(
    dataset, tmp_path, monkeypatch
):
    """What a captioner and a segmenter make of the images that Dataset to Images gives."""
    monkeypatch.setattr(folders, "pictures_root", lambda: tmp_path / "pictures")
    images, texts = images_of(dataset, 1, 0, None)
    changed, report = set_captions(dataset, [f"{text}!" for text in texts], "replace", ", ")
    assert [sample.caption for _, sample in changed.samples()] == [f"{text}!" for text in texts]
    assert report.startswith("5 of 5 captions changed (replace)\n  ")
    shapes = [image.shape[1:3] for image in images]
    masks = [torch.zeros(1, *shape) for shape in shapes[:-1]] + [torch.ones(shapes[-1])]
    masked, report = set_masks(changed, masks, 0.0, True)
    *empty, last = [sample for _, sample in masked.samples()]
    assert load_rgb(last.mask).max() == 0 and load_rgb(empty[0].mask).min() == 255
    assert f"1 are black: these images teach nothing: {last.path.name}" in report
