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
# # What does what?
#
# LoRD is several things at once: attacked pictures to learn from, a second branch, a gate, a loss that
# holds the adapter to the base model on clean pictures,
#
# $$ \tfrac12 (L_\text{clean} + L_\text{attacked}) + w\, \mathrm{BCE}(\lambda, \text{attacked?}), $$ (eq-stage1)
#
# and an adapter that can be taken off before sampling. Each variant here changes one of them.

# %% tags=["remove-cell"]
# On Colab the package is not there yet; everywhere else this cell does nothing.
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("lord") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/lord-study/lord")

# %% tags=["parameters", "hide-input"]
profile = "quick"
compute = True

# %%
from lord import show, study
from lord.study.defences import with_gate

records = study.run(profile, "parts", compute=compute)
data = study.run(profile, "stage1_data", compute=compute)
compared = study.run(profile, "main", compute=compute)
show.run_card([*records, *data])

# %% [markdown]
# open
# : the gate is there, but $\lambda = 1$ while stage 2 learns, whatever the gate thinks;
#
# one branch
# : a plain LoRA learns the same in stage 1: no second branch, no gate;
#
# noise target
# : on clean pictures the noise is the target, as in the paper, instead of what the base model predicts.

# %% tags=["hide-input"]
show.source(with_gate)

# %% [markdown]
# ## What was found
#
# {numref}`fig-parts` shows what every variant leaves of the damage of ACE, which stage 1 has seen, and of
# AdvDM, which it has not, and what it does to a LoRA on clean photographs.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Variants of wide LoRD: embedded FID (lower is better) and CLIP-IQA (higher is better), with 95 % intervals over subjects. Filled: the adapter is dropped before sampling.", "name": "fig-parts"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same as a table, with the share of the damage that is repaired. Highlighted: the best variant against each attack.", "name": "fig-parts-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# ## What stage 1 should see
#
# The same with other pictures to learn from ({numref}`fig-stage1-data`): with AdvDM instead of ACE, for
# wide LoRD and for adversarial training; and for wide LoRD with two large steps of ACE instead of ten
# small ones, or with a quarter of the identities.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Defences by what stage 1 has seen: embedded FID (lower is better) and CLIP-IQA (higher is better), with 95 % intervals over subjects. Filled: the adapter is dropped before sampling.", "name": "fig-stage1-data"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and variant and a point for each defence."}}
show.ablation_figure(data, compared)

# %% tags=["hide-input"]
show.ablation_findings(data, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same as a table, with the share of the damage that is repaired. Highlighted: the best against each attack.", "name": "fig-stage1-data-table"}}
show.ablation_table(data, compared)
