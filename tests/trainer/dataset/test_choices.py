"""What a person decided about images: left out or weighed, by a file beside them that edits and renamings survive."""

import dataclasses
import json

import pytest
from PIL import Image

from pack.trainer.dataset.choices import Choice, read_all, read_choices, with_choices, write_choices
from pack.trainer.dataset.file_names import CHOICES
from pack.trainer.dataset.folders import folder_stamp
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.renaming.plan import Naming
from pack.trainer.renaming.tidy import tidy

OUT, HALF = Choice(left_out=True), Choice(weight=0.5)


def draw(path, colour, size=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for name, colour in {"a": "red", "b": "blue", "c": "green"}.items():
        draw(tmp_path / f"{name}.png", colour)
    return tmp_path


def decide(folder, **choices):
    """Write choices by the stem of an image."""
    samples = [s for _, s in scan_folder(folder).samples() if s.path.parent == folder]
    given = {s.path: choices[s.path.stem] for s in samples if s.path.stem in choices}
    write_choices(folder, samples, given)


def decided(folder, **options):
    dataset = scan_folder(folder, **options)
    return {path.name: choice for path, choice in read_all(dataset).items()}


def obeyed(folder, **options):
    dataset = scan_folder(folder, **options)
    return with_choices(dataset, read_all(dataset))


def test_without_a_file_the_dataset_is_the_same_object(folder):
    dataset = scan_folder(folder)
    assert with_choices(dataset, read_all(dataset)) is dataset


def test_left_out_and_weighed(folder):
    before = scan_folder(folder)
    decide(folder, a=OUT, b=HALF)
    dataset = obeyed(folder)
    assert [(s.path.name, s.weight) for _, s in dataset.samples()] == [("b.png", 0.5), ("c.png", 1)]
    assert dataset.notes == (
        f"1 left out by {CHOICES}: a.png",
        f"1 weighed by {CHOICES}: b.png (0.5)",
    )
    assert dataset.fingerprint() != before.fingerprint()  # so that a run with it is another


def test_the_node_sees_a_decision(folder):
    before = folder_stamp(folder)
    decide(folder, a=OUT)
    after = folder_stamp(folder)
    decide(folder)
    assert before != after != folder_stamp(folder) and decided(folder) == {}


def test_weights_multiply_what_is_there(folder):
    decide(folder, a=HALF)
    dataset = scan_folder(folder)
    dataset = dataset.replace_samples(lambda s: dataclasses.replace(s, weight=0.5))
    weights = [s.weight for _, s in with_choices(dataset, read_all(dataset)).samples()]
    assert weights == [0.25, 0.5, 0.5]


def test_each_folder_has_its_own(folder):
    draw(folder / "2_x" / "a.png", "white")
    decide(folder / "2_x", a=OUT)
    assert [s.path.name for _, s in obeyed(folder).samples()] == ["a.png", "b.png", "c.png"]


def test_it_stays_with_an_image_that_is_renamed_or_edited(folder):
    decide(folder, a=OUT, b=HALF)
    (folder / "a.png").rename(folder / "z.png")
    draw(folder / "b.png", "yellow", (96, 64))
    assert decided(folder) == {"z.png": OUT, "b.png": HALF}


def test_it_stays_with_images_that_swap_names(folder):
    decide(folder, a=OUT)
    (folder / "a.png").rename(folder / "x")
    (folder / "b.png").rename(folder / "a.png")
    (folder / "x").rename(folder / "b.png")
    assert decided(folder) == {"b.png": OUT}


def test_of_two_copies_one_is_left_out(folder):
    draw(folder / "copy.png", "red")
    decide(folder, copy=OUT)
    assert decided(folder) == {"copy.png": OUT}


def test_tidying_keeps_it(folder, tmp_path_factory):
    decide(folder, b=OUT, c=HALF)
    tidy(scan_folder(folder), Naming("n"), "rename", tmp_path_factory.mktemp("journals"))
    assert decided(folder) == {"n0002.png": OUT, "n0003.png": HALF}


def test_what_was_decided_of_images_that_are_away_is_kept(folder):
    decide(folder, a=OUT, b=OUT)
    (folder / "a.png").rename(folder.parent / "away.png")
    decide(folder, c=HALF)
    (folder.parent / "away.png").rename(folder / "a.png")
    assert decided(folder) == {"a.png": OUT, "c.png": HALF}


def test_a_link(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine.json"
    (folder / CHOICES).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a link to a file that is not there"):
        read_choices(folder)
    elsewhere.write_text('\ufeff{"format": 1, "images": []}', "utf-8")  # as some editors save it
    assert read_choices(folder) == ()
    with pytest.raises(ValueError, match="is a link, and is not written"):
        decide(folder, a=OUT)
    assert (folder / CHOICES).is_symlink()


def test_a_slip_in_a_name_is_told(folder):
    row = {"name": "a.png", "digest": "", "weigth": 0.5}
    (folder / CHOICES).write_text(json.dumps({"format": 1, "images": [row]}))
    with pytest.raises(ValueError, match=r"weigth of a\.png is not known"):
        read_choices(folder)


def test_all_left_out(folder):
    decide(folder, a=OUT, b=OUT, c=OUT)
    with pytest.raises(ValueError, match=rf"All images of .* are left out by {CHOICES}"):
        obeyed(folder)


def test_the_file_is_not_told_as_another_programs(folder):
    decide(folder, a=OUT)
    (folder / "meta.json").write_text("{}")
    assert scan_folder(folder).notes == (f"{folder.name}: not used: meta.json (metadata)",)


def test_the_file_can_be_read_by_people(folder):
    decide(folder, a=OUT, b=HALF)
    found = json.loads((folder / CHOICES).read_text("utf-8"))
    digests = [s.digest for _, s in scan_folder(folder).samples()]
    assert found == {
        "format": 1,
        "images": [
            {"name": "a.png", "digest": digests[0], "left_out": True},
            {"name": "b.png", "digest": digests[1], "weight": 0.5},
        ],
    }


ROW = '{"format": 1, "images": [{"name": "a.png", "digest": "d", %s}]}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "it is no"),
        ('{"format": 1}', "it is no"),
        ('{"format": 2, "images": []}', "its format is 2 where 1 is known"),
        ('{"format": 1, "images": [1]}', "1 is no entry"),
        ('{"format": 1, "images": [{"name": "a.png"}]}', "is no entry"),
        (ROW % '"left_out": 1', "is no entry"),
        (ROW % '"weight": -1', r"weight -1 does not lie in 0\.\.100"),
        (ROW % '"weight": NaN', "weight nan does not lie"),
        (ROW % '"weight": true', "weight True is no number"),
        (ROW % f'"weight": 1{"0" * 400}', r"10{19} does not lie in 0\.\.100"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_trained_on_by_mistake(folder, text, said):
    (folder / CHOICES).write_text(text)
    with pytest.raises(ValueError, match=rf"{CHOICES}.*cannot be used: .*({said}).*Repair it"):
        read_choices(folder)
    with pytest.raises(ValueError, match="Repair it"):
        decide(folder, a=OUT)
    assert (folder / CHOICES).read_text() == text


def test_a_file_that_cannot_be_opened(folder):
    (folder / CHOICES).mkdir()
    with pytest.raises(ValueError, match="Is a directory"):
        read_choices(folder)
