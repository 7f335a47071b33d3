import random

import numpy as np
import pytest

from pack.demo import drawings, flaws
from pack.demo.pictures import photograph
from pack.tagger.images.duplicates import (
    CANDIDATE_BITS,
    HASH_BITS,
    agreement,
    find_copies,
    perceptual_hash,
    thumbnail,
)


def looks(pictures):
    return (
        np.array([perceptual_hash(picture) for picture in pictures]),
        np.array([thumbnail(picture) for picture in pictures]),
    )


def pairs(pictures, least=0.85):
    matches, _ = find_copies(*looks(pictures), least)
    return {(match.copy, match.kept) for match in matches}


def versions(picture):
    draw = random.Random(1)
    yield flaws.resized(picture, 0.5)
    yield flaws.jpeg(picture, 30)
    yield flaws.toned(picture, 0.85, 10)
    yield flaws.cropped(picture, 0.05, draw)


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "camera.png", "chelsea.png"])
def test_versions_of_a_photograph_are_copies(name):
    picture = photograph(name)
    assert pairs([picture, *versions(picture)]) == {(place, 0) for place in range(1, 5)}


def test_versions_of_a_drawing_are_copies():
    for scenery in drawings.SCENERIES:
        picture = drawings.drawing(9, scenery=scenery)
        assert pairs([picture, *versions(picture)]) == {(place, 0) for place in range(1, 5)}


def test_other_drawings_on_white_are_none():
    assert pairs([drawings.drawing(seed) for seed in range(40)]) == set()


def test_other_figures_in_one_room_or_before_one_photograph_are_none():
    rooms = [drawings.drawing(seed, scenery="room", scenery_seed=1) for seed in range(12)]
    photographs = [drawings.figure_on(photograph("coffee.png"), seed) for seed in range(12)]
    assert pairs([*rooms, *photographs, photograph("coffee.png")]) == set()


def test_the_same_lines_in_other_colours_are_none():
    picture = drawings.drawing(4)
    assert pairs([picture, np.ascontiguousarray(picture[:, :, ::-1])]) == set()


def test_plain_pictures_are_copies_when_their_colour_is_one():
    colours = [(200, 40, 40), (40, 40, 200), (90, 90, 90), (160, 160, 160), (202, 41, 40)]
    plain = [np.full((80, 60, 3), colour, np.uint8) for colour in colours]
    assert pairs(plain) == {(4, 0)}


def test_a_copy_of_a_copy_only_stays(monkeypatch):
    """1 and 2 are alike, and 0 and 1, but not 0 and 2: without 1, 2 is no copy of what is kept."""
    hashes = np.zeros((3, HASH_BITS), bool)
    positions = np.arange(3, dtype=np.float32)[:, None]
    monkeypatch.setattr(
        "pack.tagger.images.duplicates.agreement", lambda a, b: 1 - abs(float(a[0] - b[0])) / 10
    )
    matches, _ = find_copies(hashes, positions, 0.85)
    assert [(match.copy, match.kept, match.agreement) for match in matches] == [(1, 0, 0.9)]


def test_a_copy_is_told_once(monkeypatch):
    """2 is a copy of 0 and of 1, which are not alike: it goes as one of the better."""
    alike = {(0, 2), (1, 2)}
    monkeypatch.setattr(
        "pack.tagger.images.duplicates.agreement", lambda a, b: float((a[0], b[0]) in alike)
    )
    matches, _ = find_copies(np.zeros((3, HASH_BITS), bool), np.arange(3)[:, None], 0.85)
    assert matches == [(2, 0, 1.0)]


def test_distances_are_counted_as_bits_in_every_block(monkeypatch):
    monkeypatch.setattr("pack.tagger.images.duplicates._BLOCK", 7)
    hashes = np.random.default_rng(0).random((40, HASH_BITS)) < 0.5
    hashes[31] = hashes[3]
    hashes[31, :5] ^= True
    _, nearest = find_copies(hashes, np.zeros((40, 1)), None)
    apart = (hashes[:, None] != hashes).sum(axis=2)
    np.fill_diagonal(apart, HASH_BITS)
    assert nearest.tolist() == apart.min(axis=1).tolist()
    assert nearest[3] == nearest[31] == 5


def test_only_candidates_are_compared(monkeypatch):
    hashes = np.zeros((3, HASH_BITS), bool)
    hashes[1, :CANDIDATE_BITS] = True
    hashes[2, : 2 * CANDIDATE_BITS + 1] = True
    compared = []
    monkeypatch.setattr(
        "pack.tagger.images.duplicates.agreement", lambda a, b: compared.append((a[0], b[0])) or 0.0
    )
    rows = []
    assert find_copies(hashes, np.arange(3)[:, None], 0.85, rows.append)[0] == []
    assert compared == [(0, 1)] and rows == [0]


def test_agreement_is_the_share_of_the_structured_part():
    picture = thumbnail(photograph("astronaut.png"))
    assert agreement(picture, picture) == 1
    half = picture.copy()
    half[24:] = thumbnail(photograph("camera.png"))[24:]
    assert agreement(picture, half) == pytest.approx(0.5, abs=0.1)
    other = thumbnail(photograph("coffee.png"))
    assert agreement(picture, other) < 0.3


def test_a_moved_part_of_the_picture_still_agrees():
    whole = photograph("astronaut.png")
    part = whole[10:-30, 25:-5]
    assert agreement(thumbnail(whole), thumbnail(part)) > 0.9
    assert agreement(thumbnail(part), thumbnail(whole)) > 0.9
    assert agreement(thumbnail(whole), thumbnail(whole[:340, :340])) < 0.5, "no slight crop"


def test_moving_never_makes_it_worse():
    """A regular pattern leads the search for the movement astray."""
    picture = photograph("brick.png")[:256, 256:]
    smaller = flaws.resized(picture, 0.5)
    assert agreement(thumbnail(picture), thumbnail(smaller)) == 1
    toned = flaws.toned(picture, 0.85, 10)
    assert agreement(thumbnail(picture), thumbnail(toned)) == 1


def test_what_is_moved_out_of_sight_does_not_agree(monkeypatch):
    """All that is left to compare is one corner of the one and one of the other, which are the same."""
    first, second = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    second[:8, :8] = first[40:, 40:]
    away = np.array([[1, 0, 20], [0, 1, 20]], np.float32)
    monkeypatch.setattr(
        "pack.tagger.images.duplicates.cv2.findTransformECC", lambda *a: (0.5, away)
    )
    assert agreement(first, second) == 0


def test_a_single_picture_and_none():
    matches, nearest = find_copies(*looks([photograph("coffee.png")]), 0.85)
    assert matches == [] and nearest.tolist() == [HASH_BITS]
    empty = np.zeros((0, HASH_BITS), bool)
    assert find_copies(empty, np.zeros((0, 48, 48, 3), np.uint8), 0.85)[0] == []
