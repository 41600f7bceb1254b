"""Topology by command: every cell of the book's table works, or says why not."""

import json
import re
import shutil

import pandas as pd
import pytest
from helpers import run
from topologies import TOPOLOGIES, build

from lord.study.notebooks import BOOK

TABLE = pd.read_csv(BOOK / "topologies.csv", index_col=0).set_axis(TOPOLOGIES, axis=1)

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
    """The options that use a model, beside which lie networks that judge, and its column."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("features", "clip"):
        shutil.copytree(pretrained / name, folder / name)
    build(request.param).save_pretrained(folder / "model")
    return ["--model", folder / "model", "--device", "cpu"], TABLE[request.param]


@pytest.mark.usefixtures("few_draws")
def test_every_command_takes_every_topology(topology, album, tmp_path, monkeypatch):
    topology, column = topology
    commands = set()

    def asked(*words):
        commands.add(words[0])
        return run(*words)

    monkeypatch.setattr("lord.cli.models.AUDITABLE", 8)  # as many as suffice for one to hold back
    monkeypatch.chdir(tmp_path)
    attack = ["--eps", "8/255", "--step-size", "4/255", "--rounds", 1, "--steps", 1]
    assert "mean of 3" in asked("attack", album, "attacked", *attack, *topology).output
    asked("purify", "attacked", "purified", "--method", "diffpure", *topology)

    small = ["--steps", 1, "--batch-size", 2, "--rank", 2, "--target-module", "to_v"]
    small += ["--learning-rate", 0.01]  # a single step shows in a picture
    eight = ["--domain", "portraits", "--identities", 8, "--attack-steps", 1]
    asked("defend", "defence", *eight, *small, *topology)
    said = asked("audit", "attacked", "--defence", "defence", *topology).stdout
    assert len(re.findall(r"\d+%", said)) == 3

    asked("finetune", "attacked", "plain.safetensors", *small, *topology)
    asked("finetune", "attacked", "behind.safetensors", "--defence", "defence", *small, *topology)
    prompts = ["--train-text-encoder", "--memory", "normal"]
    asked("finetune", "attacked", "told.safetensors", *prompts, *small, *topology)

    sampling = ["--count", 2, "--steps", 1, *topology]
    behind = ["--lora", "behind.safetensors", "--defence", "defence", "--treatment", "learned"]
    loras = {name: ["--lora", f"{name}.safetensors"] for name in ("plain", "told")}
    loras |= {"bare": [], "both": behind}
    for name, more in loras.items():
        asked("generate", "a portrait", name, *more, *sampling)
    assert len({(tmp_path / name / "00000.png").read_bytes() for name in loras}) == len(loras)
    found = json.loads(asked("evaluate", "bare", "--reference", album, "--json", *topology).stdout)
    assert "fid_embedded" in found["metrics"]

    component = ["attack", album, "changed", "--component", "mid", "--steps", 1, *topology]
    asked(*component)
    assert {row.split()[0] for row in column.index} == commands
    assert set(column) == {"yes"}
