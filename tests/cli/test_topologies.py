"""Topology by command: every cell works, or says why not."""

import json
import re
import shutil

import pytest
from helpers import error, run
from topologies import TOPOLOGIES, build

# Those that the others cover, each in a part of its own.
COVERED = ("sd1", "sd1-v")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in COVERED else [])
        for name in TOPOLOGIES
    ],
)
def topology(request, pretrained, tmp_path_factory):
    """The options that make a command use a model, beside which lie networks that judge."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("features", "clip"):
        shutil.copytree(pretrained / name, folder / name)
    build(request.param).save_pretrained(folder / "model")
    return ["--model", folder / "model", "--device", "cpu"]


@pytest.mark.usefixtures("few_draws")
def test_every_command_takes_every_topology(topology, album, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.cli.models.AUDITABLE", 8)  # as many as suffice for one to hold back
    monkeypatch.chdir(tmp_path)
    attack = ["--eps", "8/255", "--step-size", "4/255", "--rounds", 1, "--steps", 1]
    assert "mean of 3" in run("attack", album, "attacked", *attack, *topology).output
    run("purify", "attacked", "purified", "--method", "diffpure", *topology)

    small = ["--steps", 1, "--batch-size", 2, "--rank", 2, "--target-module", "to_v"]
    small += ["--learning-rate", 0.01]  # a single step shows in a picture
    eight = ["--domain", "portraits", "--identities", 8, "--attack-steps", 1]
    run("defend", "defence", *eight, *small, *topology)
    said = run("audit", "attacked", "--defence", "defence", *topology).stdout
    assert len(re.findall(r"\d+%", said)) == 3

    run("finetune", "attacked", "plain.safetensors", *small, *topology)
    run("finetune", "attacked", "behind.safetensors", "--defence", "defence", *small, *topology)

    sampling = ["--count", 2, "--steps", 1, *topology]
    behind = ["--lora", "behind.safetensors", "--defence", "defence", "--treatment", "learned"]
    loras = {"bare": [], "plain": ["--lora", "plain.safetensors"], "both": behind}
    for name, more in loras.items():
        run("generate", "a portrait", name, *more, *sampling)
    assert len({(tmp_path / name / "00000.png").read_bytes() for name in loras}) == len(loras)
    found = json.loads(run("evaluate", "bare", "--reference", album, "--json", *topology).stdout)
    assert "fid_embedded" in found["metrics"]

    component = ["attack", album, "changed", "--component", "mid", "--steps", 1, *topology]
    if "sdxl" in str(topology[1]):
        assert "take Stable Diffusion 1.x and 2.x" in error(*component)
    else:
        run(*component)
