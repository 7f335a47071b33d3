"""Tagging and caption rules: WD14 over ONNX Runtime, filters, identity tags, the monochrome test.

Pure: knows neither ComfyUI nor the trainer.
"""

from .ahead import in_order
from .captions import (
    MERGE_POLICIES,
    SEPARATOR,
    MergePolicy,
    join_tags,
    merge,
    split_tags,
    tag_key,
    tag_match,
)
from .download import Progress, download
from .filter_options import CATEGORIES, FilterOptions
from .filters import Filtered, filter_captions
from .identity import (
    IDENTITY_KINDS,
    IDENTITY_POLICIES,
    Identity,
    IdentityOptions,
    IdentityPolicy,
    IdentityTag,
    find_identity,
    identity_kind,
    prune,
)
from .labels import KAOMOJI, Category, Label, read_labels, spaced
from .models import DEFAULT_MODEL, MODEL_NAMES, ModelFiles, find_local, local_names, locate
from .monochrome import (
    MONOCHROME_POLICIES,
    NUMBERS,
    Kind,
    MonochromeMethod,
    MonochromeOptions,
    MonochromePolicy,
    examine,
    tag_kind,
)
from .patterns import PatternRule, parse_patterns
from .preprocess import Picture, prepare, read_rgb
from .report import Change, Report, compare
from .rewriting import Kept
from .tags import (
    RATING_PLACES,
    RatingPlace,
    Tag,
    TagOptions,
    count_tags,
    parse_list,
    parse_replacements,
    select,
)
from .wd14 import (
    PROVIDERS,
    Provider,
    Session,
    Tagger,
    available_providers,
    choose_providers,
    open_session,
)

__all__ = [
    "CATEGORIES",
    "DEFAULT_MODEL",
    "IDENTITY_KINDS",
    "IDENTITY_POLICIES",
    "KAOMOJI",
    "MERGE_POLICIES",
    "MODEL_NAMES",
    "MONOCHROME_POLICIES",
    "NUMBERS",
    "PROVIDERS",
    "RATING_PLACES",
    "SEPARATOR",
    "Category",
    "Change",
    "FilterOptions",
    "Filtered",
    "Identity",
    "IdentityOptions",
    "IdentityPolicy",
    "IdentityTag",
    "Kept",
    "Kind",
    "Label",
    "MergePolicy",
    "ModelFiles",
    "MonochromeMethod",
    "MonochromeOptions",
    "MonochromePolicy",
    "PatternRule",
    "Picture",
    "Progress",
    "Provider",
    "RatingPlace",
    "Report",
    "Session",
    "Tag",
    "TagOptions",
    "Tagger",
    "available_providers",
    "choose_providers",
    "compare",
    "count_tags",
    "download",
    "examine",
    "filter_captions",
    "find_identity",
    "find_local",
    "identity_kind",
    "in_order",
    "join_tags",
    "local_names",
    "locate",
    "merge",
    "open_session",
    "parse_list",
    "parse_patterns",
    "parse_replacements",
    "prepare",
    "prune",
    "read_labels",
    "read_rgb",
    "select",
    "spaced",
    "split_tags",
    "tag_key",
    "tag_kind",
    "tag_match",
]
