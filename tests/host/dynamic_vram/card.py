"""ComfyUI on a card that has shapes and no numbers: PyTorch's meta device is what it loads models to.

What is read back from the card is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CARD = torch.device("meta")
GIB = 1 << 30

COMPOSITE = ("to", "cpu", "matmul", "linear", "conv2d", "reshape", "type_as")
"""Operations that come whole in inference mode, where what they are made of is wanted."""

Watch = Callable[[str, list[Tensor]], None]
"""(operation, the tensors of the card that it reads and writes)."""


class Shapes(TorchDispatchMode):
    """Lets a whole training run on the meta device, and shows every operation there to a watch."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if torch.is_inference_mode_enabled() and name in COMPOSITE:
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        there = [one for one in _flat(args) if isinstance(one, Tensor) and one.is_meta]
        if not there:
            return func(*args, **kwargs)
        self._watch(name, there)
        if name in ("_local_scalar_dense", "item", "is_nonzero", "equal"):
            return True if there[0].dtype == torch.bool or name != "_local_scalar_dense" else 1
        if name == "_to_copy" and str(kwargs.get("device")) == "cpu":
            return torch.full(there[0].shape, 0.1).to(kwargs.get("dtype") or there[0].dtype)
        if name == "copy_" and args[0].device != CARD:
            return args[0].zero_()
        if name.startswith(("index", "_index")):
            return func(args[0], [i if i is None else i.to(CARD) for i in args[1]], *args[2:])
        return func(*args, **kwargs)


def _flat(values: Any) -> Iterator[Any]:
    """Arguments of an operation, and those in its lists."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def put_host_on_card(monkeypatch: Any, size: float = 8 * GIB) -> None:
    """ComfyUI's manager believes in a card of so many bytes, until monkeypatch undoes it."""
    import comfy.model_management as mm

    def on_card(own: Callable[..., Any], bytes_of: Callable[[], float]) -> Callable[..., Any]:
        def told(dev: Any = None, torch_too: bool = False, **named: bool) -> Any:
            if dev is not None and torch.device(dev) != CARD:
                return own(dev, torch_too, **named)
            return (bytes_of(), 0.0) if torch_too or named else bytes_of()

        return told

    def free() -> float:
        return size - sum(one.model_loaded_memory() for one in mm.current_loaded_models)

    own_attention = F.scaled_dot_product_attention

    def attention(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if q.device != CARD or args or kwargs.get("attn_mask") is not None:
            return own_attention(q, k, v, *args, **kwargs)
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]

    monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(mm, "cpu_state", mm.CPUState.GPU)
    monkeypatch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(mm, "lowvram_available", True)
    monkeypatch.setattr(mm, "get_torch_device", lambda: CARD)
    monkeypatch.setattr(mm, "get_total_memory", on_card(mm.get_total_memory, lambda: size))
    monkeypatch.setattr(mm, "get_free_memory", on_card(mm.get_free_memory, free))
    monkeypatch.setattr(mm, "soft_empty_cache", lambda force=False: None)
    monkeypatch.setattr(mm, "should_use_fp16", lambda *_, **__: True)
    monkeypatch.setattr(mm, "should_use_bf16", lambda *_, **__: False)
    monkeypatch.setattr(mm, "unet_inital_load_device", lambda *_, **__: torch.device("cpu"))
    for name in ("fp8", "nvfp4", "mxfp8"):
        monkeypatch.setattr(mm, f"supports_{name}_compute", lambda *_: False, raising=False)
    for name in ("supports_fp64", "extended_fp16_support"):
        monkeypatch.setattr(mm, name, lambda *_: False, raising=False)
