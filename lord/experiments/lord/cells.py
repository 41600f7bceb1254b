"""Cells of the study of LoRD: the settings they depend on, and what takes part in them."""

from collections.abc import Iterable
from typing import Any

from lord.data.albums import checksum
from lord.experiments.lord.budget import attack_components
from lord.experiments.lord.protocol import COMMON, TRAINED, Protocol
from lord.models.card import pixel_weights, weights_of
from lord.study.experiment import Cell, Settings


def pixel_settings(protocol: Protocol, domain: str) -> dict[str, str]:
    """What a cell depends on in which a purifier in pixels takes part.

    Raises:
        ValueError: see `lord.models.card.pixel_weights`.
    """
    model = protocol.pixel_models[domain]
    return {"pixel_model": model, "pixel_weights": pixel_weights(model, domain)}


def pictures_of(protocol: Protocol, domain: str) -> dict[str, Any]:
    """What a cell depends on whose pictures are photographs; nothing where they are rendered.

    Raises:
        FileNotFoundError: the photographs are not there.
    """
    if domain not in protocol.albums:
        return {}
    albums = protocol.albums[domain]
    return {"albums": albums, "pictures": checksum(albums)}


def taking_part(protocol: Protocol, domain: str, components: Iterable[str]) -> tuple[str, ...]:
    """Components, each once, without the renderer where pictures are photographs."""
    found = dict.fromkeys(components)
    if domain in protocol.albums:
        found.pop("step:renderer", None)
    return tuple(found)


def defence_components(own: Any, defence: str) -> list[str]:
    """What takes part in a trained defence: its kind, and the attacks that it learns from.

    Raises:
        ValueError: the protocol does not say what it learns from.
    """
    training, data = (getattr(own, name) for name in TRAINED[defence])
    if data is None:
        raise ValueError(f"lord.{TRAINED[defence][1]}: {defence} needs to know what it learns from")
    return [f"defence:{training.kind}", *attack_components(data.attack)]


def single(
    experiment: str,
    protocol: Protocol,
    names: Iterable[str],
    components: Iterable[str],
    domain: str | None = None,
    defence: str | None = None,
    *,
    judged: bool = False,
    weighed: bool = True,
    measured: tuple[str, ...] = (),
    **further: Any,
) -> Cell:
    """A cell of the whole study, of one domain, or of one defence in it.

    Args:
        names: settings of the protocol; of ``subjects`` and ``seeds`` the first is a coordinate.
        components: what takes part.
        judged: whether the metric networks take part.
        weighed: whether any network does.
        measured: what is compared; a further one leaves the record as it is.
        further: other settings by name.
    """
    names = list(names)
    coordinates = {"domain": domain, "defence": defence}
    if "subjects" in names:
        coordinates["subject"] = protocol.subjects[0]
    if "seeds" in names:
        coordinates["seed"] = protocol.seeds[0]
    own = [name for name in (*COMMON, *names) if name not in ("subjects", "seeds")]
    checksums = weights_of(protocol.model, judged) if weighed else {}
    shown = domain or protocol.domains[0]
    further |= pictures_of(protocol, shown)
    return Cell(
        "-".join(filter(None, (domain, experiment, defence))),
        {name: value for name, value in coordinates.items() if value is not None},
        Settings.of(protocol, *own).also(weights=checksums, **further),
        taking_part(protocol, shown, components),
        measured,
    )
