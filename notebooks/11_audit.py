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
# # Can an attacked picture be told?
#
# The gates of LoRD learn to tell attacked from clean inputs. Here they are asked about pictures: is
# this one attacked? The score of a picture is the mean logit of all gates over the lower half of
# the timesteps. A logistic curve makes a probability of it (Platt, 1999):
#
# $$ P(\text{attacked} \mid s) = \sigma(a s + b), \qquad s = \operatorname{mean}_{\text{layers},\, t < T/2} \operatorname{logit} \lambda . $$
#
# $a$ and $b$ are fitted on identities that the gates were not trained on. The attack is the one
# that stage 1 has seen. `lord audit FOLDER --defence DEFENCE` does this for pictures of your own.

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

records = study.run(profile, "audit", compute=compute)
show.run_card(records)

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.defences.audit.gate_scores")

# %% [markdown]
# ## Which attacks it finds
#
# How often does an attacked photograph score above a clean one? Each attack and budget is tried on
# one subject of each domain. 1 is perfect and ½ is guessing. Below ½ the attacked ones look cleaner
# than clean. Stage 1 has seen ACE at one budget; everything else is new to the gates. The last rows
# are clean photographs after an innocent change, where ½ is right.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-audit"}, "image": {"alt": "A matrix for each domain with a row for each attack and a column for each budget."}}
show.audit_matrix(records)

# %% [markdown]
# > Area under the ROC curve of the audit by the gates of LoRD, for every attack and budget. Darker
# > is further from guessing. The last rows are no attacks but clean photographs, filtered.

# %% [markdown]
# In the published study nearly every photograph scores above the clean ones, from half of the main table's budget on.
# It does so whether stage 1 has seen its attack or not, but for two attacks. PhotoGuard's attack on the whole diffusion
# is found reliably at twice the budget of the main table only. SDS− passes for cleaner than clean; so do photographs
# that were blurred.

# %% [markdown]
# ## Whether its probabilities are right
#
# A rank is not yet a probability. So what the audit says is compared with the truth, on as many
# clean as attacked photographs of one subject. On the diagonal the audit could be taken at its
# word. With so few photographs a point far from it says more than one upon it. Where the scores
# hardly overlap, nothing between yes and no is put to the test. An attack that leaves another trace
# than ACE may be ranked well and still get too low a probability. That the audit finds nothing
# proves nothing.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-reliability"}, "image": {"alt": "For each domain, the share of attacked photographs against the probability that the audit gives them, a line for each attack, beside the diagonal."}}
show.reliability(records)

# %% [markdown]
# > Calibration of the audit at the budget of the study. Of photographs said to be attacked with
# > some probability, how many are? Half of all are attacked.

# %% [markdown]
# ## Where in the network the gates can tell
#
# Last, the gate of every layer is asked alone, at every level of noise. The more noise, the less
# any of them can tell: the perturbation is buried. The rows that are dark throughout are keys and
# values of cross-attention, which read the caption alone. What the gates say while a LoRA is
# sampled is another matter ([What should λ do?](13_lambda.ipynb)).

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-layers"}, "image": {"alt": "A matrix for each domain, layers against timesteps, bright at low noise and dark at high noise."}}
show.layer_matrix(records)

# %% [markdown]
# > How well the gate of every layer tells photographs attacked by ACE from clean ones, by timestep.
# > The number is the area under the ROC curve; ½ is guessing. Layers are in the order of the
# > network.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.audit_findings(records)
