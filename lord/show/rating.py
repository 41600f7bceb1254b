"""A blind rating sheet: which of two rows of samples looks better, asked of a person.

Metrics are worth what people see in them. `rating_page` shows pairs of conditions of the main table
in random order, without saying which is which; what a person chooses is saved by the browser as a
CSV file, and `agreement` counts how often each metric says the same. The page loads nothing from
anywhere and sends nothing.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lord.experiments.lord.tables.conditions import METRICS, metric
from lord.files import read_rows, read_text, replacing_together, settle, write_text
from lord.metrics.interval import share_interval
from lord.names import HIGHER_IS_BETTER, INDEPENDENT
from lord.record import Record
from lord.seeding import derive_seed
from lord.study.store import Store

PAGE, KEY = "rating.html", "key.json"
"""The files of a sheet: what a rater opens, and what says which record is which."""

CHOICES = ("left", "right", "same")
ENLARGED = 2
PLACE = ("domain", "split", "subject", "seed")
"""Both of a pair show the same subject, whose model was sampled from the same noise."""


@dataclass(frozen=True)
class Pair:
    """Two records of the main table, by name, as they stand on the page."""

    left: str
    right: str


def pairs_of(store: Store, records: Sequence[Record], count: int, seed: int) -> list[Pair]:
    """Pairs of conditions of one subject and seed whose pictures are kept, in random order.

    Raises:
        ValueError: there are fewer than asked for.
    """
    places: dict[tuple[Any, ...], list[str]] = {}
    for record in records:
        if record.kind == "main" and store.has_sheet(record):
            place = tuple(record.settings[name] for name in PLACE)
            places.setdefault(place, []).append(record.name)
    found = [pair for names in places.values() for pair in combinations(sorted(names), 2)]
    if len(found) < count:
        raise ValueError(f"pairs: {count} were asked for, and there are pictures for {len(found)}")
    random = Random(derive_seed("rating", seed))
    return [Pair(*random.sample(pair, 2)) for pair in random.sample(found, count)]


def write_sheet(
    folder: Path, store: Store, records: Sequence[Record], count: int, seed: int = 0
) -> Path:
    """Write the page and the key of a blind rating sheet, both or none; return the page.

    Raises:
        ValueError: see `pairs_of`; or there is another sheet in the folder.
        OSError: they cannot be written.
    """
    named = {record.name: record for record in records}
    pairs = pairs_of(store, records, count, seed)
    rows = [[_samples(store, named[n]) for n in (pair.left, pair.right)] for pair in pairs]
    texts = {KEY: json.dumps([asdict(pair) for pair in pairs], indent=1) + "\n"}
    texts[PAGE] = rating_page(rows)
    settle(folder)
    for name, text in texts.items():
        if (folder / name).exists() and read_text(folder / name) != text:
            raise ValueError(
                f"{folder / name}: of another sheet, or of other origin, and not replaced; give "
                "another folder"
            )
    with replacing_together(folder) as new:
        for name, text in texts.items():
            write_text(new / name, text)
    return folder / PAGE


def _samples(store: Store, record: Record) -> NDArray[np.uint8]:
    """The row of samples at the top of a record's picture, shape (H, W, 3)."""
    return store.sheet(record)[: record.settings["size"]]


def rating_page(pairs: Sequence[Sequence[NDArray[np.uint8]]]) -> str:
    """The page, whole: two rows of pictures (H, W, 3) a pair, three answers, and a file to save."""
    parts = []
    for number, pair in enumerate(pairs):
        rows = "".join(
            f'<p><img alt="{side} row of pair {number + 1}" src="{_source(picture)}"></p>'
            for side, picture in zip(("left", "right"), pair, strict=True)
        )
        answers = "".join(
            f'<label><input type="radio" name="pair{number}" value="{choice}"> {words}</label> '
            for choice, words in zip(CHOICES, WORDS, strict=True)
        )
        parts.append(
            f"<fieldset><legend>Pair {number + 1} of {len(pairs)}</legend>"
            f"{rows}{answers}</fieldset>"
        )
    return PAGE_TEXT.replace("@@", "\n".join(parts))


def _source(picture: NDArray[np.uint8]) -> str:
    """The picture, enlarged, as an address that holds it."""
    file = io.BytesIO()
    large = picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    Image.fromarray(large).save(file, format="PNG")
    return html.escape(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")


def read_answers(folder: Path, answers: Path) -> list[tuple[Pair, str]]:
    """The pairs of a sheet that were answered, each with its answer.

    Raises:
        FileNotFoundError: the folder has no key, or there are no answers.
        ValueError: the key is damaged, or the answers are not of this sheet; the message names the
            line.
    """
    settle(folder)
    for path in (folder / KEY, answers):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    try:
        pairs = [Pair(**entry) for entry in json.loads(read_text(folder / KEY))]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / KEY}: not the key of a rating sheet ({error})") from None
    found: dict[int, str] = {}
    for line, row in enumerate(read_rows(answers), start=2):
        number, choice = row.get("pair") or "", row.get("choice") or ""
        if not (number.isdecimal() and len(number) < 9 and 1 <= int(number) <= len(pairs)):
            raise ValueError(f"{answers}, line {line}: no pair {number[:60]!r} on this sheet")
        if choice not in CHOICES or int(number) in found:
            raise ValueError(
                f"{answers}, line {line}: expected each pair once, with one of {', '.join(CHOICES)}"
            )
        found[int(number)] = choice
    return [(pairs[number - 1], choice) for number, choice in sorted(found.items())]


def agreement(records: Sequence[Record], answers: Sequence[tuple[Pair, str]]) -> pd.DataFrame:
    """How often each metric prefers what the rater prefers: a row for each metric.

    With the exact 95 % interval of the share. Pairs in which the rater, or the metric, sees no
    difference are left out of its ``pairs``.

    Raises:
        ValueError: a record of a pair is no longer there.
    """
    named = {record.name: record for record in records}
    if gone := {n for pair, _ in answers for n in (pair.left, pair.right)} - set(named):
        raise ValueError(f"{min(gone)}: the records have no such one; is it another profile?")
    table = []
    for name in (*METRICS, *INDEPENDENT):
        agrees = []
        for pair, choice in answers:
            left, right = (_badness(named[n], name) for n in (pair.left, pair.right))
            if choice != "same" and left == left and right == right and left != right:
                agrees.append((left < right) == (choice == "left"))
        if agrees:
            share, low, high = share_interval(sum(agrees), len(agrees))
            head = {"metric": name, "pairs": len(agrees), "agrees": share}
            table.append(head | {"agrees_low": low, "agrees_high": high})
    return pd.DataFrame(table)


def _badness(record: Record, name: str) -> float:
    """A metric with such a sign that lower is better; NaN where it was not measured."""
    found: Mapping[str, float] = record.metrics
    value = metric(record, name) if name in METRICS else found.get(name, float("nan"))
    return -value if name.startswith(HIGHER_IS_BETTER) else value


WORDS = ("the upper row looks better", "the lower row looks better", "no difference")

PAGE_TEXT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Which row looks better?</title>
<style>
body {font-family: sans-serif; max-width: 70rem; margin: auto; padding: 1rem}
img {max-width: 100%; image-rendering: pixelated}
fieldset {margin: 1rem 0}
label {display: inline-block; padding: .5rem}
</style>
<h1>Which row looks better?</h1>
<p>Each pair shows samples of two models that learned the same subject. Choose the row that looks
more like good pictures of one person or place. Nothing is sent anywhere; the button saves a file.
</p>
<form id="sheet">
@@
<button type="submit">Save the answers</button> <output id="said"></output>
</form>
<script>
document.getElementById("sheet").addEventListener("submit", function (event) {
  event.preventDefault();
  const lines = ["pair,choice"];
  for (const [name, choice] of new FormData(event.target)) {
    lines.push((Number(name.slice(4)) + 1) + "," + choice);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "answers.csv";
  link.click();
  document.getElementById("said").textContent = (lines.length - 1) + " answers saved";
});
</script>
</html>
"""
