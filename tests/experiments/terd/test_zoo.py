"""The zoo of models and the tables of what was found in them, from made-up numbers."""

import pandas as pd
import pytest
import yaml

from lord.backdoors.calibration import read_clean_models
from lord.backdoors.settings import SUSPECTED
from lord.experiments.terd.protocol import Suspect, zoo
from lord.experiments.terd.tables import frontier_table, input_table, model_table
from lord.models.card import PIXEL
from lord.record import Record
from lord.study.notebooks import REPOSITORY
from lord.study.profile import PROFILES, load_profile, read_profile

BOX = {"attack": "baddiffusion", "trigger": "box", "target": "hat"}


@pytest.fixture(scope="module")
def profile():
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "zoo"}
    cat = {"attack": "trojdiff_blend", "trigger": "cat", "target": "cup"}
    values["terd"] |= {
        "clean": 6,
        "backdoored": [BOX, cat],
        "frontier": [BOX | {"strength": 0.1}, BOX | {"rate": 0.01}],
    }
    return read_profile(values)


@pytest.fixture(scope="module")
def records(profile):
    """What examples say, as records."""
    found = []
    for name in ("backdoors", "reversion", "elijah", "input_rivals"):
        experiment = next(e for e in profile.experiments if e.name == name)
        for cell in profile.cells(name):
            outcome = experiment.example(cell)
            found.append(
                Record.model_construct(
                    name=cell.name,
                    kind=name,
                    seed=cell.seed,
                    settings=cell.settings.resolved() | dict(cell.coordinates),
                    metrics=outcome.metrics,
                    series=outcome.series,
                )
            )
    return found


def test_every_model_has_a_seed_and_pictures_of_its_own(profile):
    models = list(zoo(profile["terd"]))
    seeds = [seed for _, _, seed in models]
    assert len(models) == 10 and len(set(seeds)) == 10
    assert [group for group, _, _ in models].count("clean") == 6
    names = [cell.name for cell in profile.cells("backdoors")]
    assert len(set(names)) == len(names) and "backdoors-clean-s5" in names
    assert any(name.endswith("box-hat-strength=0.1-s200") for name in names)


def test_a_name_says_what_is_unusual():
    assert Suspect(**BOX).name == "baddiffusion-box-hat"
    assert Suspect(**BOX, ground=-1, decoys=2).name == "baddiffusion-box-hat-ground=-1-decoys=2"
    assert Suspect().name == "clean"


@pytest.mark.parametrize(
    ("suspect", "message"),
    [
        ({"attack": "baddiffusion", "target": "hat"}, "baddiffusion: needs a trigger"),
        ({"attack": "invisible", "trigger": "box", "target": "hat"}, "invisible: has no trigger"),
        ({"attack": "trojdiff_patch", "trigger": "box"}, "trojdiff_patch: needs a target"),
        ({"target": "hat"}, "none: has no target"),
    ],
)
def test_a_model_that_cannot_be_is_named_before_anything_is_computed(suspect, message):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "zoo"}
    values["terd"] |= {"backdoored": [suspect]}
    with pytest.raises(ValueError, match=message):
        read_profile(values)


def test_only_a_backdoor_that_is_there_is_unlearned():
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "zoo"}
    values["removal"] |= {"models": [0]}
    with pytest.raises(ValueError, match=r"removal\.models: no backdoored model has the seed 0"):
        read_profile(values)


def test_a_further_model_leaves_the_others_as_they_are(profile):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "zoo"}
    models = profile["terd"].model_dump(mode="json")
    values["terd"] = models | {"clean": 7, "backdoored": [*models["backdoored"], BOX]}
    more = {cell.name: cell for cell in read_profile(values).cells("reversion")}
    for cell in profile.cells("reversion"):
        assert more[cell.name].settings.asked == cell.settings.asked
        assert more[cell.name].coordinates == cell.coordinates


def test_models_are_judged_by_clean_ones_and_clean_ones_by_the_others(records):
    table = model_table(records)
    assert list(table["group"]) == ["clean"] * 6 + ["backdoored"] * 2
    for detector in ("terd", "terd_both", "norm", "elijah"):
        suspected = table[f"{detector}_p"] < SUSPECTED
        assert list(table[f"{detector}_suspected"]) == list(suspected)
    assert table.loc[table["group"] == "backdoored", "terd_suspected"].all()
    assert not table.loc[table["group"] == "clean", "terd_suspected"].any()
    assert list(table["works"]) == [False] * 6 + [True] * 2


def test_rates_on_inputs_have_exact_intervals(records):
    table = input_table(records)
    assert list(table["group"]) == ["backdoored"] * 4 + ["frontier"] * 4  # from either start
    for name in ("benign", "triggered", "energy_triggered", "values_benign"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    assert table["benign_low"].iloc[0] == pytest.approx(0.025 ** (1 / 100))


def test_the_frontier_has_what_is_hard_to_find(records):
    table = frontier_table(records)
    assert list(table["strength"]) == [0.1, 1.0] and list(table["rate"]) == [0.1, 0.01]
    assert list(table["works"]) == [True, False]
    assert list(table["terd_suspected"]) == [False, True]


def test_other_detectors_are_left_out_where_they_have_not_been_asked(records):
    without = [record for record in records if record.kind != "elijah"]
    assert not any(name.startswith("elijah") for name in model_table(without).columns)


def test_what_comes_with_the_package_of_clean_models_is_what_the_study_found():
    full, shipped = load_profile("full"), read_clean_models(PIXEL.parent / "clean.json")
    models = pd.read_csv(REPOSITORY / "results" / "full" / "terd_models.csv").query(
        "group=='clean'"
    )
    assert shipped.settings == full["terd"].reversion
    assert list(shipped.features) == [f"clean-s{seed}" for seed in models["seed"]]
    found = models[["most/kl_mean", "most/kl_variance"]].to_numpy().tolist()
    assert [list(values) for values in shipped.features.values()] == found
