"""Whose pictures a cell is about: people and places that are rendered, or photographed."""

from lord.data.albums import AlbumSubject, album_subject, stage1_batch
from lord.data.subjects import Batch, Subject, sample_domain
from lord.experiments.lord.protocol import SELECTION_START
from lord.study.experiment import Settings

Shown = Subject | AlbumSubject


def subject_of(settings: Settings, domain: str, split: str, index: int) -> Shown:
    """A subject of a split by number; in the split ``stage1`` those count that decide.

    Raises:
        ValueError: the albums have no such subject.
    """
    albums = settings.values.get("albums")
    if albums is None:
        return Subject(domain, split, index)
    role, number = "evaluated", index
    if split == "stage1":
        role, number = "choosing", index - SELECTION_START
    return album_subject(albums, domain, role, number)


def stage1_pictures(settings: Settings, domain: str, count: int) -> Batch:
    """Pictures of many subjects that a defence learns from."""
    albums = settings.values.get("albums")
    if albums is None:
        return sample_domain(domain, "stage1", range(count), settings.size)
    return stage1_batch(albums, count, settings.size)
