"""What can fail in hours is looked at in the first minute: photographs, model, judges, memory."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lord.data.albums import Albums, albums_of, checksum, stage1_pictures
from lord.experiments.lord.protocol import SELECTION_START, Protocol
from lord.files import write_text
from lord.models.card import weights_of
from lord.progress import say
from lord.study.experiment import Settings
from lord.study.profile import Profile

if TYPE_CHECKING:
    from lord.experiments.lord.chain.subjects import Shown


OVERHEAD = 1.5 * 2**30
"""Bytes that a card takes beside the tensors that are counted."""

PACE = 50e12
"""Operations a second that hours are told for; cards of today reach a half to three times that."""


def check(profile: Profile, work: Path) -> None:
    """Find out before anything is computed what would stop the experiments on LoRD later.

    What was found in order once is not looked at again, as long as settings and files are the same.

    Args:
        work: a folder for a note that says so.

    Raises:
        ValueError: the memory of the card does not suffice.
        FileNotFoundError, ValueError: photographs are missing, broken or too small, or are not
            enough for what each is for; the message names them.
        OSError, ModuleNotFoundError: the model, or the networks that judge it, are not to be had.
    """
    protocol = profile["lord"]
    albums = {d: protocol.albums[d] for d in protocol.domains if d in protocol.albums}
    stranger = "judges" not in weights_of(protocol.model, judged=True)
    if not albums and not stranger:  # a model of this package, and renders
        return
    asked = repr((protocol, {domain: checksum(own) for domain, own in albums.items()}))
    note = work / f"checked-{sha256(asked.encode()).hexdigest()[:12]}"
    if note.exists():
        return
    shape = shape_of(protocol.model) if stranger else ""  # a model that is not there is found here
    for domain in albums:
        check_albums(protocol, domain)
    if protocol.identity_model:
        from lord.metrics.resemblance import load_encoder

        load_encoder(protocol.identity_model)
    if stranger:
        check_judges()
        check_memory(profile, shape)
    write_text(note, "")


def shape_of(model: str) -> str:
    """Which model of known sizes another one is taken for, see `lord.names.SHAPES`.

    Raises:
        OSError, ValueError: there is no such model, or it is not supported.
    """
    from lord.models.single_file import is_single_file
    from lord.models.source import find_source

    if is_single_file(model):
        if not Path(model).is_file():
            raise FileNotFoundError(f"{model}: no such file")
        return "sd15"
    return "sdxl" if "XL" in find_source(model).pipeline_class.__name__ else "sd15"


def check_memory(profile: Profile, shape: str) -> None:
    """Say what the profile takes, counted for a model of a shape.

    Raises:
        ValueError: that is more memory than is free on the card.
    """
    from lord.experiments.lord.chain.demand import demands_of
    from lord.models.device import best_device
    from lord.models.memory import free_memory

    protocol, device = profile["lord"], best_device()
    cells = [c for e in profile.experiments for c in profile.cells(e.name)]
    found = demands_of(protocol, [c for c in cells if "treatment" in c.coordinates], shape)
    peak = max(demand.peak for demand in found.values())
    hours = {name: demand.operations / PACE / 3600 for name, demand in found.items()}
    parts = ", ".join(f"{name} {part:.1f}" for name, part in hours.items())
    say(
        f"Counted for the sizes of {shape}: {peak / 2**30:.1f} GiB at the peak; at "
        f"{PACE / 1e12:.0f} TFLOP/s {sum(hours.values()):.1f} hours ({parts}), "
        "and what purifiers take"
    )
    free = free_memory(device)
    if device.type == "cuda" and peak + OVERHEAD > free:
        raise ValueError(
            f"{(peak + OVERHEAD) / 2**30:.1f} GiB are needed on the card, and {free / 2**30:.1f} "
            "are free; memory: low and a smaller batch_size in the section lord take less"
        )


def check_albums(protocol: Protocol, domain: str) -> None:
    """Look at every picture that a protocol takes of a domain.

    Raises:
        FileNotFoundError, ValueError: see `check`.
    """
    from lord.data.folder import read_each
    from lord.experiments.lord.chain.subjects import subject_of

    albums = protocol.albums[domain]
    settings = Settings({"albums": albums}, {})
    places = [("evaluation", index) for index in protocol.subjects]
    places += [("stage1", SELECTION_START + k) for k in range(protocol.selection_subjects)]
    subjects = [subject_of(settings, domain, *place) for place in places]
    try:
        learned = stage1_pictures(albums, max(_identities(protocol)))
    except ValueError as error:
        raise ValueError(f"{domain}: {error}") from None
    shown = [(who.album, name) for who in subjects for name in _pictures(protocol, who)]

    def read(picture: tuple) -> None:
        album, name = picture
        album.read(name, protocol.size)

    read_each(read, [*shown, *learned])
    say(f"{domain}: {_counted(albums)}; {len(shown) + len(learned)} pictures are there")


def _identities(protocol: Protocol) -> Iterable[int]:
    """How many pictures each defence learns from."""
    data = (protocol.stage1_data, protocol.adversarial_data, protocol.mixed_data)
    return [one.identities for one in data if one is not None]


def _pictures(protocol: Protocol, subject: "Shown") -> list[str]:
    """The pictures of a subject that the protocol takes.

    Raises:
        ValueError: there are too few, or one is to be learned and to be compared with.
    """
    learned = subject.chosen("photographs", protocol.photographs)
    compared = subject.chosen("references", protocol.references)
    if both := sorted({*learned} & {*compared}):
        raise ValueError(
            f"{subject.domain}: {subject.album.subject}: {both[0]} would be learned and compared "
            f"with; {len(subject.album.names)} pictures are too few for both"
        )
    return [*learned, *compared]


def _counted(albums: Albums) -> str:
    kinds = ("evaluated", "choosing", "stage1")
    return ", ".join(f"{len(albums_of(albums, kind))} subjects {kind}" for kind in kinds)


def check_judges() -> None:
    """Load the networks that judge a model of the hub.

    Raises:
        OSError, ModuleNotFoundError: one is not to be had.
    """
    from lord.metrics.clip_iqa import openai_clip
    from lord.metrics.fid import inception

    inception()
    openai_clip()
