"""Filter Tags: captions cleaned, as values."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..tagger import FilterConfig, parse_list, parse_patterns, parse_replacements
from ..trainer.dataset.dataset import Dataset
from .host.dataset.filter_tags import filter_dataset
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket

PARSERS = {
    "remove": parse_list,
    "replace": parse_replacements,
    "keep_first": parse_list,
    "patterns": parse_patterns,
    "drop_categories": lambda text: parse_list(text.lower()),
}
"""What becomes of the widgets of text."""


class FilterTags(Node):
    """Rules on tag captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "FilterTags",
            display_name="Filter Tags",
            description="Trigger word first, tags removed, replaced, folded or kept at the front. "
            "Whole tags only: braid never touches braided hair. No file is changed.",
            search_aliases=["clean tags", "remove tags", "trigger word"],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose captions are filtered."),
                field(
                    io.String,
                    "trigger",
                    "The word that will call your character or style: first in every caption, once.",
                    default="",
                ),
                field(
                    io.String,
                    "remove",
                    "Tags to take out, separated by commas; * stands for any text (*_hair).",
                    default="",
                    multiline=True,
                ),
                field(
                    io.String,
                    "replace",
                    "source,target;source,target ... whole tags; * in a source stands for any text.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "keep_first",
                    "Tags that go to the front (behind the trigger) when they are there.",
                    default="",
                    advanced=True,
                ),
                setting(
                    FilterConfig,
                    "minimum_count",
                    "Tags in fewer images than this are dropped.",
                    min=1,
                    max=10000,
                    advanced=True,
                ),
                field(
                    io.Int,
                    "maximum_tags",
                    "At most this many tags a caption; 0 for no limit.",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                ),
                field(
                    io.String,
                    "patterns",
                    "Regular expressions, one a line, for whole tags: pattern removes a tag, "
                    "pattern => text replaces it (\\1 is the first group).",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "drop_categories",
                    "Kinds of tags to take out, separated by commas: character, copyright, artist, "
                    "meta, model, quality, rating, general. WD14 Tag in front knows them.",
                    default="",
                    advanced=True,
                ),
                setting(
                    FilterConfig,
                    "fold_redundant",
                    "Drop shirt where the caption has white shirt, and long hair beside very long "
                    "hair.",
                    advanced=True,
                ),
                setting(
                    FilterConfig,
                    "spare_prose",
                    "Leave captions that are written in sentences as they are, except for the trigger "
                    "in front.",
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The dataset with the filtered captions."),
                output(
                    io.String, "report", "Every caption that changed, before and after, and totals."
                ),
            ],
        )

    @classmethod
    def execute(cls, dataset: Dataset, **values: Any) -> io.NodeOutput:
        filtered, report = filter_dataset(dataset, _config(**values))
        return io.NodeOutput(filtered, report, ui={"text": [report]})


def _config(trigger: str, maximum_tags: int, **values: Any) -> FilterConfig:
    """The rules that the widgets stand for; raises ValueError for a line that is none."""
    parsed = {name: parse(values[name]) for name, parse in PARSERS.items()}
    values = {"trigger": trigger.strip(), "maximum_tags": maximum_tags or None, **values, **parsed}
    return FilterConfig(**values)
