"""The V3 schema. `schema.py` passes only what the running version takes, hence **arguments."""

from enum import Enum
from typing import Any

class Input:
    id: str

    def __init__(self, id: str, **arguments: Any) -> None: ...

class Output:
    def __init__(self, **arguments: Any) -> None: ...

class ComfyTypeIO:
    Input: type[Input]
    Output: type[Output]

class Boolean(ComfyTypeIO): ...
class AnyType(ComfyTypeIO): ...
class Clip(ComfyTypeIO): ...
class Combo(ComfyTypeIO): ...
class Float(ComfyTypeIO): ...
class Image(ComfyTypeIO): ...
class Int(ComfyTypeIO): ...
class Model(ComfyTypeIO): ...
class String(ComfyTypeIO): ...
class Mask(ComfyTypeIO): ...
class Vae(ComfyTypeIO): ...

def Custom(io_type: str) -> type[ComfyTypeIO]: ...

class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"

class HiddenHolder:
    """What a node asked for of these is there, else None."""

    unique_id: str | None
    prompt: dict[str, Any] | None
    extra_pnginfo: dict[str, Any] | None

class Schema:
    inputs: list[Input]
    is_input_list: bool

    def __init__(self, **arguments: Any) -> None: ...

class NodeOutput:
    ui: dict[str, Any] | None

    def __init__(self, *args: Any, ui: dict[str, Any] | None = None) -> None: ...

class ComfyNode:
    # `execute` and its like are left out: ComfyUI calls them with the inputs of the schema by name,
    # so a node's own signature is not its base class's.
    hidden: HiddenHolder

    @classmethod
    def define_schema(cls) -> Schema: ...
