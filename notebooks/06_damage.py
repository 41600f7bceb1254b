# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The damage matrix
#
# How much damage does each attack do, and how visible must it be for that? Here all attacks have
# the same number of gradient steps. In a column all have the same $\varepsilon$, and the same step,
# which grows with $\varepsilon$. A LoRA is trained on the attacked photographs without any defence,
# and judged as in [Measuring damage](03_metrics.ipynb).

# %% tags=["remove-cell"] jupyter={"source_hidden": true} cellView="form"
# @title Install the package on Colab; everywhere else this cell does nothing
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("lord") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/lord-study/lord")

# %% tags=["parameters", "remove-cell"]
profile = "quick"
compute = True

# %% tags=["hide-input"]
from lord import show, study

records = study.run(profile, "main", defence="none", compute=compute)
records += study.run(profile, "scale", compute=compute)
records += study.run(profile, "damage", compute=compute)
show.run_card(records)

# %% [markdown]
# ## By budget
#
# Two matrices hold the whole comparison. The first row is the control: uniform noise within the
# same $\varepsilon$. It has less energy than an attack that drives pixels to their bound. The root
# mean square of noise that is spread evenly over the budget is $\varepsilon / \sqrt{3}$. So part of
# an attack's lead over the control may come from its size. An attack that does no more damage than
# the control has found nothing that the fine-tuning minds.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-damage-fid"}, "image": {"alt": "Two tables of coloured numbers, portraits and landscapes: attacks in rows, budgets in columns, darker cells towards larger budgets."}}
show.damage_matrix(records, "fid")

# %% [markdown]
# > Embedded FID of LoRAs trained on attacked photographs, for each attack and budget; the darker,
# > the worse. Lower is better.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-damage-iqa"}, "image": {"alt": "Two tables of coloured numbers, portraits and landscapes, with the quality score of each attack and budget."}}
show.damage_matrix(records, "clip_iqa")

# %% [markdown]
# > Embedded quality score of the same LoRAs; the darker, the worse. Higher is better.

# %% [markdown]
# ## At the budget of the main table
#
# One more table adds the identity match, and what an attack costs in looks. That is the structural
# similarity (SSIM) of the attacked photographs to the clean ones. Data:
# `results/<profile>/attacks.csv`.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-damage-table"}}
show.damage_table(records)

# %% [markdown]
# > All attacks at one budget. Highlighted: the attack that does most damage in a domain.

# %% [markdown]
# ## Compute a row again
#
# Each row of these tables is one attack on one domain. This computes that of the encoder attack on
# portraits again, from the photographs on (`source .venv/bin/activate` first, after `make study` or
# `make test`). The records in `again/full` can then be compared with those in `results/full`:
#
# ```bash
# OMP_NUM_THREADS=1 LORD_RESULTS=again lord study run --profile full --experiment damage -w domain=portraits -w attack_name=encoder
# ```
#
# Put another attack (`mist`, `sds_minus`, …) or domain in its place. The clean LoRA and some
# attacks at the budget of the main table are cells of that table. For these put `--experiment main
# -w subject=0 -w seed=0 -w defence=none` in the place of `--experiment damage`. Add `-w
# attack_name=none` or, at the profile `full`, `ace`, `ace_plus`, `advdm` or `aspl`. One thread
# makes results the same to the last digit on the same kind of machine.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.damage_findings(records)
