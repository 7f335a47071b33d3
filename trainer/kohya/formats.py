"""Configs of other programs that are taken for kohya's: each is known by what only it holds, and named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...base.small_file import parse_json

_FRONT_END = (
    "a settings file of kohya_ss, the graphical front end, but not one for LoRAs, which has LoRA_type. Save the "
    "settings of its LoRA tab, or give the config_lora-<date>.toml that it writes when a training starts"
)
_EASY = (
    "a settings file of LoRA_Easy_Training_Scripts, not a config of kohya's trainer. Starting a training there "
    "makes two files for kohya's script, a config toml and a dataset toml: give those"
)
_SAVE = (
    "a command line. Run it once with --output_config --config_file config.toml added: kohya's script then "
    "writes these arguments to config.toml and ends; give that file"
)
_NO_WAY = "; write a config.toml in kohya's words, or set the same in the settings nodes"

_JSON = (
    (("train_data_dir", "epoch"), _FRONT_END),
    (("pretrained_model_name_or_path", "num_cpu_threads_per_process"), _FRONT_END),
    (("training_method", "base_model_name"), f"a config of OneTrainer{_NO_WAY}"),
    (("training_method", "concepts"), f"a config of OneTrainer{_NO_WAY}"),
    (("job", "config"), f"a job of ai-toolkit{_NO_WAY}"),
    (("nodes", "links"), "a workflow of ComfyUI: load it in the browser"),
)
"""Keys of which a JSON file of that program has all."""

_TOML = (
    (("subsets",), _EASY),
    (("pipeline_stages",), f"a config of diffusion-pipe{_NO_WAY}"),
    (("micro_batch_size_per_gpu",), f"a config of diffusion-pipe{_NO_WAY}"),
    (("directory",), f"a dataset file of diffusion-pipe{_NO_WAY}"),
    (
        ("unet_target_module",),
        "a preset of LyCORIS, not a config; only those that LyCORIS brings are understood",
    ),
    (
        ("unet_target_name",),
        "a preset of LyCORIS, not a config; only those that LyCORIS brings are understood",
    ),
    (("prompt",), "a file of preview prompts: name it as sample_prompts in a config"),
)
"""Keys at the top of which a toml file of that program has all."""

_YAML = re.compile(r"^(job|config|meta|process|model|train|network|datasets)\s*:", re.MULTILINE)
_COMMAND = re.compile(
    r"(accelerate(\.exe)?\s+launch|\b\w*train\w*\.py\b|^[ \t]*--\w+)", re.MULTILINE
)


def is_json(text: str) -> bool:
    """Whether a text looks like JSON: no toml begins so."""
    return text.lstrip("\ufeff \t\r\n").startswith(("{", "[{"))


def other_text(text: str) -> str:
    """What a text that is no toml is, and the way to one; "" where it may be toml with a slip."""
    if is_json(text):
        try:
            data = parse_json(text)
        except ValueError:
            return ""
        if isinstance(data, Mapping):
            named = _named(data, _JSON)
            if not named and any(str(key).startswith("--") for key in data):
                named = f"a config of SimpleTuner{_NO_WAY}"
            return named or "a JSON file; a config of kohya's trainer is toml"
        return "a JSON list; a config of kohya's trainer is toml"
    if _COMMAND.search(text) and not re.search(r"^[ \t]*\w+[ \t]*=[ \t]*\S", text, re.MULTILINE):
        return _SAVE
    if _YAML.search(text):
        return f"YAML, as ai-toolkit and others have it{_NO_WAY}"
    return ""


def other_tables(data: Mapping[str, Any]) -> str:
    """What a toml file of another program is, and the way to a config of kohya's; "" for kohya's own."""
    tables = [value for value in data.values() if isinstance(value, Mapping)]
    if any(isinstance(table.get("args"), Mapping) or "dataset_args" in table for table in tables):
        return _EASY
    datasets = data.get("datasets")
    for dataset in datasets if isinstance(datasets, list) else ():
        if isinstance(dataset, Mapping) and any(
            name in dataset for name in ("image_directory", "image_jsonl_file", "video_directory")
        ):
            return f"a dataset file of musubi-tuner{_NO_WAY}"
    return _named(data, _TOML)


def _named(data: Mapping[str, Any], known: tuple[tuple[tuple[str, ...], str], ...]) -> str:
    return next((what for keys, what in known if all(key in data for key in keys)), "")
