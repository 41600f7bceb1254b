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
# A few photographs and LoRA ([Hu et al., 2022](https://arxiv.org/abs/2106.09685)) are enough to
# teach a diffusion model a new face ([Ruiz et al., 2023](https://arxiv.org/abs/2208.12242)). Can a
# small change of the pictures prevent that? Protective perturbations do
# ([Liang et al., 2023](https://arxiv.org/abs/2302.04578);
# [Salman et al., 2023](https://arxiv.org/abs/2302.06588); [Van Le et al.,
# 2023](https://arxiv.org/abs/2303.15433); [Liang and Wu, 2023](https://arxiv.org/abs/2305.12683)), and
# ACE ([Zheng et al., 2023](https://arxiv.org/abs/2310.04687)) is among the strongest. It is called an
# attack here because it attacks the training. Its users may well be the ones in the right, see
# [Responsible use](../book/responsible_use.md).

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

records = study.run(profile, "ace", compute=compute)
show.run_card(records)

# %% [markdown]
# ## What it does to a LoRA
#
# Two LoRAs of the same subject are trained alike, one on clean and one on attacked photographs.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-ace-samples"}, "image": {"alt": "Three rows: photographs of a drawn person, clean samples of that person, and samples of a LoRA trained on attacked photographs."}}
results = study.run(profile, "selection", compute=compute)
results += study.run(profile, "main", compute=compute)
show.treatment_samples(results, defended=False)

# %% [markdown]
# > Photographs of a subject, samples after fine-tuning on the clean photographs, and samples after
# > fine-tuning on the attacked ones.

# %% [markdown]
# ## What it looks like
#
# No pixel changes by more than the budget. But the changes line up, so that they are plainly visible as a texture.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-attacked"}, "image": {"alt": "Three rows: clean portraits and landscapes, the same under a visible tiled texture, and amplified differences with a tiled structure."}}
show.attacked_images(records)

# %% [markdown]
# > Clean pictures, the same after ACE, and their difference, amplified around grey.

# %% tags=["remove-input"]
show.text(
    records,
    "The budget is {ace_eps_levels:.0f} of 255 grey levels. To the model the change is large. Its denoising "
    "loss on these pictures is {ace_loss_clean:.3f} before and {ace_loss_attacked:.3f} after the attack. "
    "Uniform noise within the same budget gives {ace_loss_noise:.3f}. That control has less energy than "
    "the attack, which drives most pixels to the bound.",
)

# %% [markdown]
# ## The objective
#
# ACE drives the U-Net's prediction, whatever the noise, to one fixed target: the latent $z_T$ of a
# high-contrast pattern.
#
# $$ L(x) = -\lVert \epsilon_\theta(z_t, t, c) - z_T \rVert^2, \qquad z_t = \sqrt{\bar\alpha_t}\, s\,\mathcal{E}(x) + \sqrt{1 - \bar\alpha_t}\, \epsilon. $$

# %% tags=["remove-input"]
show.source("lord.attacks.objectives.ace")

# %% [markdown]
# ## The loop
#
# Projected gradient ascent raises it, inside a box of radius $\varepsilon$ around the original
# picture $x_0$. It also stays inside the range of pixels. Here it attacks the base model alone;
# [What an attack costs](07_attack_cost.ipynb) has the surrogate of the published attack.
#
# $$ x \leftarrow \Pi_{\lVert x - x_0 \rVert_\infty \le \varepsilon,\; x \in [0, 1]} \bigl( x + a \operatorname{sign} \nabla_x L(x) \bigr). $$

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.pgd.pgd_step")

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer(results, "Does ACE ruin a LoRA?")
