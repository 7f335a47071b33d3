from typing import Any

from torch import nn

class SDXLTokenizer:
    clip_l: Any
    clip_g: Any

class SDXLClipModel(nn.Module): ...
