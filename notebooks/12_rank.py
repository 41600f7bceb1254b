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
# # How much rank does it take?
#
# The rank $r$ sets how much a LoRA can learn, and how much a defence can take upon itself. In a layer
# from $d$ to $d'$ dimensions the two have
#
# $$ \underbrace{r (d + d')}_{\text{LoRA}} + \underbrace{r (d + 2 d') + 16 d' + 33}_{\text{LoRD: } A, B, B' \text{ and the gate}} $$
#
# parameters. A large plain LoRA has as many as a small one on top of LoRD. Is it the capacity that defends, or the
# defence?

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

records = study.run(profile, "rank", compute=compute)
costs = study.run(profile, "rank_cost", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
steps = study.run(profile, "cost", compute=compute)
steps += study.run(profile, "performance", compute=compute)
steps += study.run(profile, "stage1", compute=compute)
show.run_card([*records, *costs, *steps])

# %% tags=["remove-input"]
show.source("lord.adapter.variant.LordVariant.init")

# %% [markdown]
# ## What was found
#
# Here the rank of the LoRA that learns the subject is varied, with and without the defence. Behind
# the defence that of the stage-1 adapter varies along with it. The paper's ablation varies the rank
# of LoRD alone.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-rank"}, "image": {"alt": "Four panels of curves over the rank, one row for each metric, one column for each domain."}}
show.rank_curves(records, compared)

# %% [markdown]
# > Embedded FID and quality score against the rank. LoRAs learn from clean photographs, from attacked
# > ones, and behind LoRD of the same rank. Lines are means over the subjects, bands go from the
# > lowest to the highest.

# %% [markdown]
# In the published study capacity does not defend. At every rank a plain LoRA's FID is over three times as high on
# attacked as on clean photographs. LoRD, dropped before sampling, closes more than four fifths of the FID gap at every
# rank, even at rank 1. With the learned λ it closes less than half, and on portraits nothing.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-rank-table"}}
show.ablation_table(records, compared)

# %% [markdown]
# > Every rank, with the share of the damage at the same rank that LoRD repairs. Unchanged: rank 4,
# > from the main table, on the same subjects and seeds. In brackets: the lowest and the highest
# > subject. Highlighted: the best rank of LoRD.

# %% [markdown]
# ## What a defence costs
#
# A purifier takes its time for every set of photographs, stage 1 once for a model and a domain.
#
# In the published study a step of stage 2 takes at least a tenth longer with LoRD. With wide LoRD
# it takes at least a quarter longer. Merged, the defence costs sampling nothing. Dropped, it still
# costs about a tenth more than the LoRA itself, presumably for the layers that stay wrapped.
# DiffPure needs no training. It has cleaned the photographs of a subject in less time than ten
# steps of stage 1 take.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what each defence takes", "code_prompt_hide": "Hide what each defence takes", "figure": {"name": "fig-defence-cost-table"}}
show.defence_cost_table(steps)

# %% [markdown]
# > What a defence takes before a LoRA can learn behind it. Purifiers were timed on the photographs
# > of one subject. Trained defences, each for one domain, are counted from the seconds of training
# > steps and gradient steps. Peak memory is that of the whole process, with the model in it, while
# > purifying, or in a training step.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the seconds of each step", "code_prompt_hide": "Hide the seconds of each step", "figure": {"name": "fig-cost-table"}}
show.cost_table(steps)

# %% [markdown]
# > Seconds of one step with each defence, and of that step without the defence, all measured in one
# > run. Once merged, adapters are no longer computed. So the distance of that row from one is the
# > noise of the clock. The rows of sampling are those of wide LoRD, the larger of the two.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what each rank costs", "code_prompt_hide": "Hide what each rank costs", "figure": {"name": "fig-rank-cost-table"}}
show.rank_cost_table(costs, [*records, *compared])

# %% [markdown]
# > What every rank costs: the parameters of all adapters, by the formula above, and the seconds of
# > an optimizer step. All are measured in one run of stage 2.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.ablation_findings(records, compared)
