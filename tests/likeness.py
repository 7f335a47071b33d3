"""What a picture of pixel art shows: how near it comes to each sprite, wherever it stands."""

import numpy as np

from pack.demo.base_model import sprites


def art(picture):
    """The art's pixels, float `[height, width, 3]`, of a picture with squares of 8x8 for each."""
    height, width = picture.shape[0] // 8, picture.shape[1] // 8
    return picture.reshape(height, 8, width, 8, 3).mean((1, 3))


def distance(pixels, drawing, colour="red"):
    """Mean difference from the sprite at the place where it is least, 0 (the same) to 255."""
    wanted, covers = sprites.pixels(drawing, colour)
    places = np.lib.stride_tricks.sliding_window_view(pixels, covers.shape, axis=(0, 1))
    seen = np.moveaxis(places, 2, -1)[:, :, covers]
    return float(np.abs(seen - wanted[covers]).mean((2, 3)).min())


def shown(pixels):
    """The colour and name of the sprite that is nearest."""
    known = [(colour, name) for name in sprites.SPRITES for colour in sprites.COLOURS]
    return min(known, key=lambda it: distance(pixels, sprites.SPRITES[it[1]], it[0]))
