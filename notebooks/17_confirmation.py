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
# # Does it hold for others?
#
# The main table tries many defences on three subjects of each domain. Its judges have learned such
# damage. So a sceptic asks twice. Does it hold for people and places that nobody has looked at? And
# by judges that saw no damage?
#
# Few defences are tried once more, each on new subjects with one seed.
# [Stage 1](08_lord_stage1.ipynb) is trained three times, and subjects take turns. What is compared
# was settled before: the conditions, and that what stage 1 trained is dropped before sampling.
# [Further judges](03_metrics.ipynb) measure as well.

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
from lord.show import confirmation

records = study.run(profile, "confirmation", compute=compute)
records += study.run(profile, "confirmation_scale", compute=compute)
screened = study.run(profile, "main", compute=compute)
show.run_card(records)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-confirmation"}, "image": {"alt": "For each judge and domain a dot with an interval for every defence, further right where it repairs more of the damage."}}
confirmation.repaired(records, screened)

# %% [markdown]
# > The share of the damage of ACE that each defence repairs, by each judge, with intervals of 95 %.
# > At 0 nothing is repaired; at the dashed line it is as good as clean photographs. Judges above
# > embedded FID saw no damage. Empty dots are the subjects of the main table.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-confirmation-counts-table"}}
confirmation.standing_counts(records)

# %% [markdown]
# > LoRD beside no defence (LoRA) and beside its rivals: how many judges call it what. *As
# > good* means that the difference is significantly less than a tenth of the damage of ACE.

# %% [markdown]
# In the published study most judges put DiffPure ahead of LoRD on attacked portraits. On attacked
# landscapes both judges from ImageNet put LoRD ahead of it. Adversarial training is behind LoRD by
# no judge under ACE. On clean portraits most judges see harm by LoRD.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what LoRD is ahead of", "code_prompt_hide": "Hide what LoRD is ahead of", "figure": {"name": "fig-confirmation-standing-table"}}
confirmation.standing_table(records)

# %% [markdown]
# > By how much LoRD is better than each other condition, by each judge, on the same subjects. In
# > brackets the 95 % interval; below 0 it is worse. Green: the interval lies above 0. Orange: it
# > lies below. Data: `results/<profile>/confirmation_standing.csv`.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what each judge says", "code_prompt_hide": "Hide what each judge says", "figure": {"name": "fig-confirmation-table"}}
confirmation.judge_table(records)

# %% [markdown]
# > Every judge in every condition, means over the subjects with intervals of 95 %. Below them, what
# > as many clean pictures score, of the same subjects and of others. Data:
# > `results/<profile>/confirmation.csv`.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
confirmation.findings(records, screened)
