"""What the chapter on purification shows of pictures on their way through a purifier."""

from collections.abc import Sequence

from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.metrics.interval import Interval, mean_interval
from lord.record import Record
from lord.show.panels import band, grid, legend
from lord.show.pictures import labelled_rows, sample_tiles
from lord.show.purification import PURIFIERS, attack_name
from lord.show.style import CYCLE, MARKERS, caveats, mark, styled, where_planned
from lord.show.words import capitalised


@styled
def stations(records: Sequence[Record]) -> Figure:
    """A clean portrait on its way through each purifier, and the same after the last attack.

    Args:
        records: those of ``purification_paths``.
    """
    rows = {}
    for record in records:
        names = ["clean", *_attacks(record)]
        tiles = sample_tiles(record, rows=len(names))
        words = PURIFIERS[record.settings["purifier"]["method"]]
        for name in (names[0], names[-1]):
            path = tiles[names.index(name)]
            # Four, so that each is large enough on a phone: as given, noised to t*, the last two.
            rows[f"{words}, {_name(name)}"] = path[[0, 1, -2, -1]]
    return mark(labelled_rows(rows), records)


@styled
def distances(records: Sequence[Record]) -> Figure:
    """How far attacked pictures are from clean ones at each time, both with the same noise."""
    titles = [PURIFIERS[record.settings["purifier"]["method"]] for record in records]
    figure, axes, found = grid(["records"], titles, 2.4, sharey=True)
    for record, (panel, _, _) in zip(records, found, strict=True):
        places = _places(record)
        for name, colour, marker in zip(_attacks(record), CYCLE, MARKERS, strict=False):
            curve = zip(*(_apart(record, name, place) for place in places), strict=True)
            band(panel, range(len(places)), [*curve], f"{marker}-", colour, _name(name), 0.2)
        panel.set_xticks(range(len(places)), ["given", *places[1:]])
        panel.set(xlabel="on the way, by $t$")
    axes[0, 0].set(ylabel="grey levels apart", ylim=(0, None))
    legend(figure)
    return mark(figure, records)


@where_planned
def path_findings(records: Sequence[Record]) -> Markdown:
    """In short: what is left of each attack's change at the end of the chain."""
    lines = [f"*{text}*" for text in caveats(records)]
    for record in records:
        words = capitalised(PURIFIERS[record.settings["purifier"]["method"]])
        told = " ".join(_told(record, name) for name in _attacks(record))
        lines.append(f"- {words}. {told}")
    return Markdown("\n".join(lines))


def _told(record: Record, name: str) -> str:
    """What is left of one attack's change, and how many pictures are right."""
    first, *_, last = (_apart(record, name, place) for place in _places(record))
    return (
        f"{capitalised(_name(name))}: {first.mean:.1f} grey levels become {_said(last)}, and "
        f"{record.metrics[f'{name}/right']:.0%} of pictures are right."
    )


def _attacks(record: Record) -> list[str]:
    return [name.removesuffix("/given") for name in record.series if name.endswith("/given")]


def _places(record: Record) -> list[str]:
    """From ``given`` over t* to 0, as they are called in the record."""
    start = f"{_attacks(record)[0]}/"
    names = [name.removeprefix(start) for name in record.series if name.startswith(start)]
    return [name for name in names if name != "right"]


def _apart(record: Record, name: str, place: str) -> Interval:
    return mean_interval(record.series[f"{name}/{place}"])


def _name(name: str) -> str:
    words = {"clean": "clean", "noise": "noise of ±ε"}
    return words.get(name) or attack_name(name)


def _said(found: Interval) -> str:
    mean, low, high = found
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"
