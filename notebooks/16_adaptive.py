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
# ## What was found
#
# {numref}`fig-adaptive` compares attackers who know the defence with those who do not (unchanged), at the
# same budget and number of gradient steps.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Wide LoRD under attackers who know it: embedded FID (lower is better) and CLIP-IQA (higher is better), with 95 % intervals over subjects.", "name": "fig-adaptive"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and attacker."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The same as a table, with the share of the damage of the same attack on undefended LoRAs that remains repaired. Highlighted: the attacker against whom the defence does best.", "name": "fig-adaptive-table"}}
show.ablation_table(records, compared)
