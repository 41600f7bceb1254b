"""One look for every figure and table, the words for conditions and metrics, and the caveats.

Figures are drawn 5.2 inches wide and scaled to the page, so that 9-point text is as large as the
text around it on a desktop and still readable on a phone. Colours are those of Okabe and Ito, which
people with any colour vision can tell apart; markers and line styles repeat what they say.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import HTML
from matplotlib.figure import Figure

from lord.experiments.lord.tables import METRICS
from lord.names import HIGHER_IS_BETTER
from lord.record import Record

WIDTH = 5.2
"""Width of every figure, in inches."""

STYLE: dict[str, Any] = {
    "figure.dpi": 200,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.interpolation": "nearest",
}

BLUE, ORANGE, GREEN, VERMILION, PINK, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PINK, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
OLIVE = "#8C8C00"
WARNING = "#8a4b00"

# Defence → words, in the order of the book.
DEFENCE_NAMES = {
    "none": "LoRA",
    "jpeg": "JPEG",
    "blur": "Gaussian blur",
    "total_variation": "total variation",
    "adverse_cleaner": "AdverseCleaner",
    "gaussian_noise": "Gaussian noise",
    "round_trip": "VAE round trip",
    "diffpure": "DiffPure",
    "gridpure": "GrIDPure",
    "impress": "IMPRESS",
    "cat": "CAT",
    "pixel_diffpure": "DiffPure in pixels",
    "pixel_diffpure_ode": "DiffPure in pixels, ODE",
    "pixel_gdmp": "GDMP in pixels",
    "pixel_gridpure": "GrIDPure in pixels",
    "cdl": "contrastive decoupling",
    "adversarial": "adversarial training",
    "lord": "LoRD",
    "lord_wide": "wide LoRD",
    "lord_mixed": "mixed wide LoRD",
}

# Method → words, in the order of the book.
ATTACK_NAMES = {
    "none": "clean",
    "noise": "uniform noise",
    "encoder": "encoder",
    "diffusion": "diffusion",
    "advdm": "AdvDM",
    "mist": "Mist",
    "sds_minus": "SDS−",
    "sds_plus": "SDS+",
    "fsmg": "FSMG",
    "aspl": "ASPL",
    "simac": "SimAC",
    "metacloak": "MetaCloak",
    "ace": "ACE",
    "ace_plus": "ACE+",
    "mist_v2_fused": "Mist v2",
}

METRIC_NAMES = {
    "fid_embedded": "embedded FID",
    "fid_inception": "Inception FID",
    "clip_iqa_embedded": "embedded quality score",
    "clip_iqa_openai": "CLIP-IQA",
    "identity": "identity match",
    "identity_similarity": "identity similarity",
    "fid_imagenet": "ImageNet FID",
    "kid_imagenet": "ImageNet KID",
    "ms_ssim_distance": "distance by MS-SSIM",
    "imagenet_identity": "identity by ImageNet",
}

LEFT_OUT = (
    "<p><em>This profile leaves these experiments out. "
    "<code>make book PROFILE=full</code> shows those that come with the repository.</em></p>"
)


class LeftOut(Exception):
    """Among the records there are none of what was to be shown."""


def where_planned(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Show a note instead where the profile has no such experiments, and so no records of them."""

    @wraps(draw)
    def shown(records: Any, *others: Any, **options: Any) -> Any:
        if isinstance(records, list) and not records:
            return HTML(LEFT_OUT)
        try:
            return draw(records, *others, **options)
        except LeftOut:
            return HTML(LEFT_OUT)

    return shown


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure | HTML]:
    """Draw in the book's style, and close the figure so that a notebook shows it once."""

    @where_planned
    @wraps(draw)
    def drawn(*arguments: Any, **options: Any) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*arguments, **options)
        plt.close(figure)
        return figure

    return drawn


def mark(figure: Figure, records: Sequence[Record]) -> Figure:
    """Write the caveats of the records above a figure."""
    if warnings := caveats(records):
        figure.suptitle("\n".join(warnings), fontsize=8.5, color=WARNING, weight="bold")
    return figure


def caveats(records: Sequence[Record]) -> list[str]:
    """What a reader must know before believing the records; empty if there is nothing."""
    warnings = []
    if not all(record.evidence for record in records):
        warnings.append("No evidence: a run at toy scale that only shows that the code works.")
    if stale := [record for record in records if record.is_stale]:
        parts = {part.partition(":")[2] for record in stale for part in record.outdated}
        warnings.append(
            f"Stale: {len(stale)} of {len(records)} results are by older versions of "
            f"{', '.join(sorted(parts))}."
        )
    return warnings


def metric_keys(records: Sequence[Record]) -> dict[str, str]:
    """For each column of the tables, the metric of the records that it averages.

    Without the columns that nothing was measured for. Among the records must be one of the main
    table, of those that choose the treatments, or of new subjects.
    """
    kinds = ("main", "selection", "confirmation")
    record = next(record for record in records if record.kind in kinds)
    return {
        name: key
        for name, suffix in METRICS.items()
        for key in record.metrics
        if key.startswith(name) and key.endswith(suffix)
    }


def metric_name(key: str) -> str:
    """The name of a metric of a record, with the networks it comes from: "embedded FID"."""
    return METRIC_NAMES[key.removesuffix("_round_trip")]


def metric_label(key: str) -> str:
    """Name and direction: "embedded FID ↓" (lower is better)."""
    return f"{metric_name(key)} {'↑' if higher_is_better(key) else '↓'}"


def higher_is_better(key: str) -> bool:
    """Whether a metric is a quality rather than a distance."""
    return key.startswith(HIGHER_IS_BETTER)


def condition_name(attack: str, defence: str, treatment: str = "none") -> str:
    """A condition as the book writes it: "LoRD (λ = 0), ACE photos"."""
    return f"{defence_name(defence, treatment)}, {ATTACK_NAMES[attack]} photos"


def defence_name(defence: str, treatment: str = "none") -> str:
    """A defence, and what becomes of it at test time: "LoRD (λ = 0)"."""
    treated = "" if treatment == "none" else f" ({treatment_name(treatment)})"
    return DEFENCE_NAMES[defence] + treated


def condition_colour(attack: str, defence: str) -> str:
    """Blue for a LoRA on clean photographs, vermilion on attacked ones; the defences in others."""
    if defence == "none":
        return BLUE if attack == "none" else VERMILION
    own = {"lord": ORANGE, "lord_wide": GREEN, "lord_mixed": OLIVE, "diffpure": SKY}
    return own.get(defence, PINK)


def treatment_name(treatment: str) -> str:
    """A test-time treatment as the book writes it: "λ = ½" for ``lambda=0.5``."""
    if treatment == "learned":
        return "learned λ"
    words = treatment.replace("merged=", "merged, λ = ").replace("lambda=", "λ = ")
    words = words.replace("prior=", "learned λ, prior ")
    return words.replace("0.5", "½")


def number(value: float) -> str:
    """Three or so significant digits, enough to compare: "0.84", "3.12", "41.5"."""
    return f"{value:z.2f}" if abs(value) < 10 else f"{value:.1f}"


def with_interval(cell: Mapping[str, float], name: str) -> str:
    """``"mean [low, high]"`` of a column, or the mean alone where there is no interval (NaN)."""
    low, high = cell[f"{name}_low"], cell[f"{name}_high"]
    text = number(cell[name])
    return text if low != low else f"{text} [{number(low)}, {number(high)}]"
