"""What stands beside the figures: the card of a run, numbers for the text, source code."""

import ast
import html
import json
import re
import textwrap
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from IPython.display import HTML, Markdown

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import PROPOSED
from lord.models.card import EMBEDDED
from lord.record import Record
from lord.show.curves import validated_metrics
from lord.show.scale import LINES
from lord.show.style import caveats, metric_name, treatment_name, where_planned
from lord.show.words import count
from lord.study import registry

PACKAGE = Path(__file__).parents[1]

REPOSITORY = "https://github.com/lord-study/lord"

RESULTS = ("selection", "main")


@where_planned
def run_card(records: Sequence[Record]) -> HTML:
    """Which code computed the records, when, where, how long and with which settings, folded.

    Code and commits are links. Any caveat stands above and is not folded.
    """
    warnings = [
        f'<div class="no-evidence"><strong>{html.escape(text)}</strong></div>'
        for text in caveats(records)
    ]
    days = sorted({f"{record.started:%Y-%m-%d}" for record in records})
    seconds = round(sum(record.seconds for record in records))
    lines = {
        "computed": " to ".join(dict.fromkeys((days[0], days[-1]))),
        "computing time": str(timedelta(seconds=seconds)),
        "peak memory": f"{max(record.peak_memory_mb for record in records) / 1000:.1f} GB",
        "device": ", ".join(sorted({record.device for record in records})),
    }
    summary = f"{count(len(records), 'result')}, computed {lines.pop('computed')}"
    cells = {name: html.escape(value) for name, value in lines.items()} | _links(records)
    body = "".join(
        f'<tr><th style="text-align: left">{name}</th><td>{cell}</td></tr>'
        for name, cell in cells.items()
    )
    settings = json.dumps(shared_settings(records), indent=2, ensure_ascii=False)
    return HTML(
        f"{''.join(warnings)}<details><summary>{summary}</summary>"
        f'<table class="dataframe"><tbody>{body}</tbody></table>'
        f'<p>Settings</p><pre tabindex="0">{html.escape(settings)}</pre></details>'
    )


def _links(records: Sequence[Record]) -> dict[str, str]:
    """The scripts of the experiments, the files of their records, and the commits, as HTML."""
    known = registry.experiments()
    used = [known[kind] for kind in dict.fromkeys(record.kind for record in records)]
    scripts = [_link(f"blob/main/lord/experiments/{e.paper}/{e.file}", e.name) for e in used]
    files = dict.fromkeys(f"results/&lt;profile&gt;/{e.paper}.jsonl" for e in used)
    commits = {
        (
            r.commit[:7]
            if r.lost or r.commit == "unknown"
            else _link(f"commit/{r.commit}", r.commit[:7])
        )
        + " with local changes" * r.dirty
        + " no longer in the history" * r.lost
        for r in records
    }
    return {
        "experiments": ", ".join(scripts),
        "records": ", ".join(files),
        "code": ", ".join(sorted(commits)),
    }


def _link(place: str, words: str) -> str:
    return f'<a href="{REPOSITORY}/{html.escape(place)}">{html.escape(words)}</a>'


def shared_settings(records: Sequence[Record]) -> dict[str, Any]:
    """The settings in which no two of the records differ."""
    settings: dict[str, Any] = {}
    for record in records:
        settings |= record.settings
    return {
        name: value
        for name, value in settings.items()
        if all(record.settings.get(name, value) == value for record in records)
    }


@where_planned
def text(records: Sequence[Record], sentences: str) -> Markdown:
    """Sentences with `numbers` of the records in them, such as ``{ace_eps_levels:.0f}``."""
    return Markdown(sentences.format_map(numbers(records)))


def numbers(records: Sequence[Record]) -> dict[str, float | int | str]:
    """Numbers for the text of a chapter by name, ``<kind>_<metric>``, averaged over domains.

    Of the results (main records and those that chose the treatments) the text needs the numbers of
    subjects and seeds, the shares ``main_<domain>_gap_<metric>``, how alike seeds are, as
    ``main_correlation_<metric>``, and ``main_treatment``.
    """
    found: dict[str, float | int | str] = {}
    for kind in dict.fromkeys(record.kind for record in records):
        if kind not in RESULTS:
            found |= _of_kind(kind, [record for record in records if record.kind == kind])
    if any(record.kind == "main" for record in records):
        found |= _of_results(records)
    return found


def _of_kind(kind: str, records: Sequence[Record]) -> dict[str, float | int | str]:
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if "/" not in name:
                values.setdefault(f"{kind}_{name}", []).append(value)
    found = {name: fmean(of_records) for name, of_records in values.items()}
    if kind == "model":
        found["model_megabytes"] = sum(f.stat().st_size for f in EMBEDDED.rglob("*.*")) / 1e6
    if kind == "metrics":
        ranks = [
            (value, metric_name(metric), name.rpartition("/")[2])
            for record in records
            for metric in validated_metrics(record)
            for name, value in record.metrics.items()
            if name.startswith(f"spearman/{metric}/")
        ]
        found["metrics_spearman_min"], *weakest = min(ranks)
    if kind == "scale":
        for end in LINES:
            (key,) = (k for k in records[0].metrics if re.fullmatch(f"{end}/fid.*_round_trip", k))
            found[f"scale_{end}"] = fmean(record.metrics[key] for record in records)
    numbers = {name: int(v) if float(v).is_integer() else v for name, v in found.items()}
    return numbers | ({"metrics_weakest": " under ".join(weakest)} if kind == "metrics" else {})


def _of_results(records: Sequence[Record]) -> dict[str, float | int | str]:
    table = tables.main_table(records)
    found: dict[str, float | int | str] = {
        "main_subjects": int(table["subjects"].max()),
        "main_seeds": int(table["seeds"].max()),
        "main_treatment": chosen_treatments(records, table["domain"].unique()),
    }
    for name, correlation in tables.correlations(records).items():
        found[f"main_correlation_{name}"] = correlation
    for gap in tables.gaps_closed(records).to_dict("records"):
        if (gap["attack"], gap["defence"], gap["selected"]) == ("ace", PROPOSED, True):
            found[f"main_{gap['domain']}_gap_{gap['metric']}"] = float(gap["closed"])
    return found


def chosen_treatments(records: Sequence[Record], domains: Sequence[str]) -> str:
    """In words, ``"λ = 0"`` or, if domains differ, ``"λ = 0 on portraits, …"``."""
    chosen = {d: treatment_name(tables.selected_treatment(records, d)) for d in domains}
    if len(set(chosen.values())) == 1:
        return chosen[domains[0]]
    return ", ".join(f"{treatment} on {domain}" for domain, treatment in chosen.items())


def source(name: str) -> Markdown:
    """The source of a function, class or method, as a code block.

    Its file is read and not imported, since an import takes seconds.

    Args:
        name: with the module that defines it, such as ``"lord.attacks.pgd.attack"`` or
            ``"lord.adapter.variant.LordVariant.forward"``.

    Raises:
        LookupError: there is no such name.
    """
    folder, (_, *names) = PACKAGE, name.split(".")
    while (folder / names[0]).is_dir():
        folder, names = folder / names[0], names[1:]
    path = folder / f"{names[0]}.py"
    path, names = (path, names[1:]) if path.is_file() else (folder / "__init__.py", names)
    text = path.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in names:
        found = [child for child in node.body if getattr(child, "name", None) == part]
        if not found:
            raise LookupError(f"{path} does not define {'.'.join(names)}")
        node = found[-1]
    first = min(place.lineno for place in (node, *node.decorator_list))
    lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]
    return Markdown(f"````python\n{textwrap.dedent(''.join(lines))}````")
