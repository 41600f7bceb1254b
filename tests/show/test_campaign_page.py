"""The page on reliability says what a campaign has counted, and nothing where there was none."""

import json
import re

from lord.show.campaign import ENDS, NOT_RUN, OUTCOMES, reliability

ABOUT = {"started": "2026-11-30", "commit": "0123456789abcdef", "device": "cpu (x86_64)"}
FAULT = {"category": "names", "outcome": "lost", "command": "render"}
CAMPAIGN = {
    "inputs": {
        **ABOUT,
        "dirty": False,
        "seconds": 600,
        "counts": {
            "numbers": dict(zip(OUTCOMES, (20, 18, 1, 1, 0, 0), strict=True)),
            "disk": dict(zip(OUTCOMES, (7, 6, 0, 0, 0, 1), strict=True)),
        },
        "faults": [FAULT | {"what": "<b>```\n| x", "said": "\x1b[2J[red]"}],
    },
    "kills": {
        **ABOUT,
        "dirty": True,
        "seconds": 1200,
        "counts": {
            "generate": dict(zip(ENDS, (6, 3, 2, 1, 0), strict=True)),
            "attack": dict(zip(ENDS, (4, 2, 2, 0, 0), strict=True)),
            "Ctrl-C": dict(zip(ENDS, (9, 9, 8, 0, 1), strict=True)),
            "at once": dict(zip(ENDS, (0, 7, 6, 0, 1), strict=True)),
        },
        "faults": [],
    },
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
    assert "commit `0123456789ab`, on cpu (x86_64), in 10 minutes" in text
    assert "`0123456789ab` with local changes, on cpu" in text
    assert "stopped 9 commands; 8 of them" in text
    assert "7 commands were begun twice at the same moment. Of 6 the second" in text
    assert text.count("```") == 2 and "\x1b" not in text and "names, lost: render" in text
    path.write_text(json.dumps({"kills": CAMPAIGN["kills"]}))
    text = reliability(path)
    assert "Bad inputs" not in text and "```" not in text and "Nothing." in text
