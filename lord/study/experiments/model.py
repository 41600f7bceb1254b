"""How good the model under study is."""

import torch

from lord.data.subjects import sample_domain
from lord.metrics.features import FeatureNet, recognise
from lord.models.pipeline import round_trip
from lord.models.sample import generate
from lord.seeding import derive_seed
from lord.study.bench import Bench, Outcome, psnr, rows


def measure_model(bench: Bench) -> Outcome:
    """Reconstruction quality, and whether samples show what their prompts ask for."""
    profile, pipeline = bench.profile, bench.pipeline
    sampling = profile.sampling
    networks = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    metrics = {"parameters_millions": sum(n.num_parameters() for n in networks) / 1e6}
    errors, pictures, accuracies = [], [], []
    for domain in profile.domains:
        held_out = sample_domain(domain, "evaluation", range(profile.held_out), profile.size)
        restored = round_trip(pipeline, held_out.images)
        error = (restored - held_out.images).square().mean(dim=(1, 2, 3))
        metrics[f"{domain}_psnr"] = psnr(error)
        errors.append(error)
        pictures += [held_out.images[:8], restored[:8]]
        if not isinstance(bench.instruments.features, FeatureNet):
            continue  # only our own feature network knows attributes
        seeds = [derive_seed("prompted", domain, k) for k in range(profile.held_out)]
        samples = generate(
            pipeline,
            held_out.captions,
            seeds,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
        )
        recognised = recognise(bench.instruments.features, samples, domain)
        for name, values in recognised.items():
            share = (values == held_out.attributes[name]).float().mean().item()
            metrics[f"accuracy/{domain}/{name}"] = share
            accuracies.append(share)
        pictures.append(samples[:8])
    metrics["psnr"] = psnr(torch.cat(errors))
    if accuracies:
        metrics["attribute_accuracy"] = sum(accuracies) / len(accuracies)
    return Outcome(metrics, sheet=rows(*pictures))
