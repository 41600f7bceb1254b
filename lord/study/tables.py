"""The files made from records: CSV tables and pictures that experiments declare."""

from pathlib import Path

from PIL import Image

from lord.files import replacing, write_text
from lord.record import Record
from lord.study.profile import Profile
from lord.study.run import load_records, status, store_of


def write_tables(profile: Profile, results: Path | None = None) -> list[Path]:
    """Write each table and picture all of whose records are there; return the files.

    And keep those pictures of records that chapters show, and no others, for good.
    """
    store, records = store_of(profile, results), load_records(profile, results)
    entries = list(status(profile, results))
    missing = {entry.experiment.name for entry in entries if entry.state == "missing"}
    there = {experiment.name for experiment in profile.experiments} - missing
    written = []
    for experiment in profile.experiments:
        for name, table in experiment.tables.items():
            if there.issuperset(table.of):
                names = [*table.of, *(table.also if there.issuperset(table.also) else ())]
                made = table.make([r for name in names for r in records if r.kind == name])
                if not made.empty:
                    written.append(store.folder / f"{name}.csv")
                    write_text(written[-1], made.to_csv(index=False, float_format="%.6g"))
        for name, picture in experiment.pictures.items():
            if there.issuperset(picture.of) and all(map(store.has_sheet, picture.records(records))):
                written.append(store.folder / f"{name}.png")
                with replacing(written[-1]) as temporary:
                    Image.fromarray(picture.make(store, records)).save(
                        temporary, format="PNG", optimize=True
                    )
    papers = dict.fromkeys(experiment.paper for experiment in profile.experiments)
    for paper in papers:
        kept: list[Record] = []
        for experiment in profile.experiments:
            if experiment.paper == paper:
                own = [record for record in records if record.kind == experiment.name]
                whole = experiment.name in there
                kept += experiment.kept(records) if whole else filter(store.is_packed, own)
        store.pack(paper, kept)
    return written
