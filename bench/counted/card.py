"""A card that has shapes and no numbers: PyTorch's meta device stands for it, the CPU for the host.

Operations are refused where CUDA refuses them, and it is written down by place what makes the host wait for
a card, what is sent to it, and which products of matrices are computed in float32. Numbers that are read
from it are made up: 0.1, 1, True.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CARD = torch.device("meta")
PACK = Path(__file__).resolve().parents[2]
UNSEEN = ("bench/counted/", "tests/", ".venv/", ".host/")
"""Folders of the pack that are never the place at which something happened."""

_COPIES = {"copy_", "_to_copy"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_REPLACING = {"set_", "resize_", "set_data"}
_WAITS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
_PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "convolution", "convolution_backward"}


class Mixed(RuntimeError):
    """An operation was given tensors of the card and of the host."""


@dataclass
class Counts:
    """What happened, by place."""

    waits: Counter[str] = field(default_factory=Counter)
    """The host waited for all that the card was asked to do before."""
    sent: Counter[str] = field(default_factory=Counter)
    """Copies from the host to the card; those that nobody asked for in so many words are waits as well."""
    products: Counter[str] = field(default_factory=Counter)
    """Products of matrices with a factor in float32."""


class Card(TorchDispatchMode):
    """Context manager: operations are watched while it is open.

    ``sends``: the functions whose copies to the card take their turn there; all others are waited for unless
    they are marked as ``non_blocking``.
    """

    def __init__(self, *sends: Callable[..., Any]) -> None:
        super().__init__()
        self.counts = Counts()
        """Of what happens from now on; whoever wants to count something by itself puts new ones here."""
        self._replaced: list[tuple[Any, str, Any]] = []
        self._sends = {inspect.unwrap(send).__code__ for send in sends}

    def __enter__(self) -> Any:
        """Also sees what Python's lists become: on meta nothing is copied for them."""
        for owner, name, watched in (
            (Tensor, "__getitem__", self._indexed),
            (Tensor, "__setitem__", self._indexed),
            (torch, "tensor", self._made),
            (torch, "as_tensor", self._made),
        ):
            self._replaced.append((owner, name, vars(owner).get(name)))
            setattr(owner, name, watched(getattr(owner, name)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for owner, name, own in self._replaced:
            setattr(owner, name, own) if own is not None else delattr(owner, name)
        self._replaced.clear()

    def _indexed(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def index(tensor: Tensor, places: Any, *value: Any) -> Any:
            of_each = places if isinstance(places, tuple) else (places,)
            for _ in range(sum(isinstance(one, list) for one in of_each) if tensor.is_meta else 0):
                self._send("an index of the host")
            return own(tensor, places, *value)

        return index

    def _made(self, own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def make(data: Any, **options: Any) -> Tensor:
            tensor = own(data, **options)
            if tensor.is_meta and not isinstance(data, Tensor):
                self._send("a tensor of Python's numbers")
            return tensor

        return make

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if _is_composite(func):
            super().__enter__()  # those of inference tensors come whole
            try:
                found = func.decompose(*args, **kwargs)
            finally:
                super().__exit__(None, None, None)
            if found is not NotImplemented:
                return found
        if name in _COPIES:
            return self._copied(func, name, args, kwargs)
        given = list(_tensors(args)) + list(_tensors(kwargs.values()))
        there = [tensor for tensor in given if tensor.is_meta]
        if not there:
            return func(*args, **kwargs)
        if name in _WAITS:
            self._wait(name)
            return _made_up(name, there[0])
        if len(there) < len(given):
            here = [tensor for tensor in given if not tensor.is_meta]
            if name in _INDEXING and args[0].is_meta:
                self._send("an index of the host")
                args = _with_index_there(args)
            elif any(tensor.dim() for tensor in here):
                shapes = [(tensor.device.type, tuple(tensor.shape)) for tensor in given]
                raise Mixed(f"{name} has tensors of card and host: {shapes}")
        if name in _PRODUCTS and any(t.dtype == torch.float32 and t.dim() > 1 for t in there):
            self.counts.products[f"{name}, {_place(_frame())}"] += 1
        return _known_shapes(func, args, kwargs)

    def _copied(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """A copy or cast, which may cross."""
        source = args[1] if name == "copy_" else args[0]
        if name == "copy_":
            to_card = args[0].is_meta
        else:
            asked = kwargs.get("device")
            to_card = source.is_meta if asked is None else asked.type == CARD.type
        if source.is_meta and not to_card:
            self._wait("read")
            if name == "copy_":
                return args[0].fill_(0.1)
            return torch.full(source.shape, 0.1, dtype=kwargs.get("dtype") or source.dtype)
        if to_card and not source.is_meta:
            waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            self._send(name, waits=waits)
            return func(*args, **kwargs)
        return _known_shapes(func, args, kwargs) if to_card else func(*args, **kwargs)

    def _send(self, what: str, *, waits: bool = True) -> None:
        """Note a copy to the card."""
        frame = _frame()
        self.counts.sent[_place(frame)] += 1
        if waits and (frame is None or frame.f_code not in self._sends):
            self._wait(what)

    def _wait(self, what: str) -> None:
        """Note that the host waits for the card."""
        self.counts.waits[f"{what}, {_place(_frame())}"] += 1


@functools.cache
def _is_composite(func: Any) -> bool:
    return func._can_decompose()


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


_gives: dict[Any, Any] = {}


def _known_shapes(func: Any, args: Any, kwargs: Any) -> Any:
    """What the operation gives; PyTorch is asked for its shape once, because that takes long."""
    if func.is_view or func.overloadpacket.__name__ in _REPLACING:
        return func(*args, **kwargs)
    try:
        key = func, _key(args), _key(kwargs.items())
        known = _gives.get(key)
    except TypeError:  # no key can be made of something
        return func(*args, **kwargs)
    if known is None:
        output = func(*args, **kwargs)
        _gives[key] = _described(func, output, args)
        return output
    what, shapes = known
    if what == "asked":
        return func(*args, **kwargs)
    if what == "self":
        return args[0]
    made = [torch.empty_strided(a, b, dtype=c, device=CARD) for a, b, c in shapes]
    return tuple(made) if what == "several" else made[0]


def _described(func: Any, output: Any, args: Any) -> tuple[str, list[Any]]:
    """How the output is made the next time."""
    if func._schema.is_mutable:
        return ("self" if args and output is args[0] else "asked"), []
    several = isinstance(output, tuple)
    outputs = output if several else (output,)
    if not all(isinstance(one, Tensor) and one.is_meta for one in outputs):
        return "asked", []
    shapes = [(one.shape, one.stride(), one.dtype) for one in outputs]
    return "several" if several else "one", shapes


def _key(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(
        (value.shape, value.stride(), value.dtype, value.is_meta)
        if isinstance(value, Tensor)
        else _key(value)
        if isinstance(value, list | tuple)
        else (type(value), value)
        for value in values
    )


def _made_up(name: str, tensor: Tensor) -> Any:
    """The answer to a question for a value."""
    if name in ("is_nonzero", "equal") or tensor.dtype == torch.bool:
        return True
    if name != "_local_scalar_dense":
        raise RuntimeError(f"{name} has a result whose shape depends on values")
    return 0.1 if tensor.is_floating_point() else 1


def _with_index_there(args: Sequence[Any]) -> Sequence[Any]:
    """The arguments of an indexing as CUDA takes them."""
    tensor, indices, *values = (
        [None if i is None else i.to(CARD) for i in arg] if isinstance(arg, list | tuple) else arg
        for arg in args
    )
    return tensor, indices, *(v.to(CARD) if isinstance(v, Tensor) else v for v in values)


def _frame() -> FrameType | None:
    """The innermost call of the pack's own code."""
    frame = sys._getframe(1)
    root = f"{PACK}/"
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(root) and not path.removeprefix(root).startswith(UNSEEN):
            return frame
        frame = frame.f_back
    return None


def _place(frame: FrameType | None) -> str:
    """Where that is, for a report."""
    if frame is None:
        return "outside of the pack"
    path = Path(frame.f_code.co_filename).relative_to(PACK)
    return f"{path.as_posix()}:{frame.f_lineno} {frame.f_code.co_name}"
