"""Sentences that readers meet have at most twenty words; the README is short.

Of the published book, what notebooks and pages say from records is read too, once it is built.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

from lord.study.notebooks import BOOK, NOTEBOOKS, REPOSITORY, executed_folder, notebook_names

MOST, README = 20, 250
GENERATED = BOOK / "_generated"
STATUS = GENERATED / "status.md"
PUBLISHED = STATUS.is_file() and "| full |" in STATUS.read_text("utf-8")
MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, double_inline=True)
MARKDOWN.use(myst_role_plugin).use(colon_fence_plugin)
# Citations in brackets and intervals in brackets are no words of a sentence.
LEFT_OUT = re.compile(r"\((Cited[;,\s]*)+\)|\[[-\d.%, ]+\]|\((p )?[-\d.%]+( to [-\d.%]+)?\)")
ENDS = re.compile(r"""(?<=[.!?])["”’)*]*\s+(?=[\W_]*[A-ZΑ-Ω\d])""")
SHORTENED = re.compile(r"\b(et al|e\.g|i\.e|cf|vs)\.")


def paragraphs(text: str) -> Iterator[str]:
    """What Markdown says outside of code, tables and pictures, a paragraph or heading at a time."""
    in_table = False
    for token in MARKDOWN.parse(text):
        if token.type in ("table_open", "table_close"):
            in_table = token.type == "table_open"
        if token.type == "inline" and not in_table:
            yield LEFT_OUT.sub(" ", spoken(token.children))


def spoken(tokens: list[Token]) -> str:
    """The words of a paragraph; code, a formula, a citation and a page's title are one each."""
    parts, link = [], 0
    for token in tokens:
        match token.type:
            case "link_open":
                link, target = len(parts), token.attrs["href"]
            case "link_close":
                words = "".join(parts[link:])
                if target.endswith((".ipynb", ".md")):
                    parts[link:] = ["Page"]
                elif re.search(r"\b\d{4}$", words):
                    parts[link:] = ["Cited"]
            case "myst_role":
                parts.append("(Cited)" if token.meta["name"] == "cite" else "Page")
            case "code_inline" | "math_inline":
                parts.append("Code")
            case "softbreak" | "hardbreak" | "math_inline_double":
                parts.append(" ")
            case "text":
                parts.append(token.content)
    return "".join(parts)


def words(text: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def long_sentences(text: str) -> list[str]:
    said = [ENDS.split(SHORTENED.sub(r"\1", paragraph)) for paragraph in paragraphs(text)]
    return [" ".join(s.split()) for sentences in said for s in sentences if words(s) > MOST]


def notebook_text(name: str) -> str:
    """What a notebook says, with the sentences that it fills with numbers."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif "show.text(" in source:
            calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
            said = next(n.args[1] for n in calls if getattr(n.func, "attr", "") == "text")
            parts.append(re.sub(r"\{.*?\}", "0", said.value))
    return "\n\n".join(parts)


def outputs(notebook: Path) -> str:
    """What an executed notebook says from records."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return "\n\n".join("".join(data.get("text/markdown", "")) for data in shown)


PAGES = [REPOSITORY / "README.md", *sorted(BOOK.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_have_short_sentences(page):
    assert not long_sentences(page.read_text("utf-8"))


@pytest.mark.parametrize("name", notebook_names())
def test_notebooks_have_short_sentences(name):
    assert not long_sentences(notebook_text(name))


@pytest.mark.skipif(not PUBLISHED, reason="needs the published book")
@pytest.mark.parametrize("name", notebook_names())
def test_what_is_said_from_records_has_short_sentences(name):
    assert not long_sentences(outputs(executed_folder("full") / f"{name}.ipynb"))


@pytest.mark.skipif(not PUBLISHED, reason="needs the published book")
@pytest.mark.parametrize("name", ["first", "verdicts", "summary", "reliability", "status"])
def test_generated_pages_have_short_sentences(name):
    assert not long_sentences((GENERATED / f"{name}.md").read_text("utf-8"))


def test_the_readme_is_short():
    text = "\n\n".join(paragraphs((REPOSITORY / "README.md").read_text("utf-8")))
    assert 0 < words(text) <= README


def test_a_long_sentence_is_found_and_what_is_none_is_left_out():
    long = " ".join(["Word"] * (MOST + 1))
    assert long_sentences(f"Short one. {long}. Another [Page](a.md).") == [f"{long}."]
    assert long_sentences(f"- {long}") and long_sentences(f"> {long}")
    fitting = " ".join(["Word"] * (MOST - 1))
    assert not long_sentences(
        f"{fitting} `a b c` ([Who et al., 2024](https://a.b)) [1, 2] (3% to 4%)"
    )
    assert not long_sentences(f"```\n{long}\n```\n\n| {long} |\n| --- |\n| {long} |")
