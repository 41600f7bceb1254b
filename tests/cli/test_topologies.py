"""Topology by command: every cell works."""

import json
import re
import shutil

import pytest
from helpers import run
from topologies import TOPOLOGIES, build


@pytest.fixture(scope="module", params=TOPOLOGIES)
def topology(request, pretrained, tmp_path_factory):
    """The options that make a command use a model, beside which lie networks that judge."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("features", "clip"):
        shutil.copytree(pretrained / name, folder / name)
    build(request.param).save_pretrained(folder / "model")
    return ["--model", folder / "model", "--device", "cpu"]


@pytest.mark.usefixtures("few_draws")
def test_every_command_takes_every_topology(topology, album, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.cli.models.AUDITABLE", 3)  # so that a defence of three is calibrated
    monkeypatch.chdir(tmp_path)
    attack = ["--eps", "8/255", "--step-size", "4/255", "--rounds", 1, "--steps", 1]
    assert "mean of 3" in run("attack", album, "attacked", *attack, *topology).output
    run("purify", "attacked", "purified", "--method", "diffpure", *topology)

    small = ["--steps", 2, "--batch-size", 2, "--rank", 2]
    eight = ["--domain", "portraits", "--identities", 8, "--attack-steps", 1]
    run("defend", "defence", *eight, *small, *topology)
    said = run("audit", "attacked", "--defence", "defence", *topology).stdout
    assert len(re.findall(r"\d+%", said)) == 3

    run("finetune", "attacked", "plain.safetensors", *small, *topology)
    run("finetune", "attacked", "behind.safetensors", "--defence", "defence", *small, *topology)

    sampling = ["--count", 2, "--steps", 1, "--size", 16, *topology]
    behind = ["--lora", "behind.safetensors", "--defence", "defence", "--treatment", "learned"]
    loras = {"bare": [], "plain": ["--lora", "plain.safetensors"], "both": behind}
    for name, more in loras.items():
        run("generate", "a portrait", name, *more, *sampling)
    assert len({(tmp_path / name / "00000.png").read_bytes() for name in loras}) == len(loras)
    found = json.loads(run("evaluate", "bare", "--reference", album, "--json", *topology).stdout)
    assert "fid_embedded" in found["metrics"]
