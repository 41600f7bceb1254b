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
# # LoRD, stage 2: fine-tuning behind the defence
#
# Does a LoRA stay clean behind the defence, and what becomes of the defence once it has learned? In stage 2 the
# stage-1 adapter is loaded and frozen, and an ordinary LoRA is trained on the photographs of a subject,
# attacked or not, with the plain denoising loss {eq}`eq-denoising`. The hope: the frozen defence branch absorbs
# the perturbation, so the new LoRA need not learn it.

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

chosen_on = study.run(profile, "selection", compute=compute)
records = chosen_on + study.run(profile, "main", compute=compute)
records += study.run(profile, "scale", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% tags=["hide-input"]
show.source("lord.defences.treatments.apply_treatment")

# %% [markdown]
# ## One subject, with and without
#
# {numref}`fig-stage2-samples` shows samples of the same subject under the conditions of the study.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One subject of each domain: photographs, and samples of a LoRA trained on clean photographs, of a LoRA trained on attacked ones, and of LoRD trained on attacked ones.", "name": "fig-stage2-samples"}, "image": {"alt": "Rows of generated pictures of one subject, one row for each training condition."}}
show.treatment_samples(records)

# %% [markdown]
# ## What to do with the gate at test time
#
# The gate reads its input, so no single static merge reproduces it. Possible treatments are:
#
# learned
# : the gate computes $\lambda$ at every layer and step, as in {eq}`eq-lord`;
#
# learned λ with a prior
# : stage 1 showed the gate as many attacked as clean inputs, so an input that tells it nothing gets
#   $\lambda = ½$. If one input in a hundred is attacked, Bayes' rule shifts the logit
#   {cite}`saerens2002priors`: $\lambda = \sigma(\mathrm{MLP}(\cdot) + \log \tfrac{p}{1-p})$, and that
#   input gets $p$;
#
# fixed λ
# : $\lambda$ is a number; 0 closes the defence branch and keeps the ordinary one, 1 opens it fully, and
#   equals merging the weights of both branches into $W$, as the paper describes, which names no $\lambda$
#   (in the published study {numref}`fig-treatments` has both for LoRD, {doc}`13_lambda` more);
#
# dropped
# : the stage-1 adapter is removed before sampling, both branches.
#
# {numref}`fig-selection-table` compares some of them on further stage-1 identities, which neither stage 1 has
# learned from nor the results evaluate. These decide which treatment the
# results report; the subjects that are evaluated have no say in it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test-time treatments of the gate on stage-1 identities whose photographs were attacked. The best embedded FID chooses among these. With two identities the intervals are no more than the lowest and the highest.", "name": "fig-selection-table"}}
show.treatment_table(records, "selection")

# %% [markdown]
# Why an open branch may bring the attack back: in stage 2 the branch stands in for the perturbation,
# so that the LoRA need not learn it. Where the branch stays open while sampling, the model predicts
# as it did on attacked photographs, and the perturbation returns. {doc}`13_lambda` takes $\lambda$ of stage 2
# and $\lambda$ of sampling apart, and asks why the learned gate does not close by itself.
#
# {numref}`fig-treatments` shows how the choice does on the evaluated subjects. In the published study LoRD with the
# learned $\lambda$ closes nothing of the FID gap that ACE opens, in either domain, and $\lambda = 1$, the paper's
# merge, makes it wider. With the prior or dropped LoRD closes most of it, on portraits and on landscapes, and the
# two are close. So whether LoRD defends is decided by what is done after the training, of which the paper says no
# more than that the weights are merged. Where later chapters change something about LoRD, the adapter is dropped.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Embedded FID (lower is better) and embedded CLIP-IQA (higher is better) of test-time treatments of the gate on the evaluated subjects, with 95 % intervals; filled: the treatment chosen on stage-1 identities.", "name": "fig-treatments"}, "image": {"alt": "Panels for each metric and domain, with a point and an error bar for each treatment."}}
show.treatment_comparison(records)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test-time treatments of the gate on the evaluated subjects, with 95 % intervals over subjects and seeds.", "name": "fig-treatment-table"}}
show.treatment_table(records)
