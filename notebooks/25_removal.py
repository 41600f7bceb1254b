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
# # Can it be removed?
#
# A model is suspected, a trigger was reversed out of it, and nobody wants to train another model.
# So the defender fine-tunes it shortly, on pictures of their own. The noise of some has the
# trigger, and what is to be drawn is the picture itself. Does that take the backdoor out? Two
# fine-tunes as long stand beside it. One is on clean pictures alone and needs no trigger. One has
# the true trigger, which no defender has.

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
from lord.show import removal

records = study.run(profile, "removal", compute=compute)
unlearned = {record.seed for record in records}
records += [r for r in study.run(profile, "backdoors", compute=compute) if r.seed in unlearned]
show.run_card(records)

# %% tags=["remove-input"]
show.source("lord.backdoors.infect.Poison")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-removed"}, "image": {"alt": "Rows of small pictures: the attacker's picture in the first row, and what the model draws after each fine-tune in the rows below."}}
removal.removed(records)

# %% [markdown]
# > Samples of noise with the true trigger, of the model as it was and after each fine-tune.

# %% [markdown]
# In the published study more clean training takes more of the backdoor out than unlearning what was reversed.
#
# What was reversed [resembles the true trigger only in part](23_terd.ipynb). That may be why: the
# noise that the attacker starts from is not what the fine-tune teaches.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-removal-table"}}
removal.removal_table(records)

# %% [markdown]
# > Share of triggered samples that are the target, with its exact 95 % interval. Beside it the mean
# > squared distance to the target, and FID of samples of plain noise.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
removal.removal_findings(records)
