"""The campaign: bad inputs and kills; a few of them here, hundreds with `make campaign`."""

import json
import os
import shutil
import time
from contextlib import contextmanager
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
from lord.study.notebooks import CAMPAIGN
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
    assert not chains.faults, chains.faults


@pytest.mark.campaign
def test_the_whole_campaign(world, tmp_path):
    """Every category at length; the counts are written even where something is at fault."""
    tally, chains, seconds = Tally(), Chains(world, tmp_path), {"inputs": 0.0, "kills": 0.0}
    commit, dirty, _ = git_state()
    about = {"started": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit, "dirty": dirty}
    about["device"] = describe_device("cpu")

    def write() -> None:
        """What is known so far, so that a campaign that is broken off counts for what it did."""
        counts = {"inputs": tally.table(), "kills": chains.table()}
        times = {"seconds": {name: round(value) for name, value in seconds.items()}}
        faults = {"faults": [*tally.faults, *chains.faults]}
        write_text(results_root() / CAMPAIGN, json.dumps(about | times | counts | faults, indent=1))

    share = INPUTS // len(CATEGORIES)
    for category in CATEGORIES:
        with timed(seconds, "inputs"):
            try_all(category, share, world, tmp_path / category, tally)
        write()
    killed, commands = 0, cycle(KILLED)
    while killed < KILLS:
        command = next(commands)
        with timed(seconds, "kills"):
            killed += chains.chain(command, min(chains.random.randint(1, 3), KILLS - killed))
            chains.interrupt(command)
        write()
    faults = [*tally.faults, *chains.faults]
    assert not faults, json.dumps(faults, indent=1)


@contextmanager
def timed(seconds: dict[str, float], name: str):
    """Add to an entry the seconds that a block takes."""
    began = time.monotonic()
    yield
    seconds[name] += time.monotonic() - began
