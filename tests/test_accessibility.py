"""Pages of the built book as axe-core and readers see them; skipped without a book or a browser."""

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from lord.study.notebooks import BOOK

HTML = BOOK / "_build" / "html"
# Pages that hold nothing of this project's.
MADE = ("index", "search", "genindex")
PAGES = sorted(
    page
    for page in HTML.rglob("*.html")
    if page.stem not in MADE and "_static" not in page.relative_to(HTML).parts
)
STATUS = HTML / "status.html"
PUBLISHED = STATUS.is_file() and "<p>full</p>" in STATUS.read_text("utf-8")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
AXE = find_spec("axe_core_python")
# What is folded counts too, in its full colours: it fades in.
UNFOLD = """
document.querySelectorAll("article details").forEach((folded) => (folded.open = true));
document.getAnimations().forEach((animation) => animation.finish());
"""
SERIOUS = """axe.run("#main-content", {resultTypes: ["violations"]}).then((found) =>
  found.violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes[0].html}`))"""

pytestmark = pytest.mark.skipif(
    not (PAGES and BROWSER and AXE), reason="needs a built book and a browser"
)


class Browser:
    """A browser without a window, told what to do by its debugging protocol.

    Messages are JSON, each followed by a zero byte; the browser reads them from descriptor 3 and
    writes to 4.
    """

    def __init__(self, folder: Path) -> None:
        theirs_in, self.ours_out = os.pipe()
        self.ours_in, theirs_out = os.pipe()
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
        ]
        command += [f"--user-data-dir={folder}", "--window-size=390,900", "about:blank"]
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "browser", *command],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        for theirs in (theirs_in, theirs_out):
            os.close(theirs)
        self.messages, self.numbers, self.session = os.fdopen(self.ours_in, "rb"), count(1), {}
        pages = self.ask("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        self.ask("Page.enable")

    def ask(self, method: str, **parameters: object) -> dict:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters} | self.session
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        return self.wait(lambda answer: answer.get("id") == number)["result"]

    def wait(self, wanted) -> dict:
        while True:
            text = bytearray()
            while (byte := self.messages.read(1)) != b"\0":
                assert byte, "the browser has gone"
                text += byte
            if wanted(message := json.loads(text)):
                return message

    def open(self, page: Path) -> None:
        self.ask("Page.navigate", url=page.as_uri())
        self.wait(lambda message: message.get("method") == "Page.loadEventFired")

    def press_right(self, focused: str) -> None:
        """Press the arrow to the right in the element that a selector finds."""
        self.evaluate(f"document.querySelector('{focused}').focus()")
        for kind in ("keyDown", "keyUp"):
            key = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
            self.ask("Input.dispatchKeyEvent", type=kind, **key)

    def evaluate(self, script: str) -> object:
        """The value of a script, awaited if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.ask("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.process.terminate()
    browser.process.wait(timeout=30)


@pytest.mark.skipif(not PUBLISHED, reason="needs the published book")
def test_the_first_page_is_read_in_two_minutes(browser):
    browser.open(HTML / "intro.html")
    said = browser.evaluate("document.querySelector('article').innerText")
    assert 0 < len(re.findall(r"\w\S*", said)) <= 250


def test_the_book_is_light():
    files = [path for path in HTML.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_no_serious_finding(browser, page):
    browser.open(page)
    browser.evaluate("window.MathJax?.startup?.promise")
    browser.evaluate(UNFOLD)
    browser.evaluate((Path(AXE.origin).parent / "axe.min.js").read_text("utf-8"))
    assert browser.evaluate(SERIOUS) == []


@pytest.mark.skipif(not PUBLISHED, reason="figures of other profiles have other shapes")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name == "notebooks"], ids=lambda page: page.stem
)
def test_a_chapter_has_at_most_five_screens(browser, page):
    """Of a desktop, 1400 by 900 pixels, with what is folded left so."""
    desktop = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **desktop)
    try:
        browser.open(page)
        browser.evaluate("window.MathJax?.startup?.promise")
        assert browser.evaluate("document.documentElement.scrollHeight") <= 5 * desktop["height"]
    finally:
        browser.ask("Emulation.clearDeviceMetricsOverride")


def test_the_slider_and_its_attacks_answer_to_the_keyboard(browser):
    browser.open(HTML / "notebooks" / "05_attacks.html")
    browser.press_right(".before-after input[type=range]")
    style = "document.querySelector('.before-after').style.getPropertyValue('--at')"
    assert browser.evaluate(style) == "51%"
    shown = "[...document.querySelectorAll('.before-after')[0].querySelectorAll('.attacked')]"
    shown += ".filter((picture) => picture.checkVisibility()).map((p) => p.dataset.attack)"
    before = browser.evaluate(shown)
    browser.press_right(".before-after input:checked")
    after = browser.evaluate(shown)
    assert len(set(before)) == len(set(after)) == 1 and len(after) == 2 and before != after
