"""The server by itself: what it hands out, and the doors that are shut."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import multiprocessing
import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html import escape
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
import uvicorn
from fastapi.testclient import TestClient
from gradio.context import LocalContext
from PIL import Image
from starlette.datastructures import Headers
from typer.testing import CliRunner
from viewers import LIMITS, opened, png

import seewhy
from seewhy.app import jobs, page, serve, show
from seewhy.app.guard import Guard, Refused
from seewhy.app.page import Viewer
from seewhy.app.query import NOTHING, PREDICTED, Photo, measured
from seewhy.app.serve import application, listen
from seewhy.app.show import percent
from seewhy.cli import app as command_line
from seewhy.demo import sample_scenes
from seewhy.models import DEFAULT_MODEL
from seewhy.naming import DEFAULT_METHOD
from seewhy.notes import Note
from seewhy.trust import CHECKS, Check


@pytest.fixture(scope="module")
def client(networks):
    with TestClient(application(networks, LIMITS), base_url="http://127.0.0.1:7860") as client:
        yield client


@pytest.fixture(scope="module")
def viewer(networks) -> Iterator[Viewer]:
    with opened(networks) as viewer:
        yield viewer


@pytest.fixture
def asked(viewer, scene):
    """A viewer's answer for a photo: its view, and the photo's token."""
    token = viewer.photos.add(scene)
    view, *rest = viewer.explain(token, "scenes:resnet", [], ["grad_cam"], [], PREDICTED, NOTHING)
    return view, rest, token


def test_the_page_and_its_parts(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "seewhy" in client.get("/viewer.js").text
    assert Image.open(io.BytesIO(client.get("/samples/0.png").content)).size == (96, 96)


def test_samples_and_classes_of_each_network(client, networks):
    kinds = [kind for kind, _ in page.offered()]
    assert set(kinds) == {"scenes", "photos"}
    for number, kind in enumerate(kinds):
        given = client.post(f"/samples/{number}").json()
        assert given["name"].startswith("scene-") == (kind == "scenes")
        assert client.get(f"/samples/{number}.png").status_code == 200
    assert client.get(f"/samples/{len(kinds)}.png").status_code == 422
    for place, network in enumerate(networks.values()):
        names = client.get(f"/networks/{place}/classes.json").json()
        assert names == [network.model.class_name(index) for index in range(len(names))]
    assert client.get("/networks/9/classes.json").status_code == 422
    assert page.kind(networks["scenes:resnet"]) == "scenes"
    assert page.kind(networks["thousand"]) == "photos"


def test_samples_are_made_once_although_a_page_asks_for_all_at_once(monkeypatch):
    made = []

    def slowly():
        made.append(time.sleep(0.1))
        return sample_scenes()[:1]

    monkeypatch.setattr(serve, "sample_scenes", slowly)
    serve.made_samples.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: serve.samples(), range(8)))
    serve.made_samples.cache_clear()
    assert len(made) == 1
    assert all(one is found[0] for one in found)


def test_whatever_runs_ends_with_the_server(networks):
    app = application(networks, LIMITS)
    before = set(multiprocessing.active_children())
    with TestClient(app):
        app.state.start()
        begun = set(multiprocessing.active_children()) - before
        assert len(begun) == 2
    assert not begun & set(multiprocessing.active_children())


def test_a_request_that_is_cut_off_at_the_end_is_no_traceback(caplog):
    async def cut_off(scope, receive, send):
        raise asyncio.CancelledError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(cut_off, 1)({**scope, "query_string": b""}, None, None))
    assert caplog.messages == ["a request was cut off, as the viewer ends"]


@pytest.mark.parametrize(
    ("pauses", "announced", "comes"),
    [
        ([0.05] * 8, 50_000, True),  # a slow connection, which takes longer than the patience
        ([0.1] * 9, 50_000, False),  # longer than 1 Mbit/s would
        ([0.05] * 8, 0, False),  # of unknown size
        ([0, 0.4], 50_000, False),  # nothing comes for longer than the patience
    ],
)
def test_a_photo_has_the_time_that_a_slow_connection_needs(pauses, announced, comes):
    left = [*pauses]

    async def receive():
        await asyncio.sleep(left.pop(0))
        return {"type": "http.request", "body": b"x", "more_body": bool(left)}

    guard = Guard(None, bytes=50_000, patience=0.3)
    headers = Headers({"content-length": str(announced)} if announced else {})
    read = guard.read(receive, headers, guard.bytes, lambda count: None)
    if comes:
        assert asyncio.run(read) == b"x" * len(pauses)
    else:
        with pytest.raises(Refused, match="too long to come"):
            asyncio.run(read)


def test_what_was_chosen_comes_back_as_far_as_it_is_there(viewer):
    network, methods, refinements = viewer.remembered(["thousand", ["tsgb"], []])
    assert (network["value"], methods["value"], refinements["value"]) == ("thousand", ["tsgb"], [])
    for wrong in (None, [], ["gone", 3, "x"], [["a"], {}, None]):
        assert all("value" not in one for one in viewer.remembered(wrong))


def test_methods_are_told_apart_and_explained():
    groups = show.groups()
    assert sorted(name for names in groups.values() for name in names) == seewhy.list_methods()
    first, *_, last = groups.values()
    assert first[0] == DEFAULT_METHOD
    assert set(last) == {"random", "center_gaussian", "edges"}
    table = show.methods()
    assert table.index("grad_cam") < table.index("eigen_cam") < table.index("center_gaussian")
    assert table.count("<code>") == len(seewhy.list_methods())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://example.com/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/upload_progress",
        "/gradio_api/heartbeat/x",  # a connection for ever
        "/monitoring",
        "/docs",
        "/openapi.json",
        "/gradio_api/queue/../file=/etc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2fetc/passwd",
        "/static/" + 300 * "a",  # no file system has such a name
        "/assets/" + 90 * "%e2%82%ac",
    ],
)
def test_no_file_of_the_machine_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["upload", "run/explain", "api/explain", "call/explain", "login"])
def test_no_other_way_in(client, path):
    assert client.post(f"/gradio_api/{path}", json={"data": []}).status_code == 404


@pytest.mark.parametrize("asked", ["?session_hash=unknown", "?session_hash=", ""])
def test_answers_of_a_session_that_asked_nothing(client, asked, caplog):
    answer = client.get(f"/gradio_api/queue/data{asked}")
    assert (answer.status_code, answer.json()["error"]) == (404, "this session has asked nothing")
    assert caplog.messages == []


@pytest.mark.parametrize("address", ["/etc/passwd", "http://127.0.0.1:9/secret"])
def test_files_are_not_taken_by_path_or_address(client, address):
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [{"deep": [[file]]}]):
        body = {"data": data, "fn_index": 0, "session_hash": "x"}
        assert client.post("/gradio_api/queue/join", json=body).status_code == 403
    join, kind = "/gradio_api/queue/join", {"content-type": "application/json"}
    assert client.post(join, content=b"[" * 100_000).status_code == 403
    half = {"data": ["\ud800"], "fn_index": 3, "session_hash": "x"}  # of a character: not UTF-8
    assert client.post(join, content=json.dumps(half), headers=kind).status_code == 403
    for wrong in (float("nan"), float("inf")):
        body = json.dumps({**half, "data": [None], "event_id": wrong})
        assert client.post(join, content=body, headers=kind).status_code == 403
    scripts = {**half, "data": [None] * 3, "fn_index": 1}  # what the page's script does by itself
    assert client.post(join, content=json.dumps(scripts), headers=kind).status_code == 403
    whole = {**half, "data": ["\U0001f600"]}
    assert client.post(join, content=json.dumps(whole), headers=kind).status_code == 200


def test_a_proxy_that_changes_the_host_is_told_what_to_do_once(caplog):
    async def never(*_):
        raise AssertionError

    client = TestClient(Guard(never, bytes=1))
    behind = {"origin": "https://viewer.example.org", "host": "localhost:7860"}
    for _ in range(2):
        answer = client.get("/viewer.js", headers=behind)
        assert answer.status_code == 403
        assert "proxy in front of it has to pass on the Host header" in answer.json()["error"]
    assert sum("Host header" in one.message for one in caplog.records) == 1


def test_only_its_own_page_may_call(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert client.post("/samples/0", headers=foreign).status_code == 403
    own = {"origin": "http://127.0.0.1:7860"}
    assert client.post("/samples/0", headers=own).status_code == 200


def test_a_photo_in_and_out(client, scene):
    given = client.post("/photos", params={"name": "x/cat.png"}, content=png(scene.image)).json()
    assert (given["name"], given["width"], given["height"]) == ("cat.png", 160, 120)
    for path in (f"/photos/{given['photo']}.png", f"/photos/{given['photo']}/full.png"):
        answer = client.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert Image.open(io.BytesIO(answer.content)).tobytes() == scene.image.tobytes()


def test_what_is_no_photo(client):
    broken = client.post("/photos", content=b"no picture")
    assert broken.status_code == 422
    assert "cannot be used" in broken.json()["error"]
    wide = client.post("/photos", content=png(Image.new("RGB", (2000, 2000))))
    assert wide.status_code == 422
    assert "2000x2000 pixels" in wide.json()["error"]
    large = client.post("/photos", content=b"x" * 1_200_000)
    assert large.status_code == 413
    assert "MB" in large.json()["error"]

    def in_pieces():
        for _ in range(30):
            yield b"x" * 50_000

    assert client.post("/photos", content=in_pieces()).status_code == 413
    assert client.get("/photos/unknown.png").status_code == 422
    assert client.post("/samples/99").status_code == 422


def test_downloads(networks, scene):
    from fastapi import FastAPI

    from seewhy.app.serve import add_routes

    viewer, bare = Viewer(networks, LIMITS), FastAPI()
    add_routes(bare, viewer)
    token = viewer.photos.add(scene)
    view, *_ = viewer.explain(token, "scenes:resnet", [], ["tsgb"], [], PREDICTED, NOTHING)
    expected = viewer.results[view["result"]].chosen(0)
    client, at = TestClient(bare), f"/results/{view['result']}/0"
    with np.load(io.BytesIO(client.get(f"{at}.npz").content)) as file:
        assert np.array_equal(file["saliency"], expected.saliency.numpy())
    drawn = Image.open(io.BytesIO(client.get(f"{at}.png?alpha=0.5&cmap=viridis").content))
    assert drawn.tobytes() == expected.overlay(alpha=0.5, cmap="viridis").tobytes()
    assert client.get(f"{at}.json").json()["method"] == "tsgb"
    for wrong in (f"{at}.png?alpha=7", f"{at}.png?cmap=nope", f"/results/{view['result']}/9.npz"):
        assert client.get(wrong).status_code == 422


def test_an_explanation_of_the_page(asked):
    view, (sees, python, command), token = asked
    assert view["photo"] == token
    assert [one["method"] for one in view["maps"]] == ["grad_cam"]
    assert view["maps"][0]["target"] in sees
    assert "seewhy.explain_photos" in python
    assert command.startswith("seewhy explain clock.png")


def test_what_is_assumed_about_a_photo_is_told_to_its_visitor(viewer, asked):
    assert asked[0]["notes"] == []
    ramp = np.arange(100 * 80, dtype=np.uint16).reshape(80, 100) // 2
    xray = Photo(png(Image.fromarray(ramp)), "chest.png", (100, 80))
    view, *_ = viewer.explain(
        viewer.photos.add(xray), "scenes:resnet", [], ["gradient"], [], PREDICTED, 3
    )
    (note,) = view["notes"]  # once, for two targets
    assert note.startswith("chest.png: its values are 0 (shown black) to 3999 (white)")


def test_what_is_assumed_about_a_photo_is_not_told_on_the_terminal(networks, recwarn):
    """Python's warnings would bypass the log, its limit included."""
    ramp = np.arange(100 * 80, dtype=np.uint16).reshape(80, 100) // 2
    data = png(Image.fromarray(ramp))
    assert list(jobs._once(measured, (data, LIMITS), None)) == [None, (100, 80)]
    mask = png(Image.new("L", (10, 8), 255))
    work = partial(jobs.hidden, Photo(data, "chest.png", (100, 80)), mask, "grey")
    resnet = {"scenes:resnet": networks["scenes:resnet"].model}
    assert len(list(jobs._worked(work, "scenes:resnet", (), resnet))) == 2
    assert not [one for one in recwarn if issubclass(one.category, Note)]


def test_values_that_no_page_sends(viewer, scene, caplog):
    token = viewer.photos.add(scene)
    fine = [token, "scenes:resnet", [], ["grad_cam"], [], PREDICTED, NOTHING]
    for place, wrong, words in (
        (0, None, "no photo yet"),
        (0, "/etc/passwd", "no longer here"),
        (1, "os:system", "unknown network"),
        (1, None, "unknown network"),
        (2, ["a dog"], "reads no texts"),
        (3, ["<b>"], "cannot read"),
        (5, 99, "does not exist"),
    ):
        values = [*fine[:place], wrong, *fine[place + 1 :]]
        with caplog.at_level(logging.WARNING), pytest.raises(gr.Error, match=words) as caught:
            viewer.explain(*values)
        assert "<b>" not in str(caught.value)
    assert scene.name not in caplog.text


def test_a_failure_is_logged_by_place_and_kind_alone(viewer, scene, monkeypatch, caplog):
    message = f"a word on {scene.name}"

    def broken(*given):
        raise RuntimeError(message)

    monkeypatch.setattr("seewhy.app.page.explain", broken)
    token = viewer.photos.add(scene)
    with pytest.raises(gr.Error, match="RuntimeError"):
        viewer.explain(token, "scenes:resnet", [], ["grad_cam"], [], PREDICTED, NOTHING)
    assert "in broken" in caplog.text
    assert message not in caplog.text
    assert scene.name not in caplog.text


def test_a_photo_makes_room_as_soon_as_its_job_has_begun(viewer, scene):
    own = [viewer.keep(scene, "busy") for _ in range(LIMITS.photos)]
    for token in (*own, own[0]):
        viewer.hold([{"photo": token}, "scenes:resnet"])
    jobs = iter((*own, own[0]))
    with pytest.raises(ValueError, match="jobs of yours wait"):
        viewer.keep(scene, "busy")
    with pytest.raises(gr.Error):
        viewer.ask({"photo": next(jobs)}, "scenes:resnet", [], "grey")
    with pytest.raises(ValueError, match="jobs of yours wait"):  # for the first one is another
        viewer.keep(scene, "busy")
    for token in jobs:
        with pytest.raises(gr.Error):
            viewer.ask({"photo": token}, "scenes:resnet", [], "grey")
        viewer.keep(scene, "busy")


def test_checks_fill_the_panel_one_by_one(viewer, asked):
    panels = list(viewer.check({"result": asked[0]["result"], "chosen": 0}))
    assert all("in clock.png, scenes:resnet</h4>" in panel for panel in panels)
    counts = [len(re.findall('class="card (?!waiting)', panel)) for panel in panels]
    assert counts == list(range(len(CHECKS) + 1))
    assert all(panel.count('class="card') == len(CHECKS) for panel in panels)
    for wrong in (None, {"result": "x", "chosen": 0}, {"result": asked[0]["result"], "chosen": 3}):
        with pytest.raises(gr.Error):
            list(viewer.check(wrong))


def test_a_check_shows_the_value_that_its_rule_is_about():
    about = Check("confidence drop", 0.0621, "green", "It stays.", "average drop: green up to 0.10")
    unknown = replace(about, value=None, light="grey")
    assert "<small>0.062 = average drop: green" in show.checks([about], "a map", "")
    assert "<small>average drop: green" in show.checks([unknown], "a map", "")


def test_other_networks_have_a_caution_above_the_checks(viewer, asked, scene):
    token = viewer.photos.add(scene)
    view, *_ = viewer.explain(token, "thousand", [], ["grad_cam"], [], PREDICTED, NOTHING)
    panels = (next(viewer.check({**one, "chosen": 0})) for one in (asked[0], view))
    assert ["not known to fit this network" in panel for panel in panels] == [False, True]


def test_jobs_stop_in_time_and_the_next_one_goes_on(viewer, asked, monkeypatch):
    view = {"result": asked[0]["result"], "chosen": 0}
    long = asked[2], "scenes:resnet", [], ["rise(masks=10_000)"], [], PREDICTED, NOTHING
    steps: list[float] = []
    for seconds, job in (
        (1e-9, lambda: list(viewer.check(view))),
        (1.0, lambda: viewer.explain(*long, lambda share, desc: steps.append(share))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(viewer.jobs, "_seconds", seconds)
            with pytest.raises(gr.Error, match="time limit"):
                job()
    assert 1 not in steps
    assert len(list(viewer.check(view))) == len(CHECKS) + 1


def test_a_job_ends_when_its_page_is_closed(viewer, asked, monkeypatch):
    """Its next step ends it: others wait for their turn."""
    event = SimpleNamespace(alive=True)
    queue = SimpleNamespace(event_ids_to_events={"1": event})
    shares = []

    def stepping(jobs, query, report):
        report("rise", 1, 4)
        event.alive = False
        report("rise", 2, 4)

    monkeypatch.setattr(page, "explain", stepping)
    given = asked[2], "scenes:resnet", [], ["rise"], [], PREDICTED, NOTHING
    blocks = LocalContext.blocks.set(SimpleNamespace(_queue=queue))
    job = LocalContext.event_id.set("1")
    try:
        with pytest.raises(gr.Error, match="the page that asked was closed"):
            viewer.explain(*given, lambda share, desc: shares.append(share))
    finally:
        LocalContext.event_id.reset(job)
        LocalContext.blocks.reset(blocks)
    assert shares == [1 / 4]


def test_hiding_a_region_moves_the_probabilities(viewer, scene, networks):
    token = viewer.photos.add(scene)
    mask = Image.new("L", (160, 120))
    mask.paste(255, (40, 0, 120, 60))
    drawn = "data:image/png;base64," + b64encode(png(mask)).decode()
    shown = viewer.ask({"photo": token, "mask": drawn}, "scenes:resnet", [], "grey")

    hidden = scene.image.copy()
    hidden.paste((128, 128, 128), (40, 0, 120, 60))
    model = networks["scenes:resnet"].model
    with torch.no_grad():
        inputs = torch.stack([model.preprocess(image) for image in (scene.image, hidden)])
        before, after = model.module(inputs).sigmoid()
    top = int(torch.maximum(before, after).argmax())
    assert model.classes[top] in shown
    assert before[top] - after[top] > 0.1
    said = f"{percent(float(before[top]))} → {percent(float(after[top]))}"
    assert escape(said) in shown
    assert "With 25 % of the photo hidden" in shown
    empty = "data:image/png;base64," + b64encode(png(Image.new("L", (9, 9)))).decode()
    for mask_sent, fill, words in (
        (None, "grey", "nothing is brushed"),
        (empty, "grey", "nothing is brushed"),
        ("data:image/png;base64,AAAA", "grey", "not an image"),
        (drawn, "/etc/passwd", "fill="),
    ):
        with pytest.raises(gr.Error, match=words):
            viewer.ask({"photo": token, "mask": mask_sent}, "scenes:resnet", [], fill)


def run(*arguments: str, code: int) -> str:
    result = CliRunner().invoke(command_line, ["serve", *arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return " ".join(result.output.split())


def test_the_command_line_tells_what_is_wrong(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = run("--port", str(port), code=2)
    assert f"127.0.0.1:{port}" in told
    assert "--port" in told
    assert "one for each" in run("--weights", "random", code=2)
    assert "no zoo" in run("--model", "resnet50", code=2)
    assert "megapixels=0" in run("--max-megapixels", "0", code=2)
    assert "--max-megabytes" in run("--help", code=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'seewhy[app]'" in run(code=2)


def test_options_of_a_network_are_those_of_explain(tmp_path):
    from seewhy.cli.serve import allowed

    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"sort {index}" for index in range(1000)))
    options = {"classes": names, "size": "96", "mean": "0.4", "std": "0.2,0.3,0.4"}
    networks = allowed(["torchvision:squeezenet1_0"], ["random"], **options)
    asked, default, *_ = networks.values()
    assert asked.model.class_name(7) == "sort 7"
    assert (asked.model.preprocess.resize, asked.model.preprocess.crop) == (96, 96)
    assert asked.model.preprocess.mean == (0.4, 0.4, 0.4)
    assert asked.model.preprocess.std == (0.2, 0.3, 0.4)
    assert default.model.name == DEFAULT_MODEL
    assert default.model.class_name(7) != "sort 7"
    refused = CliRunner().invoke(command_line, ["serve", "--size", "96"])
    assert refused.exit_code == 2
    assert "need a --model" in refused.output


def test_the_networks_of_the_command_line():
    from seewhy.cli.serve import allowed

    networks = allowed(["scenes:vgg", "torchvision:squeezenet1_0"], ["pretrained", "random"])
    bundled = [DEFAULT_MODEL, "scenes:resnet", "scenes:vit"]
    assert list(networks) == ["scenes:vgg", "torchvision:squeezenet1_0", *bundled]
    assert networks["torchvision:squeezenet1_0"].weights == "random"
    assert networks["scenes:vgg"].weights is None


def test_listening_at_a_free_port():
    with listen("127.0.0.1", 0) as at:
        assert at.getsockname()[1] > 0


@pytest.mark.parametrize(
    "half", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\n\r\nG"]
)
def test_who_never_asks_to_the_end_takes_no_connection(half):
    async def empty(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def ask() -> None:
        quick = uvicorn.Config(empty, http=serve.Punctual, lifespan="off")
        quick.timeout_keep_alive = 0.1
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: serve.Punctual(config=quick, server_state=state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(half)
        await asyncio.wait_for(reader.read(), 10)  # to the end of the connection
        assert not state.connections
        writer.close()
        server.close()

    asyncio.run(ask())
