"""Text that comes with a workflow or a dataset takes time in proportion to its length, however it is made.

The public functions that take text are enumerated: each is called here, or takes no text of a user's.
"""

import contextlib
import importlib
import inspect
import pkgutil
import random
import time
import typing
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from pack.base.caption_reader import caption_tags, read_line, spoken
from pack.base.lettering import fitted, letters
from pack.base.plain_names import (
    forbidden_letters,
    is_device,
    nearest_plain_name,
    plain_ending,
    plain_name,
    plain_path,
    why_not_plain,
)
from pack.base.small_file import parse_json
from pack.tagger.captions.filter_config import FilterConfig
from pack.tagger.captions.filters import filter_captions
from pack.tagger.captions.identity import IdentityConfig, find_identity, identity_kind, prune
from pack.tagger.captions.patterns import PatternRule, parse_patterns, pattern_problem
from pack.tagger.captions.prose import is_prose
from pack.tagger.captions.redundancy import covered_by, redundant
from pack.tagger.captions.report import compare
from pack.tagger.captions.rewriting import Rewriter
from pack.tagger.captions.tag_text import (
    each_line,
    join_tags,
    list_problems,
    merge,
    separator_problems,
    split_tags,
    tag_key,
    tag_match,
)
from pack.tagger.images.monochrome import tag_kind
from pack.tagger.scores.scorecard import Preview, Seen, score, study
from pack.tagger.wd14.labels import spaced
from pack.tagger.wd14.models import short_name
from pack.tagger.wd14.select_tags import (
    TagConfig,
    count_tags,
    expand_character,
    frequency_table,
    parse_list,
    parse_replacements,
)
from pack.tagger.wd14.tag_extras import csv_limits, csv_series
from pack.trainer.batches.class_captions import class_caption
from pack.trainer.batches.embedding_captions import token_pattern
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.checkpoints import check_name
from pack.trainer.config.optimiser_arguments import check_arguments, parse_arguments
from pack.trainer.config.optimiser_factory import try_arguments
from pack.trainer.config.optimisers import find_kind
from pack.trainer.config.piecewise import parse_step_rules
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.caption_files import caption_ending, decode_text
from pack.trainer.dataset.caption_rules import (
    free_tags,
    share_key,
    shown_caption,
    shown_lines,
    without_tags,
)
from pack.trainer.dataset.dataset import Dataset, Sample, Subset
from pack.trainer.dataset.file_names import stem, suffix, why_unread
from pack.trainer.dataset.given_captions import with_texts
from pack.trainer.files.index import FileStamp
from pack.trainer.kohya.formats import is_json, other_tables, other_text
from pack.trainer.kohya.gui import gui_arguments
from pack.trainer.kohya.prompt_files import prompt_lines
from pack.trainer.kohya.prompt_lines import parse_prompts, without_seed
from pack.trainer.kohya.toml import checked, parse, toml_tables, unknown
from pack.trainer.kohya.unheard import meant, other_script
from pack.trainer.lora_files.formats import to_kohya
from pack.trainer.lora_files.peft_config import parse_config
from pack.trainer.lora_tools.scale_blocks import parse_blocks
from pack.trainer.renaming.plan import Naming
from pack.trainer.runs.anonymous import without_given, without_names, without_values
from pack.trainer.runs.run_list import run_of
from pack.trainer.runs.sweep import parse_numbers, parse_seeds, swept
from pack.trainer.sdxl.blocks import block_of, parse_alphas, parse_ranks, rate_weights
from pack.trainer.sdxl.buckets import parse_resolutions
from pack.trainer.sdxl.token_chunks import parse_weights, weighted_ids
from pack.trainer.sdxl.unet_names import from_diffusers, is_checkpoint_name, to_diffusers

LENGTHS = {12_000: 0.5, 100_000: 6.0}
"""Characters, and the seconds of CPU time that they may take where `counting` takes `COUNTED`."""
COUNTED = 0.2
UNMEASURED = 0.08  # seconds in which the doubling of a length says nothing

UNITS = (
    "a", "A", "1", "0.1", "é", "。", "你", "\u0301", " ", "\n", "\t", "\r", "\r\n", "\ufeff", "\\", "/",
    "_", "-", ".", ",", ":", ";", "=", "'", '"', "(", ")", "[", "]", "{", "}", "{}", "{{", "}}", "|",
    "{a|", "⦅", "⦅{{", "#", "*", "+", "<", "%", "--", " --", " --n a", " --w 1", "a ", "a, ", "a,b\n",
    "a b, ", "(a", "(a:1.1)", "[a", "\\a", "\\(", "A. ", '." ', "a_b, ", "[a]\n", "a = 1\n", "a.",
    "a,a;", "*a", "a*, ", "x.png ", "C:\\a", "/a/", "a\n",
)  # fmt: skip
END = "_"

SHUFFLED = CaptionConfig(wildcards=True, shuffle=True, tag_dropout=0.5, keep_tokens_separator="|||")
IN_MEMORY = Dataset(
    (
        Subset(
            "a", Path(), "", 1, False,
            (Sample(Path("a.png"), (1, 1), FileStamp(1, 1), "", "tags, a", Path("a.txt")),),
        ),
    )
)  # fmt: skip


def shown(text: str) -> str:
    return shown_caption(text, SHUFFLED, random.Random(0), epoch=1)


def filtered(text: str) -> object:
    config = FilterConfig(
        trigger="sks", remove=("*a*b*", "c"), replace=(("d", "e"),), keep_first=("f",),
        minimum_count=2, fold_redundant=True, spare_prose=True,
        patterns=(PatternRule("x+y", "z"),),
    )  # fmt: skip
    return filter_captions([text, "a, b"], config)


PROBES: dict[str, Callable[[str], object]] = {
    "token_pattern": lambda text: token_pattern("a").sub("b", text),
    "class_caption": lambda text: (
        class_caption(text, "a, (", "b"), class_caption("a b", text, "c"),
    ),
    "check_name": check_name,
    "find_kind": find_kind,
    "fitted": lambda text: fitted(text, 100, letters(13)),
    "parse_arguments": lambda text: [
        refused(parse_arguments, [line]) for line in (text, f"a={text}", f"a=({text})")
    ],
    "check_arguments": lambda text: check_arguments("AdamW", [f"betas={text}"]),
    "try_arguments": lambda text: try_arguments("AdamW", {"eps": text}, {}, 0.01),
    "parse_step_rules": parse_step_rules,
    "decode_text": lambda text: decode_text(text.encode(), Path("a.txt")),
    "shown_caption": shown,
    "without_tags": lambda text: without_tags(text, ["a", "b"], 0.5, random.Random(0)),
    "stem": stem,
    "suffix": suffix,
    "why_unread": why_unread,
    "prompt_lines": lambda text: (
        prompt_lines(text, ".txt"), refused(prompt_lines, text, ".toml"), refused(prompt_lines, text, ".json"),
    ),
    "parse_prompts": parse_prompts,
    "without_seed": without_seed,
    "parse": lambda text: parse(text, "config"),
    "toml_tables": lambda text: [
        refused(toml_tables, toml, "config") for toml in (text, f"a = {text}", f"{text}b = 1")
    ],
    "checked": lambda text: checked(dict.fromkeys(text.split(), text[:9]), "config"),
    "unknown": lambda text: unknown(text, frozenset(["network_dim", "network_alpha"])),
    "without_names": without_names,
    "without_given": lambda text: without_given(text, [text[:9], "some"]),
    "without_values": lambda text: without_values({text: [text]}, ["some"]),
    "parse_json": lambda text: [refused(parse_json, json) for json in (text, f"[{text}", f'{{"a":{text}')],
    "separator_problems": separator_problems,
    "block_of": block_of,
    "parse_ranks": lambda text: parse_ranks(text, "ranks"),
    "parse_alphas": lambda text: parse_alphas(text, "alphas"),
    "parse_blocks": parse_blocks,
    "rate_weights": lambda text: rate_weights(text, "", ""),
    "parse_resolutions": parse_resolutions,
    "weighted_ids": lambda text: weighted_ids(text, lambda part: [1] * len(part)),
    "parse_weights": parse_weights,
    "is_checkpoint_name": is_checkpoint_name,
    "from_diffusers": from_diffusers,
    "to_diffusers": to_diffusers,
    "to_kohya": lambda text: to_kohya({text: None}),
    "filter_captions": filtered,
    "identity_kind": identity_kind,
    "find_identity": lambda text: find_identity(
        [text], IdentityConfig(exclude=("*x*",), extra=("*y*z",)), trigger=text
    ),
    "prune": lambda text: prune(text, {"a", "b"}),
    "parse_patterns": parse_patterns,
    "pattern_problem": lambda text: (
        pattern_problem(PatternRule(text)), pattern_problem(PatternRule("a", text)),
    ),
    "is_prose": is_prose,
    "covered_by": covered_by,
    "redundant": lambda text: redundant(split_tags(text)),
    "compare": lambda text: compare(["a"], [text], [text[1:]]).text(),
    "split_tags": split_tags,
    "join_tags": lambda text: join_tags(text),
    "tag_key": tag_key,
    "each_line": lambda text: each_line(text, str.strip),
    "tag_match": lambda text: [tag_match(text)(text), tag_match("*a*b*c", "*" + text)(text + "x")],
    "merge": lambda text: [
        merge(text, split_tags(text)[-9:], kohya=kohya) for kohya in (False, True)
    ],
    "list_problems": lambda text: list_problems("remove", text.split(",")),
    "study": lambda text: study([Seen({text: 1.0}, text)], text, 0.5, [text]),
    "score": lambda text: score(
        Preview(text, {text: 1.0}), study([Seen({text: 1.0}, "a")], text, 0.5), [text], 0.5
    ),
    "tag_kind": lambda text: tag_kind(text, "monochrome"),
    "spaced": spaced,
    "short_name": short_name,
    "count_tags": lambda text: count_tags([text.split(",")]),
    "frequency_table": lambda text: frequency_table(count_tags([text.split(",")])),
    "share_key": share_key,
    "free_tags": lambda text: free_tags(text, SHUFFLED),
    "shown_lines": lambda text: shown_lines(text, SHUFFLED),
    "with_texts": lambda text: with_texts(IN_MEMORY, [text], "add a variant"),
    "parse_list": parse_list,
    "parse_replacements": lambda text: TagConfig(replacements=parse_replacements(text)),
    "expand_character": expand_character,
    "csv_series": lambda text: refused(csv_series, [[text]], {"ips": 0}, Path("tags.csv")),
    "csv_limits": lambda text: csv_limits([[text]], {"best_threshold": 0}),
    "FilterConfig.replace": lambda text: FilterConfig(replace=parse_replacements(text)),
    "FilterConfig.remove": lambda text: FilterConfig(remove=parse_list(text)),
    "FilterConfig.patterns": lambda text: FilterConfig(patterns=parse_patterns(text)),
    "Rewriter.body": lambda text: Rewriter(FilterConfig(replace=(("*a*c", "d"),))).body(text, {}),
    "Rewriter.prose": lambda text: Rewriter(FilterConfig(trigger="a, b")).prose(text),
    "Naming": lambda text: Naming(text),
    "read_line": lambda text: [read_line(text, separator) for separator in (",", "|", "x")],
    "caption_tags": caption_tags,
    "spoken": spoken,
    "plain_name": lambda text: [refused(plain_name, name, "be a name") for name in (text, f"a{text}a")],
    "plain_path": lambda text: plain_path(text, "be a path"),
    "plain_ending": lambda text: plain_ending(f".{text}", "be an ending"),
    "nearest_plain_name": nearest_plain_name,
    "why_not_plain": why_not_plain,
    "forbidden_letters": forbidden_letters,
    "is_device": is_device,
    "caption_ending": caption_ending,
    "meant": lambda text: meant(text, ["network_dim", "network_alpha"]),
    "other_script": lambda text: other_script({"token_string": text, "init_word": text}),
    "other_text": other_text,
    "is_json": is_json,
    "gui_arguments": lambda text: [
        refused(gui_arguments, {"LoRA_type": kind, "lr_warmup": text, "additional_parameters": text, **more}, "a")
        for kind, more in (("Standard", {text: text, "block_dims": text}), (text, {}), ("LyCORIS/" + text, {}))
    ],
    "other_tables": lambda text: other_tables({text: {text: text}}),
    "parse_numbers": lambda text: parse_numbers(text, "ranks"),
    "parse_seeds": parse_seeds,
    "swept": lambda text: [
        refused(swept, TrainConfig(), *texts) for texts in ((text, "", ""), ("", text, ""), ("", "", text))
    ],
    "run_of": lambda text: run_of(
        Path("nowhere"), {"ss_session_id": text, "lora_loop.version": text}
    ),
    "parse_config": lambda text: parse_config(f'{{"{text}": 1}}', "config"),
}  # fmt: skip

NO_TEXT = {
    "not a user's text": """remainder in_sentence in_lines in_order is_relative is_blockwise class_name own_defaults
        make_optimiser check_precision unknown_run generator lycoris integer permutation prepare python_random uniform draw_normal
        draw_uniform digest endless choose_providers fallback
        without_private to_diffusers_lora in_format write_json leaves describe_layout writing describe
        steps_in with_checksum damaged missing_parts malformed misfit known blanks_at is_patched
        check_count lay_out move whole full_config sentence draw_lines spread_over_seeds contrasts shown save_beside""",
    "tensors and digests": """by_layer by_metadata by_names by_width change_shape is_extra is_wrapped not_finite
        component_of read_key bundled embedding_of is_black without_embeddings read_vectors text_key cache_texts finite write_lora check_bytes read_unchanged load
        tiled as_tensors block_name block_table diffusers_path error_text extract is_plain merged read_factors
        check_cast check_whole is_nothing judge resize retold run_of scale_blocks size_text score_text""",
    "the name of a file, which the file system bounds": """is_caption is_picture mask_owners side_files
        side_folder not_used unused_texts decoded opened open_image unreadable caption_name
        folder_stamp scan_folder export_kohya dataset_of save_user_lora same_name ending read_rgb examine
        find_origin find_run read_labels find_local local_names locate model_at advice open_session
        download read_caption""",
    "passes its text to one that is called here": """canvas lasting_texts nearest_run report plan_folders
        network_settings optimiser_settings write_report clear beginning differences ignored_arguments
        network_differences leaves_text check_finite means tag_shares preview_settings are_wanted without_effect why_unheard contact_sheet""",
}
EXEMPT = {name for names in NO_TEXT.values() for name in names.split()}


def refused(function: Callable[..., object], *arguments: object) -> None:
    """Call it; a sentence to the user is an answer too."""
    with contextlib.suppress(ValueError):
        function(*arguments)


def public_text_functions() -> set[str]:
    """Names of the functions of modules, not of classes, that have a parameter of text."""
    found = set()
    for package in ("base", "trainer", "tagger"):
        root = importlib.import_module(f"pack.{package}")
        for module_info in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            if ".kernels" in module_info.name:
                continue
            module = importlib.import_module(module_info.name)
            found |= {
                name
                for name, function in vars(module).items()
                if inspect.isfunction(function)
                and function.__module__ == module.__name__
                and not name.startswith("_")
                and any(map(is_text, parameters(function)))
            }
    return found


def parameters(function: Callable[..., object]) -> list[object]:
    hints = typing.get_type_hints(function)
    return [hint for name, hint in hints.items() if name != "return"]


def is_text(hint: object) -> bool:
    kinds = (Sequence, Iterable, Collection, Mapping, tuple, list, dict, typing.Union)
    inner = typing.get_args(hint) if typing.get_origin(hint) in kinds or "|" in str(hint) else ()
    return hint is str or any(map(is_text, inner))


def seconds(function: Callable[[str], object], text: str) -> float:
    """CPU time, the best of three where it is long enough to be measured."""
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        refused(function, text)
        best = min(best, time.process_time() - begun)
        if best < UNMEASURED:
            break
    return best


def text_of(unit: str, length: int) -> str:
    """A text of one thing over and over, with another at its end."""
    return (unit * (length // len(unit) + 1))[: length - len(END)] + END


def test_every_function_of_text_is_measured_or_said_to_take_none():
    found = public_text_functions()
    assert "is_prose" in found and len(found) > 60
    assert found - EXEMPT - PROBES.keys() == set()


@pytest.mark.slow  # on a machine at half its speed
@pytest.mark.parametrize("name", PROBES)
def test_time_goes_with_the_length(name):
    for unit in UNITS:
        measure(PROBES[name], unit, 12_000)
    for unit in ("{", " ", "".join(unit * 20 for unit in UNITS)):
        measure(PROBES[name], unit, 100_000)


def counting(_: str) -> None:
    """The same work on every machine, which says how fast it is now."""
    found = Counter()
    for number in range(500_000):
        found[str(number)[-2:]] += 1


def measure(function: Callable[[str], object], unit: str, length: int) -> None:
    """Twice the length takes less than four times as long, and no length longer than it may."""
    spent = seconds(function, text_of(unit, length))
    said = f"{length} characters of {unit!r}: {spent:.2f} s"
    if spent >= LENGTHS[length]:  # the bound is for a machine at a known speed: best against best
        rounds = [(seconds(function, text_of(unit, length)), seconds(counting, "")) for _ in "123"]
        spent, counted = (min(times) for times in zip(*rounds, strict=True))
        assert spent < LENGTHS[length] * counted / COUNTED, f"{said}, counting: {counted:.2f} s"
    for _ in range(3):  # a processor that is faster for one of the two says nothing of the length
        if spent <= UNMEASURED:
            return
        if spent < 3.7 * seconds(function, text_of(unit, length // 2)):
            return
        spent = seconds(function, text_of(unit, length))
    half = seconds(function, text_of(unit, length // 2))
    assert spent < 3.7 * half, f"{said}, {half:.2f} s for half of it"
