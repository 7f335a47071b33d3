"""The functions of elementwise in Triton: one or two passes over memory each, float32 inside.

Importing this needs Triton. Blocks have fixed sizes and nothing is tuned, so a kernel is built once
for each dtype, and at most a few times more for sizes that are no multiples of 16.
"""

from __future__ import annotations

from ..elementwise import Elementwise
from .gating import geglu, geglu_backward
from .norming import norm_silu, norm_silu_backward

TRITON = Elementwise(geglu, geglu_backward, norm_silu, norm_silu_backward)
"""For tensors that lie on a GPU."""
