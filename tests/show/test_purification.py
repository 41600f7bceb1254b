"""What the chapter on purification shows, from made-up records."""

import pytest
import yaml
from helpers import fill

from lord.experiments.purification.tables import defence_table
from lord.show import purification as show
from lord.show import purification_findings as said
from lord.show import purification_parts as parts
from lord.show.words import NOT_MEASURED
from lord.study.profile import PROFILES, read_profile
from lord.study.run import run

NAMES = ("purification_attacks", "purification_parts", "purification_converged")
BESIDE = ("classifiers", "purification_masking", "purification_cost")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "purify"}
    values["purification"]["defences"] += [{"classifier": "pgd"}, {"classifier": "trades"}]
    values["purification_parts"]["timesteps"] = {"diffpure": [20, 50], "robust": [20, 50, 70]}
    profile = read_profile(values)
    results = tmp_path_factory.mktemp("results")
    fill(profile, results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORD_RESULTS", str(results))
        yield {name: run(profile, name, compute=False, results=results) for name in NAMES + BESIDE}


@pytest.fixture(scope="module")
def records(made):
    return [record for name in NAMES for record in made[name]]


@pytest.mark.parametrize("draw", [show.pictures, show.accuracies, parts.frontier])
def test_figures_are_drawn(draw, records):
    draw(records).draw_without_rendering()


def test_the_t_that_keeps_most_is_named(records):
    shown = [
        held(record, *[1.0] * kept, *[0.0] * (32 - kept))
        for record in records
        if record.kind == NAMES[1]
        for kept in [9 if "=50" in record.settings["defence"] else 3]
    ]
    text = parts.times(shown).data
    assert "of t* 20 and 50, DiffPure keeps most at 50: " in text
    assert "of t* 20, 50 and 70, robust process keeps most at 50: " in text and "GDMP" not in text


def test_a_part_taken_away_is_compared_with_the_whole_on_the_same_pictures(records):
    whole, part = (
        next(r for r in records if r.kind == NAMES[1] and r.settings["defence"] == name)
        for name in ("robust,t=70", "no_class")
    )
    shown = [held(whole, *[1.0] * 8, *[0.0] * 24), held(part, 0.0, 0.0, *[1.0] * 7, *[0.0] * 23)]
    table = parts.parts_table(shown).data
    assert [name for _, name in table.index] == ["robust process, whole", "without its class term"]
    assert [*table.iloc[1][["won", "lost"]]] == ["1", "2"] and table.iloc[0]["p"] == ""
    assert parts.parts_table(shown[:1]).data.empty
    assert (
        "of 1 change to robust process, none makes a difference" in parts.part_findings(shown).data
    )
    shown[1] = held(part, *[0.0] * 32)
    assert "without its class term it keeps less (p 0.0078)" in parts.part_findings(shown).data


def test_every_purifier_has_its_pictures_and_every_threat_its_panel(records):
    titles = [axes.get_title(loc="left") for axes in show.pictures(records).axes]
    assert titles[0] == "clean" and "attack on robust process" in titles
    assert len(titles) == 1 + 2 * 2
    figure = show.accuracies(records)
    assert [axes.get_title() for axes in figure.axes] == ["l∞ 8/255", "flow 0.5 px"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"no purifier", "robust process", "TRADES", "GrIDPure, attention"} <= {*labels}
    assert "DiffPure, ODE, noise known" in labels


def test_attacks_have_a_row_each(records):
    shown = show.steps_table(records)
    rows = shown.data.loc[("l∞ 8/255", "robust process")]
    assert list(rows.index) == ["no attack", "PGD 1 × 2", "Auto-PGD, DLR 2", "Square 2"]
    assert rows["tried on"].iloc[0] == "32" and "%" in rows["right by vote"].iloc[1]


def test_findings_say_what_was_won_and_lost_and_what_could_have_been_found(records):
    table = defence_table([r for r in records if r.kind == NAMES[0]])
    table = table.set_index(["defence", "threat"])
    row = table.loc["residual+robust", "linf8"]
    text = said.findings(records).data
    assert f"won {row['won']:.0f}, lost {row['lost']:.0f}" in text
    assert ("cannot be told from DiffPure" in text) == (table["p"] >= 0.05).any()
    assert f"a gain of {row['least_gain']:.0%}" in text
    few = said._compared("linf8", row.to_dict() | {"least_gain": float("nan")}, row.to_dict())
    assert "so few pictures show no gain at all" in few
    kept = max(table.loc[(name, "linf8"), "robust_worst"] for name in ("pgd", "trades"))
    assert f"without a purifier keeps {kept:.0%} (" in text


def held(record, *right):
    """A record whose pictures are right in the end as given."""
    return record.model_copy(update={"series": record.series | {"robust/worst": list(right)}})


@pytest.mark.parametrize(
    ("mine", "verdict", "points"),
    [(32, "Yes", "50 more"), (16, "Not told apart", "0 more"), (0, "No", "50 fewer")],
)
def test_the_first_page_says_whether_guidance_helps(records, mine, verdict, points):
    faced = {
        r.settings["defence"]: r
        for r in records
        if r.kind == NAMES[0] and r.settings["threat_name"] == "linf8"
    }
    own, base, trained = (faced[n] for n in ("residual+robust", "residual+diffpure", "trades"))
    right = [1.0] * mine + [0.0] * (32 - mine)
    shown = [held(own, *right), held(base, *[0.0, 1.0] * 16), held(trained, *[0.0, 1.0] * 16)]
    for answer in (said.guided(shown), said.without_training([shown[0], shown[2]])):
        assert answer.verdict == verdict
        assert answer.number == f"{points} of 100 pictures right"
        assert f"with robust process {mine / 32:.0%}" in answer.text
    assert "sign test" in answer.text and "with TRADES 50%" in answer.text


def test_the_best_purifier_meets_the_best_trained_classifier(records):
    faced = {
        r.settings["defence"]: r
        for r in records
        if r.kind == NAMES[0] and r.settings["threat_name"] == "linf8"
    }
    ours, theirs = ("residual+robust", "residual+diffpure"), ("pgd", "trades")
    shown = [
        held(faced[n], *[1.0] * k, *[0.0] * (32 - k)) for n, k in zip(ours, (3, 9), strict=True)
    ]
    shown += [
        held(faced[n], *[0.0] * (32 - k), *[1.0] * k) for n, k in zip(theirs, (4, 8), strict=True)
    ]
    answer = said.without_training(shown)
    assert answer.verdict == "Not told apart"
    assert answer.number == "3 more of 100 pictures right"
    assert f"with DiffPure {9 / 32:.0%}" in answer.text and f"TRADES {8 / 32:.0%}" in answer.text


def test_the_first_page_says_so_where_nothing_was_purified(records):
    alone = [r for r in records if r.settings["defence"] == "residual"]
    assert said.guided(alone) == said.without_training([]) == NOT_MEASURED


def test_what_the_whole_protocol_takes_is_counted(records):
    (record,) = (r for r in records if r.kind == NAMES[2])
    left, end = (round(32 * record.metrics[f"{n}/worst"]) for n in ("square-2", "pgd-2x2"))
    text = show.converged(records).data
    assert f"the table leave {left}, the whole protocol {end}." in text


def test_classifiers_signs_of_masking_and_costs_have_a_line_each(made):
    table = show.classifier_table(made["classifiers"]).data
    assert list(table.index) == ["residual", "attention", "PGD-AT", "TRADES"]
    assert all("%" in right for right in table["right"])
    text = show.masking(made["purification_masking"]).data
    assert text.count("✓") + text.count("✗") == 4 and "an unbounded budget leaves 0% (✓)" in text
    (record,) = made["purification_masking"]
    hidden = record.model_copy(update={"metrics": record.metrics | {"unbounded/right": 0.5}})
    assert "an unbounded budget leaves 50% (✗)" in show.masking([hidden]).data
    lines = show.costs(made["purification_cost"]).data
    assert lines.count("1.00 times as long as its passes") == len(made["purification_cost"])


def test_a_profile_without_these_experiments_says_so():
    for draw in (show.pictures, show.steps_table, said.findings, show.converged, parts.parts_table):
        assert "leaves these experiments out" in draw([]).data
