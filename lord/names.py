"""The components that numbers depend on, by name, each with the version of its numbers.

A record keeps the versions of the components that took part in it, and is finished as long as these
are the versions here. Whoever changes the numbers that a component gives raises its version; a
golden test fails until that is done. Whoever adds a component adds a line and touches no record.

Nothing here imports torch, so that plans, the command line's help and the book load at once.
"""

ATTACKS = {
    "noise": 1,
    "advdm": 1,
    "encoder": 1,
    "diffusion": 2,
    "mist": 1,
    "sds_minus": 1,
    "sds_plus": 1,
    "fsmg": 1,
    "aspl": 1,
    "simac": 1,
    "metacloak": 1,
    "ace": 1,
    "ace_plus": 1,
    "mist_v2_fused": 2,
}
"""Perturbations of training images, see `lord.attacks`; ``noise`` is the control."""

TARGETED = frozenset({"encoder", "diffusion", "mist", "ace", "ace_plus", "mist_v2_fused"})
"""The attacks that need a target."""

ATTACKERS = {"defended": 1, "closing": 1, "through_diffpure": 1, "component": 1}
"""Attackers who know the defence, see `lord.attacks.through_gate` and ``through_purifier``; the
last one knows how pictures will be edited, see `lord.attacks.components`."""

PURIFIERS = {
    "jpeg": 1,
    "blur": 1,
    "total_variation": 2,
    "adverse_cleaner": 1,
    "gaussian_noise": 1,
    "round_trip": 1,
    "diffpure": 1,
    "gridpure": 1,
    "impress": 1,
    "cat": 1,
    "pixel_diffpure": 1,
    "pixel_diffpure_ode": 1,
    "pixel_gdmp": 1,
    "pixel_gridpure": 1,
}
"""What makes images harmless before anyone trains on them, see `lord.purifiers.methods`."""

PROMPTED = {"cdl": 1}
"""What defends by prompts alone, see `lord.defences.decoupling`."""

SHAPES = ("sd15", "sdxl")
"""Models whose memory can be counted, see `lord.models.counting`."""

OPTIMIZERS = ("adamw", "adamw8bit")
"""What trains adapters, see `lord.training.loop.make_optimizer`."""

MEMORIES = ("low", "normal")
"""How much memory a model may take, see `lord.models.memory`."""

IN_PIXELS = ("pixel_diffpure", "pixel_diffpure_ode", "pixel_gdmp", "pixel_gridpure")
"""Those that use an unconditional model in pixel space."""

DEFENCES = {"lora": 1, "lord": 1}
"""Kinds of adapter that stage 1 trains, see `lord.defences.stage1`."""

LARGEST_RANK = 4096
"""Of an adapter; no layer of a supported model is wider."""

GATES = ("sample", "token", "timestep")
"""What shares one λ of LoRD, and what its gate reads, see `lord.adapter`."""

METRICS = {
    "fid": 1,
    "clip_iqa": 1,
    "identity": 1,
    "identity_similarity": 1,
    "ssim": 1,
    "denoising_loss": 1,
    "psnr": 1,
    "gates": 1,
    "edits": 1,
    "clip_score": 1,
    "inception_score": 1,
    "fid_imagenet": 1,
    "kid_imagenet": 1,
    "ms_ssim_distance": 1,
    "imagenet_identity": 1,
}
"""Measures of images and networks, see `lord.metrics`, `lord.defences.gates` and ``audit``."""

INDEPENDENT = ("fid_imagenet", "kid_imagenet", "ms_ssim_distance", "imagenet_identity")
"""Those by judges that have seen none of the damage, see `lord.metrics.independent`."""

HIGHER_IS_BETTER = ("clip_iqa", "identity", "imagenet_identity")
"""How the keys of metrics begin that are a quality; the others are a distance."""

STEPS = {
    "renderer": 1,
    "finetune": 1,
    "sampler": 1,
    "infection": 1,
    "pixel_sampler": 1,
    "labels": 1,
    "edit": 1,
    "adaptation": 1,
    "pretraining": 1,
}
"""What every chain from photographs to samples or edits goes through, in latents and in pixels;
``labels`` are those of `lord.data.classes`."""

BACKDOORS = {
    "baddiffusion": 1,
    "baddiffusion_ode": 1,
    "trojdiff_blend": 1,
    "trojdiff_patch": 1,
    "invisible": 1,
}
"""Attacks that hide a trigger in an unconditional model, see `lord.backdoors.poison`; the last one
learns its trigger, see ``invisible`` there."""

TRIGGERS = ("box", "stop_sign", "glasses", "cat", "spread")
TARGETS = ("hat", "shoe", "cup")
"""What is drawn for them, see `lord.backdoors.drawings`."""

DETECTORS = {
    "likelihood_ratio": 1,
    "reversion": 1,
    "elijah": 1,
    "energy": 1,
    "values": 1,
    "likeness": 1,
}
"""What finds triggers and backdoors, see `lord.backdoors`."""

PIXEL_PURIFIERS = {"diffpure": 1, "diffpure_ode": 1, "gdmp": 1, "gridpure": 1, "robust": 1}
"""What takes perturbations out of pictures in front of a classifier, see
`lord.purifiers.pixel_diffusion`."""

CLASSIFIERS = {"residual": 1, "attention": 1}
"""Networks that tell classes of pictures apart, see `lord.models.classifiers`."""

EVASIONS = {
    "pgd": 1,
    "bpda": 1,
    "transfer": 1,
    "apgd_ce": 1,
    "apgd_dlr": 1,
    "apgd_t": 1,
    "fab_t": 1,
    "square": 1,
    "spatial": 1,
}
"""Attacks that make a classifier err on a picture, see `lord.attacks.evasion`."""

TASKS = ("variation", "inpainting", "super-resolution", "reconstruction")
"""Kinds of editing, see `lord.editing.editors`; the last is the autoencoder alone."""

ADAPTED = ("inpainting", "super-resolution")
"""Those whose denoisers learn something beside the model, see `lord.editing.adaptation`."""

LORA_FORMATS = ("diffusers", "kohya")
"""How a LoRA can be written, see `lord.training.lora_file`."""

SCHEDULERS = ("ddim", "dpm", "euler")
"""Samplers of an edit."""

DOMAINS = ("portraits", "landscapes")
"""What is rendered, see `lord.data`."""

CLASSIFIED = {"portraits": "portraits", "landscapes": "landscapes", "faces": "portraits"}
"""Tasks of classification, each with the domain that is drawn for it, see `lord.data.classes`."""

COMPONENTS = {
    "attack": ATTACKS,
    "attacker": ATTACKERS,
    "purifier": PURIFIERS,
    "prompts": PROMPTED,
    "defence": DEFENCES,
    "metric": METRICS,
    "step": STEPS,
    "backdoor": BACKDOORS,
    "detector": DETECTORS,
    "pixel_purifier": PIXEL_PURIFIERS,
    "classifier": CLASSIFIERS,
    "evasion": EVASIONS,
}


def version_of(component: str) -> int | None:
    """The version of a component such as ``"attack:ace"``; None if there is none of that name."""
    kind, _, name = component.partition(":")
    if kind == "experiment":
        from lord.study.registry import experiments  # which imports what lists components

        found = experiments().get(name)
        return found.version if found else None
    return COMPONENTS.get(kind, {}).get(name)
