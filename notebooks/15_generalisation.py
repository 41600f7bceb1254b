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
# # Does it hold elsewhere?
#
# A defence is of use only where its makers have not been before: under budgets and attacks that stage 1
# has not seen, on another domain, where some of the photographs are clean, and where the LoRA learns
# for longer. Stage 1 is not trained again for this: does what it has learned still help?

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
from lord.study.experiments.scenario import scenario_photographs

records = study.run(profile, "transfer", compute=compute)
compared = study.run(profile, "main", compute=compute)
show.run_card(records)

# %% tags=["hide-input"]
show.source(scenario_photographs)

# %% [markdown]
# eps 4, eps 16
# : ACE with half and with twice the budget that stage 1 has seen;
#
# other domain
# : stage 1 learned from landscapes, stage 2 learns portraits, and the other way round;
#
# attacked 25, 50, 75
# : so many per cent of the photographs are attacked, the others clean;
#
# longer
# : three times the steps of fine-tuning.
#
# Attacks that stage 1 has not seen, AdvDM among them, are in {doc}`10_results`.
#
# ## What was found
#
# In {numref}`fig-transfer` every row is a scenario, with the undefended LoRAs in the same scenario as ticks.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Wide LoRD as in the main table (unchanged) and in scenarios that stage 1 has not seen: embedded FID (lower is better) and CLIP-IQA (higher is better), means over the subjects and bars from the lowest to the highest. Ticks: LoRAs without a defence in the same scenario, on clean and on attacked photographs.", "name": "fig-transfer"}, "image": {"alt": "Panels for each metric and domain, with a row for every scenario and a point for each of the defended and the undefended LoRA."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Every scenario with the lowest and the highest subject in brackets, and the share of the damage in it that the defence repairs. Highlighted: the lowest and highest values, which are those of the mildest scenarios.", "name": "fig-transfer-table"}}
show.ablation_table(records, compared)
