"""How good the model under study is."""

from collections.abc import Iterator

from lord.experiments.lord.cells import single
from lord.experiments.lord.protocol import of_renders
from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    protocol = of_renders(profile["lord"])
    if protocol is None:
        return
    names = ["domains", "held_out", "sampling"]
    components = ["step:renderer", "step:sampler", "metric:psnr", "metric:identity"]
    yield single("model", protocol, names, components, judged=True)


def measure(context: Context, cell: Cell) -> Outcome:
    """Reconstruction quality, and whether samples show what their prompts ask for."""
    import torch

    from lord.data.subjects import sample_domain
    from lord.experiments.lord.chain.model import base_pipeline, instruments_of, psnr
    from lord.metrics.features import FeatureNet, recognise
    from lord.models.pipeline import round_trip
    from lord.models.sample import generate
    from lord.seeding import derive_seed

    settings, pipeline = cell.settings, base_pipeline(context, cell.settings)
    features, sampling = instruments_of(context, settings).features, settings.sampling
    networks = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    metrics = {"parameters_millions": sum(n.num_parameters() for n in networks) / 1e6}
    errors, pictures, accuracies = [], [], []
    for domain in settings.domains:
        held_out = sample_domain(domain, "evaluation", range(settings.held_out), settings.size)
        restored = round_trip(pipeline, held_out.images)
        error = (restored - held_out.images).square().mean(dim=(1, 2, 3))
        metrics[f"{domain}_psnr"] = psnr(error)
        errors.append(error)
        pictures += [held_out.images[:8], restored[:8]]
        if not isinstance(features, FeatureNet):
            continue  # only our own feature network knows attributes
        seeds = [derive_seed("prompted", domain, k) for k in range(settings.held_out)]
        samples = generate(
            pipeline,
            held_out.captions,
            seeds,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
        )
        for name, values in recognise(features, samples, domain).items():
            share = (values == held_out.attributes[name]).float().mean().item()
            metrics[f"accuracy/{domain}/{name}"] = share
            accuracies.append(share)
        pictures.append(samples[:8])
    metrics["psnr"] = psnr(torch.cat(errors))
    if accuracies:
        metrics["attribute_accuracy"] = sum(accuracies) / len(accuracies)
    return Outcome(metrics, sheet=rows(*pictures))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {"parameters_millions": 4.2, "psnr": 30.0, "attribute_accuracy": 0.9}
    for domain, names in (("portraits", ("skin", "hair_style")), ("landscapes", ("terrain",))):
        metrics |= {f"accuracy/{domain}/{name}": 0.8 for name in names}
    return Outcome(metrics, sheet=made_up(cell.name, 6, cell.settings.size))


EXPERIMENT = Experiment(
    name="model",
    title="how good the embedded model is",
    cells=cells,
    measure=measure,
    example=example,
)
