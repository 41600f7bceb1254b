"""What the chapter on purification shows, from made-up records."""

import re

import pytest
import yaml
from helpers import fill

from lord.experiments.purification.tables import attack_names, defence_table
from lord.show import purification as show
from lord.show import purification_findings as said
from lord.show import purification_masking as hidden
from lord.show import purification_parts as parts
from lord.show import purification_paths as paths
from lord.show.words import NOT_MEASURED
from lord.study.profile import PROFILES, read_profile
from lord.study.run import run

NAMES = ("purification_attacks", "purification_parts", "purification_converged")
GUARDED = ("residual+robust", "linf8")
BESIDE = ("classifiers", "purification_masking", "purification_cost", "purification_paths")


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


@pytest.mark.parametrize("draw", [show.accuracies, show.attack_by_attack, parts.frontier])
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
    assert "of t* 20 and 50, DiffPure keeps most at 50. That is " in text
    assert "of t* 20, 50 and 70, robust process keeps most at 50. That is " in text
    assert "GDMP" not in text


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


def test_purifiers_are_compared_with_diffpure_where_each_keeps_most(records):
    named = {r.settings["defence"]: r for r in records if r.kind == NAMES[1]}
    plain, early, late = (
        named[f"{name}"] for name in ("diffpure,t=50", "robust,t=20", "robust,t=70")
    )
    shown = [
        held(plain, *[1.0] * 4, *[0.0] * 28),
        held(early, *[1.0] * 8, *[0.0] * 24),
        held(late, *[1.0] * 16, *[0.0] * 16),
    ]
    table = parts.rivals(shown).data
    assert [name for _, name in table.index] == ["DiffPure at t* 50", "robust process at t* 70"]
    assert [*table.iloc[1][["won", "lost"]]] == ["12", "0"]
    said = parts.rival_findings(shown).data
    assert "robust process at t* 70 (p 0.00049) keeps more than it" in said
    shown[2] = held(late, *[1.0] * 5, *[0.0] * 27)
    assert "keeps what cannot be told from it" in parts.rival_findings(shown[::2]).data
    assert parts.rivals(shown[:1]).data.empty and not parts.rival_findings(shown[1:]).data


def test_every_threat_has_its_panel(records):
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
    assert f"A gain of {row['least_gain']:.0%}" in text
    few = said._compared("linf8", row.to_dict() | {"least_gain": float("nan")}, row.to_dict())
    assert "So few pictures show no gain at all" in few
    kept = max(table.loc[(name, "linf8"), "robust_worst"] for name in ("pgd", "trades"))
    assert f"without a purifier keeps {kept:.0%} (" in text


def test_what_is_left_where_the_noise_is_known_is_told(records):
    table = defence_table([r for r in records if r.kind == NAMES[0]])
    row = table.set_index(["defence", "threat"]).loc["residual+diffpure_ode,known", "linf8"]
    text = said.noise_known(records).data
    assert f"who knows the noise leaves {row['robust_worst']:.0%} (" in text
    assert " behind DiffPure, ODE." in text


def after(record, **left):
    """A record with these shares of its pictures left after its last attack."""
    name = attack_names(record)[-1]
    metrics = {f"{name}/{standing}": share for standing, share in left.items()}
    return record.model_copy(update={"metrics": record.metrics | metrics})


def test_what_each_attack_leaves_is_drawn_beside_adversarial_training(records):
    shown = [r for r in records if r.kind == NAMES[0]]
    figure = show.attack_by_attack(shown)
    first = figure.axes[0]
    lines = {line.get_label(): line.get_ydata() for line in first.lines}
    assert "robust process" in lines and not any("known" in name for name in lines)
    (record,) = (r for r in shown if (r.settings["defence"], r.settings["threat_name"]) == GUARDED)
    names = attack_names(record)
    assert [*lines["robust process"]] == [record.metrics[f"{name}/worst"] for name in names]
    trained = [r for r in shown if r.settings["defence"] in ("pgd", "trades")]
    kept = {sum(r.series["robust/worst"]) / 32 for r in trained}
    dashed = [lines[name][0] for name in ("PGD-AT", "TRADES") if name in lines]
    assert len(dashed) == 1 and dashed[0] in kept


def test_from_which_attack_on_training_is_ahead_is_told(records):
    (record,) = (
        r
        for r in records
        if r.kind == NAMES[0] and (r.settings["defence"], r.settings["threat_name"]) == GUARDED
    )
    text = said._turn("here", after(record, worst=0.25, majority=0.25), 0.25)
    assert "Right in all purifications from Square 2 on, 25% (11% to 43%)" in text
    assert "Right by their vote from Square 2 on, 25%" in text
    text = said._turn("here", after(record, worst=0.25, majority=0.5), 0.25)
    assert "Right by their vote never, 50% (32% to 68%)." in text
    assert "from no attack on" in said._turn("here", record, 1.0)


def test_what_an_attack_without_gradients_still_takes_is_counted(records):
    (record,) = (
        r
        for r in records
        if r.kind == NAMES[0] and (r.settings["defence"], r.settings["threat_name"]) == GUARDED
    )
    asked = int(record.metrics["square-2/asked"])
    text = said.blind([after(record, majority=(asked - 3) / 32)]).data
    assert f"takes 3 of {asked} behind robust process." in text
    assert "Square" not in said.blind([r for r in records if r.settings.get("known")]).data


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
        assert re.search(
            rf"{mine / 32:.0%} \(.*\) of pictures are .* with robust process, ", answer.text
        )
    assert "sign test" in answer.text and re.search(r", 50% \(.*\) with TRADES", answer.text)


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
    kept = rf": {9 / 32:.0%} \(.*\) of pictures .* with DiffPure, {8 / 32:.0%} \(.*\) with TRADES"
    assert re.search(kept, answer.text)


def test_of_several_threats_the_first_gives_the_number(records):
    met = [r for r in records if r.kind == NAMES[0]]
    faced = {(r.settings["defence"], r.settings["threat_name"]): r for r in met}
    own, base = (faced[name, "linf8"] for name in ("residual+robust", "residual+diffpure"))
    shown = [held(own, *[1.0] * 32), held(base, *[0.0] * 32)]
    shown += [
        held(
            record.model_copy(update={"settings": record.settings | {"threat_name": "l21"}}), *right
        )
        for record, right in ((own, [0.0] * 32), (base, [1.0] * 32))
    ]
    answer = said.guided(shown)
    assert answer.verdict == "In part"
    assert answer.number == "100 more of 100 pictures right (portraits, l∞ 8/255)"
    assert ": 0% (0% to 11%) of pictures" in answer.text


def test_the_first_page_says_so_where_nothing_was_purified(records):
    alone = [r for r in records if r.settings["defence"] == "residual"]
    assert said.guided(alone) == said.without_training([]) == NOT_MEASURED


def test_what_the_whole_protocol_takes_is_counted(records):
    (record,) = (r for r in records if r.kind == NAMES[2])
    left, end = (round(32 * record.metrics[f"{n}/worst"]) for n in ("square-2", "pgd-2x2"))
    text = show.converged(records).data
    assert f"the table leave {left}, the whole protocol {end}." in text
    alone = [r for r in records if r.kind != NAMES[2]]
    assert "leaves these experiments out" in show.converged(alone).data


def test_classifiers_and_costs_have_a_line_each(made):
    table = show.classifier_table(made["classifiers"]).data
    assert list(table.index) == ["residual", "attention", "PGD-AT", "TRADES"]
    assert all("%" in right for right in table["right"])
    lines = show.costs(made["purification_cost"]).data
    assert lines.count("1.00 times as long as its passes") == len(made["purification_cost"])


def test_a_picture_is_followed_through_each_purifier(made):
    shown = made["purification_paths"]
    (record,) = shown
    titles = [axes.get_title(loc="left") for axes in paths.stations(shown).axes]
    assert titles == ["robust process, clean", "robust process, PGD 1"]
    panel = paths.distances(shown).axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["given", "70", "35", "0"]
    lines = {line.get_label(): [*line.get_ydata()] for line in panel.lines}
    found = [record.metrics[f"pgd-1/{place}"] for place in ("given", "70", "35", "0")]
    assert lines["PGD 1"] == pytest.approx(found) and "noise of ±ε" in lines
    text = paths.path_findings(shown).data
    assert f"PGD 1: {found[0]:.1f} grey levels become {found[-1]:.1f} (" in text
    assert "and 75% of pictures are right" in text


def test_signs_of_hidden_gradients_are_drawn_told_and_tabled(made):
    (record,) = made["purification_masking"]
    hidden.signs([record]).draw_without_rendering()
    table = hidden.signs_table([record]).data.loc["robust process"]
    assert [*table.index[-3:]] == ["PGD × 1", "PGD × 2", "PGD, no bound"]
    assert table.loc["PGD × 1", "right"].startswith("50% [") and "[" in table.loc["Square", "loss"]
    text = hidden.sign_findings([record]).data
    assert "Robust process. As with nothing hidden, attacks without gradients do worse" in text
    assert "steps help and an unbounded attack leaves nothing. PGD leaves 47% right" in text
    assert "Square 69%, a difference of 22% [" in text
    assert "0.00 to 0.50 and rises in 1 of 1 steps" in text
    assert "Without a bound 0% [0%, 11%] of 32 pictures are ever right" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"square/right": [0.0] * 32}, "it is not so that attacks without gradients do worse. PGD"),
        (
            {"square/right": [1.0] * 15 + [0.0] * 17},
            "told whether attacks without gradients do",
        ),
        ({"pgd x1/loss": [9.0] * 32}, "Unlike there, it is not so that averaging gradients helps."),
        ({"pgd x1/loss": [9.0, -9.0] * 16}, "It cannot be told whether averaging gradients helps."),
        ({"loss x2": [0.5, 0.5]}, "Unlike there, it is not so that steps help. PGD"),
        ({"unbounded/right": [0.25] + [0.0] * 31}, "not so that an unbounded attack leaves"),
    ],
    ids=range(6),
)
def test_each_sign_of_hidden_gradients_is_seen(made, changes, told):
    (record,) = made["purification_masking"]
    shown = record.model_copy(update={"series": record.series | changes})
    assert told in hidden.sign_findings([shown]).data


def test_a_profile_without_these_experiments_says_so():
    draws = (show.steps_table, said.findings, show.converged, paths.distances)
    for draw in (*draws, parts.parts_table, hidden.signs):
        assert "leaves these experiments out" in draw([]).data
