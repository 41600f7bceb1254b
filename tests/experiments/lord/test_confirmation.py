"""New subjects by independent judges, from made-up records."""

import pytest
import yaml
from helpers import NEEDED, fill

from lord.experiments.lord.protocol import TRAINED
from lord.experiments.lord.tables import judge_table, judged_standings, judges_agreement, judges_of
from lord.metrics.interval import mean_interval
from lord.models import card
from lord.study.profile import PROFILES, load_profile, read_profile
from lord.study.run import load_records

ENDS = ("ace", "none")


def values_of(**changes):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    values = {name: values[name] for name in (*NEEDED, "confirmation")} | {"name": "judged"}
    return values | {"confirmation": values["confirmation"] | changes}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    conditions = {"none": ["none", "lord"], "ace": ["none", "diffpure", "adversarial", "lord"]}
    profile = read_profile(values_of(subjects=[1, 2, 3, 4], conditions=conditions))
    folder = tmp_path_factory.mktemp("judged")
    fill(profile, folder)
    return load_records(profile, folder)


def test_every_judge_stands_on_its_scale(records):
    table = judge_table(records).set_index(["domain", "attack", "defence", "metric"])
    for name in judges_of(records):
        row = table.loc[("portraits", "ace", "none", name)]
        assert row["subjects"] == 4 and row["value_low"] <= row["value"] <= row["value_high"]
        if name.startswith(("fid", "kid")):
            ends = sorted((row["floor"], row["ceiling"]))
            assert ends[0] <= row["value"] <= ends[1]
    repaired = table.loc[("portraits", "ace", "lord", "fid_imagenet"), "closed"]
    assert repaired == pytest.approx((12 - 3) / (12 - 2))  # see lord.experiments.lord.example
    damage = table.loc[("portraits", "ace", "lord", "fid_imagenet"), "damage"]
    attacked, clean = (table.loc[("portraits", a, "none", "fid_imagenet"), "value"] for a in ENDS)
    assert damage == pytest.approx(attacked - clean)


def test_what_one_training_shares_widens_the_intervals(records):
    """Two subjects are of a training each, and its luck moves what a judge says."""

    def moved(record):
        luck, turn = record.settings["subject"] % 2, record.settings["subject"] // 2
        trained = TRAINED[record.settings["defence"]][0]
        changes = {
            "settings": record.settings | {trained: {"seed": luck}},
            "metrics": record.metrics | {"fid_imagenet": 3 + 5 * luck + 0.1 * turn},
        }
        return record.model_copy(update=changes)

    own = [r for r in records if r.kind == "confirmation" and r.settings["defence"] in TRAINED]
    lucky = [moved(r) if r in own else r for r in records]
    found = {}
    for name, given in {"lucky": lucky, "alike": records}.items():
        table = judge_table(given).set_index(["domain", "attack", "defence", "metric"])
        found[name] = table.loc[("portraits", "ace", "lord", "fid_imagenet")]
    assert found["alike"]["luck"] == 0  # of one training nothing is known
    assert found["lucky"]["luck"] > 0.95
    low, high = found["lucky"][["value_low", "value_high"]]
    alone = mean_interval([8.0, 3.1, 8.1, 3.2])
    assert high - low > 1.3 * (alone.high - alone.low)


def test_each_kind_of_lord_stands_beside_every_rival_by_every_judge(records):
    table = judged_standings(records)
    rivals = table[(table["attack"] == "ace") & (table["domain"] == "portraits")]
    assert set(rivals["ours"]) == {"lord"} and set(rivals["metric"]) == set(judges_of(records))
    assert set(rivals["defence"]) == {"none", "diffpure", "adversarial"}
    assert (rivals[rivals["defence"] == "none"]["verdict"] == "ahead").all()


def test_judges_are_compared_by_how_they_rank(records):
    found = judges_agreement(records).set_index(["domain", "judge", "other"])["spearman"]
    assert found["portraits", "fid_imagenet", "kid_imagenet"] > 0.9
    assert found["portraits", "fid_imagenet", "identity"] < -0.5  # a distance and a quality


def test_a_subject_of_the_main_table_is_no_new_one():
    with pytest.raises(ValueError, match=r"confirmation\.subjects: 0 is one of lord\.subjects"):
        read_profile(values_of(subjects=[0, 1]))


def test_subjects_take_turns_at_the_trainings_of_stage_1():
    profile = read_profile(values_of(subjects=[1, 2, 3, 4], trainings=3))
    seeds = {
        (cell["subject"], cell.settings.stage1.seed)
        for cell in profile.cells("confirmation")
        if cell["defence"] == "lord"
    }
    assert seeds == {(1, 1), (2, 2), (3, 0), (4, 1)}
    alone = {
        cell["subject"]: cell.settings.asked
        for cell in profile.cells("confirmation")
        if cell["defence"] == "none" and cell["domain"] == "portraits"
    }
    assert len({str(asked) for asked in alone.values()}) == 1  # without a defence, no training


def test_judges_touch_no_record_that_does_not_ask_for_them():
    """Settings and components of cells are those of a protocol that knows no further judge."""
    smoke = load_profile("smoke")
    for name in ("main", "scale", "rank"):
        for cell in smoke.cells(name):
            assert "independent" not in cell.settings.asked
            assert not any("imagenet" in component for component in cell.measured)
    for name in ("confirmation", "confirmation_scale", "metrics"):
        for cell in smoke.cells(name):
            assert cell.settings.independent and "metric:fid_imagenet" in cell.measured


@pytest.mark.parametrize("name", ["full", "quick"])
def test_published_profiles_do_not_ask_for_them(name):
    assert not load_profile(name)["lord"].independent


def test_a_missing_judge_is_named_before_anything_runs(monkeypatch):
    card.imagenet_weights.cache_clear()
    monkeypatch.setattr(card, "IMAGENET", "no-such-package==1")
    with pytest.raises(ValueError, match=r"confirmation: independent: .*no-such-package==1"):
        read_profile(values_of())
    card.imagenet_weights.cache_clear()
