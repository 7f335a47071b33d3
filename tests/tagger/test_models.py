import pytest

from pack.tagger import DEFAULT_MODEL, MODEL_NAMES, find_local, local_names, locate


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


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "C:x", "a\\b", "/etc"])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="not the name of a tagger"):
        find_local(tmp_path, name)
