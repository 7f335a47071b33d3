"""Names and values of which kohya takes no notice pass with a reason; slips and what is on and missing do not."""

from itertools import takewhile

import pytest

from pack.tests.trainer.kohya.kohya_arguments import NAMES
from pack.tests.trainer.kohya.kohya_import import imported
from pack.trainer.kohya.toml import KNOWN
from pack.trainer.kohya.unheard import NEEDS, NEWER, NO_ARGUMENT, UNHEARD
from pack.trainer.kohya.unused import REFUSED

LYCORIS = 'network_module = "lycoris.kohya"\n'


def ignored(report):
    """The lines below "Ignored:" by name."""
    lines = report.partition("Ignored:\n")[2].splitlines()
    of_it = takewhile(lambda line: line.startswith("  "), lines)
    return dict(line.strip().split(": ", 1) for line in of_it)


def test_what_kohya_takes_no_notice_of_is_no_argument_of_its():
    assert not UNHEARD.keys() & set(NAMES)
    assert set(UNHEARD) >= {
        "epoch", "noise_offset_type", "lr_restart_cycles", "sdxl", "model_train_type",
        "stop_text_encoder_training", "loraplus_lr_ratio",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["10", "true", '"text"', "[]"])
def test_it_is_ignored_with_the_reason(value):
    names = [*UNHEARD, "zzz", "edm2_loss_weighting", "my_note"]
    lines = ['network_module = "networks.lora"', *(f"{name} = {value}" for name in names)]
    found = imported("\n".join(lines))
    assert ignored(found.report) == {name: UNHEARD.get(name, NO_ARGUMENT) for name in names}
    assert found.train == imported().train


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('token_string = "mychar"\nweights = ""\nnum_vectors_per_token = 4\ninit_word = "girl"\nlearning_rate = 5e-4',
         r"Embedding Settings to Train instead \(token mychar, vectors 4, initial_text girl, learning_rate 0.0005\)"),
        ("learning_rate_te1 = 1e-6\ntrain_text_encoder = true", "Connect Full Tuning Settings to Train instead"),
        ('block_lr = "1e-5"', "block_lr is an argument of sdxl_train.py"),
    ],
)  # fmt: skip
def test_a_config_of_another_script_is_not_made_a_lora_of(text, said):
    with pytest.raises(ValueError, match=said):
        imported(text)
    found = imported(f'network_module = "networks.lora"\n{text}')  # as kohya's trainer of LoRAs
    assert ignored(found.report)[text.split()[0]] == UNHEARD[text.split()[0]]


@pytest.mark.parametrize(
    "off", ["train_text_encoder = false", "learning_rate_te1 = 0", 'token_string = ""']
)
def test_what_is_off_is_of_no_other_script(off):
    assert imported(off).train == imported().train


def slips():
    """Each argument of kohya's with two letters changed round, one left out, and one too many."""
    for name in NAMES:
        if len(name) > 5:
            yield f"{name[:-2]}{name[-1]}{name[-2]}" if name[-1] != name[-2] else f"{name}x"
            yield f"{name[:3]}{name[4:]}"
            yield f"{name}s"


def test_a_slip_is_an_error():
    names = sorted({*slips()} - KNOWN - UNHEARD.keys())
    assert len(names) > 400
    said = []
    for place in range(0, len(names), 20):  # of more the first are named
        with pytest.raises(ValueError, match="no argument") as caught:
            imported("\n".join(f"{name} = 4" for name in names[place : place + 20]))
        said += str(caught.value).split("; ")
    for name in names:
        at = next(
            n
            for n, part in enumerate(said)
            if part.endswith(f"{name} is no argument of kohya's trainer for SDXL LoRAs")
        )
        assert said[at + 1].startswith("did you mean "), name


@pytest.mark.parametrize("name", NEEDS)
def test_what_belongs_to_something_empty_or_off_passes(name):
    value = "true" if REFUSED[name].default is False else '"something"'
    off = "false" if REFUSED[NEEDS[name]].default is False else '""'
    for partner in ("", f"{NEEDS[name]} = {off}\n"):
        found = imported(f"{partner}{name} = {value}\n")
        assert NEEDS[name] in ignored(found.report)[name]
        assert found.train == imported().train
    with pytest.raises(ValueError, match=f"{name} = "):
        imported(f'{NEEDS[name]} = "given"\n{name} = {value}\n')


SWITCHES = [
    "bypass_mode", "use_scalar", "train_norm", "use_cp", "use_conv_cp", "use_tucker",
    "decompose_both", "rank_dropout_scale", "unbalanced_factorization", "rescaled", "train_t5xxl",
    "train_llm_adapter",
]  # fmt: skip


@pytest.mark.parametrize("algo", ["lora", "locon", "loha", "lokr"])
@pytest.mark.parametrize("off", [*(f"{name}=False" for name in SWITCHES), "constraint=0", "constrain=0.0",
                                 "use_cp=false", "block_size=4", "unit=1", "train_on_input=True"])  # fmt: skip
def test_an_option_of_lycoris_that_changes_nothing_passes(algo, off):
    alone = imported(f'{LYCORIS}network_args = ["algo={algo}"]')
    found = imported(f'{LYCORIS}network_args = ["algo={algo}", "{off}"]')
    assert found.train == alone.train
    assert f"network_args {off.partition('=')[0]}" in ignored(found.report)


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr"])
@pytest.mark.parametrize("on", [*(f"{name}=True" for name in SWITCHES), "use_scalar=0", "use_tucker=yes"])  # fmt: skip
def test_one_that_is_on_is_refused_by_name(algo, on):
    with pytest.raises(ValueError, match=f"network_args {on}: .*remove it"):
        imported(f'{LYCORIS}network_args = ["algo={algo}", "{on}"]')


def test_dora_is_not_on_or_off_by_a_number():
    with pytest.raises(ValueError, match="dora_wd is '0'; it must be True or False"):
        imported(f'{LYCORIS}network_args = ["dora_wd=0"]')


def test_network_args_that_the_module_does_not_read():
    found = imported('network_args = ["algo=loha", "train_norm=True", "preset=full", "note=1"]')
    assert found.train == imported().train
    assert ignored(found.report) == {
        f"network_args {name}": "networks.lora takes no notice of it"
        for name in ("algo", "train_norm", "preset", "note")
    }
    with pytest.raises(ValueError, match="network_args has rank_dropuot"):
        imported('network_args = ["rank_dropuot=0.1"]')


def test_lora_plus_of_lycoris():
    plus = '"loraplus_lr_ratio=4"]'
    assert imported(f'{LYCORIS}network_args = ["algo=locon", {plus}').train.lora.loraplus_ratio == 4
    found = imported(f'{LYCORIS}network_args = ["algo=lokr", {plus}')
    assert found.train.lora.loraplus_ratio == 0
    assert "network_args loraplus_lr_ratio" in ignored(found.report)


@pytest.mark.parametrize(
    ("lines", "rank", "whole"),
    [
        ('network_dim = 10000\nnetwork_args = ["algo=lokr", "conv_dim=10000", "conv_alpha=10000"]', 10000, False),
        ('network_dim = 100000\nnetwork_args = ["algo=LoKr"]', 100000, False),
        ('network_dim = 16\nnetwork_args = ["algo=lokr", "full_matrix=True"]', 16, True),
    ],
)  # fmt: skip
def test_lokr_with_a_whole_second_matrix(lines, rank, whole):
    lora = imported(f"{LYCORIS}network_alpha = 10000\n{lines}").train.lora
    assert (lora.algorithm, lora.rank, lora.conv_rank) == ("lokr", rank, rank)
    assert (lora.alpha, lora.conv_alpha, lora.full_matrix) == (10000.0, 10000.0, whole)


def test_lora_and_loha_have_no_such_ranks():
    for module in ("", f'{LYCORIS}network_args = ["algo=loha"]\n'):
        with pytest.raises(ValueError, match=r"rank is 10000; it must lie in 1\.\.1024"):
            imported(f"{module}network_dim = 10000")


def test_a_locon_of_the_front_end():
    lora = imported(f'{LYCORIS}LoRA_type = "LoCon"\nnetwork_args = ["algo=locon"]').train.lora
    assert lora.algorithm == "lora" and lora.conv_rank == lora.rank


def test_decompose_both_is_told_where_lycoris_takes_its_false_for_yes():
    lines = f'{LYCORIS}network_dim = 8\nnetwork_args = ["algo=lokr", "decompose_both=False"]'
    assert "decompose_both" in imported(lines).report.split("Unlike kohya")[1]
    whole = lines.replace("= 8", "= 10000")
    assert "decompose_both" not in imported(whole).report.split("Unlike kohya")[1]


@pytest.mark.parametrize("name", NEWER)
def test_arguments_of_newer_versions_are_refused_when_they_are_on(name):
    assert ignored(imported(f"{name} = false").report)[name] == "it is off"
    with pytest.raises(ValueError, match=f"{name} = True: {NEWER[name]}"):
        imported(f"{name} = true")


@pytest.mark.parametrize(
    "line", ["v2 = false", 'log_with = "tensorboard"', 'huggingface_repo_id = ""']
)
def test_what_is_as_it_is_here_anyway_is_told(line):
    name, value = line.split(" = ")
    assert ignored(imported(line).report)[name] == f"{value} changes nothing"
