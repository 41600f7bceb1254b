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
# # Does purification hold?
#
# A classifier errs on an attacked picture. A diffusion model that has never seen the attack may wash it off first,
# without anybody training the classifier anew. [Lin et al., 2024](https://arxiv.org/abs/2403.16067) guide that washing
# by a network that was trained adversarially. They report more than DiffPure ([Nie et al.,
# 2022](https://arxiv.org/abs/2205.07460)) keeps. A later version of theirs calls it an adversarial guided diffusion
# model. Does either hold when the attacker takes the gradient through all of it?

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
from lord.show import purification
from lord.show.purification_findings import blind, findings, noise_known

classifiers = study.run(profile, "classifiers", compute=compute)
records = study.run(profile, "purification_attacks", compute=compute)
show.run_card([*classifiers, *records])

# %% [markdown]
# ## How a picture is purified
#
# It is noised to a time $t^*$ and denoised again, by the unconditional model of [the
# backdoors](22_backdoors.ipynb). Behind it stands a classifier of ten kinds of portrait:
#
# $$
# \begin{aligned}
# x_{t^*} &= \sqrt{\bar\alpha_{t^*}}\,x+\sqrt{1-\bar\alpha_{t^*}}\,\epsilon,\\
# x_s &= \sqrt{\bar\alpha_s}\,\hat x_0+\sqrt{1-\bar\alpha_s-\sigma^2}\,\tilde\epsilon+\sigma z,\qquad
# \hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\,\tilde\epsilon}{\sqrt{\bar\alpha_t}}
# \end{aligned}
# $$

# %% tags=["remove-input"]
show.source("lord.models.pixel.noise_and_denoise")

# %% [markdown]
# DiffPure takes the noise that the model predicts for $\tilde\epsilon$. The robust reverse process
# adds the gradient of two terms of an adversarially trained network with features $c$. One is how
# far the features of $x_t$ are from those of the attacked picture $y$. The other is what it expects
# of $y$. What is added may be no longer than the prediction itself:
#
# $$
# \tilde\epsilon=\epsilon_\theta(x_t,t)+\sqrt{1-\bar\alpha_t}\;s\,\nabla_{x_t}\Big[D\big(c(x_t),c(y)\big)-\sum_k p(k|y)\log p(k|x_t)\Big]
# $$

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.purifiers.pixel_diffusion._guidance")

# %% [markdown]
# What becomes of a picture on its way is shown in [the next chapter](31_purification_parts.ipynb).
#
# ## What is left
#
# The classifiers alone:

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-classifiers-table"}}
purification.classifier_table(classifiers)

# %% [markdown]
# > Classifiers without a purifier.

# %% [markdown]
# The attacker knows everything but the noise that the defender will draw. Gradients go exactly through every step of the
# purifier, guidance included, and average several purifications ([Athalye et al., 2018](https://arxiv.org/abs/1802.00420); [Lee and Kim, 2023](https://arxiv.org/abs/2303.09051)); attacks
# without gradients follow. A picture counts as right if every one of several fresh purifications is, since an attacker may
# try again. Whatever an attack leaves meets the next one.
# Purifiers take few steps here, so that such gradients can be afforded.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what purifying takes", "code_prompt_hide": "Hide what purifying takes"}
purification.costs(study.run(profile, "purification_cost", compute=compute))

# %% [markdown]
# Purifiers are often judged by cheaper attacks, and by one purification or the vote of several. What that hides:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-attack-by-attack"}, "image": {"alt": "Two panels, each with a falling line for each purifier and a dashed level for adversarial training."}}
purification.attack_by_attack(records)

# %% [markdown]
# > Share right behind each purifier after each attack and those before it, with exact intervals of 95 %. Dashed: what the
# > best classifier that was trained adversarially keeps after all its attacks.

# %% [markdown]
# In the published study the robust process beats adversarial training by vote while attacks take
# the purifier for the identity. It keeps less once gradients go exactly through it. At 8/255 that
# shows only once twenty purifications are in a gradient.
#
# For 8/255 the classifiers were trained anew. Without attack they differ by a few pictures.

# %% tags=["remove-input"]
blind(records)

# %% [markdown]
# If the noise is always the same for a picture, and known, nothing is left to average:

# %% tags=["remove-input"]
noise_known(records)

# %% [markdown]
# Would dearer attacks find more? On some of the pictures they go on where those end. They are PGD of
# 200 steps and 20 purifications in each gradient, and AutoAttack for randomised defences ([Croce and
# Hein, 2020](https://arxiv.org/abs/2003.01690)).

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what dearer attacks find", "code_prompt_hide": "Hide what dearer attacks find"}
purification.converged([*records, *study.run(profile, "purification_converged", compute=compute)])

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show every defence before and after", "code_prompt_hide": "Hide every defence before and after", "figure": {"name": "fig-left"}, "image": {"alt": "For each threat a panel with two dots for every defence: an open one near 1, and a filled one far to the left of it."}}
purification.accuracies(records)

# %% [markdown]
# > Share of test pictures that are right in each of several purifications, before any attack and
# > after all. The intervals of 95 % are exact.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-steps-table"}}
purification.steps_table(records)

# %% [markdown]
# > What each attack leaves of what those before it have left.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer(
    records,
    "Does guided purification keep more than DiffPure?",
    "Does purification beat adversarial training?",
)

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what each defence keeps", "code_prompt_hide": "Hide what each defence keeps"}
findings(records)
