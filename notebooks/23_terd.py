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
# # Finding the backdoor
#
# The defender's part: here is a model that somebody trained. No trigger is known, no target, and no clean copy.
# TERD ([Mo et al., 2024](https://arxiv.org/abs/2409.05294)) asks the network itself: where does it answer as if the noise had been shifted?

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
from lord.show import terd

records = study.run(profile, "backdoors", compute=compute)
records += study.run(profile, "reversion", compute=compute)
records += study.run(profile, "elijah", compute=compute)
records += study.run(profile, "input_rivals", compute=compute)
show.run_card(records)

# %% [markdown]
# ## Reversing the trigger
#
# Whatever was taught at a poisoned input, its unknown part is the same for two noises of one image.
# It cancels in the difference:
#
# $$
# \begin{aligned}
# L(\mu) &= \tfrac12\,\mathbb{E}\,\lVert(\epsilon_1-\epsilon_\theta(x^1,t))-(\epsilon_2-\epsilon_\theta(x^2,t))\rVert^2-\lambda\lVert\mu\rVert_1,\\
# x^i &= \sqrt{\bar\alpha_t}\,x+\sqrt{1-\bar\alpha_t}\,\gamma\epsilon_i+\mu
# \end{aligned}
# $$

# %% tags=["remove-input"]
show.source("lord.backdoors.reversion.Reversed.loss")

# %% [markdown]
# The search starts from uniform numbers below 0, as published, and again from their negatives.
# What comes out stands beside what is there.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-reversed"}, "image": {"alt": "Pairs of small pictures, each with the cosine between the two below."}}
terd.triggers(records)

# %% [markdown]
# > For each backdoored model and start (− or +): the reversed trigger on the left, the true one on
# > the right. Grey is no shift.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the way there", "code_prompt_hide": "Hide the way there", "figure": {"name": "fig-paths"}, "image": {"alt": "Two panels of lines over the steps: norms fall and level out; cosines rise or stay."}}
terd.paths(records)

# %% [markdown]
# > Along the reversion from the published start: the norm of what is found, and its cosine to the
# > true trigger. Each line is a model.

# %% [markdown]
# Could the search have found it? A walk from no trigger to the true one takes the loss on the way.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-loss-lines"}, "image": {"alt": "Lines over the share of the trigger, on a logarithmic scale: those of the clean model rise steeply, those of backdoored models rise less or fall back."}}
looked = study.run(profile, "reversed_loss", compute=compute)
terd.loss_lines(looked)

# %% [markdown]
# > The reversed loss from no trigger to the true one, of each backdoored model and of their clean
# > origin. Each line is a trigger.

# %% tags=["remove-input"]
terd.loss_findings(looked)

# %% [markdown]
# ## Is the model clean?
#
# A backdoor has to move the noise. TERD takes the divergence of the reversed shift from plain
# noise, pixel by pixel. Its mean and variance over the pixels are compared with those of models
# known to be clean. The figure has its scores beside those of two rivals. One is the norm of the
# shift alone. The other asks whether samples of the most effective shift are all alike, as in
# Elijah ([An et al., 2024](https://arxiv.org/abs/2312.00050)).

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-verdicts"}, "image": {"alt": "Panels with two columns of dots each, for clean and for backdoored models."}}
terd.verdicts(records)

# %% [markdown]
# > The score of every model by each detector, logarithmic at the ends. Clean models are scored by
# > the other clean ones; open dots are backdoors that do not work.

# %% [markdown]
# ## Is a noise triggered?
#
# With a reversed trigger, noises are told apart by a likelihood ratio ([A command in the
# noise](21_triggers.ipynb)). Three rivals need no reversion. One takes a noise's energy, one the
# distribution of its values, as in DisDet ([Sui et al., 2025](https://arxiv.org/abs/2402.02739)).
# The third asks how alike samples of perturbed copies are, as in UFID ([Guan et al.,
# 2025](https://arxiv.org/abs/2404.01101)). The table has what share of triggered noises each finds.
# The last has no published threshold; for it stands the share of pairs put in the right order.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-inputs-table"}}
terd.inputs_told(records)

# %% [markdown]
# > Share of triggered noises that are found, for each backdoored model.

# %% [markdown]
# ## What it takes
#
# A step of the reversion goes through the network and back; the second stage also goes through a sampler.

# %% tags=["remove-input"]
terd.cost_findings(study.run(profile, "reversion_cost", compute=compute))

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
terd.detection_findings(records)
