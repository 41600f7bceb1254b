"""What pages of the built book name of each other is there; skipped without a book."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from lord.study.notebooks import BOOK

HTML = BOOK / "_build" / "html"
PAGES = sorted(page for page in HTML.rglob("*.html") if "_static" not in page.parts)


class Page(HTMLParser):
    """The places of a page, and what it names: pages, places, pictures, scripts, styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places, self.named = set(), set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.places |= {values[key] for key in ("id", "name") if values.get(key)}
        self.named |= {values[key] for key in ("href", "src") if values.get(key)}


read = cache(Page)


def broken(path: Path) -> list[str]:
    """What a page names of this book and is not there."""
    found = []
    for link in sorted(read(path).named):
        if urlsplit(link).scheme or link.startswith("//"):
            continue
        name, place = map(unquote, urldefrag(link))
        target = (path.parent / name.partition("?")[0]).resolve() if name else path
        there = target.exists()
        if there and place and target.suffix == ".html":
            there = place in read(target).places
        if not there:
            found.append(link)
    return found


@pytest.mark.skipif(not PAGES, reason="needs a built book")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_within_the_book_lead_somewhere(path):
    assert not broken(path)


def test_a_broken_link_is_found(tmp_path):
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    other.write_text('<p id="here"></p>', "utf-8")
    page.write_text(
        '<a href="other.html#here"></a><a href="https://a.b/c"></a><a href="#nowhere"></a>'
        '<a href="other.html#there"></a><img src="gone.png">',
        "utf-8",
    )
    assert broken(page) == ["#nowhere", "gone.png", "other.html#there"]
