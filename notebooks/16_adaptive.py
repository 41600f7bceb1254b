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
# # An attacker who knows
#
# Does LoRD hold against someone who knows it? Whoever perturbs photographs may have the stage-1 adapter, and attack
# the defended model through its gates. They may also take on the gates themselves, and raise
#
# $$ L(x) + \operatorname{mean}_\text{layers} \log (1 - \lambda(x)), $$
#
# the objective $L$ of their attack, and the log-probability that the gates give to the photograph
# $x$ being clean. So the branch stays shut and leaves the perturbation to the LoRA.

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

records = study.run(profile, "adaptive", compute=compute)
masking = study.run(profile, "masking", compute=compute)
through = study.run(profile, "masking_diffpure", compute=compute)
compared = study.run(profile, "main", compute=compute)
chosen_on = study.run(profile, "selection", compute=compute)
show.run_card([*records, *masking, *through])

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
show.source("lord.attacks.through_gate.attack_and_close")

# %% [markdown]
# Three attackers face LoRD, each with the budget and gradient steps of the main table, with ACE and
# AdvDM. With AdvDM they face mixed wide LoRD as well. Both are dropped before sampling:
#
# - **defended**: attacks the defended model;
# - **surrogate**: the same in five rounds, between which a LoRA learns on top of the defence, as in
#   stage 2. So two things are new at once, and the rounds alone were not tried;
# - **closing**: raises the sum above.
#
# Adversarial training, dropped as well, has no gates to take on, and faces the first two. DiffPure has no adapter, and
# an attacker of its own:
#
# - **through diffpure**: raises the objective on what DiffPure makes of the photographs, on the base model. The gradient
#   goes through a purifier of two large steps in place of ten, so that it can be afforded
#   ([Lee and Kim, 2023](https://arxiv.org/abs/2303.09051)).

# %% tags=["hide-cell"]
show.source("lord.attacks.through_purifier.attack_purified")

# %% [markdown]
# ## What they undo
#
# Each is compared with an attacker who does not know the defence (unchanged).

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-adaptive"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and attacker."}}
show.ablation_figure(records, compared)

# %% [markdown]
# > Defences under attackers who know them, adapters of stage 1 dropped before sampling. Dots are
# > means over the subjects, bars go from the lowest to the highest. Ticks: LoRAs without a defence,
# > on clean photographs and under the attack on the base model.

# %% [markdown]
# In the published study AdvDM gains by knowing any of these defences. In the mean each then closes less of both gaps,
# in both domains. LoRD suffers most from closing. Under AdvDM at least half of the FID gap then stays closed in the
# mean. Less than half of the quality gap does. Under ACE LoRD and adversarial training keep more than four fifths of
# the FID gap closed, whoever attacks. DiffPure keeps more than three quarters of the FID gap closed, and more than half
# of the quality gap.
#
# With one seed of each subject all these are hints, no proof. A gap here is what the attack on the
# base model opens without a defence. The photographs of attackers who know have not been tried
# without one. The paper has no attacker of this kind.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table", "figure": {"name": "fig-adaptive-table"}}
show.ablation_table(records, compared, stands_out="worst")

# %% [markdown]
# > Defences under attackers who know them, and the share of the damage repaired. In brackets: the
# > lowest and the highest subject. Highlighted: the attacker against whom a defence does worst.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show what the eye sees of it", "code_prompt_hide": "Hide the pictures", "figure": {"name": "fig-adaptive-samples"}, "image": {"alt": "A row for every attacker: on the left the photographs that were learned from, on the right samples."}}
show.ablation_samples(records, compared)

# %% [markdown]
# > One subject of each domain behind a defence. The attackers use ACE; one does not know it
# > (unchanged), others do. Left: three of the photographs that the LoRA learned from. Right: three
# > samples, drawn with the same seeds.

# %% [markdown]
# ## Are the gradients any good?
#
# A defence that only hides its gradients from the attacker is none ([Athalye et al.,
# 2018](https://arxiv.org/abs/1802.00420)). That would show. An attack on the defended model would
# then raise its objective less than the attack on the base model does. Or it would raise it no more
# than uniform noise does, or no further with more steps. DiffPure could hide gradients as well. The
# attack goes through two large steps, the photographs through ten, and with other noise. So the
# objectives are measured on noise that the attacks have not seen, on one subject of each domain.
#
# In the published study none of these signs shows for LoRD. For DiffPure one does: four times as many steps against it do
# not raise ACE on portraits any further. So a better attack on DiffPure than this one is not ruled out.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the objectives of attacks on LoRD", "code_prompt_hide": "Hide the objectives of attacks on LoRD", "figure": {"name": "fig-masking"}, "image": {"alt": "For each attack and domain a curve over the gradient steps, and three horizontal lines."}}
show.objective_curves(masking)

# %% [markdown]
# > What each attack raises on LoRD, after more and more gradient steps, on one subject of each
# > domain. Horizontal lines: the same on clean and on noisy photographs, and after an attack on the
# > base model. Higher is better for the attacker.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the objectives of attacks through DiffPure", "code_prompt_hide": "Hide the objectives of attacks through DiffPure", "figure": {"name": "fig-masking-diffpure"}, "image": {"alt": "For each attack and domain a curve over the gradient steps, and three horizontal lines."}}
show.objective_curves(through, defence="diffpure")

# %% [markdown]
# > What each attack raises on what DiffPure makes of four photographs of one subject of each
# > domain. Its gradient steps through the purifier grow in number to the right. Horizontal lines:
# > the same on clean and on noisy photographs, and after an attack that does not know the purifier.
# > Higher is better for the attacker.

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
show.answer([*records, *compared, *chosen_on], "Does it hold against an attacker who knows it?")
