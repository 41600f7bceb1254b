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
# # The ACE attack
#
# A few photographs and LoRA {cite}`hu2022lora` are enough to teach a diffusion model a new face
# {cite}`ruiz2023dreambooth`. Protective perturbations try to prevent that: they change the published
# pictures so that a model trained on them fails
# {cite}`liang2023advdm,salman2023photoguard,vanle2023antidreambooth,liang2023mist`. ACE
# {cite}`zheng2023ace` is among the strongest of them. It is called an attack here because it attacks
# the training; its users may well be the ones in the right, see {doc}`../responsible_use`. Its change is
# small in every pixel, at most 8 of 255 grey levels at the budget of the main table, but plainly visible as a
# texture.

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

records = study.run(profile, "ace", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## The objective
#
# ACE drives the U-Net's prediction, whatever the noise, to one fixed target: the latent $z_T$ of a
# high-contrast pattern.
#
# $$ L(x) = -\lVert \epsilon_\theta(z_t, t, c) - z_T \rVert^2, \qquad z_t = \sqrt{\bar\alpha_t}\, s\,\mathcal{E}(x) + \sqrt{1 - \bar\alpha_t}\, \epsilon. $$ (eq-ace)

# %% tags=["hide-input"]
show.source("lord.attacks.objectives.ace")

# %% [markdown]
# ## The loop
#
# Projected gradient ascent raises it, here on the base model alone ({doc}`07_attack_cost` has the
# surrogate of the published attack), inside a box of radius $\varepsilon$ around the original
# picture $x_0$ and inside the range of pixels:
#
# $$ x \leftarrow \Pi_{\lVert x - x_0 \rVert_\infty \le \varepsilon,\; x \in [0, 1]} \bigl( x + a \operatorname{sign} \nabla_x L(x) \bigr). $$ (eq-pgd)

# %% tags=["hide-input"]
show.source("lord.attacks.pgd.pgd_step")

# %% [markdown]
# ## What it looks like
#
# The budget is {glue:text}`ace_eps_levels:.0f` of 255 grey levels. {numref}`fig-attacked` shows
# pictures before and after, and the difference, amplified. No pixel changes by more than that, but the
# changes line up, so that they are plainly visible as a texture.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Clean pictures, the same after ACE, and their difference, amplified around grey.", "name": "fig-attacked"}, "image": {"alt": "Three rows: clean portraits and landscapes, the same under a visible tiled texture, and amplified differences with a tiled structure."}}
show.attacked_images(records)

# %% [markdown]
# To the model the change is large. Its denoising loss {eq}`eq-denoising` on these pictures is
# {glue:text}`ace_loss_clean:.3f` before and {glue:text}`ace_loss_attacked:.3f` after the attack;
# uniform noise within the same budget gives {glue:text}`ace_loss_noise:.3f`. That control has less energy than
# the attack. Its root mean square is $0.58\,\varepsilon$, as of all uniform numbers; we measured about
# $0.9\,\varepsilon$ for ACE, which drives most pixels to the bound.
#
# ## What it does to a LoRA
#
# {numref}`fig-ace-samples` compares samples of two LoRAs of the same subject, trained alike, one on
# clean and one on attacked photographs.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Photographs of a subject, samples after fine-tuning on the clean photographs, and samples after fine-tuning on the attacked ones.", "name": "fig-ace-samples"}, "image": {"alt": "Three rows: photographs of a drawn person, clean samples of that person, and samples of a LoRA trained on attacked photographs."}}
show.treatment_samples(study.run(profile, "main", compute=compute), defended=False)
