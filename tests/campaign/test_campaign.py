"""The campaign: bad inputs and kills; a few of them here, hundreds with `make campaign`."""

import json
import os
import shutil
import time
from datetime import UTC, datetime
from itertools import cycle

import pytest
from campaign.judge import Tally, judge
from campaign.kills import KILLED, Chains
from campaign.trials import CATEGORIES, Trial, trials
from campaign.world import copy_to
from hypothesis import HealthCheck, Phase, given, settings

from lord.files import write_text
from lord.record import describe_device, git_state
from lord.study.book import CAMPAIGN
from lord.study.run import results_root

INPUTS = int(os.environ.get("CAMPAIGN_INPUTS", "720"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "200"))


def drawn(category: str, count: int) -> list[Trial]:
    """So many different trials of a category, the same every time; fewer if there are no more."""
    found: dict[tuple[str, str], Trial] = {}

    @settings(
        max_examples=4 * count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(trials(category))
    def draw(trial: Trial) -> None:
        if len(found) < count:
            found.setdefault((trial.command, trial.what), trial)

    draw()
    return list(found.values())


def try_all(category: str, count: int, world, base, tally: Tally) -> None:
    for number, trial in enumerate(drawn(category, count) if count else []):
        place = base / str(number)
        (place / "in").mkdir(parents=True)
        outcome, said = judge(trial, copy_to(world, place / "in" / "world"))
        shutil.rmtree(place)
        fault = {"command": trial.command, "what": trial.what, "said": said.strip()[-400:]}
        tally.add(category, outcome, fault)


@pytest.mark.parametrize("category", CATEGORIES)
def test_bad_inputs_are_refused_in_a_clear_line(category, world, tmp_path):
    tally = Tally()
    try_all(category, 2, world, tmp_path, tally)
    assert not tally.faults, tally


def test_killed_commands_end_as_if_nobody_had_killed_them(world, tmp_path):
    chains = Chains(world, tmp_path, seed=1)
    chains.chain("generate", 2)
    chains.interrupt("generate")
    chains.at_once("render")
    assert not chains.faults, chains.faults


@pytest.mark.campaign
def test_bad_inputs_at_length(world, tmp_path):
    """Every category in equal parts."""
    part, tally = Part("inputs"), Tally()
    for category in CATEGORIES:
        try_all(category, -(-INPUTS // len(CATEGORIES)), world, tmp_path / category, tally)
        part.write(tally.table(), tally.faults)
    assert not tally.faults, tally
    assert sum(counts["tried"] for counts in tally.table().values()) >= INPUTS * 0.85


@pytest.mark.campaign
def test_kills_at_length(world, tmp_path):
    """All commands in turn, until so many kills have met one that ran."""
    part, chains, killed = Part("kills"), Chains(world, tmp_path), 0
    for command in cycle(KILLED):
        killed += chains.chain(command, min(chains.random.randint(1, 3), KILLS - killed))
        chains.interrupt(command)
        chains.at_once(command)
        part.write(chains.table(), chains.faults)
        if killed >= KILLS:
            break
    assert not chains.faults, json.dumps(chains.faults, indent=1)


class Part:
    """A part of the campaign in the file that the book reads; the other part stays as it is."""

    def __init__(self, name: str) -> None:
        commit, dirty, _ = git_state()
        self.name, self.began = name, time.monotonic()
        self.about = {"started": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit, "dirty": dirty}
        self.about["device"] = describe_device("cpu")

    def write(self, counts: dict[str, dict[str, int]], faults: list[dict[str, str]]) -> None:
        """Write what is known so far: a campaign that is broken off counts for what it did."""
        path = results_root() / CAMPAIGN
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        seconds = round(time.monotonic() - self.began)
        found[self.name] = {**self.about, "seconds": seconds, "counts": counts, "faults": faults}
        write_text(path, json.dumps(found, indent=1, sort_keys=True) + "\n")
