"""The built book as one PDF: the articles of all its pages on one page, printed by a browser."""

import posixpath
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urldefrag

from bs4 import BeautifulSoup, Tag

from lord.files import write_text
from lord.study.notebooks import BOOK

HTML = BOOK / "_build" / "html"
FIRST = "intro.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

STYLE = """
@page { size: A4; margin: 18mm 16mm }
html { font-size: 14px }
body, .bd-content { display: block; max-width: 100% }
header { break-after: page; padding-top: 30vh; text-align: center }
article, nav { break-before: page; overflow: visible !important }
figure, pre, tr, .math { break-inside: avoid }
h1, h2, h3 { break-after: avoid }
nav ul, nav li { display: block !important; padding: 0 }
pre { white-space: pre-wrap !important }
.headerlink, .copybtn { display: none }
"""


def print_book(html: Path = HTML) -> Path:
    """Print a built book into ``lord.pdf`` beside its folder; return that path.

    Raises:
        FileNotFoundError: no book has been built, or there is no browser.
        ChildProcessError: the browser has printed nothing.
    """
    if not (html / FIRST).exists():
        raise FileNotFoundError(f"{html} holds no book: run `make book` first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(
            "Chromium prints the PDF, and is not there: install it, as with "
            "`sudo apt-get install chromium`"
        )
    page, pdf = html / "printed.html", html.parent / "lord.pdf"
    pdf.unlink(missing_ok=True)
    write_text(page, one_page(html))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    # Formulas are drawn after the page has been loaded: its clock runs ahead until they are.
    options += ["--generate-pdf-document-outline", "--virtual-time-budget=120000"]
    try:
        run = subprocess.run(
            [browser, *options, f"--print-to-pdf={pdf}", page.as_uri()],
            capture_output=True,
            text=True,
        )
    finally:
        page.unlink()
    if not pdf.exists():
        raise ChildProcessError(f"{browser} has printed nothing: {run.stderr.strip()[-300:]}")
    return pdf


def one_page(html: Path) -> str:
    """All pages of a built book as one: a title, the contents, and the articles in their order.

    Links lead inside. What is folded in the book is left out, and the contents say so.
    """
    first = _soup(html / FIRST)
    contents = first.select_one("nav.bd-links")
    names = [posixpath.normpath(a["href"]) for a in contents.select("a.reference.internal")]
    names[0] = FIRST  # the first page leads to itself
    articles, head = [], {}
    for name in names:
        soup = _soup(html / name)
        for tag in soup.head.select('link[rel="stylesheet"], script'):
            if tag.name == "link" or "mathjax" in str(tag).lower():
                _move(tag, name, names)
                head[str(tag)] = None
        article = soup.select_one("article")
        for spare in article.select("details:not([open]), script"):
            spare.decompose()
        for tag in article.find_all(True):
            _move(tag, name, names)
        article["id"] = _anchor(name)
        articles.append(str(article))
    for link in contents.select("a"):
        _move(link, FIRST, names)
    description = first.select_one('meta[name="description"]')
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{first.title.string}</title>{''.join(head)}<style>{STYLE}</style></head><body>"
        f"<header><h1>{first.title.string.split(' — ')[-1]}</h1>"
        f"<p>{description['content'] if description else ''}</p></header>"
        f"<nav><h1>Contents</h1>{contents.decode_contents()}"
        "<p>What is folded in the book, code and long tables, is left out here.</p></nav>"
        f'<main class="bd-content">{"".join(articles)}</main></body></html>'
    )


def _soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def _anchor(name: str) -> str:
    """What a page is called on the one page."""
    return name.removesuffix(".html").replace("/", "-")


def _move(tag: Tag, name: str, names: list[str]) -> None:
    """Let a tag of the page ``name`` say where it and its target are on the one page."""
    if tag.get("id"):
        tag["id"] = f"{_anchor(name)}--{tag['id']}"
    for attribute in ("href", "src"):
        url = tag.get(attribute)
        if not url or ":" in url.partition("/")[0]:
            continue
        path, fragment = urldefrag(url)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        if target in names:
            target = f"#{_anchor(target)}" + f"--{fragment}" * bool(fragment)
        tag[attribute] = target
