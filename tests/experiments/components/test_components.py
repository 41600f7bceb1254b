"""Cells, tables and the figure of the experiments on components, from made-up numbers."""

import pytest
import yaml
from matplotlib.patches import FancyBboxPatch

from lord.experiments.components.chain.measuring import attacked_once
from lord.experiments.components.component_damage import ComponentDamage
from lord.experiments.components.protocol import Protocol, edit_cell, learned_beside, uses
from lord.experiments.components.tables import RESAMPLES, paired_table, transfer_table
from lord.metrics.interval import mean_interval
from lord.models.card import weights_checksum
from lord.models.components import matching
from lord.names import ADAPTED, DOMAINS, TASKS
from lord.record import Record
from lord.show import component_defences as defences
from lord.show import component_times as times
from lord.show import components as shown
from lord.show.architecture import AROUND, architecture, places
from lord.show.transfer import carried, transfer_findings, transfer_matrix
from lord.show.words import NOT_MEASURED
from lord.study.profile import PROFILES, read_profile

BLOCKS = [
    f"{stage}.{kind}"
    for stage in ("down.0", "down.1", "mid", "up.0", "up.1")
    for kind in ("residual", "attention.self", "attention.cross", "feed_forward")
]


@pytest.fixture(scope="module")
def profile():
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "parts"}
    values["components"] |= {"pictures": 6, "domains": DOMAINS}
    whole = ["encoder", *BLOCKS, "decoder"]
    of_tasks = {"variation": whole, "super-resolution": whole[1:], "reconstruction": ["encoder"]}
    values["component_damage"] = {"components": of_tasks}
    values["component_transfer"] |= {"pixel": True}
    return read_profile(values)


@pytest.fixture(scope="module")
def records(profile):
    """What examples say, as records, by experiment."""
    found = {}
    for experiment in profile.experiments:
        if experiment.paper == "components":
            found[experiment.name] = [
                Record.model_construct(
                    name=cell.name,
                    kind=experiment.name,
                    seed=cell.seed,
                    evidence=True,
                    components={},
                    settings=cell.settings.resolved() | dict(cell.coordinates),
                    metrics=(outcome := experiment.example(cell)).metrics,
                    series=outcome.series,
                )
                for cell in profile.cells(experiment.name)
            ]
    return found


def test_a_task_has_a_cell_for_every_component_that_it_runs(profile):
    cells = profile.cells("component_damage")
    assert len({cell.name for cell in cells}) == len(cells)
    found = {task: [c["component"] for c in cells if c["task"] == task] for task in TASKS}
    assert len(found["variation"]) == 2 * (len(BLOCKS) + 2)
    assert not found["inpainting"] and len(found["reconstruction"]) == 2
    assert not uses("reconstruction", "*.residual") and uses("inpainting", "encoder")
    with pytest.raises(ValueError, match="super-resolution runs no encoder"):
        ComponentDamage(components={"super-resolution": ("mid", "encoder")})


def test_only_what_takes_part_is_depended_on(profile):
    cells = {cell.name: cell for cell in profile.cells("component_transfer")}
    assert "step:pretraining" not in cells["transfer-portraits-model-base-base"].components
    assert "pixel_weights" not in cells["transfer-portraits-model-base-narrow"].settings.values
    alone = cells["transfer-portraits-model-narrow-base"].settings.values["siblings"]
    assert set(alone) == {"narrow"}
    together = cells["transfer-portraits-model-ensemble-pixel"].settings.values
    assert set(together["siblings"]) == {"narrow", "encoder"} and "pixel_weights" in together
    for cell in profile.cells("component_damage"):
        adapted = cell["task"] in ("inpainting", "super-resolution")
        assert ("step:adaptation" in cell.components) == adapted


def test_a_new_task_leaves_other_cells_as_they_are(profile):
    values = yaml.safe_load((PROFILES / "smoke.yaml").read_text()) | {"name": "parts"}
    only = {"components": {"variation": ["encoder", "mid.residual"]}}
    few = values | {"component_damage": only}
    before, after = (read_profile(v).cells("component_damage") for v in (few, values))
    later = {cell.name: cell for cell in after}
    assert len(after) > len(before)
    assert all(later[cell.name].settings.asked == cell.settings.asked for cell in before)


def test_what_a_model_has_learned_counts_by_its_weights(tmp_path):
    """A cell asks how a task is learned only where nothing learned comes with the model."""
    protocol = Protocol(model=str(tmp_path / "embedded"), pictures=2)
    place = {"domain": "portraits", "task": "inpainting"}
    before = edit_cell("edits", protocol, place).settings.values
    assert "editing" in before and "learned" not in before
    folder = learned_beside(protocol.model, "inpainting")
    assert folder == tmp_path / "editing" / "inpainting"
    folder.mkdir(parents=True)
    (folder / "adaptation.safetensors").write_bytes(b"weights")
    weights_checksum.cache_clear()
    after = edit_cell("edits", protocol, place).settings.values
    assert after["learned"] and "editing" not in after
    variation = edit_cell("edits", protocol, place | {"task": "variation"}).settings.values
    assert "editing" not in variation and "learned" not in variation


def test_leads_are_paired_by_picture(records):
    chosen = records["component_damage"]
    table = paired_table(chosen)
    assert len(table) == len(chosen) and set(table["pictures"]) == {6}
    row, record = table.iloc[0], chosen[0]
    leads = [
        noise - attack
        for noise, attack in zip(
            record.series["noise/psnr"], record.series["attack/psnr"], strict=True
        )
    ]
    assert tuple(row[["lead_psnr", "lead_psnr_low", "lead_psnr_high"]]) == pytest.approx(
        tuple(mean_interval(leads, resamples=RESAMPLES))
    )
    strong = table[table["component"].str.contains("residual")]
    assert (strong["lead_psnr_low"] > 3).all()
    assert {"fid_clean", "fid_attack", "inception_score_noise", "known_psnr"} <= set(table)


def test_transfer_is_a_share_of_the_attack_on_oneself(records):
    table = transfer_table(records["component_transfer"])
    own = table[table["source"] == table["victim"]]
    assert own["share"].tolist() == pytest.approx([1] * len(own))
    others = table[(table["source"] != table["victim"]) & (table["source"] != "ensemble")]
    assert (others["share"] < 0.7).all() and (others["share"] > 0.2).all()
    together = table[table["source"] == "ensemble"].groupby("domain")["victim"].agg(set)
    assert together["landscapes"] == {"base", "narrow", "encoder"}
    assert together["portraits"] == {*together["landscapes"], "pixel"}


def test_there_is_no_share_of_an_attack_that_is_not_surely_one(records):
    """Over a lead that may be nothing, any share might come out."""
    by_name = {record.name: record for record in records["component_transfer"]}
    own, other = (by_name[f"transfer-portraits-model-{name}-base"] for name in ("base", "narrow"))
    leads = [3.0, -2.0, 2.0, -1.0, 1.5, -2.5]
    series = own.series | {
        "attack/psnr": [n - lead for n, lead in zip(own.series["noise/psnr"], leads, strict=True)]
    }
    table = transfer_table([own.model_copy(update={"series": series}), other])
    assert sum(leads) > 0 and table[["share", "share_low", "share_high"]].isna().all(axis=None)


def test_an_attack_is_kept_by_what_its_denoiser_has_learned(profile):
    class Kept:
        def once(self, name, asked, components, make):
            self.asked = asked
            return {"attacked": None}

    found, kept = {}, Kept()
    for cell in profile.cells("edits"):
        attacked_once(kept, cell, [], None, "mid.residual", {"task": cell["task"]})
        found[cell["task"]] = {"learned", "editing"} & set(kept.asked)
    assert found == {task: {"editing"} if task in ADAPTED else set() for task in TASKS}


def test_every_part_of_the_model_is_drawn_once_and_coloured_by_its_damage(records):
    figure = architecture(records["component_damage"])
    panels = [panel for panel in figure.axes if panel.get_title() in ("portraits", "landscapes")]
    assert len(panels) == 2
    table = paired_table(records["component_damage"]).query("task == 'variation'")
    for panel in panels:
        boxes = {
            patch.get_label(): patch for patch in panel.patches if isinstance(patch, FancyBboxPatch)
        }
        assert set(boxes) == {*AROUND, *BLOCKS}
        leads = table[table["domain"] == panel.get_title()].set_index("component")["lead_psnr"]

        def brightness(name, boxes=boxes):
            return sum(boxes[name].get_facecolor()[:3])

        assert brightness(leads.idxmax()) < brightness(leads.idxmin())
        assert brightness("conv_in") == 3  # white: nobody attacked it
    figure.canvas.draw()


@pytest.mark.parametrize("kind", ["model", "prompt"])
def test_a_heat_map_has_a_cell_for_each_pair_with_its_interval(records, kind):
    chosen = records["component_transfer"]
    figure = transfer_matrix(chosen, kind)
    assert len(figure.axes) == 2
    table = transfer_table(chosen).query("kind == @kind and domain == 'portraits'")
    panel = figure.axes[0]
    texts = [text.get_text() for text in panel.texts]
    assert len(texts) == len(table)
    assert texts.count("100") == (table["source"] == table["victim"]).sum()
    assert sum("\n[" in text for text in texts) == (table["source"] != table["victim"]).sum()
    sources = [label.get_text() for label in panel.get_yticklabels()]
    assert sources == list(dict.fromkeys(table["source"]))


def test_parts_of_the_figure_do_not_overlap():
    found = places([*AROUND, *BLOCKS])
    assert len(set(found.values())) == len(found) == len(BLOCKS) + len(AROUND)
    assert found["encoder"][0] < found["down.0.residual"][0] < found["mid.residual"][0]
    assert found["mid.residual"][0] < found["up.1.residual"][0] < found["decoder"][0]
    assert found["mid.residual"][1] < found["down.0.residual"][1] == found["up.1.residual"][1]


def test_patterns_of_profiles_stand_for_something(pipeline):
    from lord.models.components import components

    assert len(matching(components(pipeline), "*.residual")) == 5


def test_what_breaks_most_is_said_from_the_records(records):
    of_variation = [r for r in records["component_damage"] if r.settings["task"] == "variation"]
    text = shown.damage_findings(of_variation).data
    table = paired_table(of_variation).set_index(["domain", "component"])
    for domain in DOMAINS:
        most = table.loc[domain, "lead_psnr"].idxmax()
        said = next(line for line in text.split("\n") if line.startswith(f"- {domain.title()}"))
        assert f"an attack on `{most}`" in said and f"of {len(table.loc[domain])} parts" in said
    leads = table.loc["portraits", "lead_psnr"]
    residual = leads[leads.index.str.endswith("residual")].mean()
    assert f"residual blocks {residual:.1f} dB" in text
    cells = shown.damage_table(of_variation).data
    assert cells.loc[("portraits", "encoder"), "lead in dB"].startswith(f"{leads['encoder']:.1f} [")


def test_every_way_into_the_denoiser_has_an_interval_and_a_line(records):
    ways = records["encoder_or_denoiser"]
    figure = shown.variants(ways)
    figure.draw_without_rendering()
    dots = [line for panel in figure.axes for line in panel.lines if line.get_marker() == "o"]
    assert len(dots) == len(ways)
    text = shown.variant_findings(ways).data
    assert text.count("lead of") == len(ways) and "2.0 times as far as by noise" in text


def test_the_first_page_names_the_part_that_breaks_most(records):
    table = paired_table([r for r in records["component_damage"] if r.settings["task"] == TASKS[0]])
    most = table.loc[table.groupby("domain")["lead_psnr"].idxmax()]
    answer = shown.weakest(records["component_damage"])
    assert {*answer.verdict.lower().split(" and ")} == {*most["component"]}
    leads = [f"{10 ** (lead / 20):.2g} times the effect of noise" for lead in most["lead_psnr"]]
    assert answer.number in leads
    assert answer.text.count("residual blocks") == len(DOMAINS)
    assert shown.weakest([]) == shown.through_the_encoder([]) == NOT_MEASURED


def ahead(record, decibels):
    """A record whose attack is ahead of noise by as much for each picture."""
    series = record.series | {"attack/psnr": [x - decibels for x in record.series["noise/psnr"]]}
    return record.model_copy(update={"series": series})


@pytest.mark.parametrize(
    ("encoder", "cut", "others", "verdict"),
    [
        (5.0, 0.0, 0.0, "Yes"),
        (5.0, 1.0, 0.0, "In part"),
        (5.0, 0.0, 9.0, "In part"),
        (5.0, 5.0, 9.0, "No"),
        (-1.0, -2.0, 0.0, "No"),
    ],
)
def test_attacks_work_through_the_encoder_if_nothing_works_without(
    records, encoder, cut, others, verdict
):
    leads = {"encoder": encoder, "denoiser": cut}
    ways = [
        ahead(r, leads.get(r.settings["variant"], others)) for r in records["encoder_or_denoiser"]
    ]
    answer = shown.through_the_encoder(ways)
    assert answer.verdict == verdict
    assert answer.number == f"without it {10 ** (cut / 20):.2g} times the effect of noise"


def test_steps_and_samplers_are_named_and_the_weakest_is_said(records):
    figure = times.times(records["component_times"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["first 50% of the steps", "all steps, DPM-Solver++"]
    text = times.time_findings(records["component_times"]).data
    assert "Portraits: an attack on the first 50% of the steps alone leads noise by " in text
    assert "on all steps: DPM-Solver++ " in text and len(figure.axes) == len(DOMAINS)


def test_what_carries_over_least_and_most_is_said(records):
    chosen = records["component_transfer"]
    table = transfer_table(chosen).query("kind == 'prompt' and domain == 'portraits'")
    others = table[table["source"] != table["victim"]]
    text = transfer_findings(chosen).data
    (line,) = (t for t in text.split("\n") if t.startswith("- Portraits: other prompts leave"))
    for share in (others["share"].min(), others["share"].max()):
        assert f"{share:.0%} [" in line
    least = transfer_table(chosen).query("kind == 'prompt' and source != victim")["share"].min()
    answer = carried(chosen)
    assert answer.number == f"at least {least:.0%} of the effect left"
    assert carried([]) == NOT_MEASURED


def test_the_best_defence_is_named_with_its_bound(records):
    chosen = records["component_defences"]
    best = max(
        (
            r
            for r in chosen
            if r.settings["domain"] == "portraits" and r.settings["defence"] != "none"
        ),
        key=lambda record: record.metrics["attack/psnr"],
    )
    text = defences.defence_findings(chosen).data
    name = defences.NAMES[best.settings["defence"]]
    assert f"It is best with {name}, {best.metrics['attack/psnr']:.1f} dB" in text
    assert f"behind it are at {best.metrics['defended/psnr']:.1f} dB" in text
    figure = defences.defences(chosen)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0] == "no defence" and name in names
