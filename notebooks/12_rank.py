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
# $$ \underbrace{r (d + d')}_{\text{LoRA}} + \underbrace{r (d + 2 d') + 16 d' + 33}_{\text{LoRD: } A, B, B' \text{ and the gate}} $$ (eq-parameters)
#
# parameters. A large plain LoRA has as many as a small one on top of LoRD: is it the capacity that
# defends, or the defence?

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

records = study.run(profile, "rank", compute=compute)
costs = study.run(profile, "rank_cost", compute=compute)
compared = study.run(profile, "main", compute=compute)
compared += study.run(profile, "scale", compute=compute)
show.run_card([*records, *costs])

# %% tags=["hide-input"]
show.source("lord.adapter.variant.LordVariant.init")

# %% [markdown]
# ## What was found
#
# {numref}`fig-rank` varies the rank of the LoRA that learns the subject, with and without the defence,
# and behind the defence that of the stage-1 adapter along with it. The paper's ablation varies the rank
# of LoRD alone.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID (lower is better) and CLIP-IQA (higher is better) against the rank: LoRAs on clean photographs, on attacked ones, and behind LoRD of the same rank, means over the subjects and bands from the lowest to the highest.", "name": "fig-rank"}, "image": {"alt": "Four panels of curves over the rank, one row for each metric, one column for each domain."}}
show.rank_curves(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% [markdown]
# {numref}`fig-rank-table` has the numbers, and {numref}`fig-rank-cost-table` what every rank costs. In
# the published study a plain LoRA on attacked photographs fails at every rank, also where it has more
# parameters than a smaller one has together with LoRD: capacity does not defend. LoRD, dropped before
# sampling (also on portraits, where {doc}`10_results` reports the gate with a prior), repairs most of
# the damage to FID and CLIP-IQA at every rank, even at $r = 1$; with the learned $\lambda$ it
# repairs little or nothing ({doc}`13_lambda`), most at rank 1 on landscapes. On portraits a larger rank
# repairs, by and large, more of the FID gap; of the CLIP-IQA gap, and on landscapes, it does not. The
# identity match on portraits it brings back to a lesser part, and at one rank it is lower than without a
# defence.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Every rank, with the share of the damage at the same rank that LoRD repairs. Unchanged: rank 4, from the main table, on the same subjects and seeds; in brackets the lowest and the highest subject. Highlighted: the best rank of LoRD.", "name": "fig-rank-table"}}
show.ablation_table(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What every rank costs: the parameters of all adapters {eq}`eq-parameters`, and the seconds of an optimizer step of stage 2, all measured in one run.", "name": "fig-rank-cost-table"}}
show.rank_cost_table(costs, [*records, *compared])
