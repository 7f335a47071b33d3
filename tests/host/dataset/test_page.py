"""The Dataset page's answers: only datasets that were read, only their images, and writing as Save Captions does."""

import io
import json
from types import SimpleNamespace

import pytest
from PIL import Image

from pack.nodes.host.dataset import load as loading
from pack.nodes.host.dataset.monochrome import detect_monochrome
from pack.nodes.host.dataset.page import findings, routes, saving, seen, tag_list, thumbnails
from pack.nodes.host.folders import taggers_folder
from pack.nodes.host.web.routes import Refused
from pack.tagger import MonochromeConfig
from pack.trainer.config.cache import CacheConfig
from pack.trainer.sdxl.buckets import BucketConfig

pytestmark = pytest.mark.main_host


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing was read yet, in any test."""
    known = seen.Seen()
    for module in (seen, loading, routes, saving):
        monkeypatch.setattr(module, "SEEN", known)
    monkeypatch.setattr(findings.FOUND, "_flags", {})
    monkeypatch.setattr(findings.FOUND, "_buckets", {})


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, colour in {"a": "red", "b": "grey", "c": "blue"}.items():
        Image.new("RGB", (96, 64), colour).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("one, two\nsecond line\n")
    (folder / "b.txt").write_text("one\n")
    return folder


def read(folder, **options):
    """Load Dataset; the id for the page."""
    config = loading.LoadConfig(str(folder), **options)
    loading.load_dataset(config)
    return config.page_id()


def rows(name):
    """The images by name."""
    return {row["name"]: row for row in routes.dataset_table(routes._seen({"id": name}))["rows"]}


def save(name, captions=None, choices=None):
    keys = {image: row["key"] for image, row in rows(name).items()}
    asked = {
        "id": name,
        "captions": {keys[image]: text for image, text in (captions or {}).items()},
        "choices": {
            keys[image]: {"left_out": out, "weight": weight}
            for image, (out, weight) in (choices or {}).items()
        },
    }
    return routes._save(json.loads(json.dumps(asked)))


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_dataset_is_listed_once_it_was_read(folder):
    assert routes._list({}) == {"datasets": []}
    name = read(folder)
    (row,) = routes._list({})["datasets"]
    assert (row["id"], row["title"], row["images"]) == (name, "set", 3)
    read(folder)
    assert len(routes._list({})["datasets"]) == 1
    read(folder, repeats=2)
    assert len(routes._list({})["datasets"]) == 2


def test_a_row(folder):
    row = rows(read(folder))["a.png"]
    assert len(row.pop("key")) == 16 and len(row.pop("version")) == 12
    size, bucket = (96, 64), (1216, 832)
    assert row == {
        "name": "a.png",
        "folder": 0,
        "size": size,
        "bucket": bucket,
        "caption": "one, two",
    }


def test_nothing_that_the_page_is_told_holds_a_path(folder):
    name = read(folder)
    told = json.dumps([routes._list({}), routes.dataset_table(routes._seen({"id": name}))])
    assert str(folder.parent) not in told


def test_only_the_last_are_remembered(folder):
    names = [read(folder, repeats=number) for number in range(1, seen.MOST + 2)]
    with pytest.raises(Refused, match="not read since ComfyUI was started") as error:
        routes._seen({"id": names[0]})
    assert error.value.status == 404
    assert [row["id"] for row in routes._list({})["datasets"]] == names[:0:-1]


@pytest.mark.parametrize(
    "image",
    [
        "",
        "a.png",
        "../set/a.png",
        "..%2Fset%2Fa.png",
        "/etc/passwd",
        "0" * 16,
        "a\0",
        "a" * 201,
        None,
    ],
)
def test_an_image_is_no_path(folder, image):
    name = read(folder)
    asked = {"id": name, "size": "small"} | ({} if image is None else {"image": image})
    with pytest.raises((Refused, ValueError), match=r"no such image|Send"):
        routes._thumbnail(asked)


@pytest.mark.parametrize("name", ["", "set", "../set", "0" * 32])
def test_a_dataset_is_no_path(folder, name):
    read(folder)
    for answer in (routes._thumbnail, routes._read, routes._save):
        with pytest.raises(Refused, match="was not read") as error:
            answer({"id": name, "image": "x"})
        assert error.value.status == 404


def test_a_size_is_one_of_two(folder):
    name = read(folder)
    key = rows(name)["a.png"]["key"]
    with pytest.raises(Refused, match="no such image"):
        routes._thumbnail({"id": name, "image": key, "size": "99999"})


def picture(name, image, size="small"):
    answer = routes._thumbnail({"id": name, "image": rows(name)[image]["key"], "size": size})
    assert answer.kind == "image/jpeg"
    return Image.open(io.BytesIO(answer.body))


def test_thumbnails_are_small_upright_and_remembered(folder, monkeypatch):
    tall = Image.new("RGB", (3000, 1500), "white")
    tall.paste("red", (0, 0, 1500, 1500))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right: red comes up
    tall.save(folder / "a.jpg", exif=exif)
    name = read(folder)
    small = picture(name, "a.jpg")
    assert (
        small.size == (128, 256) and small.getpixel((64, 30))[1] < 60 < small.getpixel((64, 200))[1]
    )
    assert picture(name, "a.jpg", "large").size == (512, 1024)
    monkeypatch.setattr(thumbnails, "thumbnail", lambda *_: pytest.fail("decoded again"))
    assert picture(name, "a.jpg").size == (128, 256)


def test_a_thumbnail_of_an_image_that_changed(folder):
    name = read(folder)
    Image.new("RGB", (96, 64), "black").save(folder / "a.png")
    with pytest.raises(Refused, match="changed since Load Dataset read it") as error:
        picture(name, "a.png")
    assert error.value.status == 409
    (folder / "b.png").unlink()
    with pytest.raises(Refused, match="the file is gone"):
        picture(name, "b.png")


def test_captions_are_written_as_save_captions_does(folder, tmp_path):
    name = read(folder)
    answer = save(name, {"a.png": "new\ntext ", "b.png": "one", "c.png": "of none"})
    assert (folder / "a.txt").read_bytes() == b"new text\nsecond line\n"
    assert (folder / "c.txt").read_bytes() == b"of none\n"
    assert "2 caption file(s) written, 1 unchanged\n1 earlier text(s) kept" in answer["said"]
    (backup,) = (tmp_path / "output" / "caption_backups").rglob("a.txt")
    assert backup.read_text() == "one, two\nsecond line\n"
    assert {row["name"]: row["caption"] for row in answer["table"]["rows"]} == {
        "a.png": "new text", "b.png": "one", "c.png": "of none",
    }  # fmt: skip
    save(name, {"a.png": "again", "c.png": "again"})  # what was written is what was read now
    assert (folder / "c.txt").read_bytes() == b"again\n"


def test_the_node_reads_what_was_saved(folder):
    config = loading.LoadConfig(str(folder))
    before = loading.folder_stamp(config)
    save(read(folder), {"c.png": "new"}, {"a.png": (True, 1), "b.png": (False, 0.5)})
    assert loading.folder_stamp(config) != before
    dataset, _ = loading.load_dataset(config)
    found = [(s.path.name, s.caption, s.weight) for _, s in dataset.samples()]
    assert found == [("b.png", "one", 0.5), ("c.png", "new", 1)]
    assert "1 left out by lora_loop.json: a.png" in dataset.report()
    shown = rows(config.page_id())
    assert shown["a.png"]["left_out"] is True and shown["b.png"]["weight"] == 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a.txt").write_text("theirs\n"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").write_bytes(b"\xff\xfe\xff"),
        lambda folder: (folder / "c.txt").write_text("of none"),
    ],
    ids=["other text", "gone", "not text", "made"],
)
def test_what_changed_on_the_disk_is_not_written_over(folder, change):
    name = read(folder)
    change(folder)
    before = snapshot(folder)
    edits = {"a.png": "mine", "b.png": "mine", "c.png": "mine"}
    with pytest.raises(
        Refused, match=r"Changed on the disk .*[ac]\.txt.*Nothing was written"
    ) as error:
        save(name, edits, {"a.png": (True, 1)})
    assert error.value.status == 409 and snapshot(folder) == before


def test_two_pages_do_not_write_over_each_other(folder):
    name = read(folder)
    keys, stamp = rows(name), routes._read({"id": name})["stamp"]
    mine = {"id": name, "stamp": stamp, "captions": {keys["a.png"]["key"]: "mine"}}
    answer = routes._save({**mine, "captions": {keys["a.png"]["key"]: "theirs"}})
    with pytest.raises(Refused, match="Another page has saved") as error:
        routes._save(mine)
    assert error.value.status == 409 and (folder / "a.txt").read_text().startswith("theirs\n")
    routes._save({**mine, "stamp": answer["table"]["stamp"]})
    assert (folder / "a.txt").read_text().startswith("mine\n")


def test_images_that_are_gone(folder):
    name = read(folder)
    (folder / "a.png").unlink()
    for edits in ({"a.png": "mine"}, {}), ({}, {"a.png": (True, 1)}):
        with pytest.raises(Refused, match=r"Changed on the disk .*a\.png"):
            save(name, *edits)
    assert "mine" not in (folder / "a.txt").read_text()
    assert not (folder / "lora_loop.json").exists()


def test_a_link_is_refused_before_captions_are_written(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine.json"
    elsewhere.write_text('{"format": 1, "images": []}')
    (folder / "lora_loop.json").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a link"):
        save(read(folder), {"a.png": "mine"}, {"b.png": (True, 1)})
    assert "mine" not in (folder / "a.txt").read_text()


def test_what_a_save_says(folder):
    name = read(folder)
    assert save(name, {}, {"a.png": (True, 1)})["said"] == (
        "what is left out or weighed: 1 image(s) in lora_loop.json"
    )
    assert save(name, {"a.png": "mine"})["said"].startswith("1 caption file(s) written")


def test_read_again_and_saved(folder):
    name = read(folder)
    (folder / "a.txt").write_text("theirs\n")
    table = routes._read({"id": name})
    assert [row["caption"] for row in table["rows"]] == ["theirs", "one", ""]
    save(name, {"a.png": "mine"})
    assert (folder / "a.txt").read_text() == "mine\n"


def test_other_lines_may_change(folder):
    name = read(folder)
    (folder / "a.txt").write_text("one, two\nother line\n")
    save(name, {"a.png": "mine"})
    assert (folder / "a.txt").read_text() == "mine\nother line\n"


def test_decisions_that_changed_on_the_disk(folder):
    name = read(folder)
    (folder / "lora_loop.json").write_text(
        '{"format": 1, "images": [{"name": "b.png", "digest": "", "weight": 2}]}'
    )
    with pytest.raises(Refused, match="left out or weighed"):
        save(name, {}, {"a.png": (True, 1)})
    save(name, {"a.png": "mine"})  # captions are another thing
    routes._read({"id": name})
    save(name, {}, {"a.png": (True, 1)})
    shown = rows(name)
    assert shown["a.png"]["left_out"] is True and shown["b.png"]["weight"] == 2


def test_images_that_share_a_caption_file(folder):
    Image.new("RGB", (64, 64), "white").save(folder / "a.jpg")
    name = read(folder)
    before = snapshot(folder)
    with pytest.raises(ValueError, match="Several images share the caption file"):
        save(name, {"a.png": "mine"})
    assert snapshot(folder) == before
    save(name, {"a.png": "ours", "a.jpg": "ours"})


def test_only_in_folders_that_are_allowed(folder, monkeypatch, page):
    monkeypatch.delenv("LORA_LOOP_ALLOW")
    monkeypatch.setattr(page, "client_id", None)  # this page queued nothing
    name = read(folder)
    before = snapshot(folder)
    for edits in (({"a.png": "mine"}, {}), ({}, {"a.png": (True, 1)})):
        with pytest.raises(
            ValueError, match=r"Dataset page may not change files in .* and save again"
        ):
            save(name, *edits)
        assert snapshot(folder) == before
    assert page.asked == []
    keys = {image: row["key"] for image, row in rows(name).items()}
    asked = {"id": name, "page": "page", "captions": {keys["a.png"]: "mine"}}
    with pytest.raises(ValueError, match="say yes in the dialog"):
        routes._save(asked)
    assert "Save again" in page.say_yes()
    routes._save(asked)
    assert (folder / "a.txt").read_text() == "mine\nsecond line\n"


@pytest.mark.parametrize(
    "asked",
    [
        {"captions": []},
        {"captions": {"KEY": 1}},
        {"captions": {"KEY": None}},
        {"captions": {"KEY": "a\0b"}},
        {"captions": {"KEY": "x" * (saving.LONGEST_CAPTION + 1)}},
        {"captions": {"../a.png": "x"}},
        {"captions": {"": "x"}},
        {"choices": "x"},
        {"choices": {"KEY": True}},
        {"choices": {"KEY": {"left_out": 1, "weight": 1}}},
        {"choices": {"KEY": {"left_out": True}}},
        {"choices": {"KEY": {"left_out": False, "weight": -1}}},
        {"choices": {"KEY": {"left_out": False, "weight": float("nan")}}},
        {"choices": {"KEY": {"left_out": False, "weight": "1"}}},
        {"choices": {"0": {"left_out": False, "weight": 1}}},
    ],
)
def test_a_request_that_is_wrong_in_one_part_writes_nothing(folder, asked):
    name = read(folder)
    shown = rows(name)
    key, before = shown["a.png"]["key"], snapshot(folder)
    asked = {
        part: {key if k == "KEY" else k: v for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for part, value in asked.items()
    }
    asked.setdefault("captions", {})
    if isinstance(asked["captions"], dict):
        asked["captions"][shown["b.png"]["key"]] = "mine"
    with pytest.raises(ValueError):
        routes._save({"id": name, **asked})
    assert snapshot(folder) == before


def test_a_damaged_file_of_decisions_stops_the_node_and_stays(folder):
    name = read(folder)
    (folder / "lora_loop.json").write_text("{")
    for act in (lambda: read(folder), lambda: save(name, {}, {"a.png": (True, 1)})):
        with pytest.raises(ValueError, match=r"lora_loop\.json.*cannot be used"):
            act()
    assert (folder / "lora_loop.json").read_text() == "{"


def test_flags_are_those_that_a_node_looked_for(folder):
    two = Image.new("RGB", (96, 64), "red")
    two.paste("green", (0, 0, 48, 64))
    two.save(folder / "a.png")
    name = read(folder)
    dataset = routes._seen({"id": name}).dataset
    assert "flags" not in rows(name)["b.png"]
    detect_monochrome(dataset, MonochromeConfig(), "tag", 1.0)
    table = routes.dataset_table(routes._seen({"id": name}))
    assert table["checked"] == ["monochrome"]
    assert rows(name)["b.png"]["flags"]["monochrome"] and "flags" not in rows(name)["a.png"]
    Image.new("RGB", (96, 64), "green").save(folder / "b.png")
    assert "flags" not in rows(read(folder))["b.png"]  # of other contents nothing is known


def test_findings_of_a_later_run_take_the_place_of_earlier_ones(folder):
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    samples = [s for _, s in dataset.samples()]
    found = findings.Findings()
    found.add(samples, ["x", "y"], {samples[0].path: {"x": "why"}})
    found.add(samples[:1], ["x"], {})
    assert found.of(samples[0]) == {"x": "", "y": ""} and found.of(samples[1]) == {"x": "", "y": ""}


def test_findings_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(findings, "MOST_IMAGES", 2)
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    samples = [s for _, s in dataset.samples()]
    found = findings.Findings()
    found.add(samples, ["x"], {})
    assert [found.of(sample) for sample in samples] == [{}, {"x": ""}, {"x": ""}]


def test_buckets_are_those_of_the_cache(folder):
    name = read(folder)
    assert (
        routes.dataset_table(routes._seen({"id": name}))["folders"][0]["buckets_by"]
        == "default settings"
    )
    config = CacheConfig(BucketConfig(resolution=(256, 256), min_reso=64, max_reso=512, step=32))
    findings.FOUND.add_buckets(routes._seen({"id": name}).dataset, config.buckets)
    table = routes.dataset_table(routes._seen({"id": name}))
    assert table["folders"][0]["buckets_by"] == "Cache Latents"
    assert table["rows"][0]["bucket"] == (320, 192)


def test_an_image_that_fits_no_bucket(folder):
    name = read(folder)
    config = BucketConfig(no_upscale=True, step=128, min_reso=128)
    findings.FOUND.add_buckets(routes._seen({"id": name}).dataset, config)
    assert rows(name)["a.png"]["bucket"] is None


def test_the_list_of_a_tagger_in_its_folder(monkeypatch):
    assert tag_list.tagger_tags() == []
    place = taggers_folder() / "one"
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(b"x")
    (place / "selected_tags.csv").write_text(
        "tag_id,name,category,count\n0,general,9,1\n1,long_hair,0,1\n2,o_o,0,1\n3,somebody_(x),4,1\n"
    )
    assert tag_list.tagger_tags() == ["long hair", "o_o", "somebody (x)"]
    monkeypatch.setattr(tag_list, "REGISTRY", SimpleNamespace(labels=SimpleNamespace(entries=())))
    assert tag_list.tagger_tags() == []  # the tagger that is loaded has none


def test_every_page_is_told_that_a_dataset_was_read(folder, monkeypatch):
    sent = []
    server = SimpleNamespace(
        send_sync=lambda event, data, sid=None: sent.append((event, data, sid))
    )
    monkeypatch.setattr(seen, "prompt_server", lambda: server)
    name = read(folder)
    assert sent == [(seen.EVENT, {"id": name}, None)]


def test_the_question_names_the_page(folder, monkeypatch, page):
    monkeypatch.delenv("LORA_LOOP_ALLOW")
    with pytest.raises(ValueError, match="may not change"):
        save(read(folder), {"a.png": "mine"})
    (shown,) = page.asked
    assert shown["title"] == "May LoRA Loop's Dataset page change files in this folder?"
