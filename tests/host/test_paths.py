"""What a shared workflow may choose: every text of every node and of kohya's configs is tried as a path.

Nodes and keys are listed by the pack itself, so that one that comes later is tried as well. Whatever a
text becomes goes on to all who write: captions, exports, checkpoints, LoRAs.
"""

import json
from functools import cache
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from pack.base.plain_names import why_not_plain
from pack.nodes import cache_latents
from pack.nodes.compare_loras import CompareLoras
from pack.nodes.dataset_from_images import DatasetFromImages
from pack.nodes.export_dataset import ExportDataset
from pack.nodes.extension import NODES
from pack.nodes.host import folders, slider
from pack.nodes.host.comparing.comparison import comparison
from pack.nodes.host.comparing.lora_list import candidates, state_of
from pack.nodes.host.comparing.scores import Scoring, scored
from pack.nodes.host.dataset.tagger_session import REGISTRY
from pack.nodes.host.lora.embedding import started
from pack.nodes.import_kohya_config import ImportKohyaConfig
from pack.nodes.load_dataset import LoadDataset
from pack.nodes.make_class_images import MakeClassImages
from pack.nodes.save_captions import SaveCaptions
from pack.nodes.save_embedding import SaveEmbedding
from pack.nodes.save_lora import SaveLora
from pack.nodes.set_captions import SetCaptions
from pack.nodes.tidy_dataset import TidyDataset
from pack.nodes.train import Train
from pack.nodes.train_slider import TrainSlider
from pack.tagger import TaggerConfig
from pack.tests.host import watched_tree
from pack.trainer.config.checkpoints import CheckpointConfig
from pack.trainer.config.embedding import KEYS as KEYS_OF_EMBEDDING
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.kohya import dataset as kohya_tables
from pack.trainer.kohya.arguments import HONOURED
from pack.trainer.kohya.config import Source, import_config
from pack.trainer.kohya.toml import KNOWN
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.runs.checkpoints import Checkpoints
from pack.trainer.runs.continue_from import find_origin

pytestmark = pytest.mark.main_host
LORA = LoraModel({"lora_unet_input_blocks_4_1_proj_in.alpha": torch.ones(1)}, {})
EMBEDDING = LoraModel({f"bundle_emb.it.{key}": torch.ones(1, 2) for key in KEYS_OF_EMBEDDING}, {})


def _texts():
    """Every input of type text of every node."""
    for node in NODES:
        sections = node.INPUT_TYPES()
        for name, (kind, *_) in {**sections["required"], **sections.get("optional", {})}.items():
            if kind == "STRING":
                yield node, name


TEXTS = list(_texts())
NEED_A_MODEL = {Train, TrainSlider, CompareLoras, MakeClassImages}
LISTS = {DatasetFromImages, SetCaptions}
"""Nodes that take every input as a list."""

HARMLESS = "猫 😀 é"
BASE = {"train_data_dir": "set", "network_train_unet_only": True, "caption_extension": ".txt"}
KEYS = sorted(name for name in KNOWN if name not in HONOURED or "text" in HONOURED[name].kind)
SUBSET_KEYS = sorted(
    name
    for name in kohya_tables._ALLOWED["subsets"] & kohya_tables._ROWS.keys()
    if "text" in kohya_tables._ROWS[name].kind
)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    yield watched_tree.Tree(tmp_path / "comfy", monkeypatch)
    REGISTRY.release()


def _given(node, tree):
    """Inputs for a node: its defaults, and something small for its sockets."""
    dataset = scan_folder(tree.pictures)
    things = {
        "LORA_LOOP_DATASET": dataset.with_captions(lambda sample: f"new {sample.caption}"),
        "LORA_MODEL": EMBEDDING if node is SaveEmbedding else LORA,
        "IMAGE": [torch.rand(1, 8, 8, 3)],
    }
    given = {}
    for name, (kind, *options) in node.INPUT_TYPES().get("required", {}).items():
        choices = options[0].get("options") if kind == "COMBO" else kind
        default = (options[0] if options else {}).get("default")
        if default is None and isinstance(choices, list):
            default = choices[0]
        given[name] = things[kind] if isinstance(kind, str) and kind in things else default
    if node is LoadDataset:
        given["folder"] = "set"
    if node in LISTS:
        given = {
            name: value if isinstance(value, list) else [value] for name, value in given.items()
        }
    return given


def _places(dataset):
    """All of a dataset that can become part of a path."""
    return tuple(
        (
            subset.name,
            subset.root,
            subset.class_tokens,
            sample.path,
            sample.caption_path,
            sample.mask,
        )
        for subset, sample in dataset.samples()
    )


def _write_all(found, tree, seen):
    """Everything that writes, for what a node gave; ``seen``: what they were given before."""
    for thing in found:
        if isinstance(thing, Dataset | CheckpointConfig):
            places = _places(thing) if isinstance(thing, Dataset) else thing
            if places in seen:
                continue
            seen.add(places)
        if isinstance(thing, Dataset):
            changed = thing.with_captions(lambda sample: f"newer {sample.caption}")
            watched_tree.run(SaveCaptions, {"dataset": changed})
            name = f"out {len(seen)}"  # what was exported before is not written again
            watched_tree.run(ExportDataset, {"dataset": thing, "name": name})
        elif isinstance(thing, CheckpointConfig):
            run = tree.root / "output" / "lora_loop" / "runs" / "0" / "checkpoints"
            loop = SimpleNamespace(tensors=lambda: LORA)
            Checkpoints(run, thing, loop, 1, lambda step: {})._write(thing.step_file(1), 1)
            if thing.name:
                watched_tree.run(
                    SaveLora, {**_given(SaveLora, tree), "lora": LORA, "name": thing.name}
                )


def _renamed_and_back(inputs, tree):
    dataset, *_ = watched_tree.run(TidyDataset, {**inputs, "mode": "rename"})
    names = [path.name for path in tree.pictures.iterdir()]
    watched_tree.run(TidyDataset, {**inputs, "dataset": dataset, "mode": "undo"})
    assert not any(map(why_not_plain, names))
    return []


def _try(tree, attempt):
    """Try all probes; each is taken or refused in a sentence, and nothing is written where it may not be."""
    before = tree.contents()
    told, seen = [], set()
    for probe in watched_tree.probes(tree.root):
        try:
            _write_all(attempt(probe), tree, seen)
        except ValueError as refusal:
            if isinstance(refusal, UnicodeError) or "Errno" in str(refusal) or not str(refusal):
                told.append((probe, repr(refusal)))
        except Exception as error:  # noqa: BLE001 - all are reported together
            told.append((probe, repr(error)))
    assert told == []
    assert tree.trespasses(before) == []


def test_the_lists_are_those_of_the_pack():
    assert {name for _, name in TEXTS} >= {
        "folder", "caption_extension", "name", "text", "model_path", "prefix", "run", "continue_from",
    }  # fmt: skip
    assert {"output_name", "output_dir", "logging_dir", "huggingface_repo_id", "vae"} <= set(KEYS)
    assert {"caption_extension", "class_tokens", "image_dir"} <= set(SUBSET_KEYS)


def test_a_text_of_train(tree):
    assert [name for node, name in TEXTS if node is Train] == ["continue_from"]
    config, runs = TrainConfig(), folders.runs_root()
    _try(tree, lambda probe: [find_origin(runs, probe, config)])


def test_the_embedding_to_go_on_with_lies_in_its_folder(tree):
    folder = tree.root / "models/embeddings"
    for place in ("elsewhere/out", "models/out.pt", "models/embeddings/out.pt"):
        (tree.root / place).write_bytes(b"")
    found = []
    _try(tree, lambda probe: found.append(started(EmbeddingConfig(token="a", start=probe))) or [])
    assert found and {*found} == {folder / "out.pt"}


def test_a_text_of_compare_loras(tree):
    """Names are looked up, so that none becomes a path; the others are numbers and prompts."""
    names = [name for node, name in TEXTS if node is CompareLoras]
    assert names == ["files", "strengths", "prompts", "seeds", "tagger_path"]
    dataset = scan_folder(tree.pictures)

    def scores(probe):
        return scored({}, [], Scoring(dataset, TaggerConfig(model_path=probe), 0.3), None)

    _try(tree, lambda probe: [scores(probe)])
    numbers = {"strengths": "1", "prompts": "a", "seeds": "1"}
    _try(tree, lambda probe: [candidates(probe, [{}]), state_of(probe)])
    for name in numbers:
        _try(tree, lambda probe, name=name: [comparison([], **{**numbers, name: probe})])


def test_a_text_of_train_slider(tree, monkeypatch):
    """Prompts go into settings and become no path."""
    monkeypatch.setattr(slider, "_check_schedule", lambda model: None)
    names = [name for node, name in TEXTS if node is TrainSlider]
    assert names == ["target", "positive", "negative"]
    inputs = TrainSlider.define_schema().inputs
    given = {one.id: one.default for one in inputs if getattr(one, "default", None) is not None}
    for name in names:
        texts = {**given, "positive": "a"}
        _try(
            tree,
            lambda probe, texts=texts, name=name: [
                slider.slider_request(None, None, None, {**texts, name: probe})
            ],
        )


def test_the_texts_of_make_class_images_are_in_a_digest_alone():
    """tests/host/dataset/test_class_images.py looks at the folder."""
    assert [name for node, name in TEXTS if node is MakeClassImages] == ["prompt", "negative"]


@pytest.mark.parametrize(
    ("node", "name"),
    [(node, name) for node, name in TEXTS if node not in NEED_A_MODEL],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_text_of_a_node(tree, monkeypatch, node, name):
    monkeypatch.setattr(cache_latents, "build_cache", lambda *_: (None, ""))  # needs a model
    given, free = _given(node, tree), count()

    def attempt(probe):
        if node is SaveLora:  # a name of its own each time: looking for a free one takes long
            given.update(name=f"lora {next(free)}")
        inputs = {**given, name: [probe] if node in LISTS else probe}
        if node is TidyDataset:
            return _renamed_and_back(inputs, tree)
        return watched_tree.run(node, inputs)

    _try(tree, attempt)


def _toml(values):
    return "\n".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()
    )


def _import(text):
    given = {"config": "", "dataset_config": "", "text": text, "dataset_text": ""}
    return watched_tree.run(ImportKohyaConfig, given)


def _value(key, probe):
    return [probe] if key in HONOURED and HONOURED[key].kind == "list of texts" else probe


def _config(keys, probe):
    """A config with the probe at some keys."""
    more = {"sample_every_n_steps": 1, "save_every_n_steps": 1}
    return _toml({**BASE, **more, **{key: _value(key, probe) for key in keys}})


def _in_subset(keys, probe):
    """A dataset toml with the probe at some keys of its subset."""
    subset = {"image_dir": "set", "caption_extension": ".txt", **dict.fromkeys(keys, probe)}
    return f"[[datasets]]\n[[datasets.subsets]]\n{_toml(subset)}"


def _in_general(keys, probe):
    """The same with the probe above its datasets."""
    subset = {"image_dir": "set"}
    return f"[general]\n{_toml(dict.fromkeys(keys, probe))}\n[[datasets]]\n[[datasets.subsets]]\n{_toml(subset)}"


FORMS = {
    _config: KEYS,
    _in_subset: SUBSET_KEYS,
    _in_general: [key for key in SUBSET_KEYS if key in kohya_tables._ALLOWED["general"]],
}
"""Ways in which a config holds texts, and the keys of each."""


@cache
def _read(text):
    """What such a config could make paths of, read without its files; None if it is refused."""

    def locate(name, what):
        raise ValueError(f"{what} {name}")

    try:
        found = import_config(Source("a", text), locate)
    except ValueError:
        return None
    folders = [(f.path, f.class_tokens, f.extension, f.masks) for f in found.folders]
    return folders, found.checkpoints


def _is_harmless(form, key):
    """Whether a text is taken as it is, and reaches neither folders nor names."""
    return _read(form([key], HARMLESS)) == _read(form([], "")) is not None


@pytest.mark.parametrize("form", FORMS)
def test_texts_of_a_config_that_are_mere_words(tree, form):
    """All together, because an import takes long; one that a probe is no value of is left out for it."""
    keys = [key for key in FORMS[form] if _is_harmless(form, key)]
    assert "caption_prefix" in keys
    assert form is not _config or {"logging_dir", "output_dir", "training_comment"} <= {*keys}

    def attempt(probe):
        taken = keys
        if _read(form(keys, probe)) is None:
            taken = [key for key in keys if _read(form([key], probe)) is not None]
        return _import(form(taken, probe))

    _try(tree, attempt)


@pytest.mark.parametrize(
    ("form", "key"),
    [(form, key) for form, keys in FORMS.items() for key in keys if not _is_harmless(form, key)],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_text_of_a_config(tree, form, key):
    _try(tree, lambda probe: _import(form([key], probe)))
