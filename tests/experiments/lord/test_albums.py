"""The example profiles, run with a tiny model on a tiny folder of photographs."""

import ast
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from helpers import SIZE, save_encoder
from PIL import Image

from lord import show
from lord.attacks.settings import AttackSettings
from lord.data.albums import Albums, album_subject, albums_of, checksum, stage1_pictures
from lord.data.picture import png_bytes
from lord.data.subjects import Subject
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.chain import demand
from lord.experiments.lord.chain.photographs import photographs_of
from lord.experiments.lord.checks import check, check_memory
from lord.experiments.lord.protocol import SELECTION_START
from lord.models import device, memory
from lord.models.counting import CARD
from lord.models.embedded import TINY, build_pipeline
from lord.settings_file import read_settings
from lord.study.context import Context
from lord.study.notebooks import NOTEBOOKS, notebook_names
from lord.study.profile import PROFILES, load_profile
from lord.study.run import run, status
from lord.study.tables import write_tables

EXAMPLES = Path(__file__).parents[3] / "book" / "profiles"
PEOPLE = ("n01", "n03", "n04", "n05", "n13")
FEW = {"steps": 1, "batch_size": 2, "target_modules": ["to_q"]}
QUICK = {"method": "ace", "eps": 0.03, "step_size": 0.01, "steps": 1, "rounds": 1}


def write_album(folder, sets):
    """As many pictures of each person in each set."""
    for number, name in enumerate(PEOPLE):
        batch = Subject("portraits", "evaluation", number).photographs(sum(sets.values()), SIZE)
        places = [(part, k) for part, count in sets.items() for k in range(count)]
        for (part, k), image in zip(places, batch.images, strict=True):
            path = folder / name / part / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png_bytes(image))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("faces")
    write_album(found, {"set_A": 2, "set_B": 2, "set_C": 2})
    return found


@pytest.fixture
def small(pretrained, folder, tmp_path):
    """An example with little of everything, in a file of its own; what is given is changed."""

    def make(name="faces", source=None, **changes):
        values = read_settings(EXAMPLES / f"{name}.yaml")
        own = values["lord"]
        (albums,) = own["albums"].values()
        albums.update(source or {"folder": str(folder)})
        own.update(
            model=str(pretrained / "embedded"),
            size=SIZE,
            subjects=[0],
            seeds=[0],
            photographs=2,
            references=4,
            budget={"eps_levels": 8, "step_levels": 4, "steps": 1},
            finetune=FEW,
            stage1=FEW,
            wide=FEW,
            adversarial=own["adversarial"] | FEW,
            selection_subjects=1,
            sampling={"images": 2, "steps": 1, "guidance_scale": 3.0},
            treatments=["learned", "dropped"],
            identity_model=None,
        )
        for data in ("stage1_data", "adversarial_data"):
            own[data] = {"identities": 4, "attack": QUICK}
        values["main"] = {"conditions": {"none": ["none"], "ace": ["none", "adversarial", "lord"]}}
        path = tmp_path / f"small-{name}.yaml"
        path.write_text(yaml.safe_dump(values | {"lord": own | changes}))
        return load_profile(str(path))

    return make


def executed(name, profile):
    """Run the cells of a notebook, and return what each shows, as HTML or text."""
    names, shown = {}, []
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        *lines, last = ast.parse("".join(cell["source"])).body
        alone = isinstance(last, ast.Expr)
        exec(compile(ast.Module(lines if alone else [*lines, last], []), name, "exec"), names)
        value = eval(compile(ast.Expression(last.value), name, "eval"), names) if alone else None
        shown.append(getattr(value, "_repr_html_", lambda: None)() or repr(value))
        if "parameters" in cell["metadata"].get("tags", []):
            names.update(profile=profile, compute=False)
    return shown


@pytest.mark.parametrize("name", ["faces", "landscapes"])
def test_the_examples_are_at_the_sizes_of_stable_diffusion(name, monkeypatch):
    monkeypatch.setattr("lord.data.albums._subject_folders", lambda _: [])
    own = load_profile(str(EXAMPLES / f"{name}.yaml"))["lord"]
    trained = (own.finetune, own.stage1, own.wide, own.adversarial)
    assert {settings.learning_rate for settings in trained} == {1e-4}
    assert {settings.batch_size for settings in trained} == {4} and own.batch_size == 2
    assert own.size == 512 and own.memory == "low" and own.sampling.guidance_scale == 7.5
    for method in ("ace", "ace_plus"):
        assert attack_at(own, method) == AttackSettings(method=method)
    assert (own.adversarial_data.attack.steps, own.adversarial_data.attack.surrogate) == (2, "none")
    assert own.stage1_data.attack == AttackSettings(method="ace")


def test_the_profile_of_faces_runs_to_its_tables_and_its_book(small, tmp_path, monkeypatch):
    profile = small(identity_model=save_encoder(tmp_path / "encoder"))
    records = run(profile, results=tmp_path)
    assert {entry.state for entry in status(profile, tmp_path)} == {"finished"}
    assert not any("step:renderer" in record.components for record in records)
    measured = {r.name for r in records if r.kind == "main" and "identity" in r.metrics}
    assert not measured  # no network knows the attributes of photographs
    written = {path.name for path in write_tables(profile, tmp_path)}
    assert {"main_table.csv", "rivals.csv", "overview.png"} <= written
    with Image.open(tmp_path / "small-faces" / "overview.png") as picture:
        assert picture.size == (2 * 2 * SIZE, 4 * (40 + 2 * SIZE))  # two pictures, four rows
    table = pd.read_csv(tmp_path / "small-faces" / "main_table.csv")
    assert set(table["domain"]) == {"faces"}
    asked = {(a, d) for a, names in profile["main"].conditions.items() for d in names}
    assert set(zip(table["attack"], table["defence"], strict=True)) == asked
    assert table[["fid", "clip_iqa", "identity"]].notna().all().all()
    again = run(profile, "main", results=tmp_path, compute=False)
    assert [r.key for r in again] == [r.key for r in records if r.kind == "main"]
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    for embedded in ("round_trips", "prompted_samples"):  # they show the embedded model
        monkeypatch.setattr(show, embedded, lambda _: None)
    path = str(tmp_path / "small-faces.yaml")
    chapters = {chapter: executed(chapter, path) for chapter in notebook_names()}
    left_out = {c for c, shown in chapters.items() if any("leaves these" in s for s in shown)}
    assert left_out >= {"05_attacks", "06_damage", "07_attack_cost", "21_triggers", "16_adaptive"}
    assert not left_out & {"04_ace_attack", "08_lord_stage1", "09_lord_stage2"}
    assert any("faces" in shown and "LoRD" in shown for shown in chapters["10_results"])
    assert any("identity similarity" in shown for shown in chapters["10_results"])
    assert "on faces" in show.pages(path)["summary.md"]


def test_a_cell_depends_on_the_weights_of_its_encoder(small, tmp_path):
    encoder = save_encoder(tmp_path / "encoder")
    with_it, without = (
        next(iter(small(identity_model=model).cells("main"))) for model in (encoder, None)
    )
    assert len(with_it.settings.asked["identity_weights"]) == 12
    assert "metric:identity_similarity" in with_it.measured
    assert not {"identity_model", "identity_weights"} & set(without.settings.values)
    assert "metric:identity_similarity" not in without.measured


def test_an_encoder_that_is_not_there_is_found_before_anything_is_computed(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        check(small(identity_model="./nowhere"), tmp_path)


def test_of_renders_identity_is_known_without_an_encoder(small):
    with pytest.raises(ValueError, match="identity_model: of portraits, which are rendered"):
        small(identity_model="some/encoder", domains=["faces", "portraits"])


def test_a_cell_learns_the_pictures_that_are_to_be_learned(small, tmp_path, folder):
    profile = small()
    (cell,) = profile.cells("ace")
    subject = album_subject(cell.settings.albums, "faces", "evaluated", 0)
    assert subject.album.subject == "n01"
    images = photographs_of(Context(tmp_path), cell.settings, subject, 0, None)
    expected = Subject("portraits", "evaluation", 0).photographs(6, SIZE).images
    assert torch.equal(images, (expected[2:4] * 255).round() / 255)
    names = ["set_A/0.png", "set_A/1.png", "set_C/0.png", "set_C/1.png"]
    assert subject.chosen("references", 4) == names


def test_nobody_is_of_two_kinds(small):
    albums = small()["lord"].albums["faces"]
    kinds = [[a.subject for a in albums_of(albums, k)] for k in ("evaluated", "choosing", "stage1")]
    assert kinds == [["n01"], ["n03", "n13"], ["n04", "n05"]]
    taken = [(album.subject, name) for album, name in stage1_pictures(albums, 4)]
    assert [who for who, _ in taken] == ["n04", "n05"] * 2 and len(set(taken)) == 4


def test_a_data_set_has_a_column_of_subjects(small, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_album(tmp_path / "places", {".": 6})
    profile = small("landscapes", {"dataset": str(tmp_path / "places")})
    check(profile, tmp_path)
    (cell,) = profile.cells("ace")
    (first, *_), (domain,) = cell.settings.albums.evaluated, profile["lord"].domains
    assert first == "*[12]" and domain == cell["domain"]
    subject = album_subject(cell.settings.albums, domain, "evaluated", 0)
    expected = Subject("portraits", "evaluation", 0).photographs(6, SIZE).images
    for part, rows in (("photographs", expected[:2]), ("references", expected[2:])):
        found = getattr(subject, part)(len(rows), SIZE).images
        assert torch.equal(found, (rows * 255).round() / 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": [0, 5]}, "faces: 1 subjects are evaluated, and number 5 is none"),
        ({"selection_subjects": 3}, "faces: 2 subjects are choosing, and number 2 is none"),
        ({"photographs": 3}, "faces: n01 has 2 photographs, and 3 are asked"),
        ({"references": 5}, "faces: n01 has 4 references, and 5 are asked"),
        ({"size": 8 * SIZE}, "pixels are too few"),
        (
            {"stage1_data": {"identities": 99, "attack": QUICK}},
            "faces: stage 1 has 12 pictures of 2 subjects, not 99",
        ),
    ],
)
def test_what_is_missing_is_found_before_anything_is_computed(small, changes, message, tmp_path):
    profile = small(**changes)
    if "size" in changes:
        protocol = profile["lord"]
        albums = {"faces": protocol.albums["faces"].model_copy(update={"upscale": False})}
        changed = protocol.model_copy(update={"albums": albums})
        sections = {**profile.sections, "lord": changed}
        profile = profile.model_copy(update={"sections": sections})
    with pytest.raises(ValueError, match=message):
        check(profile, tmp_path)


@pytest.mark.parametrize("model", ["./nowhere", "nowhere.safetensors"])
def test_a_model_that_is_not_there_is_found_before_its_judges(small, tmp_path, monkeypatch, model):
    profile = small()
    monkeypatch.delattr("lord.experiments.lord.checks.check_judges")
    own = profile["lord"].model_copy(update={"model": model})
    profile = profile.model_copy(update={"sections": {**profile.sections, "lord": own}})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check(profile, tmp_path)


def test_a_picture_is_not_learned_and_compared_with(small, tmp_path):
    profile = small()
    protocol = profile["lord"]
    both = protocol.albums["faces"].model_copy(update={"photographs": ("*",), "references": ("*",)})
    changed = protocol.model_copy(update={"albums": {"faces": both}, "photographs": 3})
    with pytest.raises(ValueError, match=r"n01: .* would be learned and compared with"):
        sections = {**profile.sections, "lord": changed}
        check(profile.model_copy(update={"sections": sections}), tmp_path)


def test_a_broken_picture_is_named(small, tmp_path):
    write_album(tmp_path, {"set_A": 2, "set_B": 2, "set_C": 2})
    (tmp_path / "n03" / "set_B" / "1.png").write_bytes(b"no picture")
    profile = small(source={"folder": str(tmp_path)})
    with pytest.raises(ValueError, match=r"n03/set_B/1\.png: not a readable image"):
        check(profile, tmp_path / "work")


def test_a_folder_that_is_not_there_is_found_with_the_profile(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no folder with a folder of pictures"):
        small(source={"folder": str(tmp_path / "nowhere")}).cells("main")


@pytest.fixture
def tiny_shape(monkeypatch):
    def build(_):
        with CARD:
            pipeline = build_pipeline(TINY.model_copy(update={"unet_channels": (16,)}))
        pipeline.unet.requires_grad_(False)
        return pipeline

    monkeypatch.setattr(demand, "build_shape", build)


def test_a_step_is_counted_without_what_comes_before_it(small, tiny_shape):
    def step(protocol, pipeline, count):
        matrix = torch.ones(4, 4, device=CARD)
        for _ in range(5 + count):
            matrix @ matrix

    counted = demand._counted(small()["lord"], "tiny", step, 3)
    assert counted.operations == 3 * 2 * 4**3 and counted.peak > 0


def test_a_step_of_fine_tuning_is_counted(small, tiny_shape):
    counted = demand._counted(small()["lord"], "tiny", demand._finetune, 1, trains=True)
    assert counted.peak > 0 and counted.operations > 0


def test_memory_and_hours_are_said_before_anything_is_computed(small, monkeypatch, capsys):
    parts = {name: demand.Demand(2**31, 180e15) for name in ("attacks", "stage 1")}
    monkeypatch.setattr(demand, "demands_of", lambda *_: parts)
    monkeypatch.setattr(memory, "free_memory", lambda _: 2**30)
    check_memory(small(), "sd15")
    said = " ".join(capsys.readouterr().err.split())
    assert "2.0 GiB at the peak; at 50 TFLOP/s 2.0 hours (attacks 1.0, stage 1 1.0)" in said
    monkeypatch.setattr(device, "best_device", lambda: torch.device("cuda"))
    with pytest.raises(ValueError, match=r"3\.5 GiB are needed on the card, and 1\.0 are free"):
        check_memory(small(), "sd15")


def test_operations_are_those_of_a_step_times_how_often_it_is_done(small, monkeypatch):
    def counted(protocol, shape, step, times, trains=False):
        return demand.Demand(1, times)

    monkeypatch.setattr(demand, "_counted", counted)
    profile = small()
    protocol, cells = profile["lord"], [*profile.cells("main"), *profile.cells("selection")]
    found = {n: d.operations for n, d in demand.demands_of(protocol, cells, "tiny").items()}
    assert len(cells) == 10
    images = 2 * 2 + 2 * 4  # photographs of both subjects, and pictures of two stages 1
    # Sampling takes a step for each of two pictures; they are attacked and sampled two at a time.
    assert found == {
        "attacks": images / 2,
        "stage 1": 2,
        "fine-tuning": 6,  # clean, undefended, and two defences, of which two are selected
        "sampling": 10 * 2 * 1 / 2,
    }


def test_other_pictures_are_other_records(small, tmp_path):
    write_album(tmp_path, {"set_A": 2, "set_B": 2, "set_C": 2})
    one = Albums(folder=str(tmp_path), prompt="a", caption="b", evaluated=("*",), choosing=("*",))
    before = checksum(one)
    (tmp_path / "n01" / "set_B" / "9.png").write_bytes(b"more")
    checksum.cache_clear()
    assert checksum(one) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": None}, "albums.*give one of folder and dataset"),
        ({"evaluated": []}, "evaluated"),
        ({"people": ["*"]}, "people: Extra"),
    ],
)
def test_a_mistake_in_a_profile_is_named(small, changes, message):
    with pytest.raises(ValueError, match=message):
        small(source=changes)


def test_text_encoders_do_not_learn_where_memory_is_spared(small):
    with pytest.raises(ValueError, match=r"finetune.*train_text_encoder takes memory: normal"):
        small(finetune=FEW | {"train_text_encoder": True})


def test_albums_have_names_of_their_own(small):
    albums = {"prompt": "a", "caption": "b", "folder": "c", "evaluated": ["*"], "choosing": ["*"]}
    with pytest.raises(ValueError, match="portraits is the name of rendered pictures"):
        small(albums={"portraits": albums})
    assert SELECTION_START > 10**5 and not {p.stem for p in EXAMPLES.glob("*")} & {
        p.stem for p in PROFILES.glob("*")
    }
