"""The project's own promises: pins, pairs, notebooks, book, citation."""

import ast
import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

import lord
from lord.show import cards
from lord.study.book import as_page, slim, status_tables
from lord.study.notebooks import (
    NOTEBOOKS,
    REPOSITORY,
    execute_notebooks,
    executed_folder,
    notebook_names,
    parse_parameters,
    shown_in,
)
from lord.study.profile import PROFILES, load_profile

NAMES = notebook_names()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def read_yaml(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


def book_pages() -> list[Path]:
    """The sources of every page in the table of contents, notebooks as their scripts."""
    toc = read_yaml("_toc.yml")
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    pages = [toc["root"], *(chapter["file"] for chapter in chapters if "file" in chapter)]
    globs = [chapter["glob"] for chapter in chapters if "glob" in chapter]
    return [
        *(REPOSITORY / "book" / f"{name}.md" for name in pages),
        *(path for pattern in globs for path in sorted(REPOSITORY.glob(f"{pattern}.py"))),
    ]


def pinned(requirements: list[str]) -> dict[str, str]:
    return dict(requirement.split("==") for requirement in requirements)


def test_both_environments_install_the_same_exact_versions():
    extras = PROJECT["optional-dependencies"]
    ours = pinned([*PROJECT["dependencies"], *extras["study"], *extras["dev"]])
    conda = read_yaml("environment.yml")["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    assert pinned([entry for entry in pip if not entry.startswith("--")]) == ours
    assert "--editable ." in pip


def test_binder_installs_what_notebooks_need_and_no_more():
    binder = read_yaml(".binder/environment.yml")["dependencies"]
    pip = next(entry["pip"] for entry in binder if isinstance(entry, dict))
    ours = pinned([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["study"]])
    installed = pinned([entry for entry in pip if not entry.startswith("--")])
    assert installed.items() <= ours.items()
    assert set(installed) - set(pinned(PROJECT["dependencies"])) == {"ipykernel", "jinja2"}
    script = REPOSITORY / ".binder" / "postBuild"
    assert os.access(script, os.X_OK) and "--no-deps --editable ." in script.read_text()


def test_on_binder_every_notebook_shows_the_published_records(tmp_path):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    last = (REPOSITORY / ".binder" / "postBuild").read_text().splitlines()[-1]
    subprocess.run(["bash", "-c", last], check=True, cwd=tmp_path)
    for name in NAMES:
        parameters = next(
            cell.source
            for cell in jupytext.read(tmp_path / "notebooks" / f"{name}.ipynb").cells
            if "parameters" in cell.metadata.get("tags", [])
        )
        assert parameters == 'profile = "full"\ncompute = False', name


def test_what_binder_takes_was_measured_of_every_notebook_and_is_little():
    with (REPOSITORY / "book" / "binder.csv").open(encoding="utf-8") as file:
        environment, *rows = csv.DictReader(file)
    assert [row[""] for row in rows] == NAMES and int(environment["MiB on disk"]) > 0
    for row in rows:
        assert 0 < int(row["seconds"]) <= 20 * 60 and 0 < int(row["MiB in memory"]) <= 1536, row


def test_notebooks_import_nothing_that_binder_lacks():
    cells = [c for name in NAMES for c in jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells]
    lines = [line for c in cells if c.cell_type == "code" for line in c.source.splitlines()]
    imports = {line for line in lines if re.match("(from|import) lord", line)}
    tools = (
        "bs4",
        "papermill",
        "jupytext",
        "jupyter_book",
        "snakemake",
        "nbformat",
        "pytest",
        "myst_nb",
    )
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({tools}))"
    subprocess.run([sys.executable, "-c", "\n".join([blocked, *imports])], check=True, timeout=300)


def test_conda_python_is_one_that_the_package_accepts():
    python = next(e for e in read_yaml("environment.yml")["dependencies"] if "python=" in str(e))
    minimum = PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, python.split("=")[1].split("."))) >= tuple(map(int, minimum.split(".")))


def test_one_version_everywhere():
    assert lord.__version__ == PROJECT["version"] == read_yaml("CITATION.cff")["version"]


def test_ci_script_is_executable():
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)


def test_every_experiment_is_shown_by_a_notebook():
    """The workflow waits for what each notebook reads, and the published study is shown."""
    shown = {experiment for name in NAMES for experiment in shown_in(name)}
    assert all(shown_in(name) for name in NAMES)
    assert shown == {experiment.name for experiment in load_profile("full").experiments}


@pytest.mark.parametrize("own", [False, True])
def test_a_stamp_whose_record_is_lost_counts_for_nothing(own, tmp_path):
    tmp_path /= "a b'c"
    profile = tmp_path / "mine.yaml" if own else "smoke"
    stamp = tmp_path / ("mine" if own else "smoke") / ".done" / "all"
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    shutil.copy(PROFILES / "smoke.yaml", tmp_path / "mine.yaml")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--printshellcmds",
        "--nolock",
        "--cores",
        "1",
    ]
    planned = subprocess.run(
        [*command, "--config", f"profile={profile}", "--", str(stamp)],
        cwd=REPOSITORY,
        env=os.environ | {"LORD_RESULTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    asked = rf"lord study run --profile {re.escape(shlex.quote(str(profile)))}( --experiment \w+)*"
    assert re.search(f"{asked} --experiment data ", planned.stdout + planned.stderr)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_pair_matches(name):
    """`make notebooks` writes the .ipynb of a changed script."""
    script, notebook = (jupytext.read(NOTEBOOKS / f"{name}{end}") for end in (".py", ".ipynb"))

    def content(document):
        keys = ("tags", "mystnb")
        return [
            (cell.cell_type, cell.source, {k: cell.metadata[k] for k in keys if k in cell.metadata})
            for cell in document.cells
        ]

    assert content(notebook) == content(script)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_declares_plain_parameters(name):
    cells = jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert cell.source == 'profile = "quick"\ncompute = True'


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_captioned_named_and_described(name):
    """The quotation below a figure is its caption, here as in the book."""
    cells = jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells
    for cell, below in zip(cells, [*cells[1:], None], strict=True):
        options = cell.metadata.get("mystnb", {})
        if "figure" in options:
            assert below.cell_type == "markdown" and below.source.startswith("> ")
            assert "caption" not in options["figure"], "in the cell below"
            assert options["figure"]["name"].startswith("fig-")
            assert "table" in options["figure"]["name"] or options["image"]["alt"]


def test_no_two_figures_have_one_name():
    cells = [c for name in NAMES for c in jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells]
    figures = [c.metadata["mystnb"]["figure"]["name"] for c in cells if is_figure(c)]
    assert sorted(figures) == sorted(set(figures))


def is_figure(cell) -> bool:
    return "figure" in cell.metadata.get("mystnb", {})


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_reads_on_its_own(name):
    """Jupyter, Colab and GitHub know Markdown and formulas, but no roles, labels or directives."""
    for cell in jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells:
        if cell.cell_type == "markdown":
            plain = re.sub(r"`[^`]*`", "", re.sub(r"(?s)```.*?```", "", cell.source))
            assert not re.search(r"\{[a-z:]+\}`", cell.source), cell.source
            assert not re.search(r"(?m)^(:::|```\{|: |% |\([\w-]+\)=)", cell.source), cell.source
            assert not re.search(r"\$\$ *\(|\]\(#", plain), cell.source
            for target in re.findall(r"\]\(([^)]*)\)", plain):
                assert target.startswith("https://") or (NOTEBOOKS / target).is_file(), target


@pytest.mark.parametrize("name", NAMES)
def test_no_number_with_decimals_or_percent_is_typed_in_prose(name):
    """Results come from records; a typed number would go stale."""
    for cell in jupytext.read(NOTEBOOKS / f"{name}.ipynb").cells:
        if cell.cell_type == "markdown" or "show.text(" in cell.source:
            prose = re.sub(r"\$[^$]*\$|\]\([^)]*\)|\{\w+:[^}]*\}|95 %", "", cell.source)
            assert not re.search(r"\d\.\d|\d ?%", prose), prose


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("01_data", {"profle": "smoke"}, r"no parameter profle.* it has: profile, compute"),
        ("01_data", {"profile": "smoke"}, "use --profile"),
        ("08_more", {}, "unknown notebook '08_more'"),
    ],
)
def test_a_mistake_is_found_before_anything_is_executed(
    name, parameters, message, tmp_path, monkeypatch
):
    monkeypatch.setattr("lord.study.notebooks.BOOK", tmp_path)
    with pytest.raises(ValueError, match=message):
        list(execute_notebooks([name], parameters=parameters))
    assert not list(tmp_path.iterdir())


def test_a_profile_of_ones_own_is_found_from_the_folder_of_the_notebook(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **options: given.update(options))
    monkeypatch.setattr("lord.study.notebooks.BOOK", tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copy(PROFILES / "smoke.yaml", tmp_path / "mine.yaml")
    with pytest.raises(FileNotFoundError, match="failed"):  # nothing was executed
        list(execute_notebooks(["01_data"], profile="mine.yaml"))
    assert given["parameters"]["profile"] == str(tmp_path / "mine.yaml")
    assert executed_folder("mine.yaml") == executed_folder("mine")


@pytest.mark.parametrize("profile", ["huge", "../x", "loop/x.yaml"])
def test_a_wrong_profile_is_found_before_anything_is_executed(profile, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.study.notebooks.BOOK", tmp_path / "book")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match="unknown profile"):
        list(execute_notebooks(["01_data"], profile=profile))
    assert not (tmp_path / "book").exists()


def test_notebooks_share_what_is_loaded_and_no_names(tmp_path, monkeypatch):
    monkeypatch.setattr("lord.study.notebooks.NOTEBOOKS", tmp_path)
    monkeypatch.setattr("lord.study.notebooks.BOOK", tmp_path / "book")
    lines = {"01_a": "import this; left = 1", "02_b": "import sys; 'this' in sys.modules, dir()"}
    for name, line in lines.items():
        given = jupytext.reads(f'# %% tags=["parameters"]\nprofile = ""\n\n# %%\n{line}', "py")
        given.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
        jupytext.write(given, tmp_path / f"{name}.ipynb")
    paths = list(execute_notebooks(list(lines), "smoke"))
    assert paths == [executed_folder("smoke") / f"{name}.ipynb" for name in lines]
    cell = jupytext.read(paths[1]).cells[-1]
    loaded, names = ast.literal_eval(cell.outputs[0].data["text/plain"])
    assert loaded and "profile" in names and "left" not in names
    assert cell.execution_count == 3  # after the parameters and what is put in their place


def test_parameters_are_read_as_yaml():
    parsed = parse_parameters(["compute=false", "name=a=b"])
    assert parsed == {"compute": False, "name": "a=b"}
    for wrong, message in (("compute", "key=value"), ("compute=[", "is not YAML")):
        with pytest.raises(ValueError, match=message):
            parse_parameters([wrong])


def test_status_page_lists_run_time_and_versions():
    run = {
        "profile": "smoke",
        "seconds": 83.2,
        "executed": "2026-01-01 12:00 UTC",
        "versions": {"torch": "1.2.3"},
    }
    page = status_tables({"01_data": {"metadata": {"lord": run}}})
    assert "| [](notebooks/01_data.ipynb) | smoke | 1:23 | 2026-01-01 12:00 UTC |" in page
    assert "| torch | 1.2.3 |" in page


def test_every_page_of_the_book_exists():
    assert all(page.is_file() for page in book_pages())
    chapters = {page.stem for page in book_pages()}
    assert set(NAMES) <= chapters


def test_every_citation_resolves_and_every_entry_is_cited():
    """Pages cite by key; notebooks by authors and year, with the address if there is one."""
    entries = read_bibliography()
    text = " ".join(page.read_text(encoding="utf-8") for page in book_pages())
    text = text.replace("\n# ", " ")
    keys = {key for keys in re.findall(r"\{cite\}`([^`]*)`", text) for key in keys.split(",")}
    linked = set(re.findall(r"\[[^\]]+, \d{4}\]\(https?://[^)]*\)", text))
    assert keys <= set(entries) and linked <= set(entries.values())
    assert {key for key, citation in entries.items() if key in keys or citation in text} == set(
        entries
    )


def read_bibliography() -> dict[str, str]:
    """How a notebook cites each entry."""
    found = {}
    text = (REPOSITORY / "book" / "references.bib").read_text(encoding="utf-8")
    for key, body in re.findall(r"(?ms)^@\w+\{(\w+),(.*?)^\}", text):
        fields = dict(re.findall(r"(?m)^ *(\w+) *= *\{(.*)\},?$", body))
        names = [name.split(",")[0] for name in fields["author"].split(" and ")]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        doi = f"https://doi.org/{fields['doi']}" if "doi" in fields else None
        address = fields.get("url", doi)
        citation = f"{who}, {fields['year']}"
        found[key] = f"[{citation}]({address})" if address else citation
    return found


def test_launch_buttons_open_files_that_exist():
    """A button opens path_to_book/<page>; pages under notebooks/ are the repository's own files."""
    assert read_yaml("_config.yml")["repository"]["path_to_book"] == ""
    opened = [page for page in book_pages() if page.parent == NOTEBOOKS]
    assert opened and all(page.with_suffix(".ipynb").is_file() for page in opened)


def test_one_repository_address_everywhere():
    address = read_yaml("_config.yml")["repository"]["url"]
    assert PROJECT["urls"]["Repository"] == address
    assert read_yaml("CITATION.cff")["repository-code"] == address
    assert address == cards.REPOSITORY
    assert all(f"git+{address}" in (NOTEBOOKS / f"{name}.py").read_text() for name in NAMES)


def test_a_built_book_keeps_what_its_pages_load(tmp_path):
    """All that pages refer to stays; notebooks to download are those of the repository."""
    mathjax = tmp_path / "_static" / "mathjax"
    kept = ("tex-chtml.js", "output/chtml/fonts/woff/a.woff", "input/tex/extensions/color.js")
    for name in (*kept, "tex-svg.js", "sre/mathmaps/de.json", "output/svg.js"):
        (mathjax / name).parent.mkdir(parents=True, exist_ok=True)
        (mathjax / name).write_text("")
    (tmp_path / "_static" / "theme.css.map").write_text("")
    notebook = tmp_path / "_sources" / "notebooks" / "01_data.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text("executed")
    slim(tmp_path)
    left = [path for path in mathjax.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(mathjax / name for name in kept)
    assert not list(tmp_path.rglob("*.map"))
    assert notebook.read_text() == (NOTEBOOKS / "01_data.ipynb").read_text()


def test_a_page_has_its_captions_and_links():
    def cell(kind, source, **metadata):
        return {"cell_type": kind, "source": source.splitlines(True), "metadata": metadata}

    figure = cell("code", "draw()", mystnb={"figure": {"name": "fig-a"}}, tags=["hide-input"])
    caption, text = cell("markdown", "> Two\n> lines."), cell("markdown", "[Use](../book/use.md)")
    notebook = {"cells": [figure, caption, text], "nbformat": 4}
    page = as_page(notebook)
    drawn, linked = page["cells"]
    assert drawn["metadata"]["mystnb"]["figure"] == {"name": "fig-a", "caption": "Two lines."}
    assert linked["source"] == "[Use](../use.md)" and page["nbformat"] == 4
    assert drawn["metadata"]["tags"] == ["remove-input"]  # it is one call
    assert "caption" not in figure["metadata"]["mystnb"]["figure"]
    assert figure["metadata"]["tags"] == ["hide-input"]
    for cells in ([figure, text], [figure]):
        with pytest.raises(ValueError, match="fig-a: the cell below it does not begin with '> '"):
            as_page({"cells": cells})
