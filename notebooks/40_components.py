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
# # Which part breaks
#
# A latent diffusion model is an encoder, a denoiser of many blocks, and a decoder. An attack spoils
# the edit of a picture. But where? [Zhang et al., 2023](https://arxiv.org/abs/2306.08257) attack
# one part at a time. They find the denoiser weak, and its residual blocks weakest.

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
from lord.show import components
from lord.show.architecture import architecture

records = study.run(profile, "component_damage", compute=compute)
edited = [record for record in records if record.settings["task"] == "variation"]
show.run_card(records)

# %% [markdown]
# ## One part at a time
#
# The attack has one aim. The modules $f_k$ of a part shall put out something far from what they do
# for the clean picture. All their calls $k$ count while the model edits it:
#
# $$
# \max_{\lVert x'-x\rVert_\infty\le\varepsilon}\ \sum_k \operatorname{mean}\,\lVert f_k(x')-f_k(x)\rVert^2 .
# $$

# %% tags=["remove-input"]
show.source("lord.attacks.components.Reference.distances")

# %% [markdown]
# Damage is measured at the end, on the edits. How far is the edit of the attacked picture from that of the clean one?
# Any change of a picture changes its edit. So each attack is compared with noise of the same energy, picture by
# picture. The attack's *lead* is how many dB of PSNR the edit loses beyond that.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-components"}, "image": {"alt": "The model as a row of boxes, encoder to decoder, the blocks of the denoiser as high as their resolution; darker boxes break more."}}
architecture(records)

# %% [markdown]
# > The embedded model, each part coloured by the lead of an attack on it over noise of the same
# > energy. Hatched: that may be nothing.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-component-edits"}, "image": {"alt": "Rows of small pictures: edits of clean pictures, of attacked ones, and of noisy ones."}}
components.edits(edited)

# %% [markdown]
# > Edits of clean, attacked and noisy pictures, under the attack on the part that breaks most.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-components-table"}}
components.damage_table(edited)

# %% [markdown]
# > Edits under an attack on each part, in numbers.

# %% [markdown]
# ## Is it the encoder?
#
# Newer work has it that attacks on latent models work through the encoder. The figure takes the
# encoder away by degrees. First comes an attack on it alone. The next goes for residual blocks of
# the denoiser, through the encoder. Then the encoder's part of the gradient is cut. Another attack
# changes the latents themselves. The last faces a model in pixels, which has no encoder.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-variants"}, "image": {"alt": "Dots with bars for each way of attacking, a panel for each domain, and a dotted line at no lead."}}
ways = study.run(profile, "encoder_or_denoiser", compute=compute)
components.variants(ways)

# %% [markdown]
# > The lead over noise of the same energy, with intervals of 95 %. Attacks go through the encoder, the denoiser, or
# > both.

# %% tags=["remove-input"]
components.variant_findings(ways)

# %% [markdown]
# ## What it takes
#
# A step goes through the model as far as the component, for every step of the sampler, and back. The clean run is not
# computed again.

# %% tags=["remove-input"]
components.cost_findings(study.run(profile, "component_cost", compute=compute))

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
components.damage_findings(edited)
