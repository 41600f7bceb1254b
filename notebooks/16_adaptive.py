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
# Does LoRD hold against someone who knows it? Whoever perturbs photographs may have the weights of the
# stage-1 adapter, and attack the defended model instead of the base model, through the gates
# {eq}`eq-lord`. They may also take on the gates themselves, and raise
#
# $$ L(x) + \operatorname{mean}_\text{layers} \log (1 - \lambda(x)), $$ (eq-closing)
#
# the objective $L$ of their attack and the log-probability that the gates give to the photograph $x$
# being clean, so that the branch stays shut and leaves the perturbation to the LoRA.

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

records = study.run(profile, "adaptive", compute=compute)
masking = study.run(profile, "masking", compute=compute)
through = study.run(profile, "masking_diffpure", compute=compute)
compared = study.run(profile, "main", compute=compute)
show.run_card([*records, *masking, *through])

# %% tags=["hide-input"]
show.source("lord.attacks.through_gate.attack_and_close")

# %% [markdown]
# Three attackers face LoRD ({doc}`08_lord_stage1`), each with the budget and the gradient steps of the main table,
# each with ACE ({doc}`04_ace_attack`) and with AdvDM ({doc}`05_attacks`); with AdvDM they face mixed wide LoRD as
# well. Both defences are dropped before sampling, also where {doc}`10_results` reports the gate with a prior:
#
# defended
# : attacks the defended model;
#
# surrogate
# : the same in five rounds, between which a LoRA learns on top of the defence, as in stage 2; so it differs
#   from an attacker who does not know in two things, and the rounds alone were not tried;
#
# closing
# : raises {eq}`eq-closing`.
#
# Adversarial training, dropped as well, has no gates to take on, and faces the first two, who know its adapter
# as they know that of LoRD. DiffPure has no adapter, and an attacker of its own:
#
# through diffpure
# : raises the objective on what DiffPure makes of the photographs, on the base model. The gradient goes through
#   a purifier of two large steps in place of ten, so that it can be afforded {cite}`lee2023robust`.

# %% tags=["hide-cell"]
show.source("lord.attacks.through_purifier.attack_purified")

# %% [markdown]
# ## What was found
#
# {numref}`fig-adaptive` compares them with an attacker who does not know the defence (unchanged), and
# {numref}`fig-adaptive-samples` shows what the eye sees of it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Defences under attackers who know them: embedded FID (lower is better) and CLIP-IQA (higher is better), means over the subjects and bars from the lowest to the highest, adapters of stage 1 dropped before sampling. Ticks: LoRAs without a defence, on clean photographs and under the attack on the base model.", "name": "fig-adaptive"}, "image": {"alt": "Panels for each metric and domain, with a row for every attack and attacker."}}
show.ablation_figure(records, compared)

# %% tags=["hide-input"]
show.ablation_findings(records, compared)

# %% [markdown]
# In the published study the FID of LoRD and adversarial training under ACE is much the same whoever attacks. AdvDM
# gains by knowing LoRD, most where it takes on the gates as well (closing); even then at least half of the FID
# gap stays closed in the mean, though in half of the cells it is less. Of the CLIP-IQA gap of AdvDM less than
# half stays closed against closing, on landscapes against all three. The paper has no attacker of this kind.
#
# AdvDM gains by knowing adversarial training as well. Under the two attackers that both defences face,
# adversarial training then closes as much of the gaps of FID and CLIP-IQA as LoRD does or more, in the mean;
# only by the FID of landscapes against surrogate is LoRD slightly ahead. By FID, being known to AdvDM costs
# LoRD more than its rival, and its gates, which the rival has not, make it worse.
#
# Mixed wide LoRD, whose stage 1 has seen AdvDM, loses by being known to it as well: by FID in every cell, by
# CLIP-IQA in nearly every one, and on landscapes most by closing. In the mean more than half of the FID gap stays
# closed; of the CLIP-IQA gap more than half as well, but for closing on portraits, where it is slightly less. By
# CLIP-IQA on landscapes it keeps about twice as much as LoRD against every one of the three; on portraits the lead
# is by FID against closing and by CLIP-IQA against surrogate, otherwise the two are close.
#
# DiffPure loses by being known as well: in CLIP-IQA in every cell, in FID in all but one, though the mean FID of
# portraits under ACE is none the worse for it. Most of the FID gap stays closed in the mean, and more than half
# of that of CLIP-IQA, on one landscape less. Against the worst of the attackers who know a defence (three know
# LoRD and its variant, two adversarial training, one DiffPure) DiffPure has the best means in both metrics under
# AdvDM, though on landscapes that of CLIP-IQA is hardly above that of mixed wide LoRD; under ACE on landscapes
# LoRD and adversarial training are ahead of it in both, and on portraits adversarial training is by CLIP-IQA.
# With one seed of each subject all these are hints, no proof.
#
# A gap {eq}`eq-gap` here is what the attack on the base model opens without a defence; the photographs of
# attackers who know have not been tried without one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One subject of each domain behind a defence, under ACE by an attacker who does not know it (unchanged) and by others who do: left three of the photographs that the LoRA learned from, right three samples, drawn with the same seeds.", "name": "fig-adaptive-samples"}, "image": {"alt": "A row for every attacker: on the left the photographs that were learned from, on the right samples."}}
show.ablation_samples(records, compared)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Defences under attackers who know them, with the lowest and the highest subject in brackets and the share of the damage that is repaired. Highlighted: the attacker against whom a defence does worst.", "name": "fig-adaptive-table"}}
show.ablation_table(records, compared, stands_out="worst")

# %% [markdown]
# ## Are the gradients any good?
#
# A defence that only hides its gradients from the attacker is none {cite}`athalye2018obfuscated`. That would
# show: an attack on the defended model would raise its own objective there less than the attack on the
# base model does, or not above uniform noise, or no further with more steps. {numref}`fig-masking` has the
# objectives on draws of noise that the attacks have not seen. In the published study none of these signs
# shows. This is one subject of each domain, and no proof.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What each attack raises, measured on LoRD after more and more gradient steps on the defended model, on one subject of each domain; beside it the same on clean and on noisy photographs, and after the steps of the main table on the base model. Higher is better for the attacker.", "name": "fig-masking"}, "image": {"alt": "For each attack and domain a curve over the gradient steps, and three horizontal lines."}}
show.objective_curves(masking)

# %% [markdown]
# DiffPure could hide gradients as well: the attack goes through two large steps, the photographs through ten,
# and with other noise. {numref}`fig-masking-diffpure` has the objectives after the ten. In the published study
# they come out above uniform noise, and with the steps of the main table above the attack that does not look
# through the purifier. Four times as many steps raise AdvDM further, and ACE on landscapes a little; ACE on
# portraits stands still, which is the last of the signs above. So a better attack on DiffPure than this one is
# not ruled out. These are four photographs of one subject of each domain.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What each attack raises, measured on photographs that DiffPure has purified, after more and more gradient steps through the purifier, on four photographs of one subject of each domain; beside it the same on clean and on noisy photographs, and after the steps of the main table by an attacker who does not know the purifier. Higher is better for the attacker.", "name": "fig-masking-diffpure"}, "image": {"alt": "For each attack and domain a curve over the gradient steps, and three horizontal lines."}}
show.objective_curves(through, defence="diffpure")
