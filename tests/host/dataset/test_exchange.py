"""Datasets to and from ComfyUI's IMAGE and STRING lists."""

import pytest
import torch

from pack.nodes.host.dataset.exchange import arrays_of, images_of
from pack.tests.host import scene
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
