"""What the chapter on data for editing shows."""

import re

import pytest
import torch

from lord.editing.kernels import KERNELS
from lord.experiments.components.edits import EXPERIMENT
from lord.record import Record
from lord.show import editing
from lord.study.profile import load_profile

PICTURES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_every_kind_of_mask_and_every_kernel_has_its_row():
    assert titles(editing.masked(PICTURES)) == [
        "pictures",
        "under random shapes",
        "under their own segments",
    ]
    assert titles(editing.shrunk(PICTURES)) == ["pictures", *KERNELS]


def test_own_prompts_that_rank_first_are_counted(monkeypatch):
    prompts = ["a hat", "a cup", "a shoe"]
    monkeypatch.setattr(editing, "_best", lambda *_: [0, 2, 2])
    text = editing.ranking_findings(PICTURES, prompts, None).data
    assert "Of 3 pictures, 2 have their own prompt ranked first" in text and "33%" in text
    cells = re.findall("<td>(.*?)</td>", editing.ranked(PICTURES, prompts, None).data)
    assert cells == ["a hat", "its own", "a cup", "a shoe", "a shoe", "its own"]


def test_the_best_prompt_is_that_of_the_largest_cosine(monkeypatch):
    cosines = torch.tensor([[0.1, 0.3], [0.2, 0.0]])
    monkeypatch.setattr("lord.metrics.edits.clip_cosines", lambda *_: cosines)
    assert editing._best(PICTURES, ["a", "b"], None) == [1, 0]


@pytest.fixture
def records():
    cells = load_profile("smoke").cells("edits")
    return [
        Record.model_construct(
            name=cell.name,
            kind="edits",
            evidence=True,
            components={},
            settings=dict(cell.coordinates),
            metrics=EXPERIMENT.example(cell).metrics,
        )
        for cell in cells
    ]


def test_edits_stand_beside_what_needs_no_model(records):
    table = editing.quality_table(records).data
    assert list(table.columns) == [
        f"{name}, {kind}" for name in ("PSNR", "SSIM", "FID") for kind in ("edit", "no model")
    ]
    assert table.loc[("portraits", "variation"), "SSIM, edit"] == "2.00"
