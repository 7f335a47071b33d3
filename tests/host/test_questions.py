"""Questions to the person at the browser: asked of one page, answered once, and only by ComfyUI's own page."""

import pytest

from pack.nodes.host import questions as module
from pack.nodes.host.questions import MOST, Question, Questions, plain
from pack.nodes.host.web.routes import is_not_foreign, is_same_origin

pytestmark = pytest.mark.main_host


class Server:
    client_id = "page"
    sockets = {"page": object()}

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, sid):
        self.sent.append((event, data, sid))


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(module, "prompt_server", lambda: server)
    return server


def question(done, text="text"):
    return Question("title", text, ("a\nb",), "Yes", lambda: done.append(1) or "done")


def test_an_answer_does_it_once(server):
    questions, done = Questions(), []
    assert questions.ask(question(done))
    ((event, shown, sid),) = server.sent
    assert (event, sid, done) == (module.EVENT, "page", [])
    name = shown.pop("id")
    assert shown == {"title": "title", "text": "text", "items": ["a\\nb"], "yes": "Yes"}
    assert questions.answer("else") is None and questions.answer("") is None and done == []
    assert questions.answer(name) == "done" and done == [1]
    assert questions.answer(name) is None and done == [1]


def test_ids_cannot_be_guessed_and_old_questions_are_forgotten(server):
    questions, done = Questions(), []
    for number in range(MOST + 1):
        questions.ask(question(done, f"text {number}"))
    names = [shown["id"] for _, shown, _ in server.sent]
    assert len(set(names)) == MOST + 1 and all(len(name) >= 22 for name in names)
    assert questions.answer(names[0]) is None and questions.answer(names[1]) == "done"


def test_the_same_question_again_is_one(server):
    questions, done = Questions(), []
    for _ in range(3):
        questions.ask(question(done))
    assert len({shown["id"] for _, shown, _ in server.sent}) == 1
    assert questions.answer(server.sent[0][1]["id"]) == "done"
    assert questions.answer(server.sent[0][1]["id"]) is None and done == [1]
    questions.ask(question(done))
    assert len({shown["id"] for _, shown, _ in server.sent}) == 2


def test_without_a_server_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(module, "prompt_server", lambda: None)
    assert Questions().ask(question([])) is False


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, False),
        ({"Host": "127.0.0.1:8188"}, False),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:8188"}, True),
        ({"Host": "Comfy.Example", "Origin": "https://comfy.example"}, True),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:9999"}, False),
        ({"Host": "127.0.0.1:8188", "Origin": "http://localhost:8188"}, False),
        ({"Host": "127.0.0.1:8188", "Origin": "null"}, False),
        ({"Host": "", "Origin": ""}, False),
        ({"Host": "a", "Origin": "http://[a"}, False),
        ({"Host": "a.example", "Origin": "http://b.example"}, False),
        ({"Host": "a", "Origin": "http://a", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Host": "a", "Origin": "http://a", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "a", "Origin": "http://a", "Sec-Fetch-Site": "none"}, False),
        ({"Host": "behind.proxy", "Origin": "https://a", "Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_only_its_own_page_answers(headers, ours):
    """A program, which sends no origin, may ask but not say yes; the address bar neither says yes."""
    assert is_same_origin(headers) is ours
    is_browsers = "Origin" in headers or "Sec-Fetch-Site" in headers
    assert is_not_foreign(headers) is (
        ours or not is_browsers or headers.get("Sec-Fetch-Site") == "none"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/Bilder ä 日本/x", "/data/Bilder ä 日本/x"),
        ("a\u202eb\u2066c\u200bd\ufeff", "a\\u202eb\\u2066c\\u200bd\\ufeff"),
        ("a\nb\x00c\udce9", "a\\nb\\x00c\\udce9"),
    ],
)
def test_what_would_deceive_is_shown_by_its_number(text, shown):
    assert plain(text) == shown
