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
# # Portraits and landscapes
#
# A study of fine-tuning needs many photographs of one person, and clean ones never seen in training.
# No real person's likeness is used here: every picture in this book is drawn from numbers. A
# portrait is made of an **identity** (skin, hair, beard, glasses, clothes, the shape of the face)
# and of **nuisance** (pose, light, expression, background); a landscape of a **place** and of its
# **conditions**. Hold the identity and vary the rest, and the result is an album of one person.

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
from lord.data.subjects import Subject, sample_domain

records = study.run(profile, "data", compute=compute)
show.run_card(records)

# %% tags=["remove-cell"]
show.glue_numbers(records)

# %% [markdown]
# ## Two domains
#
# Every picture comes with a caption in plain words, made from what was drawn. {numref}`fig-portraits`
# and {numref}`fig-landscapes` show different identities of the two domains.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Rendered portraits of different people, with their captions.", "name": "fig-portraits"}, "image": {"alt": "A grid of small drawn portraits that differ in skin, hair, glasses, clothes, light and background."}}
portraits = sample_domain("portraits", "train", range(8))
show.image_grid(portraits.images, captions=portraits.captions, columns=4)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Rendered landscapes of different places, with their captions.", "name": "fig-landscapes"}, "image": {"alt": "A grid of small drawn landscapes with mountains, hills, dunes and cliffs at several seasons and times of day."}}
landscapes = sample_domain("landscapes", "train", range(8))
show.image_grid(landscapes.images, captions=landscapes.captions, columns=4)

# %% [markdown]
# ## One subject, many photographs
#
# A *subject* is one identity. Its photographs for training and its clean reference pictures share
# the identity and nothing else ({numref}`fig-subject`). The identities that train the model, that
# train the defence and that are attacked and measured never overlap.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One evaluation subject: training photographs (upper row) and clean references (lower row).", "name": "fig-subject"}, "image": {"alt": "Two rows of portraits of the same drawn person with changing pose, light, expression and background."}}
person = Subject("portraits", "evaluation", 0)
show.image_rows(
    {"photographs": person.photographs(6).images, "references": person.references(6).images}
)

# %% [markdown]
# ## Fast, and the same everywhere
#
# A picture depends on its seed alone, not on the size of the batch or on its place in it. Drawing is
# batched: this machine rendered {glue:text}`data_portraits_per_second:.0f` portraits and
# {glue:text}`data_landscapes_per_second:.0f` landscapes a second.
