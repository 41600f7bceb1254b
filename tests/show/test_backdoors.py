"""What the chapters on backdoors show, from made-up records of a small zoo."""

import pytest
import yaml
from helpers import fill
from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.experiments.terd.tables import model_table
from lord.show import backdoor_frontier, backdoors, removal, terd
from lord.study.profile import PROFILES, read_profile
from lord.study.run import run

BOX = {"attack": "baddiffusion", "trigger": "box", "target": "hat"}
CAT = {"attack": "trojdiff_blend", "trigger": "cat", "target": "cup"}
HARD = [BOX | {"strength": 0.1}, BOX | {"rate": 0.01}, {"attack": "invisible", "target": "shoe"}]


@pytest.fixture(scope="module", params=[6, 1], ids="{} clean".format)
def made(request, tmp_path_factory):
    """Of a zoo with enough clean models, and of one with too few."""
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    zoo = {"clean": request.param, "backdoored": [BOX, CAT], "frontier": HARD}
    latent = values["latent_backdoor"] | {"clean": request.param}
    sections = {"terd": values["terd"] | zoo, "latent_backdoor": latent}
    profile = read_profile({"name": "zoo", "evidence": True, **sections})
    results = tmp_path_factory.mktemp("results")
    fill(profile, results)
    names = ("pixel", "backdoors", "reversion", "reversed_loss", "elijah", "input_rivals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORD_RESULTS", str(results))
        found = [r for name in names for r in run(profile, name, compute=False, results=results)]
        names = ("latent_backdoor", "removal", "reversion_cost")
        yield found, *(run(profile, name, compute=False, results=results) for name in names)


@pytest.fixture(scope="module")
def records(made):
    return made[0]


@pytest.fixture(scope="module")
def latent(made):
    return made[1]


def enough(records):
    return sum(r.kind == "backdoors" and r.settings["group"] == "clean" for r in records) > 3


@pytest.mark.parametrize("name", ["model_samples", "samples", "triggers", "paths", "loss_lines"])
def test_figures_are_drawn(name, records):
    figure = getattr(backdoors if hasattr(backdoors, name) else terd, name)(records)
    figure.draw_without_rendering()
    assert not figure.get_suptitle()


def test_every_backdoored_model_has_a_row_and_a_word(records):
    assert len(backdoors.samples(records).axes) == 2 * 2
    shown = backdoors.success_table(records)
    assert list(shown.index)[:2] == ["BadDiffusion: box to hat", "TrojDiff, blended: cat to cup"]
    assert list(shown.data["attack success"])[:2] == ["99%", "99%"]


def test_inputs_have_a_row_for_each_backdoored_model(records):
    shown = terd.inputs_told(records).data
    assert list(shown["TERD"]) == ["100%", "100%"] and shown.shape == (2, 4)


def test_verdicts_need_clean_models(records):
    for draw in (terd.verdicts, backdoor_frontier.frontier):
        found = draw(records)
        assert isinstance(found, Figure if enough(records) else Markdown)
    if enough(records):
        assert len(terd.verdicts(records).axes) == 4


def test_every_way_to_hide_begins_at_a_model_of_the_zoo(records):
    ways = backdoor_frontier.hidden(records)
    assert list(ways["strength"]["strength"]) == [1.0, 0.1]
    assert list(ways["rate"]["rate"]) == [0.1, 0.01]
    assert set(ways) == {"strength", "rate"}  # a learned trigger differs in more than one
    shown = backdoor_frontier.models_table(records).data
    assert list(shown["attack success"][:3]) == ["99%", "99%", "99%"]
    assert [*shown.index[-1]] == ["learned, at most", "1"]
    if enough(records):
        panels = backdoor_frontier.frontier(records).axes
        assert [panel.get_xlabel() for panel in panels] == [
            "strength",
            "poison rate",
        ]
        assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["1", "0.1"]


def test_where_detection_fails_is_said(records):
    text = backdoor_frontier.frontier_findings(records).data
    assert "- 2 of 3 backdoors that were made harder to find work." in text
    if enough(records):
        assert (
            "are found by TERD 1 of 2 (1% to 99%). Found by TERD" in text
        )  # the learned, not the weak
        assert "- By strength, for TERD: 1 is found. 0.1 is missed." in text
        assert "0.01 is found, though it does not work." in text
        assert "learned, of at most 1, is for TERD: found." in text
    assert "- Not measured: width in pixels and false trails." in text
    easy = [record for record in records if record.settings.get("group") != "frontier"]
    for draw in ("frontier", "models_table", "frontier_findings"):
        assert "leaves these experiments out" in getattr(backdoor_frontier, draw)(easy).data


def test_findings_count_models_with_exact_intervals(records):
    text = terd.detection_findings(records).data
    models = model_table(records)
    if enough(records):
        told = int(models.loc[models["works"], "terd_suspected"].sum())
        assert f"TERD suspects {told} of 2 (" in text and "it suspects 0 of 6 (0% to 46%)." in text
    else:
        assert "suspects" not in text
    assert "told right for 4 of 4 reversions" in text
    assert "2 of 2 backdoors work" in backdoors.backdoor_findings(records).data
    assert terd.noises_told(records).number == "all, in 2 of 2 models"  # none hard to find


def test_the_latent_model_is_shown_beside(latent):
    assert len(backdoors.latent_samples(latent).axes) == 2
    text = backdoors.latent_findings(latent).data
    assert "1 of 1 backdoors in the latent model work" in text
    assert ("TERD suspects 1 of 1" in text) == (len(latent) > 4)


def test_what_unlearning_does_is_shown_beside_the_model_as_it_was(made):
    records = [*made[0], *made[2]]
    assert len(removal.removed(records).axes) == 4
    shown = removal.removal_table(records).data.loc["BadDiffusion: box to hat"]
    assert list(shown.index) == ["as it was", *removal.AFTER.values()]
    assert shown.loc["more clean training", "attack success"] == "100% [16%, 100%]"
    text = removal.removal_findings(records).data
    assert "- after more clean training in 0 of 1 model\n- after unlearning the re" in text
    assert "- BadDiffusion: box to hat, as it was: attack success 100% (16% to 100%), em" in text


def test_what_a_reversion_costs(made):
    assert "takes 1.00 times as long as the passes" in terd.cost_findings(made[3]).data


def test_a_profile_without_models_says_so():
    for draw in (backdoors.samples, backdoors.success_table, backdoors.latent_findings):
        assert "leaves these experiments out" in draw([]).data


def test_where_the_search_cannot_find_the_trigger_is_said(records):
    text = terd.loss_findings(records).data
    assert "At the true trigger it is lower than at none for 0 of 2 models" in text
    assert "than at what was found for 0." in text
    assert (
        "- Triggers not black beside what is drawn: the published start has a cosine of 0.80"
        in text
    )
    lowest = [
        r.model_copy(update={"metrics": r.metrics | {"loss/true": 0.0}})
        for r in records
        if r.kind == "reversed_loss"
    ]
    assert "found for 2." in terd.loss_findings(lowest).data
