"""What lies beside a tag list: thresholds of the model's authors, series of characters."""

import json

import numpy as np
import pytest

from pack.tagger import NEVER, TagConfig, read_labels, select

ROWS = 'id,name,category,ips\n1,1girl,0,[]\n2,solo,0,[]\n3,miku,4,"[""vocaloid""]"\n'
PIXAI = ROWS + '4,rin,4,"[""vocaloid"", ""project_sekai""]"\n'
ROW = np.array([0.4, 0.6, 0.9, 0.8], np.float32)
TAKEN = {"general_threshold": 0.5, "character_threshold": 0.85}


def names(labels, row=ROW, **options):
    return [tag.name for tag in select(row, labels, TagConfig(**{**TAKEN, **options}))]


@pytest.fixture
def pixai(tmp_path):
    path = tmp_path / "selected_tags.csv"
    path.write_text(PIXAI, encoding="utf-8")
    return path


def test_thresholds_by_category(pixai):
    (pixai.parent / "thresholds.csv").write_text(
        "category,name,threshold\n0,general,0.3\n4,character,0.85\n"
    )
    labels = read_labels(pixai)
    assert names(labels) == ["solo", "miku"]
    assert names(labels, own_thresholds=True) == ["1girl", "solo", "miku"]
    left_out = {"own_thresholds": True, "character_threshold": NEVER}
    assert names(labels, **left_out) == ["1girl", "solo"]


def test_thresholds_by_mode_are_the_balanced_ones(tmp_path):
    tags = {"1girl": "general", "solo": "general", "miku": "character", "year_2024": "year"}
    mapping = {"idx_to_tag": dict(enumerate(tags)), "tag_to_category": tags}
    path = tmp_path / "camie-tagger-v2-metadata.json"
    path.write_text(json.dumps({"dataset_info": {"tag_mapping": mapping}}))
    modes = {"high_precision": {"threshold": 0.9}, "balanced": {"threshold": 0.3}}
    (tmp_path / "threshold.json").write_text(json.dumps({"general": modes, "character": 0.95}))
    labels = read_labels(path)
    assert names(labels) == ["miku", "solo"]
    assert names(labels, own_thresholds=True) == ["solo", "1girl"]


def vocabulary(folder, **tables):
    tags = {"1girl": "General", "solo": "General", "miku": "Character", "x": "Unknown"}
    mapping = {"idx_to_tag": list(tags), "tag_to_category": tags}
    (folder / "model_vocabulary.json").write_text(json.dumps(mapping))
    np.savez(folder / "model_tag_metrics.npz", **tables)
    return folder / "model_vocabulary.json"


def test_thresholds_of_each_tag_are_compared_with_its_probability(tmp_path):
    best = np.array([0.4, np.nan, 0.95, 0.1], np.float16)
    labels = read_labels(vocabulary(tmp_path, best_thr=best, pos_hist=np.zeros((4, 100))))
    row = ROW.copy()
    row[0] = np.float32(np.float16(0.4))  # at the threshold
    assert names(labels, row) == ["miku", "solo"]
    assert names(labels, row, own_thresholds=True) == ["solo", "1girl"]  # NaN: that of the node


def test_a_threshold_column_of_the_list(tmp_path):
    path = tmp_path / "selected_tags.csv"
    path.write_text("name,category,best_threshold\na,0,0.7\nb,0,\nc,4,0.1\nd,4,0.99\n")
    assert names(read_labels(path), own_thresholds=True) == ["b", "c"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"best_thr": np.zeros(3)}, r"shape \(3,\) for 4 tags"),
        ({"other": np.zeros(4)}, "holds no thresholds best_thr"),
        ({"best_thr": np.array([None] * 4)}, "holds no thresholds best_thr"),  # a pickle
    ],
)
def test_thresholds_that_belong_elsewhere_are_told(table, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_labels(vocabulary(tmp_path, **table))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model_tag_metrics.npz", "PK", "holds no thresholds"),
        ("thresholds.csv", "category,name,threshold\n0,general,often\n", "names no threshold"),
        ("thresholds.csv", "a\n", "names no threshold"),
        ("char_ip_map.json", '{"miku": "vocaloid"}', "no list of series"),
        ("char_ip_map.json", "{", "cannot read"),
        ("threshold.json", "[]", "names no threshold"),
    ],
)
def test_a_damaged_file_beside_the_list_is_named(file, text, message, tmp_path):
    path = vocabulary(tmp_path, best_thr=np.zeros(4))
    if not file.startswith("model"):
        path = tmp_path / "selected_tags.csv"
        path.write_text("name,category\nmiku,4\n")
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(path)


def test_without_such_a_file_own_thresholds_are_refused(pixai):
    with pytest.raises(ValueError, match=r"beside selected_tags\.csv; switch own_thresholds off"):
        names(read_labels(pixai), own_thresholds=True)


def test_series_follow_the_characters_that_are_taken(pixai):
    labels = read_labels(pixai)
    assert names(labels, series_from_characters=True) == ["solo", "miku", "vocaloid"]
    both = {"series_from_characters": True, "character_threshold": 0.5}
    tags = select(ROW, labels, TagConfig(**{**TAKEN, **both}))
    assert [tag.name for tag in tags[1:]] == ["miku", "rin", "vocaloid", "project sekai"]
    assert {tag.name: tag.category for tag in tags}["vocaloid"] == "copyright"
    assert round(tags[-1].probability, 3) == 0.8
    assert names(labels, character_threshold=NEVER, series_from_characters=True) == ["solo"]


def test_series_come_from_the_authors_own_file_too(tmp_path):
    path = tmp_path / "selected_tags.csv"
    path.write_text("name,category\n1girl,0\nsolo,0\nmiku,4\nrin,4\n")
    (tmp_path / "char_ip_map.json").write_text('{"miku": ["vocaloid"], "nobody": ["x"]}')
    assert names(read_labels(path), series_from_characters=True) == ["solo", "miku", "vocaloid"]


def test_a_damaged_series_is_told_with_its_tag(pixai):
    pixai.write_text(PIXAI.replace('"[""vocaloid""]"', "vocaloid"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tag 3: vocaloid in the column ips"):
        read_labels(pixai)
