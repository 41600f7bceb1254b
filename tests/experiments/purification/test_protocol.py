"""Which defences are attacked by what, and the tables of what is left, from made-up numbers."""

import pytest
import yaml
from scipy.stats import binomtest

from lord.experiments.purification.tables import attack_table, defence_table, least_gain
from lord.record import Record
from lord.study.profile import PROFILES, read_profile


def smoke(**changes):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "purify"}
    values["purification"] |= changes
    return values


@pytest.fixture(scope="module")
def profile():
    return read_profile(smoke())


def made_up(profile, name):
    experiment = next(e for e in profile.experiments if e.name == name)
    found = []
    for cell in profile.cells(name):
        outcome = experiment.example(cell)
        found.append(
            Record.model_construct(
                name=cell.name,
                kind=name,
                seed=0,
                settings=cell.settings.resolved() | dict(cell.coordinates),
                metrics=outcome.metrics,
                series=outcome.series,
            )
        )
    return found


def test_a_defence_meets_the_attacks_that_it_can(profile):
    met = {
        (cell["defence"], cell["threat_name"]): [a.method for a in cell.settings.attacks]
        for cell in profile.cells("purification_attacks")
    }
    assert met["residual", "linf8"] == ["apgd_ce", "apgd_t", "fab_t"]
    assert met["residual+diffpure", "linf8"] == ["pgd", "apgd_dlr", "square"]
    assert met["residual+diffpure_ode,known", "linf8"] == ["apgd_ce"]
    assert met["residual+robust", "flow0.5"] == ["spatial"]


def test_only_the_robust_process_depends_on_the_auxiliary_network(profile):
    other = smoke()
    other["purification"]["classifiers"]["trades"]["steps"] = 3
    before, after = (
        {cell.name: cell.settings.asked for cell in p.cells("purification_attacks")}
        for p in (profile, read_profile(other))
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed and all("robust" in name for name in changed)


def test_a_further_task_adds_cells_and_leaves_the_others_as_they_are(profile):
    more = read_profile(smoke(models={"portraits": "embedded", "faces": "embedded"}))
    for name in ("classifiers", "purification_attacks", "purification_parts"):
        cells = {cell.name: cell.settings.asked for cell in more.cells(name)}
        before = {cell.name: cell.settings.asked for cell in profile.cells(name)}
        assert len(cells) == 2 * len(before) and before.items() <= cells.items()
        assert {cell["domain"] for cell in more.cells(name)} == {"portraits", "faces"}


def test_a_further_defence_leaves_the_others_as_they_are(profile):
    more = smoke()
    more["purification"]["defences"].append({"classifier": "pgd"})
    cells = {c.name: c for c in read_profile(more).cells("purification_attacks")}
    for cell in profile.cells("purification_attacks"):
        assert cells[cell.name].settings.asked == cell.settings.asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"models": {"landscapes": "embedded"}},
            "draws portraits; make one of landscapes with",
        ),
        (
            {"models": {"faces": "nowhere"}},
            "no diffusers pipeline in nowhere; make one of portraits",
        ),
        ({"defences": [{"classifier": "vgg"}]}, "no classifier 'vgg' is trained"),
        ({"defences": [{"classifier": "pgd", "purifier": "sand"}]}, "no purifier 'sand'"),
        ({"defences": [{"classifier": "pgd", "known": True}]}, "has no noise to be known"),
        ({"auxiliary": "vgg"}, "no classifier 'vgg' is there to guide"),
        ({"attacks_on_plain": [{"method": "pgd"}]}, "residual: no attack knows of flow"),
        (
            {"attacks": [{"method": "pgd"}] * 2 + [{"method": "spatial"}]},
            "diffpure: two attacks have one name in .'pgd-200x20",
        ),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_computed(changes, message):
    with pytest.raises(ValueError, match=message):
        read_profile(smoke(**changes))


def test_a_variant_of_a_purifier_that_is_not_there_is_named():
    values = smoke()
    values["purification_parts"] = {"timesteps": {"sand": [10]}}
    with pytest.raises((ValueError, KeyError), match="sand"):
        read_profile(values)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("purification_parts", {"threat": {"norm": "flow"}}, "bpda knows no perturbations of flow"),
        ("purification_converged", {"whole": [{"method": "spatial"}]}, "spatial knows no .* linf"),
        (
            "purification_converged",
            {"whole": [{"method": "square", "steps": 2}]},
            "two attacks have one name in .*'square-2', 'square-2'",
        ),
        ("purification_masking", {"threat": {"norm": "l2"}}, "threat: expected linf"),
    ],
)
def test_attacks_that_an_experiment_adds_must_fit_as_well(section, changes, message):
    values = smoke()
    values[section] |= changes
    with pytest.raises(ValueError, match=message):
        read_profile(values)


def test_accuracies_have_exact_intervals_and_a_comparison_with_diffpure(profile):
    records = made_up(profile, "purification_attacks")
    table = defence_table(records).set_index(["defence", "threat"])
    row = table.loc["residual+robust", "linf8"]
    hits = round(row["robust_worst"] * row["images"])
    found = binomtest(hits, int(row["images"])).proportion_ci()
    assert (row["robust_worst_low"], row["robust_worst_high"]) == pytest.approx(tuple(found))
    gain = row["robust_worst"] - table.loc["residual+diffpure", "linf8"]["robust_worst"]
    assert (row["won"] - row["lost"]) / row["images"] == pytest.approx(gain)
    assert 0 < row["p"] <= 1
    alone = table.loc["residual+diffpure", "linf8"]
    assert alone["p"] != alone["p"]  # with itself nothing is compared


def test_what_is_left_never_grows(profile):
    for name in ("purification_attacks", "purification_converged"):
        table = attack_table(made_up(profile, name))
        for _, rows in table.groupby(["defence", "threat"]):
            for column in ("worst", "majority"):
                assert rows[column].is_monotonic_decreasing
            assert rows["attack"].iloc[0] == "standard"


def test_power_is_stated():
    """Six pictures won and none lost are the fewest that the sign test takes for a difference."""
    assert least_gain(5) != least_gain(5)
    assert least_gain(6) == pytest.approx(0.8 ** (1 / 6), abs=1e-3)
    assert 0.05 < least_gain(128) < 0.07
