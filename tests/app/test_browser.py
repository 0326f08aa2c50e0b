"""The page in a real browser: what a person does with it, and that it speaks to nobody else."""

from __future__ import annotations

import io
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from viewers import LIMITS, pixels, png, served

from hugging import save
from seewhy import explain_photos, load_model
from seewhy.app.query import Network, Photo
from seewhy.data.scenes import CATEGORIES
from seewhy.models import LoadedModel

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # milliseconds
FAINT = """() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const laid = (...colours) => {
        context.fillStyle = "#fff";
        context.fillRect(0, 0, 1, 1);
        for (const colour of colours) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((value) =>
            value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const faint = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode.data.trim(), holder = walk.currentNode.parentElement;
        if (!text || !holder.checkVisibility()) continue;
        const under = [];
        for (let one = holder; one; one = one.parentElement)
            under.unshift(getComputedStyle(one).backgroundColor);
        const style = getComputedStyle(holder);
        const ink = holder.closest("svg") ? style.fill : style.color;
        const [low, high] = [laid(...under), laid(...under, ink)].sort((a, b) => a - b);
        if (high / low < 4.5 && parseFloat(style.fontSize) < 24) faint.push([text, high / low]);
    }
    return faint;
}"""
"""Texts whose contrast is below 4.5, WCAG's level AA."""


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A person's visit to the page; at its end all requests and messages are looked at."""

    def __init__(self, browser: playwright.Browser, address: str) -> None:
        self.context = browser.new_context(accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self.page.on("request", self.note)
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.goto(address)
        self.page.wait_for_selector(".samples button:not([hidden]) img")

    def note(self, request: playwright.Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob"):
            self.hosts.add(address.netloc)

    def give(self, path: Path) -> None:
        self.page.locator(".drop input").set_input_files(path)
        self.page.wait_for_selector(f'.seewhy-photo .about:has-text("{path.name}")')

    def choose_class(self, which: str, words: str) -> None:
        """Search as a person does: click, type, press Enter."""
        self.page.locator(f"#{which} input").click()
        self.page.wait_for_timeout(100)
        self.page.keyboard.type(words)
        self.page.locator(f'[role="option"]:has-text("{words}")').first.wait_for()
        self.page.keyboard.press("Enter")

    def explain(self) -> None:
        before = self.page.locator(".seewhy-maps").get_attribute("data-result")
        self.page.locator("#explain").click()
        self.page.wait_for_function(
            "before => ![undefined, before].includes("
            "document.querySelector('.seewhy-maps').dataset.result)",
            arg=before,
        )
        # Drawn at the next frame.
        self.page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(done), 50))")

    def canvas(self, place: int) -> Image.Image:
        """What a map's canvas shows."""
        canvas = self.page.locator("figure[data-map] canvas").nth(place)
        data = canvas.evaluate("canvas => canvas.toDataURL('image/png')")
        return Image.open(io.BytesIO(b64decode(data.split(",")[1]))).convert("RGB")

    def slide(self, name: str, value: int) -> None:
        self.page.locator(f"input[name={name}]").evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }",
            value,
        )
        self.page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(done), 50))")

    def download(self, text: str, place: int) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.locator(f"figure[data-map] a:text-is('{text}')").nth(place).click()
        return Path(waiting.value.path()).read_bytes()


@pytest.fixture
def visit(browser, address) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.hosts == {urlsplit(address).netloc}
    assert visit.complaints == []


def expected(network: Network, scene: Photo, method: str, target: str | None = None):
    (answer,) = explain_photos(network.model, [scene.image], [method], [target])
    return answer.explanations[0]


def test_two_classes_compared(visit, photo_file, scene, networks):
    """Load, choose, explain, compare; every pixel, reading and download is the library's."""
    network = networks["scenes:resnet"]
    visit.give(photo_file)
    visit.choose_class("first", "clock")
    visit.choose_class("second", "umbrella")
    visit.explain()
    headings = visit.page.locator(".stage h3").all_text_contents()
    assert [text.split("?")[0] for text in headings] == ["Why clock", "Why umbrella"]
    assert visit.page.get_by_role("radio", name="tsgb for umbrella", exact=True).count() == 1
    asked = [(m, t) for t in ("clock", "umbrella") for m in ("grad_cam", "tsgb")]
    wanted = [expected(network, scene, *one) for one in asked]
    for place, one in enumerate(wanted):
        assert abs(pixels(visit.canvas(place)) - pixels(one.overlay())).max() <= 3
    assert visit.page.locator("#sees .bar span").first.text_content() in ("clock", "umbrella")

    visit.slide("opacity", 40)
    visit.page.locator("select[name=colours]").select_option("viridis")
    visit.slide("opacity", 41)
    drawn = wanted[0].overlay(alpha=0.41, cmap="viridis")
    assert abs(pixels(visit.canvas(0)) - pixels(drawn)).max() <= 3
    picture = Image.open(io.BytesIO(visit.download("picture", 0)))
    assert picture.tobytes() == drawn.tobytes()
    with np.load(io.BytesIO(visit.download("map", 3))) as file:
        assert np.array_equal(file["saliency"], wanted[3].saliency.numpy())
    record = json.loads(visit.download("record", 3))
    assert (record["method"], record["target"], record["source"]) == (
        "tsgb",
        "umbrella",
        "clock.png",
    )

    # Below the threshold only the faded photo is left.
    visit.slide("threshold", 50)
    values = wanted[0].saliency
    top = float(np.quantile(values - values.min(), 0.995))
    low = ((values - values.min()) / top < 0.499).numpy()
    bare = pixels(wanted[0].overlay(alpha=0))
    shown = pixels(visit.canvas(0))
    assert low.any()
    assert abs(shown - bare)[low].max() <= 2
    assert abs(shown - bare)[~low].max() > 20

    # The value under the pointer.
    frame = visit.page.locator("figure[data-map] canvas").nth(0)
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    x, y = 80, 30
    visit.page.mouse.move(
        box["x"] + (x + 0.5) / 160 * box["width"], box["y"] + (y + 0.5) / 120 * box["height"]
    )
    reading = visit.page.locator(".reading").text_content()
    read = [float(number) for number in re.findall(r" for \w+: (-?[\d.e-]+)", reading)]
    scale = [float(one.saliency.abs().max()) for one in wanted]
    for number, one, size in zip(read, wanted, scale, strict=True):
        assert number == pytest.approx(float(one.saliency[y, x]), abs=0.006 * size)


def test_swiping_shows_a_map_on_each_side(visit, photo_file, scene, networks):
    visit.give(photo_file)
    visit.explain()
    left, right = (
        pixels(expected(networks["scenes:resnet"], scene, method).overlay())
        for method in ("grad_cam", "tsgb")
    )
    visit.page.locator("select[name=view]").select_option("swipe")
    canvas = visit.page.locator(".stage canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for share in (0.25, 0.75):
        visit.page.mouse.click(box["x"] + share * box["width"], box["y"] + 20)
        visit.page.wait_for_timeout(100)
        data = canvas.evaluate("canvas => canvas.toDataURL('image/png')")
        shown = pixels(Image.open(io.BytesIO(b64decode(data.split(",")[1]))))
        at = round(share * 160)
        assert abs(shown - left)[:, : at - 3].max() <= 3
        assert abs(shown - right)[:, at + 3 :].max() <= 3


def test_another_network_and_the_part_that_it_never_sees(visit, photo_file, scene, networks):
    visit.give(photo_file)
    visit.page.locator("#network input").click()
    visit.page.locator('[role="option"]:has-text("thousand")').click()
    visit.page.wait_for_function(
        "() => document.querySelector('#first input').value === 'the predicted class'"
    )
    visit.choose_class("second", "number 281")
    visit.explain()
    assert "Why thing number 281" in visit.page.locator(".stage h3").nth(1).text_content()
    one = expected(networks["thousand"], scene, "grad_cam", "281")
    assert not one.seen.all()
    unseen = ~one.seen.numpy()
    difference = abs(pixels(visit.canvas(2)) - pixels(one.overlay()))
    assert difference[unseen].max() <= 3
    # Outside, Pillow's hatching and the browser's; inside, a map at the network's resolution.
    assert difference.max() <= 3


def test_classes_are_found_by_what_is_nearest(visit, photo_file):
    """Exact names come first, then beginnings; untyped, those that the network sees."""
    visit.page.locator("#network input").click()
    visit.page.locator('[role="option"]:has-text("thousand")').click()
    visit.page.wait_for_selector(".samples button[data-kind=photos]:not([hidden])")
    assert visit.page.locator(".samples button[data-kind=scenes]:not([hidden])").count() == 0
    assert visit.page.get_by_role("button", name="Sample photo: camera").count() == 1
    field = visit.page.locator("#first input")
    options = visit.page.locator("#first [role=option] span")
    field.click()
    field.fill("thing number 5")
    options.get_by_text("thing number 50", exact=True).wait_for()
    assert options.all_text_contents()[:2] == ["thing number 5", "thing number 50"]
    field.fill("77")
    options.get_by_text("thing number 77", exact=True).wait_for()
    assert options.all_text_contents()[0] == "thing number 77"
    read = field.evaluate("field => field.ariaActiveDescendantElement.innerText.split('\\n')[0]")
    assert read == "thing number 77", "by a screen reader"
    visit.page.keyboard.press("Enter")
    assert field.input_value() == "thing number 77"
    visit.give(photo_file)
    visit.explain()
    seen = visit.page.locator("#sees .bar span").all_text_contents()
    field.click()
    options.get_by_text("the predicted class", exact=True).wait_for()
    assert options.all_text_contents()[: 1 + len(seen)] == ["the predicted class", *seen]


def test_a_reload_loses_nothing(visit, photo_file):
    visit.page.locator("#methods input").click()
    visit.page.keyboard.type("layer_cam")
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Escape")
    visit.give(photo_file)
    visit.choose_class("first", "umbrella")
    visit.explain()
    before = visit.canvas(2).tobytes()
    visit.page.reload()
    visit.page.wait_for_selector(".seewhy-maps[data-result]")
    visit.page.wait_for_timeout(500)
    assert visit.canvas(2).tobytes() == before
    assert "clock.png" in visit.page.locator(".seewhy-photo .about").text_content()
    assert visit.page.locator("#first input").input_value() == "umbrella"
    assert "layer_cam" in visit.page.locator("#methods").text_content()
    visit.page.wait_for_selector("#sees .bar:has-text('umbrella')")
    visit.page.get_by_role("tab", name="Code").click()
    visit.page.wait_for_selector("#python .cm-content:has-text('layer_cam')")
    assert "clock.png" in visit.page.locator("#command .cm-content").text_content()
    visit.page.get_by_role("tab", name="Can I trust it?").click()
    visit.page.locator("#doubt").click()
    visit.page.wait_for_selector(".checks h4:has-text('grad_cam for umbrella')")


def test_on_a_phone_the_page_goes_to_the_answer(visit, photo_file):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.give(photo_file)
    visit.explain()
    visit.page.wait_for_function(
        "() => document.querySelector('.seewhy-maps').getBoundingClientRect().top < 200"
    )
    for width in (390, 320):
        visit.page.set_viewport_size({"width": width, "height": 844})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_can_i_trust_it(visit, photo_file):
    visit.give(photo_file)
    visit.explain()
    visit.page.locator("figure[data-map] input").nth(0).check()
    visit.page.locator("#doubt").click()
    visit.page.wait_for_function("document.querySelectorAll('.card:not(.waiting)').length == 5")
    assert "grad_cam" in visit.page.locator(".checks h4").text_content()
    for card in visit.page.locator(".card").all():
        light = card.locator("h5 b").get_attribute("aria-label")
        assert light in ("green", "amber", "red", "grey")
        assert light in card.get_attribute("class")
        assert len(card.locator("p").text_content()) > 20
    assert visit.page.locator(".card svg polyline:not(.grid)").count() >= 2
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visit.page.wait_for_function(f"document.body.matches('.dark') == ('dark' == '{scheme}')")
        visit.page.wait_for_timeout(300)  # until the colours have changed
        assert visit.page.evaluate(FAINT) == []


def test_ask_the_network(visit, photo_file, scene, networks):
    visit.give(photo_file)
    visit.page.get_by_role("tab", name="Hide a part").click()
    canvas = visit.page.locator(".board canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    visit.slide("brush", 20)
    visit.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.25 * box["height"])
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    visit.page.mouse.up()
    visit.page.locator("#ask-network").click()
    source = visit.page.locator("#moved img").get_attribute("src")
    hidden = Image.open(io.BytesIO(b64decode(source.split(",")[1]))).convert("RGB")
    grey = (pixels(hidden) == 128).all(-1)
    assert grey[30, 48:112].all()
    assert not grey[60:].any()
    assert (pixels(hidden) == pixels(scene.image))[~grey].all()
    assert 0.4 * 32 / 120 * 0.9 < grey.mean() < 0.4 * 32 / 120 + np.pi * 16**2 / 160 / 120 * 1.1

    model: LoadedModel = networks["scenes:resnet"].model
    with torch.no_grad():
        inputs = torch.stack([model.preprocess(image) for image in (scene.image, hidden)])
        before, after = model.module(inputs).sigmoid()
    for bar in visit.page.locator("#moved .bar").all():
        index = CATEGORIES.index(bar.locator("span").text_content())
        numbers = re.findall(r"<?[\d.]+(?= %)", bar.locator("em").text_content())
        for number, probability in zip(numbers, (before[index], after[index]), strict=True):
            if number.startswith("<"):
                assert probability < 0.0006
            else:
                assert float(number) == pytest.approx(100 * float(probability), abs=0.06)


def test_code_and_typed_methods(visit, photo_file):
    visit.give(photo_file)
    visit.page.locator("#methods input").click()
    visit.page.keyboard.type("rise(masks=16, seed=1)")
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Escape")
    visit.explain()
    assert visit.page.locator("figcaption b:text-is('rise(masks=16, seed=1)')").count() == 1
    visit.page.get_by_role("tab", name="Code").click()
    visit.page.wait_for_selector("#python .cm-content:has-text('explain_photos')")
    assert "clock.png" in visit.page.locator("#command .cm-content").text_content()


def test_a_mistyped_method_is_told_and_the_maps_stay(visit, photo_file):
    visit.give(photo_file)
    visit.explain()
    before = visit.canvas(1).tobytes()
    visit.page.locator("#methods input").click()
    visit.page.keyboard.type("grad_cm")
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Escape")
    visit.page.locator("#explain").click()
    visit.page.wait_for_selector("text=did you mean 'grad_cam'")
    assert visit.canvas(1).tobytes() == before
    visit.page.wait_for_timeout(500)  # it has come in
    message = visit.page.locator(".toast-body").bounding_box()
    assert message["width"] > 100
    assert visit.page.viewport_size["height"] > message["y"] + message["height"] > 0
    for result in (".seewhy-maps", "#sees"):
        box = visit.page.locator(result).bounding_box()
        assert any(
            message[at] + message[size] <= box[at] or box[at] + box[size] <= message[at]
            for at, size in (("x", "width"), ("y", "height"))
        ), f"the message covers {result}"


def test_without_a_photo(visit):
    visit.page.locator("#explain").click()
    visit.page.wait_for_selector("text=there is no photo yet")


def test_files_that_are_no_photo_or_too_large(visit, tmp_path, photo_file, scene):
    visit.complaints = Refusals()
    offered = visit.page.locator(".drop input").get_attribute("accept").split(",")
    assert {"image/*", ".heic", ".dcm", ".npy"} <= set(offered)
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(scene.image)[:300])
    visit.page.locator(".drop input").set_input_files(broken)
    error = visit.page.locator(".seewhy-photo .error")
    visit.page.wait_for_selector(".error:has-text('cannot be')")
    assert "complete, undamaged" in error.text_content()

    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(b"x" * int(1.1 * LIMITS.bytes))
    visit.page.locator(".drop input").set_input_files(heavy)
    visit.page.wait_for_selector(".error:has-text('the limit is 1 MB')")

    wide = tmp_path / "wide.png"
    wide.write_bytes(png(Image.new("RGB", (1200, 1200))))
    visit.page.locator(".drop input").set_input_files(wide)
    visit.page.wait_for_selector(".error:has-text('1200x1200 pixels')")
    assert visit.page.locator(".drop img").count() == 0

    visit.give(photo_file)
    assert error.text_content() == ""
    visit.explain()
    notes = visit.page.locator(".notes")
    assert notes.text_content() == ""

    xray = tmp_path / "xray.npy"
    np.save(xray, np.arange(8000, dtype=np.uint16).reshape(80, 100) // 2)
    visit.give(xray)
    visit.explain()
    assert "Note: xray.npy: its values are 0 (shown black) to 3999" in notes.text_content()


class Refusals(list):
    """Complaints, but for Chromium's own word on a refused upload."""

    def append(self, text: str) -> None:
        if "status of 422" not in text:
            super().append(text)


def test_a_pasted_photo_and_a_sample(visit, scene):
    visit.page.evaluate(
        """async bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
            const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        list(png(scene.image)),
    )
    visit.page.wait_for_selector('.about:has-text("image.png")')
    visit.page.locator(".samples button").nth(2).click()
    visit.page.wait_for_selector('.about:has-text("scene-0-000002")')
    visit.explain()
    assert visit.page.locator("figure[data-map]").count() == 2


def test_the_photo_given_last_is_explained(visit, photo_file, scene, tmp_path):
    """Photos that arrive in another order, and Explain pressed before the last has arrived."""
    late = []
    visit.page.route("**/photos?name=*", lambda route: late.append(route))
    second = tmp_path / "second.png"
    scene.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(second)
    for number, path in enumerate((photo_file, second), 1):
        visit.page.locator(".drop input").set_input_files(path)
        while len(late) < number:
            visit.page.wait_for_timeout(20)
    visit.page.locator("#explain").click()
    late[1].continue_()
    visit.page.wait_for_selector('.about:has-text("second.png")')
    visit.page.wait_for_selector(".seewhy-maps[data-result]")
    late[0].continue_()
    visit.page.wait_for_timeout(1000)
    assert "second.png" in visit.page.locator(".about").text_content()
    assert visit.page.locator(".toast-body").count() == 0
    record = json.loads(visit.download("record", 0))
    assert record["source"] == "second.png"
    late.clear()
    visit.page.locator(".drop input").set_input_files(photo_file)
    while not late:
        visit.page.wait_for_timeout(20)
    before = visit.page.locator(".seewhy-maps").get_attribute("data-result")
    visit.page.locator("#explain").click()
    late[0].fulfill(status=200, json={})  # no photo after all
    visit.page.wait_for_selector(".seewhy-photo .error:not(:empty)")
    visit.complaints = [one for one in visit.complaints if "status of 422" not in one]
    assert visit.page.locator(".seewhy-maps").get_attribute("data-result") == before
    assert visit.page.locator(".toast-body").count() == 0


def test_two_browsers_at_once_and_the_second_sees_that_it_waits(
    browser, address, scene, photo_file, networks, tmp_path
):
    image = scene.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = Photo(png(image), "turned.png", image.size)
    path = tmp_path / turned.name
    path.write_bytes(turned.content)
    visits = [Visit(browser, address), Visit(browser, address)]
    for visit, file in zip(visits, (photo_file, path), strict=True):
        visit.give(file)
    visits[0].page.locator("#methods input").click()
    visits[0].page.keyboard.type("rise(masks=400)")
    visits[0].page.keyboard.press("Enter")
    visits[0].page.keyboard.press("Escape")
    for visit in visits:
        visit.page.locator("#explain").click()
        visit.page.wait_for_selector("#status .progress-text")
    visits[1].page.wait_for_selector(".waits:has-text('you are number 1 in the queue')")
    for visit, photo in zip(visits, (scene, turned), strict=True):
        visit.page.wait_for_selector(".seewhy-maps[data-result]")
        visit.page.wait_for_timeout(100)
        drawn = expected(networks["scenes:resnet"], photo, "grad_cam").overlay()
        assert abs(pixels(visit.canvas(0)) - pixels(drawn)).max() <= 3
        assert visit.complaints == []
        visit.context.close()


def test_what_to_look_for_is_typed_on_the_page(browser, networks, photo_file, tmp_path):
    """Two visitors, each with texts of their own; limits, a reload, and another network."""
    clip = Network(load_model(f"hf:{save('CLIP', tmp_path / 'clip')}", texts=["a car", "a cat"]))
    with served({"clip": clip, "thousand": networks["thousand"]}) as address:
        visits = [Visit(browser, address), Visit(browser, address)]
        for visit, texts in zip(visits, (["a dog"], ["a red car", "<b>the cat</b>"]), strict=True):
            looked_for = visit.page.locator(".seewhy-texts li span")
            looked_for.first.wait_for()
            assert looked_for.all_text_contents() == ["a car", "a cat"]
            visit.page.get_by_label("Remove a car").click()
            for text in texts:
                visit.page.locator(".seewhy-texts input").fill(text)
                visit.page.keyboard.press("Enter")
            visit.give(photo_file)
            visit.choose_class("first", texts[-1])
            visit.page.get_by_label("Remove a cat").click()
            assert visit.page.locator("#first input").input_value() == texts[-1]
        for visit, texts in zip(visits, (["a dog"], ["a red car", "<b>the cat</b>"]), strict=True):
            visit.explain()
            heading = visit.page.locator(".stage h3").first.text_content()
            assert heading.startswith(f"Why {texts[-1]}?")
            seen = visit.page.locator("#sees .bar span").all_text_contents()
            assert sorted(seen) == sorted(texts)
        visit.page.reload()
        visit.page.wait_for_selector(".seewhy-maps[data-result]")
        assert looked_for.all_text_contents() == texts
        assert visit.page.locator("#first input").input_value() == texts[-1]

        field, error = (visit.page.locator(f".seewhy-texts {part}") for part in ("input", ".error"))
        for text, words in (("a red car", "already"), ("a" * 201, "limit is 200")):
            field.fill(text)
            visit.page.keyboard.press("Enter")
            assert words in error.text_content()
        for number in range(15):
            field.fill(f"w{number}")
            visit.page.keyboard.press("Enter")
        assert "16 texts are the limit" in error.text_content()
        assert looked_for.count() == 16

        visits[0].page.locator(".seewhy-texts input").fill("a photo of a dog")  # without Enter
        visits[0].explain()
        seen = visits[0].page.locator("#sees .bar span").all_text_contents()
        assert sorted(seen) == ["a dog", "a photo of a dog"]
        visits[0].page.locator("#network input").click()
        visits[0].page.locator('[role="option"]:has-text("thousand")').click()
        visits[0].page.locator("#texts").wait_for(state="hidden")
        visits[0].explain()
        assert "thing number" in visits[0].page.locator("#sees .bar span").first.text_content()
        for visit in visits:
            assert visit.complaints == []
            visit.context.close()
