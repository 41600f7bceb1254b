"""The blind rating sheet, answered by scripts."""

import json
import re

import pytest
import yaml
from helpers import NEEDED, error, fill, run

from lord.show.rating import agreement, pairs_of, read_answers, write_sheet
from lord.study.profile import PROFILES, load_profile
from lord.study.run import load_records, store_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A profile of its own with made-up records and pictures, its store and its records."""
    folder = tmp_path_factory.mktemp("rated")
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in NEEDED}
    path = folder / "rated.yaml"
    path.write_text(yaml.safe_dump(values))
    profile = load_profile(str(path))
    fill(profile, folder / "results")
    store = store_of(profile, folder / "results")
    return path, store, load_records(profile, folder / "results")


def answered(folder, choose):
    """A file of answers, each chosen by the pair of the key."""
    pairs = json.loads((folder / "key.json").read_text())
    lines = [f"{number},{choose(pair)}" for number, pair in enumerate(pairs, start=1)]
    path = folder / "answers.csv"
    path.write_text("pair,choice\n" + "\n".join(lines) + "\n")
    return path


def test_a_rater_who_sees_what_fid_sees_agrees_with_it(study, tmp_path):
    _, store, records = study
    write_sheet(tmp_path, store, records, 12)
    of = {
        record.name: record.metrics["fid_embedded_round_trip"]
        for record in records
        if record.kind == "main"
    }
    answers = answered(
        tmp_path, lambda pair: "left" if of[pair["left"]] < of[pair["right"]] else "right"
    )
    table = agreement(records, read_answers(tmp_path, answers)).set_index("metric")
    assert table.loc["fid", "agrees"] == 1 and table.loc["fid", "pairs"] == 12
    assert table.loc["fid", "agrees_low"] == pytest.approx(0.025 ** (1 / 12))
    assert "fid_imagenet" not in table.index, "nobody measured it"
    other = answered(
        tmp_path, lambda pair: "right" if of[pair["left"]] < of[pair["right"]] else "left"
    )
    assert (
        agreement(records, read_answers(tmp_path, other)).set_index("metric").loc["fid", "agrees"]
        == 0
    )


def test_who_sees_no_difference_agrees_with_nothing(study, tmp_path):
    _, store, records = study
    write_sheet(tmp_path, store, records, 3)
    answers = read_answers(tmp_path, answered(tmp_path, lambda pair: "same"))
    assert len(answers) == 3 and agreement(records, answers).empty


def test_the_page_is_blind_and_whole(study, tmp_path):
    _, store, records = study
    page = write_sheet(tmp_path, store, records, 4).read_text()
    names = [record.name for record in records if record.kind == "main"]
    assert not any(name in page for name in names)
    assert not re.search(r"\b(ace|lord|diffpure|jpeg)\b", re.sub(r"base64,[^\"]*", "", page))
    assert page.count("<img ") == page.count("alt=") == 8
    assert not re.search(r"https?://|src=\"(?!data:)", page), "nothing is loaded from anywhere"
    assert page.count('type="radio"') == 12


def test_pairs_show_one_subject_in_an_order_of_the_seed(study):
    _, store, records = study
    of = {record.name: record.settings for record in records}
    first, again, other = (pairs_of(store, records, 20, seed) for seed in (0, 0, 1))
    assert first == again != other
    for pair in first:
        left, right = of[pair.left], of[pair.right]
        assert pair.left != pair.right
        assert all(left[k] == right[k] for k in ("domain", "subject", "seed"))
    assert len({pair.left < pair.right for pair in first}) == 2, "sides are drawn"
    assert len({frozenset((pair.left, pair.right)) for pair in first}) == 20
    with pytest.raises(ValueError, match="10000 were asked for"):
        pairs_of(store, records, 10_000, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair,choice\n9,left\n", "line 2: no pair '9'"),
        ("pair,choice\n1,up\n", "line 2: expected each pair once, with one of left"),
        ("pair,choice\n1,left\n1,left\n", "line 3: expected each pair once"),
        ("a,b\n1,2\n", "line 2: no pair ''"),
        (f"pair,choice\n{'9' * 5000},left\n", "line 2: no pair '99"),
        (f"pair,choice\n1,{'x' * 200_000}\n", "not a CSV file"),
        ("pair,choice\n1,\xff\n", "not UTF-8"),
    ],
)
def test_answers_that_are_none_are_named(study, tmp_path, text, message):
    _, store, records = study
    write_sheet(tmp_path, store, records, 2)
    (tmp_path / "answers.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_answers(tmp_path, tmp_path / "answers.csv")
    assert "answers.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["key.json", "rating.html"])
def test_another_sheet_is_not_replaced(study, tmp_path, name):
    _, store, records = study
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name}: of another sheet"):
        write_sheet(tmp_path, store, records, 2)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]
    (tmp_path / name).unlink()
    write_sheet(tmp_path, store, records, 2)
    write_sheet(tmp_path, store, records, 2)
    with pytest.raises(ValueError, match=r"key\.json: of another sheet"):
        write_sheet(tmp_path, store, records, 2, seed=1)


def test_the_command_makes_a_sheet_and_compares(study, tmp_path, monkeypatch):
    path, store, _ = study
    monkeypatch.setenv("LORD_RESULTS", str(store.folder.parent))
    options = ["--profile", path]
    run("study", "rate", tmp_path / "sheet", "--pairs", 5, *options)
    answers = answered(tmp_path / "sheet", lambda pair: "left")
    shown = run("study", "rate", tmp_path / "sheet", "--answers", answers, *options).output
    assert "5 pairs were answered, 0 as equal" in shown and "identity" in shown
    missing = error("study", "rate", tmp_path / "none", "--answers", answers, *options)
    assert "key.json: no such file" in missing
