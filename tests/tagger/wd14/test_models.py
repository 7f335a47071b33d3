import pytest

from pack.tagger import DEFAULT_MODEL, MODEL_NAMES, find_local, local_names, locate, model_at
from pack.tagger.wd14.models import _PAIRS


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_default_is_known():
    assert DEFAULT_MODEL == "wd-swinv2-tagger-v3" and DEFAULT_MODEL in MODEL_NAMES
    assert len(set(MODEL_NAMES)) == len(MODEL_NAMES)


@pytest.mark.parametrize("name", ["wd-vit-tagger-v3", "SmilingWolf/wd-vit-tagger-v3"])
@pytest.mark.parametrize("flat", [False, True])
def test_both_layouts_are_found(tmp_path, name, flat):
    stem = "wd-vit-tagger-v3"
    model = tmp_path / (f"{stem}.onnx" if flat else f"{stem}/model.onnx")
    tags = tmp_path / (f"{stem}.csv" if flat else f"{stem}/selected_tags.csv")
    put(model)
    assert find_local(tmp_path, name) is None
    put(tags)
    files = find_local(tmp_path, name)
    assert (files.model, files.tags) == (model, tags)


def test_an_empty_file_is_no_model(tmp_path):
    put(tmp_path / "m/model.onnx", b"")
    put(tmp_path / "m/selected_tags.csv")
    assert find_local(tmp_path, "m") is None and local_names(tmp_path) == ()


def test_names_of_complete_models_are_listed(tmp_path):
    for folder in ("b", ".b.download", "my own"):
        put(tmp_path / folder / "model.onnx")
        put(tmp_path / folder / "selected_tags.csv")
    put(tmp_path / "a.onnx")
    put(tmp_path / "a.csv")
    put(tmp_path / "lonely.onnx")
    assert local_names(tmp_path) == ("a", "b", "my own")
    assert local_names(tmp_path / "nowhere") == ()


def test_locate_searches_all_folders_and_says_what_to_do(tmp_path):
    put(tmp_path / "two/m/model.onnx")
    put(tmp_path / "two/m/selected_tags.csv")
    folders = [tmp_path / "one", tmp_path / "two"]
    assert locate(folders, "m").model == tmp_path / "two/m/model.onnx"
    with pytest.raises(ValueError) as caught:
        locate(folders, "wd-vit-tagger-v3")
    message = str(caught.value)
    assert "https://huggingface.co/SmilingWolf/wd-vit-tagger-v3" in message
    assert str(tmp_path / "one" / "wd-vit-tagger-v3") in message
    assert "model.onnx" in message and "selected_tags.csv" in message


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "a/.b", "a/b/c", "", ".hidden", "C:x", "a\\b", "/etc", "a/"]
)
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="not the name of a tagger"):
        find_local(tmp_path, name)


NEST = "cella110n_cl_tagger/cl_tagger_1_02"


@pytest.mark.parametrize("model", ["model.onnx", "model_optimized.onnx"])
def test_a_folder_of_the_script_with_a_mapping_is_found(tmp_path, model):
    """It stores owner/repository/folder as owner_repository/folder."""
    put(tmp_path / NEST / model)
    assert local_names(tmp_path) == ()
    put(tmp_path / NEST / "tag_mapping.json")
    assert local_names(tmp_path) == (NEST,)
    files = locate([tmp_path], NEST)
    assert files.model == tmp_path / NEST / model
    assert files.tags.name == "tag_mapping.json"


@pytest.mark.parametrize("place", ["SmilingWolf_{}", "SmilingWolf/{}"])
def test_a_folder_that_carries_its_owner_is_not_downloaded_again(tmp_path, place):
    folder = tmp_path / place.format(DEFAULT_MODEL)
    put(folder / "model.onnx")
    put(folder / "selected_tags.csv")
    assert find_local(tmp_path, DEFAULT_MODEL).model == folder / "model.onnx"
    assert find_local(tmp_path, local_names(tmp_path)[0]).model == folder / "model.onnx"


def test_the_optimised_model_goes_with_the_mapping_and_the_plain_one_with_the_csv(tmp_path):
    for file in ("model.onnx", "model_optimized.onnx", "tag_mapping.json"):
        put(tmp_path / "m" / file)
    assert find_local(tmp_path, "m").model.name == "model_optimized.onnx"
    put(tmp_path / "m" / "selected_tags.csv")
    files = find_local(tmp_path, "m")
    assert (files.model.name, files.tags.name) == ("model.onnx", "selected_tags.csv")


@pytest.mark.parametrize(
    ("named", "model", "tags"),
    [
        ("t", "t/model.onnx", "t/selected_tags.csv"),
        ("t/model.onnx", "t/model.onnx", "t/selected_tags.csv"),
        ("t/other.onnx", "t/other.onnx", "t/selected_tags.csv"),
        ("t/own.onnx", "t/own.onnx", "t/own.csv"),
        ("nest", f"nest/{NEST}/model.onnx", f"nest/{NEST}/tag_mapping.json"),
        (f"nest/{NEST}", f"nest/{NEST}/model.onnx", f"nest/{NEST}/tag_mapping.json"),
        (f"nest/{NEST}/model.onnx", f"nest/{NEST}/model.onnx", f"nest/{NEST}/tag_mapping.json"),
    ],
)
def test_a_path_names_a_folder_a_file_or_the_one_tagger_below(tmp_path, named, model, tags):
    for file in ("model.onnx", "other.onnx", "own.onnx", "own.csv", "selected_tags.csv"):
        put(tmp_path / "t" / file)
    put(tmp_path / "nest" / NEST / "model.onnx")
    put(tmp_path / "nest" / NEST / "tag_mapping.json")
    files = model_at(tmp_path / named)
    assert (files.model, files.tags) == (tmp_path / model, tmp_path / tags)


def test_a_path_to_no_tagger_is_told(tmp_path):
    put(tmp_path / "lonely" / "model.onnx")
    put(tmp_path / "list" / "selected_tags.csv")
    paths = ("lonely", "lonely/model.onnx", "list", "list/selected_tags.csv", "gone", "gone.onnx")
    for path in paths:
        with pytest.raises(ValueError, match="is no tagger; give a folder with"):
            model_at(tmp_path / path)


@pytest.mark.parametrize(("model", "tags"), _PAIRS)
def test_the_refusal_names_all_files_that_make_a_tagger(tmp_path, model, tags):
    with pytest.raises(ValueError, match="is no tagger") as told:
        model_at(tmp_path)
    assert model in str(told.value) and tags in str(told.value)
    put(tmp_path / model)
    put(tmp_path / tags)
    assert model_at(tmp_path).model.name == model


def test_several_taggers_below_a_path_are_named(tmp_path):
    for name in ("one", "two"):
        put(tmp_path / name / "model.onnx")
        put(tmp_path / name / "selected_tags.csv")
    with pytest.raises(ValueError, match="several taggers, name one: one, two"):
        model_at(tmp_path)


@pytest.mark.parametrize(
    "name", ["x" * 300, "a.", "CON", "a/nul.v2", "a\ud800", "a/b/c", "../a", "a\nb", "a\0"]
)
def test_a_name_that_some_system_cannot_take_is_none(tmp_path, name):
    for ask in (find_local, lambda folder, it: locate([folder], it)):
        with pytest.raises(ValueError, match="is not the name of a tagger") as told:
            ask(tmp_path, name)
        assert not isinstance(told.value, UnicodeError) and len(str(told.value)) < 300


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".onnx", "a\0b"])
def test_a_path_that_cannot_be_is_no_tagger(tmp_path, name):
    with pytest.raises(ValueError, match="is no tagger"):
        model_at(tmp_path / name)
