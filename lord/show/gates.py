"""λ in stage 2 against λ while sampling."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import UNCHANGED
from lord.record import Record
from lord.show.ablations import table_of
from lord.show.panels import grid, matrix
from lord.show.style import (
    mark,
    metric_keys,
    metric_label,
    metric_name,
    number,
    styled,
    treatment_name,
    where_planned,
)


@where_planned
@styled
def gate_grid(records: Sequence[Record], compared: Sequence[Record]) -> Figure:
    """FID for λ while stage 2 learns (rows) and while sampling (columns), shaded by logarithm."""
    table, keys = _gates(records, compared), metric_keys(compared)
    fixed = [gate for gate in table["stage2_gate"].unique() if gate != "learned"]
    gates = ["learned", *sorted(fixed)]
    treatments = sorted(
        table["treatment"].unique(), key=lambda t: (t == "dropped", t.startswith("lambda"), t)
    )
    words = [treatment_name(t).replace("learned λ, prior", "prior") for t in treatments]
    domains, height = table["domain"].unique(), 0.32 * len(gates) + 1.3
    figure, axes, places = grid(["fid"], domains, height, sharey=True)
    for panel, name, domain in places:
        cells = table[table["domain"] == domain].set_index(["stage2_gate", "treatment"])[name]
        values = np.array([[cells.get((g, t), np.nan) for t in treatments] for g in gates])
        texts = [[number(v) if np.isfinite(v) else "" for v in row] for row in values]
        shades = np.log(values)
        shades = (shades - np.nanmin(shades)) / max(np.nanmax(shades) - np.nanmin(shades), 1e-9)
        names, tilted = list(map(_gate_name, gates)), {"rotation": 40, "ha": "right"}
        matrix(panel, shades, texts, names, words, limit=1, white=0.6, **tilted)
    axes[0, 0].set_ylabel("in stage 2")
    figure.supxlabel(f"while sampling ({metric_label(keys['fid'])})", fontsize=9)
    return mark(figure, [*records, *compared])


@where_planned
def gate_findings(records: Sequence[Record], compared: Sequence[Record]) -> Markdown:
    """For each domain, in words: the learned gate in both places, and the best of every pair.

    And how often, of all gates, the learned λ is worse than ½ while sampling.
    """
    table, lines = _gates(records, compared), []
    for domain, cells in table.groupby("domain", sort=False):
        cells = cells[cells["treatment"] != "dropped"]
        stage2 = cells["stage2_gate"] == "learned"
        sampling = cells["treatment"] == "learned"
        texts = []
        for words, part in (
            ("with the learned λ in both places", cells[stage2 & sampling]),
            ("at best", cells),
            ("at best with the learned λ in stage 2", cells[stage2]),
            ("at best with the learned λ while sampling", cells[sampling]),
        ):
            if len(part):
                best = part.loc[part["fid"].idxmin()]
                pair = (_gate_name(best["stage2_gate"]), treatment_name(best["treatment"]))
                texts.append(f"{words} {number(best['fid'])} ({', then '.join(pair)})")
        lines.append(f"- {domain}: {'; '.join(texts)}")
    rows = tables.condition_rows([*records, *compared], records[0].kind)
    cells = rows.pivot(
        index=["domain", "variant", "subject", "seed"], columns="treatment", values="fid"
    ).reindex(columns=["learned", "lambda=0.5"])
    worse, both = (cells["learned"] > cells["lambda=0.5"]).sum(), len(cells.dropna())
    if both:
        lines.append(f"- while sampling, learned is worse than ½ in {worse} of {both} cells")
    basis = f"The {metric_name(metric_keys(compared)['fid'])} where the adapter stays on:"
    return Markdown("\n".join([basis, "", *lines]))


def _gates(records: Sequence[Record], compared: Sequence[Record]) -> pd.DataFrame:
    """The rows in which nothing but λ is changed."""
    table = table_of(records, compared)
    return table[(table["variant"] == UNCHANGED) | (table["stage2_gate"] != "learned")]


def _gate_name(gate: str | float) -> str:
    """λ in stage 2, as treatments are named."""
    return treatment_name("learned" if gate == "learned" else f"lambda={gate:g}")
