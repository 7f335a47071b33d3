"""The routes of the Dataset page on a real server: who may ask, and for what."""

import http.client
import json
from urllib.parse import quote, urlsplit

import pytest

from pack.demo import pictures
from pack.tests.server import graphs

PLACE = "/lora_loop/dataset"


@pytest.fixture
def shown(server, object_info):
    """The id of a dataset that a graph has read, and its images."""
    folder = pictures.write(server.base_directory / "input" / "routes")
    (folder / "cat.txt").write_text("cat\n", "utf-8")
    prompt = {}
    graphs.add(prompt, object_info, "load", "LoraLoopLoadDataset", folder="routes")
    graphs.add(prompt, object_info, "said", "PreviewAny", source=["load", 2])
    server.run(prompt)
    rows = server.get(f"{PLACE}/list")["datasets"]
    (name,) = [row["id"] for row in rows if row["title"] == "routes"]
    return name, server.get(f"{PLACE}/images?id={name}")["rows"]


def asked(server, method, path, body=None, **headers):
    """Status, kind and contents of an answer; headers beside those that the page sends, None: left out."""
    place = urlsplit(server.url).netloc
    given = {"Origin": server.url, "Content-Type": "application/json", "Host": place}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(place, timeout=60)
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {k: v for k, v in given.items() if v is not None})
    answer = connection.getresponse()
    found = answer.status, answer.headers.get_content_type(), answer.read()
    connection.close()
    return found


def test_what_the_page_asks_for(server, shown):
    name, rows = shown
    for prefix in ("", "/api"):
        path = f"{prefix}{PLACE}/thumbnail?id={name}&image={rows[0]['key']}&size=small&v=1"
        status, kind, body = asked(server, "GET", path)
        assert (status, kind, body[:2]) == (200, "image/jpeg", b"\xff\xd8") and len(body) < 40_000
    status, _, body = asked(server, "GET", f"{PLACE}/tagger_tags")
    assert status == 200 and len(json.loads(body)["tags"]) > 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None, "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_page_of_another_site_gets_nothing(server, shown, headers):
    name, rows = shown
    key = rows[0]["key"]
    folder = server.base_directory / "input" / "routes"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for path in ("list", f"images?id={name}", f"thumbnail?id={name}&image={key}", "tagger_tags"):
        assert asked(server, "GET", f"{PLACE}/{path}", **headers)[0] == 403, path
    edits = {"id": name, "captions": {row["key"]: "evil" for row in rows}}
    for path in ("save", "read"):
        assert asked(server, "POST", f"{PLACE}/{path}", edits, **headers)[0] == 403
        plain = {"Content_Type": "text/plain", **headers}
        assert asked(server, "POST", f"{PLACE}/{path}", edits, **plain)[0] == 403
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_only_json_is_taken_and_nothing_is_changed_by_get(server, shown):
    name, rows = shown
    edits = {"id": name, "captions": {rows[0]["key"]: "evil"}}
    plain = asked(server, "POST", f"{PLACE}/save", edits, Content_Type="text/plain")
    assert plain[0] == 415
    assert asked(server, "GET", f"{PLACE}/save?id={name}")[0] in (404, 405)
    assert asked(server, "POST", f"{PLACE}/save", [1])[0] == 400


@pytest.mark.parametrize(
    "image",
    ["cat.jpg", "../routes/cat.jpg", "..\\cat.jpg", "/etc/passwd", "C:\\x", "cat.jpg\0", "%2e%2e%2f", "0" * 16, "0" * 300],
)  # fmt: skip
def test_an_image_is_asked_for_by_its_key_alone(server, shown, image):
    name, rows = shown
    for text in {image, quote(image, safe="")}:
        query = f"id={name}&image={quote(text, safe='')}"
        status, kind, body = asked(server, "GET", f"{PLACE}/thumbnail?{query}")
        assert status in (400, 404) and kind == "application/json" and "error" in json.loads(body)
        query = f"id={quote(text, safe='')}&image={rows[0]['key']}"
        assert asked(server, "GET", f"{PLACE}/thumbnail?{query}")[0] in (400, 404)
        assert asked(server, "GET", f"{PLACE}/images?{query}")[0] in (400, 404)
        assert asked(server, "POST", f"{PLACE}/read", {"id": text})[0] in (400, 404)


def test_ten_thousand_captions_are_one_request_and_a_flood_is_refused(server, shown):
    name, rows = shown
    edits = {"id": name, "captions": {rows[0]["key"]: "x" * 90_000}, "more": "y" * (1 << 20)}
    assert asked(server, "POST", f"{PLACE}/save", edits)[0] == 200
    flood = {"id": name, "captions": {}, "more": "y" * ((1 << 25) + 1)}
    status, _, body = asked(server, "POST", f"{PLACE}/save", flood)
    assert status == 400 and "larger than" in json.loads(body)["error"]
    flood = {"id": name, "more": "y" * (1 << 17)}
    assert asked(server, "POST", f"{PLACE}/read", flood)[0] == 400
