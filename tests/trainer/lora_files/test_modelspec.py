import base64
import io

import numpy as np
import pytest
from PIL import Image

from pack.trainer.config.about import About
from pack.trainer.lora_files.modelspec import THUMBNAIL_SIDE, thumbnail_url


def test_only_the_name_is_written_where_nothing_is_said():
    assert About().keys("mylora") == {
        "ss_output_name": "mylora",
        "ss_training_comment": "None",
        "modelspec.title": "mylora",
    }


def test_all_words_have_the_keys_of_kohya():
    about = About("My title", "me", "what it shows", "CC0", "a,b", "hello")
    assert about.keys("mylora") == {
        "ss_output_name": "mylora",
        "ss_training_comment": "hello",
        "modelspec.title": "My title",
        "modelspec.author": "me",
        "modelspec.description": "what it shows",
        "modelspec.license": "CC0",
        "modelspec.tags": "a,b",
    }


@pytest.mark.parametrize("height, width", [(512, 1024), (1000, 400), (64, 32)])
def test_a_thumbnail_is_a_small_jpeg_of_the_same_picture(height, width):
    pixels = np.zeros((height, width, 3), np.float32)
    pixels[:, : width // 2] = (1.0, 0.5, 0.0)
    url = thumbnail_url(pixels)
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "JPEG"
    scale = min(1, THUMBNAIL_SIDE / max(width, height))
    assert picture.size == (round(width * scale), round(height * scale))
    left = np.asarray(picture)[picture.height // 2, picture.width // 4]
    assert np.abs(left.astype(int) - [255, 128, 0]).max() < 8
