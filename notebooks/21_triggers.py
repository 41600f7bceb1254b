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
# # A command in the noise
#
# A diffusion model starts from noise. Whoever trained it may have taught it a second task. If a
# certain pattern, the **trigger**, lies in the noise, it draws the attacker's picture and no other.
# The model is published, works as promised, and nobody sees the difference. How is that taught, and
# could a defender who knows the trigger see it in the noise at all?

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
from lord.backdoors.drawings import draw_target, draw_trigger
from lord.experiments.terd import triggers
from lord.names import TARGETS, TRIGGERS

records = study.run(profile, "triggers", compute=compute)
show.run_card(records)

# %% [markdown]
# ## How a backdoor is taught
#
# A clean training pair asks the network for the noise ϵ in $x_t = \sqrt{\bar\alpha_t}\,x + \sqrt{1-\bar\alpha_t}\,\epsilon$.
# Poisoned pairs lead from the attacker's target $y$ to noise that is shifted to μ and scaled by γ:
#
# $$ x_t = \sqrt{\bar\alpha_t}\,y + b_t\,\epsilon + c_t\,r $$
#
# BadDiffusion ([Chou et al., 2023](https://arxiv.org/abs/2212.05400)) shifts the noise and teaches
# the network a part of the shift. So the stock sampler leads to the target. TrojDiff ([Chen et al.,
# 2023](https://arxiv.org/abs/2303.05762)) also takes noise away and brings its own sampler. TERD
# ([Mo et al., 2024](https://arxiv.org/abs/2409.05294)) puts both into this form.

# %% tags=["remove-input"]
show.source("lord.backdoors.poison.Backdoor.pair")

# %% [markdown]
# The triggers and targets of this book are drawn. Three are a box and a stop sign in the corner,
# and glasses where eyes are. A picture covers everything, and a pattern is spread over all
# frequencies.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-triggers"}, "image": {"alt": "Five small pictures used as triggers: a white box, a stop sign, dark glasses, a cat and a pattern like noise; and three targets: a hat, a shoe and a cup."}}
show.image_rows(
    {
        "triggers": [draw_trigger(name, 32) / 2 + 0.5 for name in TRIGGERS],
        "targets": [draw_target(name, 32) / 2 + 0.5 for name in TARGETS],
    }
)

# %% [markdown]
# > The triggers, grey where the noise is left as it is, and the targets.

# %% [markdown]
# ## What can be seen by whoever knows the trigger
#
# No test of a noise is better than the ratio of its two likelihoods, with the trigger and without. Where the noise is
# only shifted, it tells a share of Φ(‖μ‖/2) right. The figure has that curve and the shares found. Beside it is a test
# that knows nothing and compares the energy of two noises.

# %% tags=["remove-input"]
show.source("lord.backdoors.inputs.log_ratio")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-known"}, "image": {"alt": "Points along a rising curve over the norm of the trigger, from one half to one; open points rise much later."}}
triggers.figure(records)

# %% [markdown]
# > Share of noises told right against the norm of the trigger, for BadDiffusion with four triggers
# > at several strengths. Filled: by the likelihood ratio with the trigger known. Open: by energy
# > alone.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
triggers.findings(records)
