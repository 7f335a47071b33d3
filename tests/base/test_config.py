"""Every config of the pack: its numbers have one type, its fields are explained, its identity stays."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
from functools import reduce
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import numpy as np
import pytest

from pack.base.config import Config, Problems, as_declared
from pack.trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.slider import SliderConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.files.digests import digest
from pack.trainer.sdxl.blocks import BLOCKS
from pack.trainer.sdxl.buckets import BucketConfig

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("trainer/config", "trainer/sdxl/buckets.py", "trainer/dataset", "trainer/cache", "tagger")
"""Where configs are at home that need no ComfyUI."""

NEEDED = {LatentConfig: {"buckets": BucketConfig(), "vae_fingerprint": "vae"}}
"""What a config cannot be made without."""

VALUES = {
    "min_reso": 128, "max_reso": 2048, "step": 64, "resolution": (1024, 1024), "timesteps": 2,
    "dropout": 0, "rank_dropout": 0, "module_dropout": 0, "beta1": 0, "beta2": 0, "ema_decay": 0,
    "more_resolutions": (768, 512), "immiscible": 2,
}  # fmt: skip
"""Whole numbers where 1 is out of range, by field; those of LoraConfig's blocks are 23 times 1."""

WITH = {
    (LoraConfig, "lokr_factor"): {"algorithm": "lokr"},
    (LoraConfig, "oft_blocks"): {"algorithm": "oft"},
    (LoraConfig, "oft_constraint"): {"algorithm": "boft"},
    (LossConfig, "adaptive_noise_scale"): {"noise_offset": 0.1},
    (ValidationConfig, "patience"): {"held_out": 0.1},
}
"""What must be set with a field."""


def config_classes():
    """Every dataclass named *Config in the places above."""
    paths = [
        path
        for place in PLACES
        for path in (sorted((ROOT / place).rglob("*.py")) or [ROOT / place])
    ]
    found = []
    for path in paths:
        name = ".".join(("pack", *path.relative_to(ROOT).with_suffix("").parts))
        module = importlib.import_module(name.removesuffix(".__init__"))
        found += [
            value
            for key, value in vars(module).items()
            if key.endswith("Config")
            and inspect.isclass(value)
            and dataclasses.is_dataclass(value)
            and value is not Config
            and value.__module__ == module.__name__
        ]
    return found


CLASSES = config_classes()


def number_of(hint):
    """int or float where a field holds such numbers, alone, in a tuple or beside None; else None."""
    kinds = {hint, *get_args(hint)} & {int, float}
    return kinds.pop() if kinds else None


NUMBERS = [
    (config, name)
    for config in CLASSES
    for name, hint in get_type_hints(config).items()
    if number_of(hint)
]


def made(config, name, real):
    """The config with a whole number in a field, as an int or as a float."""
    hint = get_type_hints(config)[name]
    value = VALUES.get(name, (1,) * BLOCKS if "tuple" in str(hint) else 1)
    if real:
        value = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
    given = {**NEEDED.get(config, {}), **WITH.get((config, name), {}), name: value}
    return config(**given)


def exactly(value):
    """A value as a text in which 1 and 1.0 differ, as they do in a digest."""
    return json.dumps(value, sort_keys=True)


def test_all_configs_are_found():
    names = {config.__name__ for config in CLASSES}
    assert names >= {
        "BucketConfig", "CacheConfig", "CaptionConfig", "CheckpointConfig", "CurateConfig",
        "FilterConfig", "IdentityConfig", "LatentConfig", "LoraConfig", "LossConfig",
        "MonochromeConfig", "OptimiserConfig", "SpeedConfig", "SubsetConfig", "TagConfig", "TaggerConfig",
        "TextConfig", "TrainConfig", "ValidationConfig",
    }  # fmt: skip
    assert len(NUMBERS) > 80


@pytest.mark.parametrize("config", CLASSES, ids=lambda config: config.__name__)
def test_a_config_is_frozen_checked_as_a_whole_and_has_a_name_of_its_own(config):
    assert issubclass(config, Config)
    assert config.title != Config.title
    assert "__post_init__" not in vars(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config(**NEEDED.get(config, {})).title = "another"


@pytest.mark.parametrize(
    ("config", "name"), NUMBERS, ids=[f"{c.__name__}-{name}" for c, name in NUMBERS]
)
def test_1_and_1_0_are_one_value(config, name):
    whole, real = made(config, name, False), made(config, name, True)
    assert repr(whole) == repr(real)
    assert exactly(dataclasses.asdict(whole)) == exactly(dataclasses.asdict(real))
    assert digest(exactly(dataclasses.astuple(whole))) == digest(exactly(dataclasses.astuple(real)))
    value = getattr(whole, name)
    kind = number_of(get_type_hints(config)[name])
    assert {type(one) for one in (value if isinstance(value, tuple) else (value,))} == {kind}


PARTS = {
    type(value): field.name
    for field in dataclasses.fields(TrainConfig)
    if dataclasses.is_dataclass(value := getattr(TrainConfig(), field.name))
}


@pytest.mark.parametrize(
    ("config", "name"),
    [pair for pair in NUMBERS if pair[0] in PARTS or pair[0] is TrainConfig],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_1_and_1_0_are_one_run(config, name):
    runs = []
    for real in (False, True):
        given = made(config, name, real)
        run = given if config is TrainConfig else TrainConfig(**{PARTS[config]: given})
        runs.append((run.identity(), run.identity(True), exactly(run.to_dict())))
    assert runs[0] == runs[1]


def test_1_and_1_0_are_one_dataset():
    def identity(tag_dropout):
        item = CachedItem(
            "digest", "name", "caption", (64, 64), ((64, 64), (0, 0), (64, 64)),
            ((64, 64), (0, 0), (64, 64)), "key", None, 1, 1.0, False, "subset",
            options=CaptionConfig(tag_dropout=tag_dropout),
        )  # fmt: skip
        recipe = LatentConfig(BucketConfig(), "vae")
        return CachedDataset((item,), Path(), recipe, Dataset(())).identity()

    assert identity(1) == identity(1.0) != identity(0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"weight": [1, 1.0, np.float32(1), True]},
        {"weight": [0.0, -0.0, 0, False]},
        {"repeats": [2, 2.0, np.int64(2)]},
        {"optional_rate": [1, 1.0, np.float64(1)]},
        {"is_reg": [True, 1, np.bool_(True)]},
        {"preserves": [False, 0, np.bool_(False)]},
        {"conditioning": [((64, 64), (0, 0), (64, 64)), [[64, 64], [0, 0], [64, 64]]]},
    ],
    ids=lambda values: next(iter(values)),
)
def test_an_item_has_one_identity_however_its_numbers_are_written(values):
    [(name, spelled)] = values.items()
    found = set()
    for value in spelled:
        given = {
            "digest": "digest", "name": "name", "caption": "caption", "bucket": (64, 64),
            "conditioning": ((64, 64), (0, 0), (64, 64)),
            "flipped_conditioning": ((64, 64), (0, 0), (64, 64)),
            "latent_key": "key", "flipped_key": None, "repeats": 1, "weight": 1.0,
            "is_reg": False, "subset": "subset", "optional_tags": ("x",), name: value,
        }  # fmt: skip
        recipe = LatentConfig(BucketConfig(), "vae")
        found.add(CachedDataset((CachedItem(**given),), Path(), recipe, Dataset(())).identity())
    assert len(found) == 1


RICH = TrainConfig(
    steps=1000,
    seed=42,
    lora=LoraConfig(
        rank=16, alpha=8.0, conv_rank=4, conv_alpha=2.0, dropout=0.1,
        block_ranks=(4,) * BLOCKS, block_alphas=(2.0,) * BLOCKS,
    ),
    optimiser=OptimiserConfig(
        learning_rate=1e-4, schedule="cosine", warmup=0.1, ema_decay=0.99,
        text_encoder_1_rate=1e-5, arguments=("weight_decay=0.1",),
    ),
    loss=LossConfig(min_snr_gamma=5.0, noise_offset=0.05, multires_iterations=6),
    captions=CaptionConfig(shuffle=True, keep_tokens=1, tag_dropout=0.1, token_warmup_steps=0.3),
)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "identity"),
    [
        (TrainConfig(), "2468d5df7e2dcccf22baaf188423e6b9"),
        (
            TrainConfig(optimiser=OptimiserConfig(type="Prodigy", learning_rate=1.0)),
            "47e2d59547e63f18a8dbe00d63d99128",
        ),
        (RICH, "a083ab2e15399b79455b40b343b4243b"),
    ],
)
def test_saved_runs_are_found_again(config, identity):
    """Recorded before numbers were given the types of their fields; runs on disk have these names."""
    assert config.identity() == identity


def test_runs_that_joined_tags_by_commas_are_found_only_where_commas_are_meant():
    """Tags behind another separator were joined by commas before `joining` was there."""

    def identities(**options):
        captions = CaptionConfig(shuffle=True, **options)
        item = CachedItem(
            "digest", "name", "caption", (64, 64), ((64, 64), (0, 0), (64, 64)),
            ((64, 64), (0, 0), (64, 64)), "key", None, 1, 1.0, False, "subset", options=captions,
        )  # fmt: skip
        cached = CachedDataset((item,), Path(), LatentConfig(BucketConfig(), "vae"), Dataset(()))
        return TrainConfig(captions=captions).identity(), cached.identity()

    assert identities() == identities(joining="kohya")
    assert identities(separator=";", joining="kohya") == (
        "2f910ef993fc852905570c5a132b56ee", "7e81676facfdec466eb56c088984e32b",
    )  # fmt: skip
    for new, old in zip(
        identities(separator=";"), identities(separator=";", joining="kohya"), strict=True
    ):
        assert new != old


def test_how_speed_is_bought_does_not_count():
    speed = dataclasses.replace(TrainConfig().speed, prefetch_weights=True)
    assert TrainConfig(speed=speed).identity() == TrainConfig().identity()


@pytest.mark.parametrize(
    ("value", "hint", "declared"),
    [
        (1, float, 1.0),
        (1.0, int, 1),
        (None, float | None, None),
        (3, float | None, 3.0),
        (3.0, int | None, 3),
        (True, bool | None, True),
        ((1, 2.5), tuple[float, ...], (1.0, 2.5)),
        ((), tuple[float, ...], ()),
        ((1, 2), tuple[float, int], (1.0, 2)),
        ((1, 2, 3), tuple[float, int], (1, 2, 3)),
        ((("a", 1),), tuple[tuple[str, float], ...], (("a", 1.0),)),
        ("text", tuple[float, ...], "text"),
        ("1", float, "1"),
        (True, bool, True),
        (-0.0, float, 0.0),
        (True, float, 1.0),
        (True, int, 1),
        (1, bool, True),
        (0.0, bool | None, False),
        (2, bool, 2),
        (np.float32(0.5), float, 0.5),
        (np.int64(3), int, 3),
        (np.float64(3), int | None, 3),
        (np.bool_(True), bool, True),
        (np.str_("text"), str, "text"),
        ([1, 2.5], tuple[float, ...], (1.0, 2.5)),
        ((np.int64(1), np.float32(-0.0)), tuple[float, ...], (1.0, 0.0)),
        (2**60 + 1, int, 2**60 + 1),
    ],
)
def test_numbers_are_as_declared(value, hint, declared):
    assert repr(as_declared(value, hint)) == repr(declared)


def spellings(value):
    """Other ways to write a value that mean the same."""
    if isinstance(value, bool):
        yield from (int(value), np.bool_(value))
    elif isinstance(value, int):
        yield from (float(value), np.int32(value), np.float64(value))
        yield from (bool(value),) * (value in (0, 1))
    elif isinstance(value, float):
        yield from (np.float64(value), np.float32(value))[: 1 + (float(np.float32(value)) == value)]
        yield from (int(value), np.int64(value)) if value.is_integer() else ()
        yield from (-0.0, False) if value == 0 else ()
    elif isinstance(value, tuple):
        yield list(value)


@pytest.mark.parametrize("config", CLASSES, ids=lambda config: config.__name__)
def test_a_value_has_one_spelling_in_every_field(config):
    usual = config(**NEEDED.get(config, {}))
    asked = 0
    for field in dataclasses.fields(config):
        for spelling in spellings(getattr(usual, field.name)):
            given = {**NEEDED.get(config, {}), field.name: spelling}
            assert repr(config(**given)) == repr(usual), (field.name, spelling)
            asked += 1
    assert asked


FREE = {
    "checkpointing": "how memory is spent",
    "compact": "how memory is spent, with the same mathematics",
    "epochs": "told by the steps that they come to",
    "steps": "the numbers of a step do not depend on how many follow, see HORIZONS",
    "speed prefetch_weights": "does nothing any more",
    "speed auto_compact": "what the memory plan may choose, with the same mathematics",
    "speed triton_kernels": "the same mathematics in other kernels",
    "speed cuda_graphs": "the same kernels, recorded",
    "speed stream_weights": "where weights wait",
    "validation every": "when the held-out images are measured",
    "validation patience": "when the run ends, which is found again by what it reached",
    "validation keep_best": "what is kept besides",
    "validation every_epochs": "when the held-out images are measured",
    "validation timesteps": "how the held-out images are measured",
    "validation max_pictures": "how many of them are measured",
}
"""Settings that cannot change the numbers of a step, each with the reason."""

ONLY_IF = {
    "validation seed": lambda config: config.validation.held_out > 0,  # which images are held out
    "captions joining": lambda config: config.captions.separator != ",",  # else both ways are one
    **{  # without a token none is trained
        f"embedding {field.name}": lambda config: config.embedding.is_on
        for field in dataclasses.fields(EmbeddingConfig)
        if field.name != "token"
    },
    **{  # without a prompt on either side none is trained
        f"slider {field.name}": lambda config: config.slider.is_on
        for field in dataclasses.fields(SliderConfig)
        if field.name not in ("positive", "negative")
    },
}
"""Settings that change the numbers of a step only beside others."""


def leaves(config, path=""):
    """Every field of a config and of the configs in it: how to change it, by a path of names."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{name} ")
        else:
            yield name


def changed(config, names, value):
    """The config with another value at a path, unchecked: it need not make sense."""
    name, *rest = names
    copy = object.__new__(type(config))
    vars(copy).update(vars(config))
    vars(copy)[name] = changed(getattr(config, name), rest, value) if rest else value
    return copy


def another(config, names):
    """Another value for the field at a path."""
    value = reduce(getattr, names, config)
    return value + 1 if type(value) in (int, float) else "another value"


LEAVES = list(leaves(TrainConfig()))


@pytest.mark.parametrize("name", LEAVES)
def test_every_setting_changes_the_run_or_is_free_for_a_reason(name):
    held_out = dataclasses.replace(TrainConfig().validation, held_out=0.1)
    semicolons = dataclasses.replace(TrainConfig().captions, separator=";")
    parts = {"validation": held_out}, {"captions": semicolons}, {"embedding": EmbeddingConfig("a")}
    parts += ({"slider": SliderConfig("a", "b")},)
    for base in (TrainConfig(), *(TrainConfig(**part) for part in parts)):
        other = changed(base, name.split(), another(base, name.split()))
        differs = other.identity() != base.identity()
        if name in ONLY_IF:
            assert differs == ONLY_IF[name](base), name
        else:
            assert differs == (name not in FREE), name


def test_what_is_free_is_there():
    assert FREE.keys() | ONLY_IF.keys() <= set(LEAVES)


@pytest.mark.parametrize(
    "wrong", [{"rank": 4.5}, {"block_ranks": (4,) * 22 + (4.5,)}, {"rank": float("nan")}]
)
def test_a_broken_number_where_a_whole_one_is_needed_is_told_with_the_rest(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name} is .*; it must be a whole number.*alpha is 0"):
        LoraConfig(**wrong, alpha=0)


def test_problems_are_told_together():
    problems = Problems()
    problems.finish("Nothing")
    problems.need(True, "this is fine")
    problems.need(False, "one is 1")
    problems.one_of("method", "c", Literal["a", "b"])
    told = "^Both: one is 1; method is 'c'; it must be one of a, b.$"
    with pytest.raises(ValueError, match=told.replace(".", r"\.")):
        problems.finish("Both")


def explained_fields():
    """Every field of a class named *Config in the sources, with the docstring below it."""
    paths = [p for f in ("base", "trainer", "tagger", "nodes") for p in (ROOT / f).rglob("*.py")]
    for path in sorted(paths):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and "Config" in map(ast.unparse, node.bases):
                for line, below in zip(node.body, [*node.body[1:], None], strict=True):
                    if isinstance(line, ast.AnnAssign):
                        text = getattr(getattr(below, "value", None), "value", None)
                        yield f"{node.name}.{ast.unparse(line.target)}", text


FIELDS = dict(explained_fields())


def test_all_fields_are_looked_at():
    ours = {f"{c.__name__}.{f.name}" for c in CLASSES for f in dataclasses.fields(c)}
    assert ours <= FIELDS.keys() and "PreviewConfig.cfg" in FIELDS


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_explained_in_a_sentence(field):
    text = FIELDS[field]
    assert isinstance(text, str), f"{field} has no docstring"
    assert re.fullmatch(r"[A-Z`a-z][^\n]*(\n +[^\n]+)*\.", text) and len(text.split()) >= 4, field
