"""Find Identity Tags: what is characteristic of the character, shown and then kept, pruned or dropped at random."""

from __future__ import annotations

from comfy_api.latest import io

from ..tagger import IDENTITY_KINDS, IDENTITY_POLICIES, IdentityConfig, IdentityPolicy, parse_list
from ..trainer.dataset.dataset import Dataset, Subset
from .host.dataset.identity import identity_tags
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket


class IdentityTags(Node):
    """Finds frequent tags of hair, eyes, body and accessories."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "IdentityTags",
            display_name="Find Identity Tags",
            description="Shows the tags of hair, eyes, body and accessories that most images "
            "share, and leaves them, takes them out, or has them dropped at random in training.",
            search_aliases=["prune tags", "character tags", "tag policy"],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose captions are looked through."),
                field(
                    io.Combo,
                    "policy",
                    "keep: only show the tags. prune: take them out of the captions. hybrid: keep "
                    "them and leave each out at random in training.",
                    options=list(IDENTITY_POLICIES),
                    default="keep",
                ),
                setting(
                    IdentityConfig,
                    "percent",
                    "A tag is proposed when at least this share of the images has it.",
                    min=1,
                    max=100,
                ),
                field(
                    io.String,
                    "exclude",
                    "Tags that are never proposed, separated by commas; * stands for any text.",
                    default="",
                ),
                field(
                    io.String,
                    "extra",
                    "Tags that count as identity too, separated by commas; * stands for any text.",
                    default="",
                ),
                field(
                    io.Boolean,
                    "hair",
                    "Look for colour, length and style of the hair.",
                    default=True,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "eyes",
                    "Look for colour and shape of eyes, pupils and brows.",
                    default=True,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "body",
                    "Look for skin, build, marks, ears, tails, horns, wings and species.",
                    default=True,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "accessories",
                    "Look for hair ornaments, glasses, earrings, chokers, nails, make-up and the like.",
                    default=True,
                    advanced=True,
                ),
                setting(
                    Subset,
                    "optional_rate",
                    "For hybrid: the chance of each tag to be left out of a sample.",
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The dataset after the policy."),
                output(
                    io.String,
                    "tags",
                    "The proposed tags, separated by commas: for the input remove of Filter Tags.",
                ),
                output(
                    io.String,
                    "report",
                    "The tags with kind and count, and what was done with them.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        policy: IdentityPolicy,
        percent: int,
        exclude: str,
        extra: str,
        optional_rate: float,
        **kinds: bool,
    ) -> io.NodeOutput:
        options = IdentityConfig(
            percent=percent,
            kinds=tuple(kind for kind in IDENTITY_KINDS if kinds[kind]),
            exclude=parse_list(exclude),
            extra=parse_list(extra),
        )
        changed, tags, report = identity_tags(dataset, options, policy, optional_rate)
        return io.NodeOutput(changed, tags, report, ui={"text": [report]})
