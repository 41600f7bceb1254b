import base64
import inspect
import io
import pkgutil
import re
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from helpers import fill
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

import lord
from lord import show
from lord.data.subjects import DOMAINS
from lord.experiments.lord import tables
from lord.experiments.lord.example import LEVELS, OTHER
from lord.experiments.lord.protocol import UNCHANGED, SamplingSettings
from lord.experiments.lord.tables import (
    ablation_table,
    attack_table,
    clean_harm,
    condition_rows,
    defence_costs,
    dose_table,
    noise_margins,
)
from lord.experiments.lord.tables.conditions import metric
from lord.models import sample
from lord.models.embedded import TINY, build_pipeline
from lord.record import Record
from lord.show import first_page, verdicts, words
from lord.show.attacks import of_every_attack
from lord.show.style import ATTACK_NAMES, metric_keys, number, with_interval
from lord.show.verdicts import is_worse
from lord.study.profile import load_profile
from lord.study.run import run

REPOSITORY = Path(lord.__file__).parents[1]
SIZE = 16
MIXED = {"method": "mixed", "methods": ["ace", "advdm"], "eps": 0.03, "step_size": 0.01, "steps": 1}
PROTOCOL = {
    "size": SIZE,
    "budget": {"eps_levels": 8, "step_levels": 1, "steps": 1},
    "finetune": {"steps": 1},
    "stage1": {"steps": 2},
    "stage1_data": {"attack": {"steps": 1}},
    "adversarial": {"kind": "lora", "steps": 1},
    "adversarial_data": {"attack": {"steps": 1}},
    "wide": {"steps": 1, "rank": 8},
    "mixed_data": {"attack": MIXED},
    "sampling": {},
    "treatments": ["learned", "lambda=0", "dropped"],
}
MAIN = {
    "conditions": {
        "none": ["none", "lord"],
        "ace": ["none", "jpeg", "adversarial", "lord", "lord_wide", "lord_mixed"],
        "advdm": ["none", "lord", "lord_mixed"],
    },
    "further_treatments": ["lambda=0.5", "lambda=1"],
}
COMPARED = {
    "damage": {"attacks": ["noise", "ace", "advdm"], "eps_levels": [4, 8]},
    "steps": {"steps": [5]},
    "rank": {
        "variants": {"r2": {"finetune": {"rank": 2}, "stage1": {"rank": 2}}},
        "conditions": {"none": ["none"], "ace": ["none", "lord"]},
        "treatments": ["learned", "dropped"],
    },
    "lambda": {
        "variants": {
            "token": {"stage1": {"gate": "token"}},
            "half": {"scenario": {"stage2_gate": 0.5}},
        },
        "conditions": {"ace": ["lord"]},
        "treatments": ["learned", "lambda=0.5", "dropped"],
    },
    "lambda_choice": {
        "variants": {
            "quarter": {"scenario": {"stage2_gate": 0.25}},
            "half": {"scenario": {"stage2_gate": 0.5}},
        },
        "conditions": {"ace": ["lord"]},
        "treatments": ["dropped"],
        "split": "stage1",
    },
    "adaptive": {
        "variants": {
            name: {"scenario": {"attacker": name}}
            for name in ("defended", "closing", "through_diffpure")
        },
        "conditions": {"ace": ["diffpure", "adversarial", "lord"], "advdm": ["lord_mixed"]},
        "treatments": ["dropped"],
    },
    "parts": {
        "variants": {"one_branch": {"stage1": {"kind": "lora"}}},
        "conditions": {"none": ["lord"], "ace": ["lord"]},
        "treatments": ["dropped"],
    },
    "transfer": {
        "variants": {
            "half": {"scenario": {"attacked_share": 0.5}},
            "eps_4": {"budget": {"eps_levels": 4}},
            "other_domain": {"scenario": {"stage1_domain": "other"}},
        },
        "conditions": {"ace": ["none", "lord"]},
        "treatments": ["dropped"],
    },
}
ONE, SEVERAL = ({"subjects": subjects, "seeds": [0]} for subjects in ([0], [0, 1]))
SCALES = {
    name: {
        "evidence": scale is SEVERAL,
        "lord": PROTOCOL | scale | {"selection_subjects": len(scale["subjects"])},
        "main": MAIN,
    }
    | {experiment: section | scale for experiment, section in COMPARED.items()}
    for name, scale in (("several", SEVERAL), ("one", ONE))
}
RESULTS = ("selection", "main")
LORD = ("LoRD", "wide LoRD", "mixed wide LoRD")
SEEN = "Trained defences have seen ACE alone"


@pytest.fixture(scope="module", params=SCALES)
def study(request, tmp_path_factory):
    """The path of a profile all of whose records are made up, and a function that reads them."""
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / f"{request.param}.yaml"
    path.write_text(yaml.safe_dump(SCALES[request.param]))
    profile = load_profile(str(path))
    fill(profile, folder / "results")
    patch = pytest.MonkeyPatch()
    patch.setenv("LORD_RESULTS", str(folder / "results"))

    def records(*experiments: str) -> list[Record]:
        found = [run(profile, e, compute=False, results=folder / "results") for e in experiments]
        return [record for part in found for record in part]

    yield str(path), records
    patch.undo()


@pytest.fixture(scope="module")
def included(study):
    """What the book's pages include."""
    return show.pages(study[0])


@pytest.fixture
def drawn():
    """Checks that a figure is drawn to the end, on white, and is not left open."""

    def check(figure: Figure) -> Figure:
        assert isinstance(figure, Figure)
        assert not plt.get_fignums()
        figure.draw_without_rendering()
        assert figure.get_facecolor() == (1, 1, 1, 1)
        return figure

    return check


def texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [a.get_title() + a.get_title(loc="left") + a.get_xlabel() for a in figure.axes]
    return "\n".join([*found, figure.get_suptitle()])


def test_the_card_of_a_run_warns_when_numbers_mean_nothing(study):
    profile, records = study
    card = show.run_card(records("selection", "main")).data
    assert ("No evidence" in card) == (Path(profile).stem == "one")
    assert "Stale" not in card
    assert "cpu (" in card and "0:00:00" in card
    assert f"&quot;guidance_scale&quot;: {SamplingSettings().guidance_scale}" in card
    assert "treatment" not in card.split("<pre ")[1]  # settings that differ are not shared


def test_the_card_of_a_run_links_to_scripts_and_commits_that_are_there(study):
    _, records = study
    (first, *others) = records("data", "lambda")
    kept = [r.model_copy(update={"commit": "89abcde" * 5}) for r in others]
    gone = first.model_copy(update={"commit": "0123456" * 5, "lost": True, "dirty": False})
    card = show.run_card([gone, *kept]).data
    scripts = re.findall(r'href="https://[^"]*/lord/blob/main/([^"]*)">(\w+)<', card)
    assert [name for _, name in scripts] == ["data", "lambda"]
    assert all(f'"{n}"' in (REPOSITORY / p).read_text() for p, n in scripts)
    assert f'/commit/{kept[0].commit}">' in card and f"/commit/{gone.commit}" not in card
    assert "0123456 no longer in the history" in card and "/lord.jsonl" in card


def test_results_of_older_code_are_marked(study):
    _, records = study
    old = [r.model_copy(update={"components": {"attack:ace": 0}}) for r in records("ace")]
    assert (
        f"Stale: {len(old)} of {len(old) + 1} results"
        in show.run_card([*old, *records("data")]).data
    )
    assert (
        "Stale"
        in show.attribute_accuracy(
            [records("model")[0].model_copy(update={"components": {"attack:ace": 0}})]
        ).get_suptitle()
    )


def test_every_number_in_the_text_of_the_book_is_there(study):
    _, records = study
    texts = 0
    for page in sorted((REPOSITORY / "notebooks").glob("*.py")):
        text = page.read_text(encoding="utf-8")
        stages = re.findall(r'^records \+?= .*study\.run\(profile, "(\w+)"', text, re.M)
        for call in re.findall(r"^show\.text\((.*?)\)$", text, re.M | re.S):
            said = show.text(records(*stages), "".join(re.findall(r'"(.*?)"', call))).data
            assert said[-1] == "." and "{" not in said and "nan" not in said
            texts += 1
    assert texts > 5


def test_numbers_are_means_over_domains(study):
    _, records = study
    stage1 = show.numbers(records("stage1"))
    assert stage1["stage1_images"] == 512 and type(stage1["stage1_images"]) is int
    assert stage1["stage1_gate_accuracy"] == pytest.approx(0.75)
    metrics = show.numbers(records("metrics", "scale"))
    assert metrics["metrics_spearman_min"] == 0.95  # over the curves that are shown
    assert metrics["metrics_weakest"] == "embedded FID under blur"
    assert metrics["scale_same"] < 4 < 50 < metrics["scale_other"]  # after the VAE, as everywhere
    results = show.numbers(records("selection", "main"))
    assert results["main_treatment"] == "λ = 0"
    assert results["main_portraits_gap_fid"] == pytest.approx(0.9, abs=0.02)


def test_a_text_has_numbers_of_the_records(study):
    _, records = study
    said = show.text(records("data"), "{data_portraits_per_second:.0f} portraits a second.")
    assert said.data == "512 portraits a second."
    assert "leaves these experiments out" in show.text([], "{nothing}").data


@pytest.mark.parametrize(
    ("stages", "draw"),
    [
        (["model"], show.attribute_accuracy),
        (["metrics"], show.metric_curves),
        (["ace"], show.attacked_images),
        (["stage1"], show.training_curves),
        (["stage1"], show.gate_by_timestep),
        (["audit"], show.audit_matrix),
        (["audit"], show.reliability),
        (["audit"], show.layer_matrix),
        (["masking"], show.objective_curves),
        (["masking_diffpure"], partial(show.objective_curves, defence="diffpure")),
        (["sampled_gates"], show.sampled_gates),
        (RESULTS, show.treatment_samples),
        (RESULTS, show.treatment_comparison),
        (RESULTS, show.sheet),
    ],
)
def test_figures_of_records(study, drawn, stages, draw):
    profile, records = study
    figure = drawn(draw(records(*stages)))
    assert "portraits" in texts(figure) or draw is show.sheet
    assert ("No evidence" in texts(figure)) == (Path(profile).stem == "one")


@pytest.mark.parametrize(
    ("stage", "draw"),
    [
        ("rank", show.rank_curves),
        ("rank", show.ablation_figure),
        ("lambda", show.gate_grid),
        ("lambda", show.ablation_figure),
        ("parts", show.ablation_figure),
        ("parts", show.ablation_samples),
        ("transfer", partial(show.dose_curves, dose="attacked_share")),
        ("transfer", partial(show.dose_curves, dose="eps_levels")),
        # A profile may vary something else alone.
        ("parts", partial(show.dose_curves, dose="eps_levels")),
    ],
)
def test_figures_of_ablations(study, drawn, stage, draw):
    profile, records = study
    figure = drawn(draw(records(stage), records("main")))
    assert "landscapes" in texts(figure)
    assert ("No evidence" in texts(figure)) == (Path(profile).stem == "one")


def test_the_grid_of_gates_has_every_pair(study):
    _, records = study
    grid = show.gate_grid(records("lambda"), records("main")).axes[0]
    rows = [label.get_text() for label in grid.get_yticklabels()]
    columns = [label.get_text() for label in grid.get_xticklabels()]
    assert rows == ["learned λ", "λ = ½"] and len(columns) == 3
    assert len(grid.texts) == 6  # the gate per token is no row of its own
    dropped = columns.index("dropped")
    values = {text.get_position(): float(text.get_text()) for text in grid.texts}
    assert values[dropped, 0] == pytest.approx(LEVELS["ace", "lord"][0] + 0.5, abs=0.11)


def test_findings_name_the_best_pair_of_gates(study):
    _, records = study
    found = show.gate_findings(records("lambda"), records("main")).data
    gate = "(?:learned λ|λ = ½)"
    here = "- portraits, "
    line = rf"{here}with the learned λ in both places: (\S+) \(learned λ, then learned λ\)\n"
    line += rf"{here}at best: (\S+) \({gate}, then {gate}\)\n"
    line += rf"{here}at best with the learned λ in stage 2: (\S+) \(learned λ, then {gate}\)\n"
    line += rf"{here}at best with the learned λ while sampling: (\S+) \({gate}, then learned λ\)\n"
    both, best, stage2, sampling = map(float, re.search(line, found).groups())
    assert best == min(stage2, sampling, best) and both >= max(stage2, sampling)
    fids: dict[tuple, dict[str, float]] = {}
    for record in records("lambda"):
        place = [record.settings[key] for key in ("domain", "variant", "subject", "seed")]
        fids.setdefault(tuple(place), {})[record.settings["treatment"]] = metric(record, "fid")
    worse = sum(cell["learned"] > cell["lambda=0.5"] for cell in fids.values())
    assert f"learned is worse than ½ in {worse} of {len(fids)} cells" in found


def test_an_ablation_is_compared_with_the_main_table(study):
    _, records = study
    html = show.ablation_table(records("rank"), records("main")).to_html()
    names = re.findall(r"row_heading level2[^>]*>([^<]+)", html)
    assert names[:2] == ["unchanged: LoRA", "r2: LoRA"]
    assert {"unchanged: LoRD (learned λ)", "r2: LoRD (dropped)"} <= set(names)
    assert len(names) == 2 * 2 * 4  # domains, variants; clean, attacked, and LoRD twice
    assert re.search(r">8[456]%<", html)  # (12 − 3.5) / (12 − 2)
    found = show.ablation_findings(records("rank"), records("main")).data
    assert re.search(r"- portraits, ACE: Unchanged 8\d%. Otherwise 8\d% \(r2\)", found)
    table = ablation_table([*records("rank"), *records("main")], "rank")
    behind = table[(table["variant"] == "r2") & (table["treatment"] == "dropped")]
    worse = (behind["fid_worse"] == behind["cells"]).sum()
    assert found.count(". Worse in every cell: r2") == worse
    unharmed = [
        record.model_copy(update={"metrics": dict.fromkeys(record.metrics, 0.0)})
        if (record.settings["attack_name"], record.settings["defence"]) == ("ace", "none")
        else record
        for record in records("rank")
    ]
    found = show.ablation_findings(unharmed, records("main")).data
    assert re.search(r"(?m)^- portraits, ACE: Unchanged 8\d%$", found)


def test_every_defence_has_its_own_attackers_who_know(study):
    _, records = study
    asked = records("adaptive"), records("main")
    table = ablation_table([*asked[0], *asked[1]], "adaptive")
    assert set(zip(table["defence"], table["variant"], strict=True)) == {
        ("diffpure", "through_diffpure"),
        ("adversarial", UNCHANGED),
        ("adversarial", "defended"),
        ("lord", UNCHANGED),
        ("lord", "defended"),
        ("lord", "closing"),
        ("lord_mixed", UNCHANGED),
        ("lord_mixed", "defended"),
        ("lord_mixed", "closing"),
    }
    html = show.ablation_table(*asked, stands_out="worst").to_html()
    worst = re.findall(r'class="data [^"]*winner', html)
    assert len(worst) == 2 * 4 * 3  # domains, defences, metrics
    found = show.ablation_findings(*asked).data
    assert re.search(
        r"ACE, adversarial training: Unchanged \d+%. Otherwise \d+% \(defended\)", found
    )
    ends = r"\d+% \((?:defended|closing)\) to \d+% \((?:defended|closing)\)"
    assert re.search(f"ACE, LoRD: Unchanged \\d+%. Otherwise {ends}", found)


def test_a_choice_is_made_on_identities_that_are_not_evaluated(study):
    _, records = study
    choice, chosen_on = records("lambda_choice"), records("selection")
    assert {record.settings["split"] for record in choice} == {"stage1"}
    html = show.ablation_table(choice, chosen_on).to_html()
    names = re.findall(r"row_heading level2[^>]*>([^<]+)", html)
    assert names == ["unchanged", "half", "quarter"] * 2
    values = {"unchanged": [], "half": [], "quarter": []}
    places = {record.settings["subject"] for record in choice}
    for record in [*chosen_on, *choice]:
        own = record.settings
        if own["treatment"] == "dropped" and own["defence"] == "lord" and own["subject"] in places:
            values[own.get("variant", UNCHANGED)].append(metric(record, "fid"))
    means = {name: sum(fids) / len(fids) for name, fids in values.items()}
    found = show.choice_findings(choice, chosen_on).data
    said = "\n".join(f"- {name}: {number(mean)}" for name, mean in means.items())
    assert f"and identities, lowest for {min(means, key=means.get)}:\n\n{said}" in found


def test_what_a_rank_costs(study):
    _, records = study
    costs = records("rank_cost")
    table = show.rank_cost_table(costs, records("rank", "main")).data
    assert list(table.index) == ["rank 2", "rank 4"]
    assert table.to_numpy().tolist() == [["12", "0.250", "12", "0.250"]] * 2
    csv = ablation_table(records("rank", "main") + costs, "rank")
    assert (csv[["adapter_thousands", "step_seconds"]] == [12.5, 0.25]).all(axis=None)


def test_an_ablation_counts_the_cells_that_are_worse(study):
    _, records = study
    table = ablation_table(records("parts", "main"), "parts")
    rows = condition_rows(records("parts", "main"), "parts", "main")
    rows = rows[(rows["defence"] == "lord") & (rows["treatment"] == "dropped")]
    rows = rows.set_index(["domain", "attack", "subject", "seed"]).sort_index()
    own, unchanged = (rows[rows["variant"] == name] for name in ("one_branch", UNCHANGED))
    for cell in table[table["variant"] == "one_branch"].to_dict("records"):
        values, others = (part.loc[cell["domain"], cell["attack"]] for part in (own, unchanged))
        others = others.loc[values.index]
        assert cell["fid_worse"] == (values["fid"] > others["fid"]).sum()
        assert cell["clip_iqa_worse"] == (values["clip_iqa"] < others["clip_iqa"]).sum()
        if len(values) > 1:
            assert cell["fid_low"] == values["fid"].min() < values["fid"].max() == cell["fid_high"]
    assert 0 < table["fid_worse"].sum() < table["cells"].sum()


def test_findings_about_attacks_that_stage_1_has_not_seen(study):
    profile, _ = study
    seen, _, *rows = show.stranger_findings(profile).data.splitlines()
    assert seen.startswith(f"{SEEN}. Of the embedded FID gap")
    (row,) = rows  # the others face ACE alone, or have seen AdvDM
    shares = re.fullmatch(
        r"- LoRD on portraits (\d+)% \(AdvDM\), on landscapes (\d+)% \(AdvDM\)", row
    ).groups()
    assert [int(share) for share in shares] == pytest.approx([90, 90], abs=2)  # see LEVELS


@pytest.mark.parametrize(
    ("dose", "doses"), [("attacked_share", [0, 0.5, 1]), ("eps_levels", [0, 4, 8])]
)
def test_doses_lie_between_clean_photographs_and_the_unchanged_attack(study, dose, doses):
    _, records = study
    table = dose_table(records("transfer", "main"), "transfer", dose)
    for (_, defence), curve in table.groupby(["domain", "defence"]):
        assert curve[dose].tolist() == doses
        clean, attacked = (LEVELS[attack, defence][0] for attack in ("none", "ace"))
        above = 0 if defence == "none" else 0.5
        levels = [clean + above, attacked / 2 + above, attacked + above]
        assert curve["fid"].to_numpy() == pytest.approx(levels, abs=0.11)
    assert set(table["defence"]) == {"none", "lord"} and len(table) == 2 * 2 * 3


def test_defences_under_every_attack(study, drawn):
    profile, _ = study
    figure = drawn(show.stranger_figure(profile))
    assert texts(figure).count("embedded FID ↓") == 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["ACE", "AdvDM"]
    # Those that face ACE alone are left out.
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    ends = ["clean pictures, same subject", "clean pictures, another subject"]
    assert words == ["LoRA, clean photos", "LoRA", "LoRD", "mixed wide LoRD", *ends]
    lines = {line.get_label(): line.get_xdata()[0] for line in figure.axes[0].lines}
    assert [lines[end] for end in ends] == pytest.approx([2.5, 60.5], abs=0.5)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    fids = [line.get_xdata()[0] for line in dots]
    shown = ("none", "lord", "lord_mixed")
    levels = [LEVELS.get(("ace", defence), OTHER)[0] for _ in range(2) for defence in shown]
    assert fids == pytest.approx(levels, abs=0.11)


def test_samples_of_an_ablation_begin_with_the_unchanged(study):
    _, records = study
    figure = show.ablation_samples(records("rank"), records("main"))
    names = [panel.get_title(loc="left") for panel in figure.axes[::2]]
    assert names[0].startswith("unchanged: ") and names[-1].startswith("r2: ")
    assert len(names) == len(set(names))
    # Of the first attack, only defences that meet the variants under it.
    figure = show.ablation_samples(records("adaptive"), records("main"))
    names = [panel.get_title(loc="left") for panel in figure.axes[::2]]
    assert "closing: LoRD (dropped)" in names and not any("mixed" in name for name in names)


def test_what_a_profile_leaves_out_is_said(study):
    _, records = study
    shown = [show.run_card([]), show.objective_curves([]), show.sampled_gates([])]
    shown += [draw([], records("main")) for draw in (show.ablation_figure, show.gate_findings)]
    assert all("leaves these experiments out" in html.data for html in shown)


UNDEFENDED = ("main", "damage", "steps")


def test_attacks_side_by_side(study, drawn):
    profile, records = study
    shown = texts(drawn(show.attack_pictures(records(*UNDEFENDED), "landscapes")))
    rows = [line for line in shown.splitlines() if line in ATTACK_NAMES.values()]
    assert rows == ["clean", "uniform noise", "AdvDM", "ACE"]
    matrix = texts(drawn(show.damage_matrix(records(*UNDEFENDED), "fid")))
    # Three attacks at two budgets on two domains; the clean LoRA is in the titles.
    assert len(re.findall(r"^\d+$", matrix, re.M)) == 12 and matrix.count("(clean: ") == 2
    scaled = drawn(show.damage_matrix(records(*UNDEFENDED, "scale"), "fid")).get_supxlabel()
    assert re.search(r"portraits 2\.\d+ and 60\.\d, landscapes 2\.\d+ and 60\.\d", scaled)
    curves = drawn(show.step_curves(records(*UNDEFENDED)))
    lines = {line.get_label(): line.get_xdata() for line in curves.axes[0].lines}
    assert list(lines["base model attacked"]) == [1, 5]
    assert list(lines["5 rounds, surrogate learns"]) == [5]
    for figure in (shown, matrix, texts(curves)):
        assert ("No evidence" in figure) == (Path(profile).stem == "one")


def test_the_question_of_steps_is_answered(study):
    _, records = study
    key = "fid_embedded_round_trip"
    fids = {(0, 1): 2.0, (1, 1): 11.5, (5, 1): 12.0, (5, 5): 10.0}

    def with_fid(record):
        attack = record.settings.get("attack", {"steps": 0, "rounds": 1})
        place = (attack["steps"] * attack["rounds"], attack["rounds"])
        return record.model_copy(update={"metrics": record.metrics | {key: fids[place]}})

    undefended = [r for r in records("main", "steps") if r.settings["defence"] == "none"]
    said = show.step_findings([with_fid(r) for r in undefended]).data
    assert (
        "- portraits: 90% of the largest damage to the embedded FID takes 1 of 5 gradient" in said
    )
    assert "With a surrogate in 5 rounds it is 2.00 lower, on average" in said
    fids[0, 1] = 13.0  # as of an attack that fails
    said = show.step_findings([with_fid(r) for r in undefended]).data
    assert "- portraits: no number of steps harms the embedded FID." in said


def test_a_slider_has_both_sides_of_every_attack(study):
    profile, records = study
    page = show.before_after(records(*UNDEFENDED), "landscapes").data
    for name in ("noise", "advdm", "ace"):
        pictures = re.findall(f'<img src="([^"]*)" alt="([^"]*)"[^>]*data-attack="{name}"', page)
        assert len(pictures) == 2 and all(ATTACK_NAMES[name] in alt for _, alt in pictures)
        photograph, sample = (decoded(address) for address, _ in pictures)
        record = of_every_attack(records(*UNDEFENDED), "landscapes")[name]
        tiles = show.pictures.sample_tiles(record)
        assert np.allclose(photograph, tiles[1, 0], atol=1e-3)
        assert np.allclose(sample, tiles[0, 0], atol=1e-3)
    shown = re.findall(r'<img [^>]*class="attacked" data-attack="(\w+)">', page)
    assert shown == ["ace", "ace"] and page.count(" checked>") == 1
    assert ("No evidence" in page) == (Path(profile).stem == "one")


def decoded(address):
    data = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1) / 255


def test_the_attack_that_shows_most_has_the_lowest_similarity(study):
    _, records = study
    ssim = {"none": 1.0, "noise": 0.9, "ace": 0.7, "advdm": 0.8}

    def similar(record):
        value = ssim[record.settings["attack_name"]]
        return record.model_copy(update={"metrics": record.metrics | {"ssim": value}})

    said = show.visibility_findings([similar(record) for record in records(*UNDEFENDED)]).data
    assert "by 8 of 255" in said and "ACE shows most" in said and "of 0.70 to the clean" in said
    assert "AdvDM shows least, with 0.80; uniform noise has 0.90." in said


def test_an_attack_that_the_audit_misses_anywhere_is_named(study):
    _, records = study
    asked = records("audit")
    found = {key: 0.99 for key in asked[0].metrics if key.startswith("auc/")}
    missed = {key: 0.9 for key in found if key.startswith("auc/advdm/8")}

    def said(*areas):
        changed = [
            record.model_copy(update={"metrics": record.metrics | found | metrics})
            for record, metrics in zip(asked, areas, strict=True)
        ]
        return show.audit_findings(changed).data

    assert "finds 2 of 2 attacks" in said({}, {}) and "misses" not in said({}, {})
    assert "finds 1 of 2 attacks" in said({}, missed) and "It misses AdvDM." in said({}, missed)
    assert "a probability of 10%" in said({}, {})


def test_the_most_damaging_attack_stands_out(study):
    _, records = study
    styler = show.damage_table(records(*UNDEFENDED))
    assert list(styler.data.loc["portraits"].index) == ["clean", "uniform noise", "AdvDM", "ACE"]
    table = attack_table(records(*UNDEFENDED))
    here = table[(table["domain"] == "portraits") & (table["experiment"] == "damage")]
    here = here[(here["eps_levels"] == 8) & here["attack"].isin(("ace", "advdm"))]
    winners = re.findall(r'<td[^>]*class="[^"]*winner"[^>]*>([^<]*)', styler.to_html())
    means = {text.split(" ")[0] for text in winners}
    assert {number(here["fid"].max()), number(here["clip_iqa"].min())} <= means
    assert len(winners) == 3 * len(DOMAINS)


def test_attacks_are_measured_against_noise(study):
    _, records = study
    found = records(*UNDEFENDED)
    margins = noise_margins(found)
    assert set(margins["attack"]) == {"ace", "advdm"} and set(margins["eps_levels"]) == {4, 8}
    cells = {r.name: r for r in found}
    key = "fid_embedded_round_trip"
    subjects = {r.settings["subject"] for r in found}
    differences = [
        cells[f"portraits-subject{k}-seed0-ace-none"].metrics[key]
        - cells[f"portraits-subject{k}-seed0-noise-none"].metrics[key]
        for k in subjects
    ]
    row = margins[(margins["domain"] == "portraits") & (margins["attack"] == "ace")]
    row = row[(row["eps_levels"] == 8) & (row["metric"] == "fid")]
    assert row["margin"].item() == pytest.approx(sum(differences) / len(subjects))
    assert row["margin_low"].isna().item() == (len(subjects) == 1)
    said = show.damage_findings(found).data
    assert ("no intervals" in said) == (len(subjects) == 1)
    # With less damage than noise, an attack is named.
    harmless = [
        r.model_copy(update={"metrics": r.metrics | {key: 0.0, "clip_iqa_embedded": 1.0}})
        if r.settings["attack_name"] == "advdm"
        else r
        for r in found
    ]
    assert "Nowhere worse than noise: AdvDM." in show.damage_findings(harmless).data


def test_speed_is_a_ratio_beside_the_time(study):
    _, records = study
    table = show.performance_table(records("performance")).data
    assert list(table.index) == ["floor", "ACE+, naive loop", "ACE", "AdvDM", "ACE+"]
    assert table.loc["ACE+", "ms per image"] == 1500
    assert "2.5 times as fast" in show.performance_findings(records("performance")).data


@pytest.mark.parametrize("draw", [show.main_figure, show.gap_closed])
def test_figures_of_a_profile(study, drawn, draw):
    profile, _ = study
    assert ("No evidence" in texts(drawn(draw(profile)))) == (Path(profile).stem == "one")


def test_samples_without_the_defence_need_no_chosen_treatment(study, drawn):
    _, records = study
    shown = texts(drawn(show.treatment_samples(records("main"), defended=False)))
    assert "landscapes: LoRA, ACE photos" in shown and "LoRD" not in shown


def test_a_missing_picture_is_named(study, monkeypatch, tmp_path):
    _, records = study
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no picture of portraits-ace"):
        show.attacked_images(records("ace"))


def test_main_table_has_intervals_and_marks_the_winner(study):
    profile, _ = study
    styler = show.main_table(profile)
    rows = styler.data
    assert list(rows.columns) == ["embedded FID ↓", "embedded quality score ↑", "identity match ↑"]
    assert len(rows) == len(DOMAINS) * 18  # LoRD and adversarial training: as trained, and chosen
    one = Path(profile).stem == "one"
    assert rows.map(lambda text: "[" in text).all(axis=None) != one
    page = styler.to_html()
    winners = re.findall(r'<td[^>]*class="[^"]*winner"[^>]*>([^<]*)', page)
    best = rows.loc["portraits", "ACE", "LoRD (λ = 0)"].tolist()
    assert len(winners) == 18  # of each domain, attack and metric, never a LoRA without a defence
    assert best[0] in winners
    assert ("No evidence" in page) == one
    assert 'class="dataframe"' in page


def test_rivals_are_compared_in_pairs(study):
    profile, _ = study
    styler = show.rival_table(profile)
    assert set(styler.data.index.get_level_values(1)) == {"ACE", "AdvDM"}
    rows = styler.data.xs("portraits").xs("ACE")
    assert {"LoRA", "JPEG", "wide LoRD (learned λ)"} <= set(rows.index)
    assert not any(name.startswith("LoRD") for name in rows.index)
    text = rows.loc["JPEG", "embedded FID"]
    assert float(text.split()[0]) == pytest.approx(6, abs=0.2)  # see LEVELS
    assert 'class="data row0 col0 winner"' in styler.to_html()
    of_variant = show.rival_table(profile, "lord_mixed").data.xs("portraits").xs("ACE")
    assert "JPEG" in of_variant.index and "LoRD (λ = 0)" in of_variant.index
    assert not any(name.startswith("mixed wide") for name in of_variant.index)
    assert "leaves these" in show.rival_table(profile, "gridpure").data


def test_the_scale_of_one_fid_stands_beside_no_other(study):
    _, records = study

    def further(record):
        series = {
            k.replace("fid_embedded_round_trip", "fid_imagenet"): v
            for k, v in record.series.items()
        }
        return record.model_copy(update={"series": record.series | series})

    found = [further(r) if r.kind == "metrics" else r for r in records("metrics", "scale")]
    panels = [p for p in show.metric_curves(found).axes if p.get_ylabel()]
    scaled = [
        p.get_ylabel()
        for p in panels
        if any(str(line.get_label()).startswith("clean") for line in p.lines)
    ]
    assert [label.split("\n")[0] for label in scaled] == ["embedded"]
    assert any("ImageNet" in p.get_ylabel() for p in panels)


def test_a_deficit_is_marked_like_a_lead(study, monkeypatch):
    profile, _ = study
    original, before = tables.rival_table, show.rival_table(profile).to_html()

    def turned(*given):
        leads = original(*given)
        ends = {"lead_low": -leads["lead_high"], "lead_high": -leads["lead_low"]}
        return leads.assign(lead=-leads["lead"], **ends)

    monkeypatch.setattr(tables, "rival_table", turned)
    after = show.rival_table(profile).to_html()
    assert before.count('winner"') == after.count('loser"') > 0
    assert before.count('loser"') == after.count('winner"')


def test_a_defence_may_do_a_tenth_of_the_damage_to_clean_photographs(study):
    profile, records = study
    table = clean_harm(records("selection", "main"))
    fid = table[(table["metric"] == "fid") & (table["domain"] == "portraits")]
    fid = fid.set_index("treatment")
    assert fid.index[fid["selected"]].tolist() == ["lambda=0"]
    assert fid["margin"].tolist() == pytest.approx([1, 1, 1], abs=0.02)  # see LEVELS
    assert fid.loc["dropped", "harm"] == pytest.approx(0.7, abs=0.1)
    assert fid.loc["lambda=0", "harm"] == pytest.approx(0.2, abs=0.1)
    assert fid.loc["learned", "harm"] == pytest.approx(1.2, abs=0.1)
    styler = show.harm_table(profile)
    page = styler.to_html()
    texts = styler.data.loc["portraits"]["embedded FID"]
    for name, small in (("LoRD (λ = 0)", True), ("LoRD (learned λ)", False)):
        text = re.escape(texts["clean", name])
        assert bool(re.search(rf'winner" >{text}<', page)) == small


def test_cost_table(study):
    _, records = study
    rows = show.cost_table(records("cost")).data
    assert rows.loc["stage 1, LoRD"].tolist() == ["0.200", "1.10"]
    assert "JPEG" not in rows.index and rows.index.name is None


def test_what_a_defence_takes(study):
    profile, records = study
    found = records("cost", "performance", "stage1")
    rows = show.defence_cost_table(found).data
    assert list(rows.index) == ["JPEG", "adversarial training", *LORD]
    assert rows.index.name is None  # it would be a row of its own
    assert rows.loc["JPEG"].tolist() == ["0.40", "a subject", "1.40"]
    assert rows.loc["LoRD"].tolist()[1:] == ["a domain", "1.20"]

    profile, costs = load_profile(profile), defence_costs(found).set_index("defence")
    settings = {
        "adversarial": (0.1, profile["lord"].adversarial, profile["lord"].adversarial_data),
        "lord": (0.2, profile["lord"].stage1, profile["lord"].stage1_data),
        "lord_wide": (0.3, profile["lord"].wide, profile["lord"].stage1_data),
        "lord_mixed": (0.3, profile["lord"].wide, profile["lord"].mixed_data),
    }
    for defence, (step, training, data) in settings.items():
        # The steps of training, and for every picture those of its attack; see `made_up`.
        seconds, gradient = step * training.steps, 1.8 if defence == "lord_mixed" else 1.7
        seconds += data.identities * data.attack.steps * data.attack.rounds * gradient
        assert costs.loc[defence, "defence_seconds"] == pytest.approx(seconds)

    table = tables.main_table_with_costs(found + records(*RESULTS)).set_index("defence")
    columns = list(costs)
    assert table.drop(index="none")[columns].notna().all(axis=None)
    assert table.loc["none", columns].isna().all(axis=None)


def test_treatment_table_marks_the_choice_and_the_best(study):
    _, records = study
    styler = show.treatment_table(records("selection", "main"))
    treatments = ["learned λ", "λ = 0 (chosen)", "dropped"]
    further = {"LoRD": ["λ = ½", "λ = 1"]}
    rows = [f"{kind}: {name}" for kind in LORD for name in (*treatments, *further.get(kind, ()))]
    assert list(styler.data.loc["portraits"].index) == rows
    assert 'class="data row4 col0 winner"' in styler.to_html()  # the best is no candidate


def test_the_table_of_stage_1_identities_chooses_a_candidate(study):
    _, records = study
    styler = show.treatment_table(records("selection", "main"), "selection")
    treatments = ["learned λ", "λ = 0 (chosen)", "dropped"]
    rows = [f"{kind}: {name}" for kind in LORD for name in treatments]
    assert list(styler.data.loc["portraits"].index) == rows
    assert 'class="data row1 col0 winner"' in styler.to_html()


def test_summary_answers_the_questions_with_numbers(study, included):
    profile, records = study
    text, asked = included["summary.md"], records("selection", "main")
    gate = verdicts.gate(tables.main_table(asked), tables.gaps_closed(asked), asked)
    assert f"[Does it work as it was trained?](notebooks/09_lord_stage2) {gate}\n" in text
    assert (
        f"[Is LoRD ahead of other defences?](notebooks/10_results) {verdicts.rivals(asked)}\n"
        in text
    )
    branch = first_page.branch(records("parts"), asked)
    assert f"[Is it the second branch that repairs?](notebooks/14_parts) {branch}\n" in text
    damage = "[Does ACE ruin a LoRA?](notebooks/04_ace_attack) **Yes.** With it embedded FID goes"
    assert f"{damage} from 2.0" in text
    assert "[Does LoRD repair it?](notebooks/10_results) **Yes.**" in text  # see LEVELS
    assert re.search(r"it closes by embedded FID (8[89]|9[01])%", text)
    assert re.search(r"\. It closes by embedded quality score (8[789]|9[01])%", text)
    assert "Chosen on identities that are not evaluated: λ = 0." in text
    assert "**Of all.**" in text
    ahead = "LoRD is everywhere ahead of JPEG and adversarial training. It is behind none."
    assert f". {ahead} Wide {ahead} Mixed wide {ahead}\n" in text
    assert f"unseen attacks?](notebooks/15_transfer) **Yes.** {SEEN}. They face AdvDM." in text
    better = text.split("better?](notebooks/10_results) ")[1]
    assert better.startswith(
        "**No.** Shares are by embedded FID and by embedded quality score, each"
    )
    lord = r"(8[89]|9[01])%.* and (8[789]|9[01])%"  # see LEVELS
    variant = r"(7[89]|8[012])%.* and 6[4-9]%"
    closes = f"wide LoRD closes {variant}.* Under ACE mixed wide LoRD closes {variant}"
    assert re.search(rf" Under ACE LoRD closes {lord}.* Under ACE {closes}", better)
    assert " Under AdvDM LoRD closes" in better
    one = Path(profile).stem == "one"
    assert ("A difference counts if its interval" in text) != one
    assert re.search(r"16_adaptive\) \*\*(Yes|Largely)\.\*\* Of 2 such attackers the worst", text)
    known = "Adversarial training (dropped) is known to 1 attacker. Under ACE it closes at worst 5"
    assert known in text
    assert re.search(
        r"Under ACE it closes by embedded FID 8[3-7]% on portraits \(instead of 8[3-7]%\)", text
    )
    assert ("{admonition} No evidence" in included["verdicts.md"]) == one
    assert ("1 subject and 1 seed in each domain, no intervals" in text) == one
    assert ("2 subjects and 1 seed in each domain, 95 % intervals" in text) != one
    assert bool(re.search(r"FID \d+% \[\d+%, \d+%\]", text)) != one


def test_the_first_page_has_a_verdict_and_one_number_for_each_question(study, included):
    _, records = study
    table, claims = included["verdicts.md"], included["claims.md"]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| [")]
    said = re.findall(r"^\d+\. \[(.*?)\]\(.*?\) (?:\*\*)?(.*?)\.", included["summary.md"], re.M)
    assert [(row[0].split("](")[0], row[1]) for row in rows] == [
        (f" [{question}", f" {verdict} ") for question, verdict in said
    ]
    gaps = tables.gaps_closed(records("selection", "main"))
    chosen = (gaps["attack"] == "ace") & (gaps["defence"] == "lord") & gaps["selected"]
    least = gaps.loc[chosen & gaps["metric"].isin(["fid", "clip_iqa"]), "closed"].min()
    assert f"| at least {least:.0%} repaired |" in table
    line = rf"LoRD repairs \*\*at least {least:.0%}\*\* of .*; as trained, \*\*\d+%\*\* at worst\."
    assert re.search(line, included["first.md"])
    few = [
        row for row in table.splitlines() if row.startswith("| [") and row in included["first.md"]
    ]
    assert len(few) == len(first_page.FIRST) < len(rows)
    assert f"pictures work | {{cite}}`zhu2026lord` | Yes: at least {least:.0%} repaired |" in claims
    assert "adversarial training | {cite}`zhu2026lord` | Yes |" in claims


def test_a_chapter_answers_a_question_as_the_first_page_does(study, included):
    _, records = study
    asked, question = records("selection", "main", "parts"), "Is it the second branch that repairs?"
    short, folded = show.answer(asked, question).data.split("\n\n", 1)
    answer = first_page.branch(records("parts"), records("selection", "main"))
    assert short == f"*{question}* **{answer.verdict}: {answer.number}.**"
    (text,) = re.findall(r"</summary>\n\n(.*)\n\n</details>$", folded)
    assert text == answer.text and text in included["summary.md"]
    with pytest.raises(KeyError):
        show.answer(asked, "Why?")


def test_summary_says_whether_a_variant_is_better(study):
    _, records = study
    asked = records("selection", "main")
    gaps = tables.gaps_closed(asked)

    def better(**where):
        changed = gaps.copy()
        changed.loc[(gaps[list(where)] == pd.Series(where)).all(axis=1), "closed"] += 1
        return str(verdicts.variants(changed, asked))

    assert better(defence="lord_mixed").startswith("**Yes.**")
    assert better(defence="lord_mixed", metric="fid").startswith("**In part.**")
    assert better(defence="jpeg").startswith("**No.**")
    for left in (gaps["defence"] == "lord", gaps["defence"] == "lord_mixed"):
        assert verdicts.variants(gaps[left], asked) is words.NOT_MEASURED


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.4, "Yes"), (0.6, "In part"), (0.98, "No"), (1.1, "No")]
)
def test_summary_says_whether_the_second_branch_repairs(study, monkeypatch, share, verdict):
    _, records = study
    table_of = tables.ablation_table

    def changed(records, stage):
        table = table_of(records, stage)
        unchanged = table[table["variant"] == UNCHANGED].set_index(["domain", "attack"])
        for row in table.index[table["variant"] == "one_branch"]:
            usual = unchanged.loc[tuple(table.loc[row, ["domain", "attack"]]), "fid_closed"]
            table.loc[row, "fid_closed"] = share * usual
        return table

    monkeypatch.setattr(tables, "ablation_table", changed)
    answer = first_page.branch(records("parts"), records("selection", "main"))
    assert answer.verdict == verdict


def test_summary_leaves_the_gate_alone_only_where_it_does_well(study, monkeypatch):
    _, records = study
    asked = records("selection", "main")
    rows, gaps = tables.main_rows(asked), tables.gaps_closed(asked)
    ours = (rows["attack"] == "ace") & (rows["defence"] == "lord") & ~rows["selected"]
    first, second = DOMAINS
    for domains, verdict in (([first], "Undecided"), ([first, second], "No")):
        worse = rows.copy()
        worse.loc[ours, "fid"] = 0
        worse.loc[ours & rows["domain"].isin(domains), "fid"] = 99
        monkeypatch.setattr(tables.main, "main_rows", lambda records, worse=worse: worse)
        answer = verdicts.gate(tables.main_table(asked), gaps, asked)
        assert answer.verdict.startswith(verdict)


def test_summary_names_the_rivals_that_are_better(study, monkeypatch):
    _, records = study
    asked = records("selection", "main")
    leads = tables.rival_table(asked)
    ends = ["lead", "lead_low", "lead_high"]
    leads.loc[leads["defence"] == "jpeg", ends] *= -1
    leads = leads.rename(columns={"lead_low": "lead_high", "lead_high": "lead_low"})
    leads.loc[leads["defence"] != "jpeg", ends[1:]] = [-1.0, 1.0]
    here = leads.copy()  # better than the same rival in one domain, by one metric
    rival = (here["defence"] == "jpeg") & (here["domain"] == "portraits")
    here.loc[rival & (here["metric"] == "fid"), ends] = [1.0, 0.5, 1.5]
    found = {"lord_mixed": here}
    monkeypatch.setattr(tables, "rival_table", lambda records, ours="": found.get(ours, leads))
    text = str(verdicts.rivals(asked))
    rivals = "in some respects ahead of JPEG. It is nowhere ahead of adversarial training."
    assert f"Mixed wide LoRD is {rivals} It is in some respects behind JPEG." in text
    assert "**Of none everywhere.**" in text
    rivals = "nowhere ahead of JPEG and adversarial training. It is in some respects behind JPEG."
    assert f". LoRD is {rivals}" in text


def test_variants_that_were_not_tried_have_no_rivals(study):
    _, records = study
    asked = [r for r in records("selection", "main") if r.settings["defence"] != "lord_mixed"]
    assert tables.rival_table(asked, "lord_mixed").empty
    text = str(verdicts.rivals(asked))
    assert text.startswith("**Of all.**") and "Mixed" not in text


def test_summary_says_what_was_not_measured(study, monkeypatch):
    profile, records = study
    leads = tables.rival_table(records("selection", "main"))
    alone = leads[leads["defence"] == "none"]
    monkeypatch.setattr(tables, "rival_table", lambda records, ours="": alone)
    gaps = tables.gaps_closed(records("selection", "main"))
    monkeypatch.setattr(tables, "gaps_closed", lambda records: gaps[gaps["attack"] == "ace"])
    monkeypatch.setattr(first_page, "run", lambda *_, **__: [])
    text = show.pages(profile)["summary.md"]
    assert text.count(") Not measured.") == 12


def test_summary_says_so_when_the_attack_does_nothing(study, monkeypatch):
    profile, records = study
    rows = tables.main_rows(records("selection", "main"))
    clean = rows[(rows["attack"] == "none") & (rows["defence"] == "none")]
    clean = clean.set_index(["domain", "subject"])[["fid", "clip_iqa"]]
    for row in rows.index[rows["attack"] == "ace"]:
        own = clean.loc[tuple(rows.loc[row, ["domain", "subject"]])]
        rows.loc[row, ["fid", "clip_iqa"]] = own
    monkeypatch.setattr(tables.main, "main_rows", lambda records: rows)
    text = show.pages(profile)["summary.md"]
    assert "04_ace_attack) **Not in this run.**" in text and "nothing, for want of a gap" in text
    assert "10_results) **There was nothing to repair.**" in text
    assert "nan" not in text and "inf" not in text


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.9, 0.85], "Yes"),
        ([0.9, 0.6], "Largely"),
        ([0.9, float("nan"), -0.2], "In part"),
        ([0.4, -0.2], "Hardly"),
        ([float("nan")], "There was nothing to repair"),
    ],
)
def test_a_verdict_goes_by_the_worst(shares, verdict):
    assert words.verdict(shares) == verdict


def test_the_results_need_all_records(study, monkeypatch, tmp_path):
    profile, _ = study
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    for show_results in (show.main_table, show.main_figure, show.gap_closed, show.pages):
        with pytest.raises(FileNotFoundError, match="lord study run"):
            show_results(profile)


@pytest.mark.parametrize(
    ("name", "cell", "baseline", "expected"),
    [
        ("fid", (9, 8, 10), (7, 6, 7.5), True),
        ("fid", (9, 8, 10), (8, 7, 8.5), False),  # intervals overlap
        ("clip_iqa", (0.5, 0.4, 0.6), (0.8, 0.7, 0.9), True),
        ("clip_iqa", (0.8, 0.7, 0.9), (0.5, 0.4, 0.6), False),
        ("clip_iqa", (0.5, float("nan"), float("nan")), (0.6, float("nan"), float("nan")), True),
    ],
)
def test_worse_means_without_overlap(name, cell, baseline, expected):
    ends = (name, f"{name}_low", f"{name}_high")
    pair = [dict(zip(ends, values, strict=True)) for values in (cell, baseline)]
    assert is_worse(*pair, name) is expected


def test_an_interval_is_left_out_where_there_is_none():
    assert with_interval({"x": 12.34, "x_low": 9.5, "x_high": 15}, "x") == "12.3 [9.50, 15.0]"
    assert (
        with_interval(dict.fromkeys(("x_low", "x_high"), float("nan")) | {"x": 0.5}, "x") == "0.50"
    )


def test_columns_follow_the_networks_of_the_records(study):
    _, records = study
    main = records("main")[0]
    metrics = {k.replace("embedded", "inception"): v for k, v in main.metrics.items() if "fid" in k}
    metrics |= {"clip_iqa_openai": 0.5}
    keys = metric_keys([main.model_copy(update={"metrics": metrics})])
    assert keys == {"fid": "fid_inception_round_trip", "clip_iqa": "clip_iqa_openai"}


def test_grids_and_rows_of_images(drawn):
    images = torch.rand(5, 3, SIZE, 2 * SIZE)
    figure = drawn(show.image_grid(images, [f"picture {k} of a row" for k in range(5)], columns=4))
    assert len(figure.axes) == 8 and "picture 4" in figure.axes[4].get_xlabel()
    assert len(drawn(show.image_rows({"above": images, "below": images})).axes) == 2


def test_a_model_shows_what_it_does(drawn, monkeypatch):
    monkeypatch.setattr(sample, "generate", partial(sample.generate, steps=1))
    pipeline = build_pipeline(TINY)
    drawn(show.round_trips(pipeline))
    figure = drawn(show.prompted_samples(pipeline))
    assert all("a " in axes.get_xlabel() for axes in figure.axes)


@pytest.mark.parametrize(
    "name", ["lord.record.Record", "lord.record.measure", "lord.show.style.styled"]
)
def test_source_is_the_code_that_runs(name):
    assert_is_source(name)


def test_source_of_everything_the_notebooks_show():
    shown = re.findall(r'show\.source\("([\w.]+)"\)', "".join(pages()))
    assert shown
    for name in shown:
        assert_is_source(name)


def assert_is_source(name):
    code = textwrap.dedent(inspect.getsource(pkgutil.resolve_name(name)))
    assert show.source(name).data == f"````python\n{code}````"


@pytest.mark.parametrize(
    "name", ["lord.attacks.pgd.nothing", "lord.nothing.attack", "lord.attacks"]
)
def test_source_of_what_is_not_defined(name):
    with pytest.raises(LookupError):
        show.source(name)


def pages():
    return [page.read_text(encoding="utf-8") for page in (REPOSITORY / "notebooks").glob("*.py")]


def test_every_function_the_notebooks_call_exists():
    called = {name for page in pages() for name in re.findall(r"\bshow\.(\w+)\(", page)}
    assert called and called <= set(vars(show))
