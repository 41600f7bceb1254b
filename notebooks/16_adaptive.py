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
# # An attacker who knows
#
# Whoever perturbs photographs may know that they will be learned from behind LoRD, have its weights, and
# attack the defended model: through its gates, with a surrogate that learns on top of it as stage 2
# does. Or take on the gate as well, and raise
#
# $$ L(x) + \operatorname{mean}_\text{layers} \log (1 - \lambda(x)), $$ (eq-closing)
#
# so that the branch stays shut and leaves the perturbation to the LoRA.

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
from lord import adaptive, show, study

records = study.run(profile, "adaptive", compute=compute)
compared = study.run(profile, "main", compute=compute)
show.run_card(records)

# %% tags=["hide-input"]
show.source(adaptive.attack_and_close)

# %% [markdown]
# Five attackers:
#
# defended
# : attacks the defended model instead of the base model;
#
# surrogate
# : the same in five rounds, between which a LoRA learns on top of the defence, as in stage 2;
#
# closing
# : raises {eq}`eq-closing`;
#
# few steps, large eps
# : as defended, with a quarter of the steps and with four times the budget. They check for masked
#   gradients: a defence that only hides them is attacked no better by more steps, and stands even a budget
#   that leaves little of the picture.
#
# ## What was found
#
# {numref}`fig-adaptive` compares them with an attacker who does not know the defence (unchanged), and
# {numref}`fig-adaptive-samples` shows what the eye sees of it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Wide LoRD under attackers who know it: embedded FID (lower is better) and CLIP-IQA (higher is better), with 95 % intervals over subjects. Red ticks: without defence, under the attack of the main table.", "name": "fig-adaptive"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and attacker."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
at_equal_budget = [r for r in records if r.settings["variant"] not in ("few_steps", "large_eps")]
show.ablation_findings(at_equal_budget, compared)

# %% [markdown]
# This is for attackers with the budget and the steps of the main table, and counts what closes of the gap
# that the same attack opens without defence.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "ACE by attackers who know wide LoRD, on one subject of each domain: left of the middle three of the photographs that the LoRA learned from, right of it three samples, drawn with the same seeds.", "name": "fig-adaptive-samples"}, "image": {"alt": "A row for every attacker: on the left attacked photographs, on the right samples."}}
show.ablation_samples(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same as a table, with the share that is repaired of the damage that the attack of the main table does without defence. Highlighted: the attacker against whom the defence does best.", "name": "fig-adaptive-table"}}
show.ablation_table(records, compared)
