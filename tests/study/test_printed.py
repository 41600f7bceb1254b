"""The book on paper: a made-up book of three pages, put together and printed."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from lord.study.printed import BROWSERS, one_page, print_book

NAV = (
    '<nav class="bd-links"><a class="reference internal" href="{up}#">First</a>'
    '<p class="caption">Part</p><a class="reference internal" href="notebooks/01_a.html">1. A</a>'
    '<a class="reference internal" href="notebooks/02_b.html">2. B</a></nav>'
)
PAGE = (
    "<html><head><title>{title} — A made-up book</title>"
    '<meta name="description" content="What it is about.">'
    '<link rel="stylesheet" href="{up}_static/style.css">'
    '<script src="{up}_static/menu.js"></script>'
    '<script defer src="{up}_static/mathjax/tex-chtml.js"></script></head><body>{nav}'
    '<article class="bd-article"><section id="in-short"><h1>{title}</h1>{body}</section>'
    "<details><summary>Folded</summary>hidden</details></article></body></html>"
)


@pytest.fixture
def html(tmp_path):
    folder = tmp_path / "a book" / "html"
    (folder / "notebooks").mkdir(parents=True)
    bodies = {
        "intro": '<a href="notebooks/02_b.html#in-short">see</a>',
        "notebooks/01_a": '<img src="../_images/a.png"><a href="#in-short">below</a>',
        "notebooks/02_b": '<a href="https://a.b/c.html">out</a><a href="01_a.html">back</a>',
    }
    for name, body in bodies.items():
        up = "../" * name.count("/")
        nav = NAV.format(up=up) if name == "intro" else ""
        text = PAGE.format(title=f"Page {name[-4:]}", up=up, nav=nav, body=body)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


class Names(HTMLParser):
    """The places of a page, and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.places += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if tag == "a" else []


def test_pages_stand_in_order_and_link_to_each_other(html):
    text = one_page(html)
    found = Names(text)
    assert len(set(found.places)) == len(found.places) == 6
    inside = [link for link in found.links if link.startswith("#")]
    assert {link[1:] for link in inside} <= set(found.places)
    assert [link for link in found.links if link not in inside] == ["https://a.b/c.html"]
    titles = re.findall(r"<h1>(.*?)</h1>", text)
    assert titles == ["A made-up book", "Contents", "Page ntro", "Page 01_a", "Page 02_b"]
    assert 'src="_images/a.png"' in text and text.count("_static/mathjax/tex-chtml.js") == 1
    assert "menu.js" not in text and "hidden" not in text and "What it is about." in text


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs a browser")
def test_a_book_is_printed_a_page_for_each(html):
    pdf = print_book(html)
    assert pdf == html.parent / "lord.pdf" and not (html / "printed.html").exists()
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) == 5  # title, contents, and the three


def test_what_is_missing_is_said(html, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="run `make book` first"):
        print_book(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        print_book(html)
