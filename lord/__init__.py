"""Low-Rank Defense, a reproducible study.

The whole chain in a few lines; every name is found in its module only when it is first used, so
that importing the package stays fast.

    pipeline, album = load_pipeline(), load_folder("album", size=64)
    attacked = attack(pipeline, album.images, album.captions, AttackSettings(), range(len(album)))
    for defence in (None, "defence"):  # without, and with what train_defence has saved there
        fine_tune(pipeline, attacked, album.captions, defence=defence)
        if defence:
            apply_treatment(pipeline, "dropped")
        print(evaluate(pipeline, generate(pipeline, "a photo of sks dog", range(48)), album.images))
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "AttackSettings": "lord.attacks.settings",
    "FinetuneSettings": "lord.training.settings",
    "Stage1Settings": "lord.defences.settings",
    "Subject": "lord.data.subjects",
    "apply_treatment": "lord.defences.treatments",
    "attack": "lord.attacks.pgd",
    "evaluate": "lord.api",
    "fine_tune": "lord.api",
    "generate": "lord.models.sample",
    "load_dataset": "lord.data.dataset",
    "load_defence": "lord.defences.saved",
    "load_folder": "lord.data.folder",
    "load_lora": "lord.training.lora_file",
    "load_pipeline": "lord.models.pipeline",
    "purify": "lord.purifiers.methods",
    "sample_domain": "lord.data.subjects",
    "save_defence": "lord.defences.saved",
    "save_images": "lord.data.folder",
    "save_lora": "lord.training.lora_file",
    "train_defence": "lord.defences.stage1",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
