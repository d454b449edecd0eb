"""The whole page in a real browser: photo, sliders, portrait, download, replay; by mouse, by keyboard, on a phone."""

import shutil
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

pytest.importorskip("gradio", reason="the page's package is not installed: pip install 'diffpc[serve]'")
pytest.importorskip("playwright", reason="playwright is not installed: pip install 'diffpc[test]'")

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from diffpc.identity_file import save_identity
from diffpc.loading import load_eyes, load_pipeline
from diffpc.person import gathered
from diffpc.provenance import read_settings, settings_in
from diffpc.types import Image
from diffpc.weights import sha256
from tests.pipelines import write_lora

SECONDS = 60_000
"""Milliseconds that the browser waits for anything: the machine may be busy."""

expect.set_options(timeout=SECONDS)

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)


@pytest.fixture(scope="module")
def ink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA for the bundled model."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    return write_lora(load_pipeline(), tmp_path_factory.mktemp("loras") / "ink.safetensors")


@pytest.fixture(scope="module")
def address(ink: Path) -> Iterator[str]:
    """`diffpc serve` with the bundled model and a style, as a person starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "diffpc.cli", "serve", "--port", str(port), "--threads", "1"]
    command += ["--device", "cpu", "--style", f"ink wash={ink}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = list[str]()
    for line in process.stderr:
        said.append(line)
        if line.startswith("diffpc: ready: "):
            break
    assert process.poll() is None, "".join(said)
    yield f"http://127.0.0.1:{port}/"
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine; install the system's package `chromium`")
    with sync_playwright() as playwright:
        # Containers have no user namespaces for Chromium's sandbox; the only page opened is ours.
        # Nor is there a GPU, whose work software would do, animations included.
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    """Whoever opens the page again and again: the browser keeps the page's scripts, as it does for everybody."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def asked() -> list[Request]:
    """What the browser asked for."""
    return []


@pytest.fixture
def page(visitor: BrowserContext, address: str, asked: list[Request]) -> Iterator[Page]:
    page = visitor.new_page()
    page.set_default_timeout(SECONDS)
    page.on("request", lambda request: asked.append(request))  # playwright takes no built-in method
    page.goto(address)
    expect(page.locator("#canvas img")).to_be_visible()
    yield page
    page.close()


def give(page: Page, photo: Path) -> None:
    page.set_input_files("#drop-photos-of-the-person input", photo)
    expect(page.get_by_role("button", name="Face 1 of 1 in astronaut.jpg")).to_be_visible()


def canvas(page: Page) -> np.ndarray:
    with PILImage.open(BytesIO(page.locator("#canvas img").screenshot())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_a_photo_becomes_a_portrait_that_can_be_drawn_again(
    page: Page, address: str, asked: list[Request], astronaut_path: Path, tmp_path: Path
) -> None:
    draw = page.get_by_role("button", name="Draw the portrait")
    draw.click()
    expect(page.locator("#what .note[role=alert]")).to_contain_text("First agree")
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    draw.click()
    expect(page.locator("#what .note[role=alert]")).to_contain_text("There is no photo of a person yet")

    give(page, astronaut_path)
    before = canvas(page)
    page.get_by_role("slider", name="Yaw").fill("25")
    page.get_by_role("slider", name="Smile").fill("-0.5")
    expect(page.locator("#canvas img")).to_have_attribute(
        "alt", "3D face: turned 25 degrees to the right, looking 9 degrees down, tilted 5 degrees clockwise, "
        "mouth open, corners of the mouth down, eyes narrowed")  # fmt: skip
    assert np.abs(canvas(page) - before).mean() > 5

    draw.click()
    download = page.get_by_role("link", name="Download")
    expect(download).to_be_visible()
    expect(page.locator(".portraits dt")).to_have_text(
        ["Similarity", "Pose error", "Expression error", "Seed"]
    )
    with page.expect_download() as event:
        download.click()
    first = tmp_path / event.value.suggested_filename
    event.value.save_as(first)
    with first.open("rb") as stream:
        record = settings_in(stream, first.name)
    assert record.settings["reference"] == [["astronaut.jpg", sha256(astronaut_path)]]
    assert (record.seed, record.settings["pose"]) == (1, [25.0, -9.0, 5.0])

    page.get_by_role("button", name="Show the stages").click()
    expect(page.locator(".stages figure")).to_have_count(6)
    page.get_by_role("button", name="Use as target").click()
    expect(page.get_by_role("radio", name="As in portrait-1.png").first).to_be_checked()

    page.reload()
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    page.get_by_role("button", name="Draw a portrait again").click()
    page.set_input_files("#drop-a-png-of-diff-pc input", first)
    expect(page.locator("#again [role=status]")).to_contain_text("drop astronaut.jpg under")
    give(page, astronaut_path)
    expect(page.get_by_role("slider", name="Yaw")).to_have_value("25")
    draw.click()
    expect(download).to_be_visible()
    with page.expect_download() as event:
        download.click()
    event.value.save_as(tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == first.read_bytes()

    elsewhere = [one.url for one in asked if not one.url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


def test_a_style_is_chosen_by_name(page: Page, ink: Path, astronaut_path: Path, tmp_path: Path) -> None:
    """And a dropped PNG brings it back."""
    style = page.get_by_label("Style", exact=True)
    expect(style).to_have_value("No style")
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    give(page, astronaut_path)
    style.click()
    page.get_by_role("option", name="ink wash").click()
    page.get_by_role("button", name="Draw the portrait").click()
    with page.expect_download() as event:
        page.get_by_role("link", name="Download").click()
    event.value.save_as(tmp_path / "it.png")
    record = read_settings(tmp_path / "it.png")
    assert record.settings["lora"] == [["ink.safetensors", sha256(ink)]]
    page.reload()
    expect(style).to_have_value("No style")
    page.get_by_role("button", name="Draw a portrait again").click()
    page.set_input_files("#drop-a-png-of-diff-pc input", tmp_path / "it.png")
    expect(style).to_have_value("ink wash")


def test_an_encrypted_identity_file_stands_for_photos(page: Page, astronaut: Image, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra identity is not installed")
    file, eyes = tmp_path / "me.identity.safetensors", load_eyes()
    save_identity(gathered([astronaut], ["astronaut.jpg"], eyes), eyes, file, "open sesame")
    expect(page.get_by_label("Passphrase")).to_have_count(0)
    page.set_input_files("#drop-photos-of-the-person input", file)
    passphrase = page.get_by_label("Passphrase of me.identity.safetensors")
    passphrase.fill("open barley")
    page.get_by_role("button", name="Open the file").click()
    expect(page.locator("#who .note[role=alert]")).to_contain_text("check the passphrase")
    expect(passphrase).to_have_value("")
    passphrase.fill("open sesame")
    passphrase.press("Enter")
    expect(page.get_by_role("button", name="Remove me.identity.safetensors")).to_be_visible()
    expect(passphrase).to_have_count(0)
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    page.get_by_role("button", name="Draw the portrait").click()
    with page.expect_download() as event:
        page.get_by_role("link", name="Download").click()
    event.value.save_as(tmp_path / "it.png")
    settings = read_settings(tmp_path / "it.png").settings
    assert (settings["reference"], settings["identity"]) == ([], [file.name, sha256(file)])


def test_one_of_two_faces_is_chosen(page: Page, two_faced: bytes, tmp_path: Path) -> None:
    """By a click, and by the replay of a portrait of that face."""
    (tmp_path / "two.png").write_bytes(two_faced)
    first, second = (page.get_by_role("button", name=f"Face {n} of 2 in two.png") for n in (1, 2))
    page.set_input_files("#drop-photos-of-the-person input", tmp_path / "two.png")
    expect(first).to_have_attribute("aria-pressed", "true")
    second.click()
    expect(second).to_have_attribute("aria-pressed", "true")
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    page.get_by_role("button", name="Draw the portrait").click()
    with page.expect_download() as event:
        page.get_by_role("link", name="Download").click()
    event.value.save_as(tmp_path / "it.png")
    assert read_settings(tmp_path / "it.png").settings["face"] == 1

    page.reload()
    expect(page.locator("#canvas img")).to_be_visible()
    expect(page.get_by_role("button", name="Draw the portrait")).to_be_enabled()
    page.get_by_role("button", name="Draw a portrait again").click()
    page.set_input_files("#drop-a-png-of-diff-pc input", tmp_path / "it.png")
    expect(page.locator("#again [role=status]")).to_contain_text("drop two.png under")
    page.set_input_files("#drop-photos-of-the-person input", tmp_path / "two.png")
    expect(second).to_have_attribute("aria-pressed", "true")


def test_a_job_is_stopped(page: Page, astronaut_path: Path) -> None:
    give(page, astronaut_path)
    page.get_by_role("checkbox", name="Everyone in the photos").check()
    page.get_by_role("button", name="Steps, seed, count").click()
    page.get_by_role("slider", name="Steps").fill("50")
    page.get_by_role("slider", name="Portraits").fill("4")
    page.get_by_role("button", name="Draw the portrait").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#what .note")).to_have_text("Stopped; nothing was kept.")
    expect(page.get_by_role("button", name="Draw the portrait")).to_be_enabled()
    expect(page.get_by_role("link", name="Download")).to_have_count(0)


def test_a_photo_is_dropped_with_the_mouse(page: Page, astronaut_path: Path) -> None:
    """Playwright cannot drag from the desktop: the browser is given the event that it makes of such a drag."""
    place = page.locator("#drop-photos-of-the-person .drop")
    carried = page.evaluate_handle(
        """async data => {
            const blob = await (await fetch("data:image/jpeg;base64," + data)).blob();
            const carried = new DataTransfer();
            carried.items.add(new File([blob], "astronaut.jpg", {type: "image/jpeg"}));
            return carried;
        }""",
        b64encode(astronaut_path.read_bytes()).decode(),
    )
    place.dispatch_event("dragover", {"dataTransfer": carried})
    expect(page.locator(".over")).to_have_count(1)
    place.dispatch_event("drop", {"dataTransfer": carried})
    expect(page.locator(".over")).to_have_count(0)
    expect(page.get_by_role("button", name="Face 1 of 1 in astronaut.jpg")).to_be_visible()


def test_a_photo_that_cannot_be_used_is_said_beside_it(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_bytes(b"no picture")
    page.set_input_files("#drop-photos-of-the-person input", tmp_path / "notes.jpg")
    expect(page.locator("#who [role=alert].note")).to_contain_text("notes.jpg: is not an image")


def test_the_keyboard_alone_moves_the_face(page: Page) -> None:
    page.get_by_role("slider", name="Pitch").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#canvas img")).to_have_attribute("alt", "3D face: looking 3 degrees up")
    page.get_by_role("radio", name="Frontal").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#canvas img")).to_have_attribute("alt", "3D face: turned 30 degrees to the left")


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, textarea, button, select")].filter(one =>
            one.offsetParent && !one.ariaLabel && !one.labels?.length && !one.innerText.trim()
        ).map(one => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address)
    expect(page.locator("#canvas img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("slider", name="Eyes").scroll_into_view_if_needed()
    assert (page.locator("#canvas img").bounding_box() or {}).get("y", -1) >= 0  # it stays in view
    page.close()


def test_gradios_own_doors_are_shut(page: Page, address: str) -> None:
    upload = page.request.post(f"{address}gradio_api/upload", multipart={"files": {"name": "x", "mimeType": "a/b", "buffer": b"x"}})  # fmt: skip # noqa: E501
    file = page.request.get(f"{address}gradio_api/file=/etc/hostname")
    portrait = page.request.get(f"{address}page/portraits/unknown/0.png")
    assert (upload.status, file.status, portrait.status) == (404, 404, 404)
