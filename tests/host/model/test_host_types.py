"""The MODEL, CLIP and VAE of the running ComfyUI have what host_types.py says that they have."""

import inspect
from typing import get_args, get_origin, get_type_hints

import pytest

from pack.nodes.host.model import host_types
from pack.tests.host.signatures import misfit


def is_protocol(kind):
    return getattr(kind, "_is_protocol", False)


def named(protocol):
    """What a protocol names, inherited names too: name -> property or function."""
    parts = [vars(base) for base in reversed(protocol.__mro__) if is_protocol(base)]
    return {n: part for found in parts for n, part in found.items() if not n.startswith("_")}


def problems(protocol, thing, path=""):
    """What `thing` has not of the protocol or has otherwise; parts that have a protocol included."""
    for name, part in named(protocol).items():
        where = f"{path}.{name}"
        if not hasattr(thing, name):
            yield where
        elif isinstance(part, property):
            kind = get_type_hints(part.fget)["return"]
            yield from of_value(kind, getattr(thing, name), where)
        else:
            yield from of_method(part, getattr(thing, name), where)


def of_value(kind, value, where):
    if is_protocol(kind):
        yield from problems(kind, value, where)
        return
    kinds = get_args(kind) if type(kind).__name__ == "UnionType" else [kind]
    if not isinstance(value, tuple(get_origin(k) or k for k in kinds)):
        yield f"{where} is a {type(value).__name__}"


def of_method(said, function, where):
    signature = list(inspect.signature(said).parameters.values())[1:]
    keywords = [p.name for p in signature if p.kind is p.KEYWORD_ONLY]
    reason = misfit(function, [p.name for p in signature if p.name not in keywords], keywords)
    if reason:
        yield f"{where}: {reason}"


def test_the_hosts_objects_have_what_is_named(tiny):
    assert list(problems(host_types.ModelPatcher, tiny.model)) == []
    assert list(problems(host_types.Clip, tiny.clip)) == []
    assert list(problems(host_types.Vae, tiny.vae)) == []
    sampling = tiny.model.get_model_object("model_sampling")
    assert list(problems(host_types.Sampling, sampling)) == []


def test_what_is_kept_of_a_patched_weight(tiny):
    key, weight = next(iter(tiny.model.model.state_dict().items()))
    tiny.model.add_patches({key: ("diff", (weight.float(),))})
    tiny.model.patch_weight_to_device(key)
    assert list(problems(host_types.Saved, tiny.model.backup[key])) == []


class Changed:
    """A MODEL without an attribute, or with another one in its place."""

    def __init__(self, model, name, value=None):
        self._model, self._name, self._value = model, name, value

    def __getattr__(self, name):
        if name != self._name:
            return getattr(self._model, name)
        if self._value is None:
            raise AttributeError(name)
        return self._value


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("patches", None, ".patches"),
        ("model_size", None, ".model_size"),
        ("load_device", "cpu", ".load_device is a str"),
        ("partially_unload", lambda device: 0, ".partially_unload: too many positional arguments"),
        (
            "partially_unload",
            lambda b, a: 0,
            ".partially_unload: takes device_to, memory_to_free under another name",
        ),
    ],
)
def test_a_difference_is_found(tiny, name, value, problem):
    found = list(problems(host_types.ModelPatcher, Changed(tiny.model, name, value)))
    assert found == [problem]
