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
# # LoRD, stage 1: learning a defence
#
# Can an adapter learn to answer for a perturbation, so that a later LoRA need not? Low-Rank Defense
# ([Zhu and Huang, 2026](https://arxiv.org/abs/2602.10319)) puts a second branch beside each LoRA. One layer computes
#
# $$ h = W x + \tfrac{\alpha}{r} B A x + \lambda \tfrac{\alpha}{r} B' A x, \qquad \lambda = \sigma\bigl(\mathrm{MLP}(\tfrac{\alpha}{r} B A x)\bigr), $$
#
# with the frozen weight $W$, an ordinary LoRA $(A, B)$ and a defence branch $B'$ that shares $A$. A
# gate $\lambda$ decides from the ordinary branch how far the defence branch opens.

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

records = study.run(profile, "stage1", compute=compute)
show.run_card(records)

# %% tags=["remove-input"]
show.source("lord.adapter.variant.LordVariant.forward")

# %% [markdown]
# ## What it learns from
#
# Stage 1 sees pictures of identities that are never evaluated, clean and attacked with ACE. That
# attack has fewer and larger gradient steps than the one on evaluated photographs. One part of its
# loss is denoising, as in [The embedded model](02_embedded_model.ipynb). The other is a binary
# cross-entropy that pulls $\lambda$ to 0 on clean and to 1 on attacked pictures. On clean latents
# the denoising target is what the base model itself predicts. That is meant to keep the adapter
# from drifting. [What does what?](14_parts.ipynb) tries the paper's plain noise target instead.
#
# Four defences are trained:
#
# - **LoRD**: the paper's, but for that target, on the queries, keys, values and outputs of every attention;
# - **wide LoRD**: a variant of this study, of twice the rank. It is on the feed-forward layers and
#   the convolutions of the residual blocks as well. What the frozen adapter cannot predict about
#   attacked pictures is left for the LoRA to learn. So an adapter that predicts more of it may
#   defend better. [Results](10_results.ipynb) and [Does it hold elsewhere?](15_transfer.ipynb)
#   measure whether it does;
# - **mixed wide LoRD**: the same, but with every other picture attacked with AdvDM ([Eleven attacks](05_attacks.ipynb)) instead;
# - **adversarial training**, the rival: a plain LoRA of LoRD's rank and layers, without second
#   branch and gate. It learns to denoise clean pictures and pictures attacked in two large steps of
#   PGD ([Madry et al., 2018](https://arxiv.org/abs/1706.06083)) on the objective of ACE.
#
# The lower the solid line in the next figure, the more the adapter explains of the attacked
# pictures.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-stage1-loss"}, "image": {"alt": "Two rows of training curves over steps, for each domain, one line for each defence."}}
show.training_curves(records)

# %% [markdown]
# > Stage 1: denoising loss on clean and attacked pictures, and cross-entropy of the gates. The
# > clean loss of LoRD is the distance to the base model. That of adversarial training includes the
# > noise that no model can predict; its attacked pictures are others.

# %% [markdown]
# ## What the gate can and cannot know
#
# At low noise levels an attacked latent can be told from a clean one. At high levels the noise
# hides the perturbation, and no gate can. So $\lambda$ is looked at against the noise level, on
# pictures that stage 1 has not seen. During sampling there is no attacked input at all. So what to
# do with $\lambda$ at test time is a question of its own. The next chapters measure the answers,
# and [Can an attacked picture be told?](11_audit.ipynb) looks at every layer.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-gate"}, "image": {"alt": "Two curves of the gate value over timesteps, far apart at low noise and close together at high noise."}}
show.gate_by_timestep(records)

# %% [markdown]
# > The gate λ on clean and attacked pictures against the timestep; lines are means, bands the
# > middle half.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.text(
    records,
    "Stage 1 sees {stage1_images} pictures. Thresholded at one half, gates are right in "
    "{stage1_gate_accuracy:.0%} of the cases. That is a mean over all noise levels and over the defences "
    "that have gates.",
)
