"""Tagging and caption rules: WD14 over ONNX Runtime, filters, identity tags, monochrome and quality tests.

Pure: knows neither ComfyUI nor the trainer.
"""

from .captions.filter_config import CATEGORIES, FilterConfig
from .captions.filters import Filtered, filter_captions
from .captions.identity import (
    IDENTITY_KINDS,
    IDENTITY_POLICIES,
    Identity,
    IdentityConfig,
    IdentityPolicy,
    IdentityTag,
    find_identity,
    identity_kind,
    prune,
)
from .captions.patterns import PatternRule, parse_patterns
from .captions.report import Change, Report, compare
from .captions.rewriting import Kept
from .captions.tag_text import (
    MERGE_POLICIES,
    SEPARATOR,
    MergePolicy,
    join_tags,
    merge,
    split_tags,
    tag_key,
    tag_match,
)
from .images.duplicates import CANDIDATE_BITS, HASH_BITS, find_copies
from .images.monochrome import (
    MONOCHROME_POLICIES,
    NUMBERS,
    Kind,
    MonochromeConfig,
    MonochromeMethod,
    MonochromePolicy,
    examine,
    tag_kind,
)
from .images.quality import MEASURED_PIXELS, CurateConfig, Quality, assess
from .scores.scorecard import Preview, Scores, Seen, Subject, score, shown, study
from .wd14.download import Progress, download
from .wd14.labels import KAOMOJI, Category, Label, Labels, Layout, spaced
from .wd14.models import (
    DEFAULT_MODEL,
    MODEL_NAMES,
    ModelFiles,
    find_local,
    local_names,
    locate,
    model_at,
)
from .wd14.onnx_session import (
    CPU,
    PROVIDERS,
    Provider,
    Session,
    available_providers,
    choose_providers,
    fallback,
    open_session,
)
from .wd14.preprocess import Picture, View, prepare, read_rgb
from .wd14.select_tags import (
    NEVER,
    Place,
    Tag,
    TagConfig,
    count_tags,
    frequency_table,
    parse_list,
    parse_replacements,
    select,
)
from .wd14.tag_lists import read_labels
from .wd14.tagger import Outcome, Tagger
from .wd14.tagger_config import TaggerConfig

__all__ = [
    "CANDIDATE_BITS",
    "CATEGORIES",
    "CPU",
    "DEFAULT_MODEL",
    "HASH_BITS",
    "IDENTITY_KINDS",
    "IDENTITY_POLICIES",
    "KAOMOJI",
    "MEASURED_PIXELS",
    "MERGE_POLICIES",
    "MODEL_NAMES",
    "MONOCHROME_POLICIES",
    "NEVER",
    "NUMBERS",
    "PROVIDERS",
    "SEPARATOR",
    "Category",
    "Change",
    "CurateConfig",
    "FilterConfig",
    "Filtered",
    "Identity",
    "IdentityConfig",
    "IdentityPolicy",
    "IdentityTag",
    "Kept",
    "Kind",
    "Label",
    "Labels",
    "Layout",
    "MergePolicy",
    "ModelFiles",
    "MonochromeConfig",
    "MonochromeMethod",
    "MonochromePolicy",
    "Outcome",
    "PatternRule",
    "Picture",
    "Place",
    "Preview",
    "Progress",
    "Provider",
    "Quality",
    "Report",
    "Scores",
    "Seen",
    "Session",
    "Subject",
    "Tag",
    "TagConfig",
    "Tagger",
    "TaggerConfig",
    "View",
    "assess",
    "available_providers",
    "choose_providers",
    "compare",
    "count_tags",
    "download",
    "examine",
    "fallback",
    "filter_captions",
    "find_copies",
    "find_identity",
    "find_local",
    "frequency_table",
    "identity_kind",
    "join_tags",
    "local_names",
    "locate",
    "merge",
    "model_at",
    "open_session",
    "parse_list",
    "parse_patterns",
    "parse_replacements",
    "prepare",
    "prune",
    "read_labels",
    "read_rgb",
    "score",
    "select",
    "shown",
    "spaced",
    "split_tags",
    "study",
    "tag_key",
    "tag_kind",
    "tag_match",
]
