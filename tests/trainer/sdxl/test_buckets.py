import pytest

from pack.trainer.sdxl.buckets import (
    BucketConfig,
    SizeConditioning,
    assign,
    conditioning,
    kohya_crop,
    parse_resolutions,
    predefined_resolutions,
)


def test_defaults_are_kohyas_fifteen_buckets():
    resolutions = predefined_resolutions(BucketConfig())
    assert len(resolutions) == 15
    assert resolutions[0] == (704, 1408)
    assert (1024, 1024) in resolutions


@pytest.mark.parametrize(
    ("size", "bucket", "resized", "crop"),
    [
        ((1024, 1024), (1024, 1024), (1024, 1024), (0, 0)),
        ((1920, 1080), (1344, 768), (1365, 768), (10, 0)),
        ((1000, 3000), (704, 1472), (704, 2112), (0, 320)),
        ((512, 512), (1024, 1024), (1024, 1024), (0, 0)),
    ],
)
def test_assign(size, bucket, resized, crop):
    placement = assign(size, BucketConfig())
    assert (placement.bucket, placement.resized, placement.crop) == (bucket, resized, crop)


@pytest.mark.parametrize(
    ("size", "enlargement", "cropped"),
    [
        ((512, 512), 2.0, 0.0),
        ((2048, 2048), 0.5, 0.0),
        ((1000, 3000), 0.704, 1 - 1472 / 2112),
        ((1920, 1080), 768 / 1080, 1 - 1344 / 1365),
    ],
)
def test_what_a_placement_does_to_a_picture(size, enlargement, cropped):
    placement = assign(size, BucketConfig())
    assert placement.enlargement(size) == pytest.approx(enlargement, rel=1e-3)
    assert placement.cropped_share() == pytest.approx(cropped)


def test_without_upscaling_small_pictures_keep_their_size():
    placement = assign((500, 300), BucketConfig(no_upscale=True))
    assert (placement.bucket, placement.resized, placement.crop) == (
        (448, 256),
        (500, 300),
        (26, 22),
    )


@pytest.mark.parametrize("size", [(40, 900), (900, 40), (100_000, 15)])
def test_without_upscaling_what_is_below_one_step_is_refused(size):
    with pytest.raises(ValueError, match="no_upscale off"):
        assign(size, BucketConfig(no_upscale=True))


def test_buckets_off_is_one_bucket():
    placement = assign((300, 200), BucketConfig((512, 512), enabled=False))
    assert (placement.bucket, placement.resized) == ((512, 512), (768, 512))


def test_the_resized_picture_always_covers_its_bucket():
    settings = BucketConfig((256, 256), min_reso=64, max_reso=512, step=64)
    for width in range(9, 1500, 37):
        for height in range(9, 1500, 41):
            placement = assign((width, height), settings)
            assert placement.resized[0] >= placement.bucket[0], (width, height)
            assert placement.resized[1] >= placement.bucket[1], (width, height)


def test_true_crop_is_the_crop_made_and_mirrors():
    placement = assign((1921, 1080), BucketConfig())
    assert placement.resized[0] - 1344 == 22
    plain = conditioning(placement, (1921, 1080), False, False)
    assert plain == SizeConditioning((1080, 1921), (0, 11), (768, 1344))
    odd = placement._replace(resized=(1367, 768))
    assert conditioning(odd, (1921, 1080), True, False).crop_tl == (0, 1367 - 1344 - 11)


def test_kohyas_crop_is_on_the_other_axis():
    placement = assign((1920, 1080), BucketConfig())
    assert kohya_crop(placement.bucket, (1920, 1080)) == (0, 6, 1344, 762)
    assert conditioning(placement, (1920, 1080), False, True).crop_tl == (6, 0)
    tall = assign((1000, 3000), BucketConfig())
    assert conditioning(tall, (1000, 3000), True, True).crop_tl == (0, 107)


def test_all_problems_are_told_together():
    with pytest.raises(ValueError, match=r"min_reso 1280.*max_reso 960"):
        BucketConfig(min_reso=1280, max_reso=960)
    with pytest.raises(ValueError, match="step must be a multiple of 8"):
        BucketConfig(step=20)
    with pytest.raises(ValueError, match="without buckets"):
        BucketConfig((500, 512), enabled=False)
    with pytest.raises(ValueError, match="at least the step"):
        BucketConfig(min_reso=32)


def test_another_resolution_scales_the_shortest_and_longest_side():
    settings = BucketConfig((1024, 1024), min_reso=704, max_reso=2048, step=64)
    smaller = settings.at(512)
    assert (smaller.resolution, smaller.min_reso, smaller.max_reso) == ((512, 512), 352, 1024)
    assert (smaller.lowest, smaller.highest, smaller.step) == (320, 1024, 64)
    assert settings.at(1024) == settings
    assert settings.at(96).lowest == 64
    with pytest.raises(ValueError, match="min_reso"):
        settings.at(32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ()), ("768", (768,)), ("768, 512", (768, 512)), (" 768 512,768 ", (768, 512))],
)
def test_resolutions_as_typed(text, expected):
    assert parse_resolutions(text) == expected


@pytest.mark.parametrize("text", ["a", "7.5", "768x512", "-5"])
def test_no_resolution(text):
    with pytest.raises(ValueError, match="is no resolution"):
        parse_resolutions(text)
