"""The page on reliability says what a campaign has counted, and nothing where there was none."""

import json
import re

from lord.show.reliability import ENDS, NOT_RUN, OUTCOMES, reliability

CAMPAIGN = {
    "started": "2026-11-30",
    "commit": "0123456789abcdef",
    "dirty": False,
    "device": "cpu (x86_64, 1 threads)",
    "seconds": {"inputs": 600, "kills": 1200},
    "inputs": {
        "numbers": dict(zip(OUTCOMES, (20, 18, 1, 1, 0, 0), strict=True)),
        "disk": dict(zip(OUTCOMES, (7, 6, 0, 0, 0, 1), strict=True)),
    },
    "kills": {
        "generate": dict(zip(ENDS, (6, 3, 2, 1, 0), strict=True)),
        "attack": dict(zip(ENDS, (4, 2, 2, 0, 0), strict=True)),
        "Ctrl-C": dict(zip(ENDS, (9, 9, 8, 0, 1), strict=True)),
    },
    "faults": [
        {"category": "names", "outcome": "lost", "command": "render"}
        | {"what": "<b>```\n| x", "said": "\x1b[2J[red]"}
    ],
}


def test_no_campaign(tmp_path):
    assert reliability(tmp_path / "campaign.json") == NOT_RUN


def test_counts_come_from_the_file_and_add_up(tmp_path):
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps(CAMPAIGN))
    text = reliability(path)
    rows = [line for line in text.splitlines() if line.startswith("| **All**")]
    assert [list(map(int, re.findall(r"\d+", row))) for row in rows] == [
        [27, 24, 1, 1, 0, 1],
        [10, 5, 4, 1, 0],
    ]
    assert "commit `0123456789ab`, cpu" in text and "in 10 minutes" in text
    assert "stopped 9 commands; 8 of them" in text
    assert text.count("```") == 2 and "\x1b" not in text and "names, lost: render" in text
    path.write_text(json.dumps(CAMPAIGN | {"faults": [], "dirty": True}))
    assert "```" not in reliability(path) and "with local changes" in reliability(path)
