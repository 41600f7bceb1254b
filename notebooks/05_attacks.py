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
# # Eleven attacks
#
# What does an attack drive up, and what does that do to a picture? ACE is one of a family. For each
# of its relatives this chapter has the number that it drives up. Next to it stand the few lines
# that compute it.

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

records = study.run(profile, "main", defence="none", compute=compute)
records += study.run(profile, "damage", compute=compute)
show.run_card(records)

# %% [markdown]
# ## Before and after
#
# All attacks have the budget of the main table here: the same $\varepsilon$, step and number of
# gradient steps. Uniform noise within the budget is the control. It has less energy than an attack
# that drives pixels to their bound.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-before-after"}, "image": {"alt": "Two pictures under a slider, a drawn portrait and a sample, each clean on the left and attacked on the right."}}
show.before_after(records, "portraits")

# %% [markdown]
# > Pick an attack and move the slider: a photograph, and what a LoRA draws that has learned from
# > such photographs.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the same for a landscape", "code_prompt_hide": "Hide the landscape", "figure": {"name": "fig-before-after-landscape"}, "image": {"alt": "Two pictures under a slider, a drawn landscape and a sample, each clean on the left and attacked on the right."}}
show.before_after(records, "landscapes")

# %% [markdown]
# > As above, for a landscape.

# %% [markdown]
# ## Away from the image
#
# Everything but the number is shared: the loop, the draw of timestep and noise, the pass through
# the encoder. Below, $z = s\,\mathcal{E}(x)$ is the latent of the attacked picture and $z_t$ its
# noised version. The model predicts the noise $\epsilon$ as $\epsilon_\theta$. $z_T$ is the latent
# of a target picture, here the pattern of [The ACE attack](04_ace_attack.ipynb).
#
# The plainest goal is that the picture no longer fits the model. **AdvDM** ([Liang et al., 2023](https://arxiv.org/abs/2302.04578)) raises
# the denoising loss itself, the very loss that fine-tuning lowers:
#
# $$ L_\text{AdvDM}(x) = \lVert \epsilon_\theta(z_t, t, c) - \epsilon \rVert^2. $$

# %% tags=["remove-input"]
show.source("lord.attacks.objectives.advdm")

# %% [markdown]
# Anti-DreamBooth ([Van Le et al., 2023](https://arxiv.org/abs/2303.15433)) raises the same number
# for another model. With **FSMG** that is a copy which has first learned the clean pictures. With
# **ASPL** it learns the attacked and the clean pictures in turns. So the attack meets the model as
# it will be after the fine-tuning. Here the copy learns through a LoRA, at the rate of the LoRA
# under attack.
#
# ## Towards a target
#
# A targeted attack gives every picture the same goal. PhotoGuard's **encoder** attack
# ([Salman et al., 2023](https://arxiv.org/abs/2302.06588)) leaves the U-Net alone and drives the latent to that of the target:
#
# $$ L_\text{encoder}(x) = -\lVert z - z_T \rVert^2. $$

# %% tags=["remove-input"]
show.source("lord.attacks.objectives.encoder")

# %% [markdown]
# **ACE** drives the predicted noise there instead, and **ACE+** ([Zheng et al., 2023](https://arxiv.org/abs/2310.04687)) does both:
#
# $$ L_\text{ACE+}(x) = -\lVert \epsilon_\theta(z_t, t, c) - z_T \rVert^2 - \alpha \lVert z - z_T \rVert^2. $$

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.objectives.ace_plus")

# %% [markdown]
# Here $\alpha = 100$, as in mist-v2, the code of the authors of ACE. At that weight the second term
# decides: what comes out is almost the encoder attack.
#
# That code also has a mode called fused, here **Mist v2**. It looks like ACE+ and is not. The
# encoder's term has the opposite sign, so that latents are pushed *away* from the target. The other
# term turns the prediction against the sampled noise, summed over the numbers of the latent,
#
# $$ L_\text{Mist v2}(x) = -\sum \epsilon_\theta(z_t, t, c) \cdot \epsilon + \alpha \lVert z - z_T \rVert^2. $$
#
# The first term is a sum and the second a mean. So the larger the picture, the more the first
# weighs.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.objectives.mist_v2_fused")

# %% [markdown]
# **Mist** ([Liang and Wu, 2023](https://arxiv.org/abs/2305.12683)) is AdvDM and the encoder attack at once:
#
# $$ L_\text{Mist}(x) = w\, L_\text{AdvDM}(x) + L_\text{encoder}(x). $$

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.objectives.mist")

# %% [markdown]
# ## Through the sampler
#
# PhotoGuard's **diffusion** attack ([Salman et al., 2023](https://arxiv.org/abs/2302.06588)) lets
# the model edit the picture. It is noised and denoised again in a few steps, and what comes out is
# to look like the target. The gradient passes through every step.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.objectives.edit")

# %% [markdown]
# ## Without the U-Net's gradient
#
# Score distillation ([Xue et al., 2024](https://arxiv.org/abs/2311.12832)) leaves out what is expensive. The U-Net only predicts; its error is
# sent back through the encoder alone:
#
# $$ \nabla_x L_{\text{SDS}\pm} = \pm J_{\mathcal{E}}^\top (\epsilon_\theta(z_t, t, c) - \epsilon). $$
#
# **SDS+** makes the picture less likely to the model, as AdvDM does. **SDS−** makes it *more*
# likely, which smooths it in the model's eyes; its authors recommend that one.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.objectives.sds_plus")

# %% [markdown]
# ## All of them at once

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show a portrait after every attack", "code_prompt_hide": "Hide the portrait", "figure": {"name": "fig-walk-portraits"}, "image": {"alt": "Rows of pictures, one for each attack: a portrait under a visible texture, a magnified perturbation with a texture that is typical of the attack, and generated portraits, many of them with artefacts."}}
show.attack_pictures(records, "portraits")

# %% [markdown]
# > The same portrait after each attack, and its change magnified ten times around grey. Beside
# > them: four samples of a LoRA trained on photographs attacked that way.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.visibility_findings(records)

# %% [markdown]
# [The damage matrix](06_damage.ipynb) puts numbers on what the samples show.
