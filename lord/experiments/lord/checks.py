"""What can fail in hours is looked at in the first minute: photographs, model, judges, memory."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lord.data.albums import Albums, albums_of, stage1_pictures
from lord.experiments.lord.protocol import SELECTION_START, Protocol
from lord.models.card import weights_of
from lord.progress import say
from lord.study.experiment import Settings
from lord.study.profile import Profile

if TYPE_CHECKING:
    from lord.experiments.lord.chain.subjects import Shown


def check(profile: Profile) -> None:
    """Find out before anything is computed what would stop the experiments on LoRD later.

    Raises:
        FileNotFoundError, ValueError: photographs are missing, broken or too small, or are not
            enough for what each is for; the message names them.
        OSError, ModuleNotFoundError: the model, or the networks that judge it, are not to be had.
    """
    protocol = profile["lord"]
    for domain in protocol.domains:
        if domain in protocol.albums:
            check_albums(protocol, domain)
    if "judges" not in weights_of(protocol.model, judged=True):
        check_judges()


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
