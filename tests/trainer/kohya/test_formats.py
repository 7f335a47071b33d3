"""Configs of other programs, and arguments in the wrong section, are named as what they are."""

import pytest

from pack.tests.trainer.kohya.kohya_import import imported

OTHERS = {
    "kohya_ss, old": ('{\n "epoch": 1,\n "train_data_dir": "x"}', "kohya_ss.*config_lora-"),
    "OneTrainer": ('{"training_method": "LORA", "base_model_name": "x"}', "OneTrainer"),
    "SimpleTuner": ('{"--model_family": "sdxl"}', "SimpleTuner"),
    "a workflow": ('{"nodes": [], "links": []}', "workflow of ComfyUI"),
    "other JSON": ('{"a": 1}', "a JSON file; a config of kohya's trainer is toml"),
    "a JSON list": ('[{"a": 1}]', "a JSON list"),
    "ai-toolkit": ("job: extension\nconfig:\n  name: x\n", "YAML"),
    "a command": (
        "accelerate launch --num_cpu_threads_per_process 2 sdxl_train_network.py \\\n  --network_dim=32\n",
        "a command line.*--output_config",
    ),
    "only its arguments": ("--network_dim 32 --network_alpha 16\n--sdpa\n", "a command line"),
    "Easy Training Scripts": (
        '[general_args.args]\nseed = 1\n[general_args.dataset_args]\nresolution = 1024\n'
        '[network_args.args]\nnetwork_dim = 32\n[[subsets]]\nimage_dir = "x"\n',
        "LoRA_Easy_Training_Scripts.*two files",
    ),
    "the same without subsets": ("[network_args.args]\nnetwork_dim = 32\n", "LoRA_Easy_Training_Scripts"),
    "diffusion-pipe": ("pipeline_stages = 1\n[model]\ntype = 'sdxl'\n", "diffusion-pipe"),
    "its dataset": ("resolutions = [512]\n[[directory]]\npath = 'x'\n", "dataset file of diffusion-pipe"),
    "musubi-tuner": ("[[datasets]]\nimage_directory = 'x'\n", "musubi-tuner"),
    "LyCORIS": ("enable_conv = true\nunet_target_module = ['a']\n", "preset of LyCORIS"),
    "prompts": ("[prompt]\nwidth = 512\n[[prompt.subset]]\nprompt = 'a'\n", "preview prompts"),
}  # fmt: skip


@pytest.mark.parametrize("program", OTHERS)
def test_another_program_s_config_is_named(program):
    text, words = OTHERS[program]
    with pytest.raises(ValueError, match=rf"config\.toml is (?s:.*){words}"):
        imported(base=text)


def test_toml_with_a_slip_is_still_that():
    with pytest.raises(ValueError, match="is not valid toml"):
        imported(base="network_dim = \ntrain_data_dir = 'x'\n")


DATASET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "x"\n'


@pytest.mark.parametrize(
    ("text", "named", "outside"),
    [
        (f'[general]\noutput_dir = "out"\n{DATASET}', "output_dir", r"outside \[general\]"),
        (f"[general]\nnetwork_dim = 4\n{DATASET}", "network_dim", r"outside \[general\]"),
        (f"[general]\nxformers = true\n{DATASET}", "xformers", r"outside \[general\]"),
        (f"[general]\nlogging_dir = 'l'\n{DATASET}", "logging_dir", r"outside \[general\]"),
        (
            DATASET.replace("resolution", "seed = 1\nresolution"),
            "seed",
            r"outside \[\[datasets\]\]",
        ),
        (f"{DATASET}max_train_steps = 9", "max_train_steps", r"outside \[\[subsets\]\]"),
    ],
)
def test_arguments_below_a_section_of_the_dataset(text, named, outside):
    for given in ({"base": text}, {"dataset": text}):
        with pytest.raises(
            ValueError, match=f"{named} is an argument .* belongs {outside}"
        ) as error:
            imported(**given)
        assert "no argument" not in str(error.value)


def test_a_section_called_general_without_a_dataset_is_any_section():
    config = imported(base='[general]\ntrain_data_dir = "x"\nnetwork_train_unet_only = true\n')
    assert config.folders[0].path == "x"


def test_what_is_no_argument_anywhere_is_said_to_be_none():
    with pytest.raises(ValueError, match="keep_token is no argument"):
        imported(base=DATASET + "keep_token = 3\n")
