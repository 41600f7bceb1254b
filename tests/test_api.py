"""The five lines of Python."""

import re

import pytest
import torch
from helpers import SIZE

import lord
from lord.api import fine_tune
from lord.attacks.settings import AttackSettings
from lord.data.folder import load_folder
from lord.models.pipeline import load_pipeline
from lord.models.sample import generate
from lord.study.notebooks import REPOSITORY
from lord.training.settings import FinetuneSettings


def test_every_name_of_the_package_is_there():
    for name in lord.__all__:
        assert getattr(lord, name)
    assert set(lord.__all__) <= set(dir(lord))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lord.nothing


def test_the_example_of_the_book_runs(pretrained, album, defence, tmp_path, monkeypatch, capsys):
    """As it is printed, on a tiny model and with few steps."""
    page = (REPOSITORY / "book/own_images.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.S)[1]
    few = FinetuneSettings(steps=2, batch_size=2, rank=2)

    def tune(pipeline, images, captions, defence):
        return fine_tune(pipeline, images, captions, few, defence=defence)

    small = {
        "load_pipeline": lambda: load_pipeline(pretrained / "embedded"),
        "load_folder": lambda folder, size, **options: load_folder(folder, SIZE, **options),
        "AttackSettings": lambda: AttackSettings(steps=1, rounds=1),
        "fine_tune": tune,
        "generate": lambda pipeline, prompt, seeds: generate(pipeline, prompt, seeds[:4], steps=2),
    }
    for name, function in small.items():
        monkeypatch.setattr(lord, name, function, raising=False)
    for folder, name in ((album, "album"), (defence, "defence")):
        (tmp_path / name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(set(lines)) == 2 and all("fid_embedded" in line for line in lines)


def test_evaluation_needs_two_images():
    with pytest.raises(ValueError, match="samples: at least two images"):
        lord.evaluate(None, torch.rand(1, 3, SIZE, SIZE), torch.rand(4, 3, SIZE, SIZE))
