"""What every node refuses and says, by enumeration: numbers from other nodes, markup in names."""

import ast
import asyncio
import json
import math
import sys
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pack.nodes.extension import NODES, LoraLoop
from pack.nodes.host import progress
from pack.nodes.host.progress import NodeProgress, page_text
from pack.nodes.host.web.json_request import MOST_BYTES
from pack.tests.host import scene

pytestmark = pytest.mark.main_host

MARKUP = "<img src=x>&lt;b&gt;"
NUMBERS = [
    (node, one.id, one.min, one.max)
    for node in NODES
    for one in node.define_schema().inputs
    if hasattr(one, "min")
]


@pytest.mark.parametrize(("node", "name", "least", "most"), NUMBERS)
def test_every_number_has_bounds_that_hold_for_wires_too(node, name, least, most):
    assert least is not None and most is not None
    for value in (most * 2 + 1, least - 1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"{name} is .*; allowed: "):
            node.execute(**{name: value})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>", "‹b>"),
        ("</b>", "‹/b>"),
        ("<!--", "‹!--"),
        ("a < b, 1 <- 2, <=3 -> 4", "a < b, 1 <- 2, <=3 -> 4"),
        ("&lt;b&gt;", "＆lt;b＆gt;"),
        ("&#60;", "＆#60;"),
        ("R&B & more", "R&B & more"),
        ("<<svg", "‹‹svg"),
        ("<\nb", "‹\nb"),
        ("\udcff", "?"),
    ],
)
def test_markup_becomes_letters(text, shown):
    assert page_text(text) == shown


class Page:
    """A server that keeps what it is told to send."""

    def __init__(self):
        self.sent = []
        self.routes = web.RouteTableDef()
        self.prompt_queue = SimpleNamespace(currently_running={})

    def send_sync(self, event, data, sid=None):
        self.sent.append(json.dumps(data))


@pytest.fixture
def page(monkeypatch):
    page = Page()
    monkeypatch.setattr(progress, "prompt_server", lambda: page)
    return page


def test_progress_is_no_markup(page):
    bar = NodeProgress(3, "1")
    bar.say(f"of {MARKUP}")
    bar.update(1, f"at {MARKUP}")
    assert len(page.sent) == 2 and not [text for text in page.sent if "<" in text or "&lt" in text]


def test_what_is_typed_comes_back_shortened(page):
    given = {"optimiser": "AdamW", "optimiser_arguments": "", "schedule": "piecewise_constant"}
    nodes = {node.__name__: node for node in NODES}
    with pytest.raises(ValueError, match="step_rules is") as caught:
        nodes["OptimiserSettings"].execute(**given, step_rules="x" * 200_000)
    assert len(str(caught.value)) < 10_100
    NodeProgress(1, "1").say("x" * 5000)
    assert [json.loads(sent)["line"] for sent in page.sent] == ["x" * 500]


def test_names_reach_the_page_through_three_modules_only(root):
    """Whatever is sent lies in three modules that were looked at, and the page's own code makes no HTML of texts."""
    senders = set()
    for path in (root / "nodes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in (
                "send_sync", "send_progress_text", "send", "send_json",
            ):  # fmt: skip
                senders.add(path.name)
    assert senders == {"progress.py", "questions.py", "seen.py"}
    own = [path for path in (root / "js").rglob("*.js") if path.parent.name != "vendor"]
    for path in own:
        code = path.read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in code


def test_what_nodes_say_of_such_names_is_no_markup(page, tmp_path, monkeypatch):
    """Load Dataset and an error of it, with names and captions that are markup."""
    monkeypatch.setitem(
        sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=page))
    )
    nodes = {node.__name__: node for node in NODES}
    folder = tmp_path / "<svg onload=x>"
    scene.write_pictures(folder)
    (folder / "picture_0.txt").write_text("<b>x</b>, y")
    (folder / "<i>.png").write_bytes(b"no image")
    loaded = nodes["LoadDataset"].execute(folder=str(folder))
    (text,) = loaded.ui["text"]
    assert "‹" in text and "<svg" not in text and "<i" not in text
    assert "<svg" in loaded.args[2]  # what goes along a wire is as it is
    with pytest.raises(ValueError, match="‹u>") as caught:
        nodes["LoadDataset"].execute(folder=str(tmp_path / "<u>"))
    assert "<u" not in str(caught.value)


BODIES = [
    b"", b"{", b"[]", b'"node"', b"1", b"null", b"{}", b'{"node": null}', b'{"node": true}',
    b'{"node": 1.5}', b'{"node": []}', b'{"node": {"a": 1}}', b"\xff\xfe", b'{"node": "\xff"}',
    b'{"node": NaN}', b'{"node": ' + b"9" * 5000 + b"}", b'{"node": "' + b"a" * 201 + b'"}',
    b"[" * 50_000, b'{"a":' * 10_000, b'{"node": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b" " * (MOST_BYTES + 1), b'{"node": "' + b"a" * (1 << 21) + b'"}',
]  # fmt: skip


def test_every_route_answers_bad_json_with_a_sentence(page, monkeypatch):
    """All routes that take a body, whatever it is: 400, never 500; other types are not read at all."""
    monkeypatch.setitem(
        sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=page))
    )
    LoraLoop()
    posts = [route for route in page.routes if route.method != "GET"]
    assert {route.path for route in posts} >= {"/lora_loop/training", "/lora_loop/answer"}

    async def ask():
        app = web.Application(client_max_size=1 << 24)
        app.add_routes(page.routes)
        answers = []
        async with TestClient(TestServer(app)) as client:
            for route in posts:
                for body in BODIES:
                    headers = {
                        "Content-Type": "application/json; charset=bogus",
                        "Sec-Fetch-Site": "same-origin",
                    }
                    answer = await client.request(
                        route.method, route.path, data=body, headers=headers
                    )
                    answers.append((body[:20], answer.status, await answer.text()))
                headers = {"Sec-Fetch-Site": "same-origin"}
                plain = await client.request(route.method, route.path, data=b"{}", headers=headers)
                answers.append(("plain", plain.status + 400 - 415, await plain.text()))
        return answers

    for body, status, text in asyncio.run(ask()):
        assert status == 400, (body, status, text)
        assert json.loads(text)["error"].endswith((".", ".}")) and len(text) < 300
