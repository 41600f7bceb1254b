"""The scale of a FID: what clean pictures get, of the same subject and of another one.

As many pictures as a condition has samples, through the VAE as samples are: the first are what a
LoRA is to learn, the second flawless pictures of somebody or somewhere else.
"""

from collections.abc import Sequence
from statistics import fmean

from lord.record import Record
from lord.show.panels import Places
from lord.show.style import number

LINES = {
    "same": ("-.", "clean pictures, same subject"),
    "other": ("-", "clean pictures, another subject"),
}
"""The ends of the scale, with the style of their lines and their words."""

GREY = "#777777"


def scale_of(records: Sequence[Record], key: str, domain: str) -> dict[str, float]:
    """Both ends for a metric on a domain, the means over its subjects; empty if not measured."""
    of_domain = [r for r in records if r.kind == "scale" and r.settings["domain"] == domain]
    return {
        end: fmean(record.metrics[f"{end}/{key}"] for record in of_domain)
        for end in LINES
        if of_domain
    }


def scale_lines(places: Places, key: str, records: Sequence[Record], upright: bool = False) -> None:
    """Both ends as lines in every panel of FID.

    Args:
        places: panels, of which those count whose row is ``fid`` or ``key``: other distances have
            other scales.
        key: the metric of the records that is FID, see `metric_keys`.
        records: those of scale, and others.
        upright: whether the metric is on the axis that lies.
    """
    for panel, row, domain in places:
        if row in ("fid", key):
            for end, value in scale_of(records, key, domain).items():
                style, label = LINES[end]
                draw = panel.axvline if upright else panel.axhline
                draw(value, color=GREY, linestyle=style, linewidth=1, zorder=0, label=label)


def scale_words(key: str, records: Sequence[Record], domains: Sequence[str]) -> str:
    """Both ends as two lines of text, for figures without an axis of FID."""
    texts = []
    for domain in domains:
        ends = scale_of(records, key, domain)
        texts += [f"{domain} {number(ends['same'])} and {number(ends['other'])}"] if ends else []
    head = "clean pictures of the same and of another subject:"
    return f"{head}\n{', '.join(texts)}" if texts else ""
