"""What only a person can allow, on a real server: asked over the websocket, answered by the page alone."""

import http.client
import json
import shutil
import time
from urllib.parse import urlsplit

import pytest
from PIL import Image

from pack.demo.server import NodeError
from pack.tests.server import graphs
from pack.tests.server.conftest import PATIENCE

ANSWER, EVENT = "/lora_loop/answer", "lora_loop.question"
ALLOWED = "user/__lora_loop/allowed_folders.json"


@pytest.fixture
def program(server, tmp_path):
    """A program outside of the input directory, beside an image of the name of one of its texts."""
    folder = tmp_path / "program"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "logo.png")
    for name in ("logo.txt", "logo.py"):
        (folder / name).write_text(f"text of {name}")
    allowed = (server.base_directory / ALLOWED).parent  # other tests may have said yes as well
    shutil.rmtree(allowed, ignore_errors=True)
    yield folder
    shutil.rmtree(allowed, ignore_errors=True)


def editing(object_info, folder):
    """A prompt that puts words of its own into the captions of a folder, and renames its files."""
    prompt = {}
    load = graphs.add(prompt, object_info, "load", "LoraLoopLoadDataset", folder=str(folder))
    words = graphs.add(
        prompt, object_info, "words", "LoraLoopFilterTags", dataset=load, trigger="evil"
    )
    save = graphs.add(prompt, object_info, "save", "LoraLoopSaveCaptions", dataset=words)
    graphs.add(prompt, object_info, "tidy", "LoraLoopTidyDataset", dataset=save, mode="rename")
    return prompt


class Questions(graphs.Recorder):
    """Keeps what the page is asked."""

    def __init__(self, server):
        super().__init__(server)
        self.asked = []

    def _on_json(self, message):
        if message.get("type") == EVENT:
            self.asked.append(message["data"])

    def question(self):
        """The only one; it may arrive a little after the prompt has ended."""
        until = time.monotonic() + PATIENCE
        while not self.asked and time.monotonic() < until:
            time.sleep(0.05)
        (asked,) = self.asked
        return asked


def answered(server, body, path=ANSWER, **headers):
    """Status and JSON of an answer, with the headers given (None: left out), as the page sends it otherwise."""
    place = urlsplit(server.url).netloc
    kind = "application/json"
    given = {"Origin": server.url, "Content-Type": kind, "Host": place}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request("POST", path, body, {k: v for k, v in given.items() if v is not None})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text[:1] == b"{" else text.decode()


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.old_host
def test_a_shared_workflow_changes_nothing_outside_before_a_person_says_yes(
    server, object_info, program
):
    prompt, before = editing(object_info, program), snapshot(program)
    with Questions(server) as page:
        with pytest.raises(
            NodeError, match=r"Save Captions may not change files in .*program until"
        ):
            server.run(prompt)
        asked = page.question()
    assert (
        asked["items"] == [f"{program}, which also holds logo.py"] and snapshot(program) == before
    )
    body = json.dumps({"question": asked["id"]})
    for headers in (
        {"Origin": None},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
    ):
        status, _ = answered(server, body, **headers)
        assert status in (403, 415), headers
    for wrong in ("", "null", "[]", "3", "{}", '{"question": ', "[" * 10000, "{" * 10000, "\xff"):
        status, said = answered(server, wrong)
        assert status == 400 and ("JSON" in said["error"] or "Send " in said["error"]), wrong
    for wrong in ({"question": None}, {"question": [asked["id"]]}, {"question": "x" * 1000}):
        assert answered(server, json.dumps(wrong))[0] == 400
    assert answered(server, json.dumps({"question": "else"}))[0] == 409
    assert not (server.base_directory / ALLOWED).exists()

    status, said = answered(server, body, path=f"/api{ANSWER}")
    assert status == 200 and "Queue again" in said["done"]
    assert answered(server, body)[0] == 409  # once
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success"
    assert snapshot(program) == {
        "0001.png": before["logo.png"],
        "0001.txt": b"evil, text of logo.txt\n",
        "logo.py": before["logo.py"],
    }
    kept = json.loads((server.base_directory / ALLOWED).read_text())
    assert kept == {"folders": [str(program)]}


def test_the_list_of_what_is_allowed_is_not_served(server, program):
    path = server.base_directory / ALLOWED
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"folders": []}')
    for url in ("/userdata/../__lora_loop/allowed_folders.json", "/userdata/..%2F__lora_loop%2Fallowed_folders.json",
                "/userdata?dir=../__lora_loop", "/userdata?dir=__lora_loop"):  # fmt: skip
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        connection.request("GET", url)
        answer = connection.getresponse()
        assert answer.status >= 400 or b"allowed" not in answer.read(), url
        connection.close()


WATCH = """() => new MutationObserver(() => {
    const buttons = [...document.querySelectorAll("dialog button")];
    if (buttons.length > 1) window.first ??= buttons.map((b) => [b.textContent, b.disabled]);
}).observe(document.body, {childList: true})"""


@pytest.mark.slow
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_dialog(server, page, object_info, program, vue):
    """No closes it and allows nothing; yes takes a moment, and then the next Queue does it."""
    page, errors, before = page(vue), [], snapshot(program)
    page.on("pageerror", lambda error: errors.append(str(error)))
    client = page.evaluate("window.app.api?.clientId ?? window.comfyAPI.api.api.clientId")
    page.evaluate(WATCH)
    prompt = editing(object_info, program)

    def queue():
        """As the page does."""
        sent = server.post("/prompt", {"prompt": prompt, "client_id": client})
        dialog = page.locator("dialog", has_text="May Save Captions change files")
        dialog.first.wait_for(timeout=PATIENCE * 1000)
        with pytest.raises(NodeError, match="may not change files"):
            server.wait(sent["prompt_id"], PATIENCE)
        return dialog

    dialog = queue()
    assert dialog.locator("li").inner_text() == f"{program}, which also holds logo.py"
    assert page.evaluate("window.first") == [["Not now", False], ["Allow", True]]
    assert page.evaluate("document.activeElement.textContent") == "Not now"
    page.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    assert snapshot(program) == before and not (server.base_directory / ALLOWED).exists()

    queue()
    dialog = queue()
    page.wait_for_timeout(300)
    assert dialog.count() == 1  # the same question twice
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert not (server.base_directory / ALLOWED).exists()

    dialog = queue()
    dialog.get_by_role("button", name="Allow").click()
    dialog.get_by_text("Queue again").wait_for()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="detached")
    server.run(prompt)
    assert (program / "0001.txt").read_bytes() == b"evil, text of logo.txt\n" and errors == []


@pytest.mark.slow
def test_another_page_is_not_asked(server, page, object_info, program):
    page = page(False)
    with pytest.raises(NodeError, match="may not change files"):
        server.run(editing(object_info, program))  # of this test, not of the page
    assert page.locator("dialog", has_text="May Save Captions").count() == 0
