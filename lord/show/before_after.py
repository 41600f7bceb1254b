"""A slider between clean and attacked, with an attack to pick: one piece of HTML for any page.

Nothing is loaded, so it works offline, in the book as in Jupyter. Printed it shows both sides.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np
from IPython.display import HTML
from numpy.typing import NDArray
from PIL import Image

from lord.record import Record
from lord.show.attacks import of_every_attack
from lord.show.pictures import sample_tiles
from lord.show.style import ATTACK_NAMES, caveats, where_planned

STYLE = """
.before-after { --at: 50%; max-width: 40rem; margin: 0 auto; }
.before-after fieldset { border: 0; padding: 0; margin: 0 0 .6rem; }
.before-after legend { font-size: 1em; margin: 0; }
.before-after fieldset label { display: inline-block; margin: 0 .9em .2em 0; }
.before-after .pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
.before-after .pair { flex: 1 1 13rem; }
.before-after .sides { display: grid; gap: .3rem; }
.before-after img { width: 100% !important; padding: 0 !important; image-rendering: pixelated; }
.before-after .move { display: flex; gap: .6em; align-items: center; margin-top: .6rem; }
.before-after input[type="range"] { flex: 1; min-width: 0; height: 1.8rem; }
.before-after [hidden] { display: none !important; }
@media screen {
  .before-after img { grid-area: 1 / 1; }
  .before-after .attacked { clip-path: inset(0 0 0 var(--at)); }
}
@media print {
  .before-after .sides { grid-template-columns: 1fr 1fr; }
  .before-after .move, .before-after label:not(:has(:checked)) { display: none !important; }
}
"""
PICK = (
    "for (const picture of this.parentElement.querySelectorAll('[data-attack]'))"
    " picture.hidden = picture.dataset.attack !== event.target.value"
)
MOVE = "this.closest('.before-after').style.setProperty('--at', this.value + '%')"
PHOTOGRAPH = "a photograph"
SAMPLE = "a sample of a LoRA that has learned from such photographs"


@where_planned
def before_after(records: Sequence[Record], domain: str) -> HTML:
    """A photograph and a sample of a LoRA, clean and under the attack that is picked.

    At the budget of the main table. The samples have the same seed.

    Args:
        records: of main and damage.
    """
    found = of_every_attack(records, domain)
    tiles = {name: sample_tiles(record) for name, record in found.items()}
    attacks = [name for name in ATTACK_NAMES if name in tiles and name != "none"]
    shown = "ace" if "ace" in attacks else attacks[0]
    buttons = "".join(
        f'<label><input type="radio" name="attack-{escape(domain)}" value="{name}"'
        f"{' checked' * (name == shown)}> {ATTACK_NAMES[name]}</label>"
        for name in attacks
    )
    pairs = _pair(PHOTOGRAPH, {name: rows[1, 0] for name, rows in tiles.items()}, shown)
    pairs += _pair(SAMPLE, {name: rows[0, 0] for name, rows in tiles.items()}, shown)
    warnings = escape(" ".join(caveats(list(found.values()))))
    return HTML(
        f'<style>{STYLE}</style><div class="before-after">{warnings}'
        f'<fieldset onchange="{PICK}"><legend>Attack</legend>{buttons}</fieldset>'
        f'<div class="pairs">{pairs}</div><label class="move">clean '
        f'<input type="range" min="0" max="100" value="50" oninput="{MOVE}"'
        ' aria-label="where the clean side ends"> attacked</label></div>'
    )


def _pair(what: str, pictures: Mapping[str, NDArray[np.float32]], shown: str) -> str:
    """The clean picture and, over it, the attacked ones, of which one is shown."""
    images = ""
    for name, picture in pictures.items():
        side = "" if name == "none" else f' class="attacked" data-attack="{name}"'
        side += " hidden" * (name not in ("none", shown))
        alt = f"{what}: {ATTACK_NAMES[name]}"
        images += f'<img src="{_address(picture)}" alt="{alt}"{side}>'
    return f'<div class="pair"><div class="sides">{images}</div>{what}</div>'


def _address(picture: NDArray[np.float32]) -> str:
    """A picture (3, H, W) in [0, 1] as an address that holds all of it."""
    buffer = BytesIO()
    pixels = (255 * picture).round().astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(pixels).save(buffer, "webp", lossless=True)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"
