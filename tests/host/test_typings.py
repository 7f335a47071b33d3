"""What `typings/` declares of ComfyUI is there in the running one, and can be called as declared."""

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path

import comfy.ops
import pytest

from pack.tests.host.signatures import misfit

FOLDER = Path(__file__).resolve().parents[2] / "typings"
ASKED_FOR = {
    "comfy.memory_management.aimdo_enabled",
    "comfy.model_management.MAX_PINNED_MEMORY",
    "comfy.model_management.TOTAL_PINNED_MEMORY",
    "comfy.model_management.get_all_torch_devices",
    "comfy.model_management.in_training",
    "comfy.model_management.pin_memory",
    "comfy.model_management.unpin_memory",
    "comfy.model_patcher.CoreModelPatcher",
    "comfy.model_patcher.ModelPatcherDynamic",
    "comfy.ops.uncast_bias_weight",
}
"""Names that only some versions have; who uses them asks first."""

OTHER_IN_0_3 = {
    "comfy.ops.cast_bias_weight",
    "comfy_extras.nodes_train.ProgressBar",
    "comfy_extras.nodes_train.TrainLoraNode",
}
"""Names that ComfyUI 0.3 has in another form: our weights look at that, only the benchmark uses the others."""


def declared():
    """(module, name, its node) of everything in the stubs."""
    for path in sorted(FOLDER.rglob("*.pyi")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield module, node.name, node
            elif isinstance(node, ast.AnnAssign):
                yield module, node.target.id, node


def load(name):
    """ComfyUI's module; its `io` has another name in the file system."""
    if name == "comfy_api.latest.io":
        return importlib.import_module("comfy_api.latest").io
    return importlib.import_module(name)


def refusal(function, node, bound=False):
    """Why a call as declared fails, if it does; bound: without self or cls."""
    given, more = node.args, node.args.kwarg is not None
    positional = [a.arg for a in (*given.posonlyargs, *given.args)][int(bound) :]
    return misfit(function, positional, [a.arg for a in given.kwonlyargs], more=more)


def problems_of_class(kind, node, where):
    for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
        name, reason = method.name, None
        if name == "__init__":
            reason = refusal(kind, method, bound=True)
        elif not name.startswith("__"):
            function = getattr(kind, name, None)
            is_static = isinstance(inspect.getattr_static(kind, name, None), classmethod)
            if function is None:
                reason = "is missing"
            else:
                reason = refusal(function, method, bound=is_static)
        if reason:
            yield f"{where}.{name}: {reason}"


@pytest.mark.parametrize(
    ("module", "name", "node"), [pytest.param(*each, id=".".join(each[:2])) for each in declared()]
)
def test_what_is_declared_is_there(module, name, node):
    where = f"{module}.{name}"
    if where in OTHER_IN_0_3 and not hasattr(comfy.ops, "uncast_bias_weight"):
        pytest.skip("in another form in this ComfyUI")
    if where in ASKED_FOR and importlib.util.find_spec(module) is None:
        return
    found = getattr(load(module), name, None)
    if found is None and where in ASKED_FOR:
        return
    assert found is not None
    if isinstance(node, ast.FunctionDef):
        assert refusal(found, node) is None
    elif isinstance(node, ast.ClassDef):
        assert list(problems_of_class(found, node, where)) == []


def test_names_that_are_asked_for_are_declared():
    assert {f"{module}.{name}" for module, name, _ in declared()} >= ASKED_FOR


def test_a_difference_is_found():
    (node,) = ast.parse("def f(a, b, *, c=0): ...").body
    assert refusal(lambda a, b, c=0: 0, node) is None
    assert refusal(lambda a, b: 0, node)
    assert refusal(lambda b, a, c=0: 0, node)
    assert refusal(lambda a, b, d, c=0: 0, node)
    (node,) = ast.parse("class K:\n    def f(self, a): ...\n    def g(self): ...").body

    class K:
        def f(self, b):
            pass

    assert list(problems_of_class(K, node, "K")) == [
        "K.f: takes a under another name",
        "K.g: is missing",
    ]
