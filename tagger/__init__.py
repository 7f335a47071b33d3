"""Tagging and caption rules: WD14 over ONNX Runtime, tag options, filters; monochrome and quality tests.

Pure: knows neither ComfyUI nor the trainer.
"""

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
from .duplicates import CANDIDATE_BITS, HASH_BITS, find_copies
from .filters import FilterOptions, filter_captions
from .labels import KAOMOJI, Category, Label, read_labels, spaced
from .models import DEFAULT_MODEL, MODEL_NAMES, ModelFiles, find_local, local_names, locate
from .monochrome import (
    HUE_THRESHOLD,
    MONOCHROME_POLICIES,
    SATURATION_THRESHOLD,
    Kind,
    Measurement,
    MonochromePolicy,
    examine,
    measure,
    tag_kind,
)
from .preprocess import Picture, prepare, read_rgb
from .quality import MEASURED_PIXELS, CurateOptions, Quality, assess
from .report import Change, Report
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
    "CANDIDATE_BITS",
    "DEFAULT_MODEL",
    "HASH_BITS",
    "HUE_THRESHOLD",
    "KAOMOJI",
    "MEASURED_PIXELS",
    "MERGE_POLICIES",
    "MODEL_NAMES",
    "MONOCHROME_POLICIES",
    "PROVIDERS",
    "RATING_PLACES",
    "SATURATION_THRESHOLD",
    "SEPARATOR",
    "Category",
    "Change",
    "CurateOptions",
    "FilterOptions",
    "Kind",
    "Label",
    "Measurement",
    "MergePolicy",
    "ModelFiles",
    "MonochromePolicy",
    "Picture",
    "Progress",
    "Provider",
    "Quality",
    "RatingPlace",
    "Report",
    "Session",
    "Tag",
    "TagOptions",
    "Tagger",
    "assess",
    "available_providers",
    "choose_providers",
    "count_tags",
    "download",
    "examine",
    "filter_captions",
    "find_copies",
    "find_local",
    "join_tags",
    "local_names",
    "locate",
    "measure",
    "merge",
    "open_session",
    "parse_list",
    "parse_replacements",
    "prepare",
    "read_labels",
    "read_rgb",
    "select",
    "spaced",
    "split_tags",
    "tag_key",
    "tag_kind",
    "tag_match",
]
