"""Memory that is counted, against memory that is known, measured or recorded."""

import csv
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lord.demands import COMMANDS, peak_of
from lord.models.counting import CARD, Counter, build_shape, counted_peak
from lord.models.embedded import TINY, build_pipeline
from lord.models.memory import bring, rest, spare_memory
from lord.models.pipeline import networks

RECORD = Path(__file__).parents[2] / "book" / "memory.csv"

BUDGET = 11
"""GiB for the tensors on a card of 12, of which CUDA and the allocator take about one."""


def test_tensors_of_known_sizes_are_counted_to_the_byte():
    with Counter() as counter:
        first = torch.zeros(1000, device=CARD)
        second = first + 1
        seen = second.view(10, 100)[0]
        assert (counter.live, counter.peak) == (8000, 8000)
        del first
        assert counter.live == 4000
        del second
        assert counter.live == 4000  # the view still holds it
        del seen
        assert (counter.live, counter.peak) == (0, 8000)
        torch.zeros(10**6)  # not on the card


def unet_step(unet, device):
    """A pass forward and backward through a U-Net."""
    latents = torch.zeros(2, 4, 16, 16, device=device, requires_grad=True)
    text = torch.zeros(2, 7, unet.config.cross_attention_dim, device=device)
    unet(latents, torch.tensor([5, 6], device=device), text).sample.square().mean().backward()


def allocated(step):
    """The most bytes that a step on the CPU has allocated at a time, as torch's profiler says."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        step()
    events = measured.profiler.kineto_results.events()
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_counted_is_what_a_real_step_allocates(checkpointing):
    pipelines = []
    for device in (torch.device("cpu"), CARD):
        with device:
            pipelines.append(build_pipeline(TINY))
        pipelines[-1].unet.requires_grad_(False).eval()
        if checkpointing:
            pipelines[-1].unet.enable_gradient_checkpointing()
    real, shape = pipelines
    unet_step(real.unet, "cpu")  # the first one keeps what later ones find
    measured = allocated(lambda: unet_step(real.unet, "cpu"))
    weights = sum(w.numel() * 4 for part in networks(shape) for w in part.state_dict().values())
    counted = counted_peak(shape, lambda: unet_step(shape.unet, CARD)) - weights
    assert 0.8 < counted / measured < 1.05  # kernels need some room for themselves


def test_what_waits_on_the_cpu_comes_when_it_is_called():
    pipeline = build_shape("embedded")
    with Counter() as counter:
        for part in (pipeline.text_encoder, pipeline.vae):
            for weight in part.state_dict(keep_vars=True).values():
                counter.note(weight)
        weights = counter.live
        spare_memory(pipeline)
        assert counter.live < 100 < weights
        assert pipeline.vae.device.type == "cpu"
        with torch.inference_mode():  # as sampling does
            assert bring(pipeline.vae) == pipeline.vae.device == CARD
            assert counter.live > 100
            rest(pipeline.vae)
            assert counter.live < 100
            bring(pipeline.vae)
        pixels = torch.zeros(1, 3, 64, 64, dtype=torch.float16, device=CARD, requires_grad=True)
        pipeline.vae.encode(pixels).latent_dist.mean.sum().backward()  # not a gradient is lost


@pytest.mark.parametrize(("shape", "weights"), [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
def test_a_shape_has_the_weights_of_the_model_that_is_published(shape, weights):
    assert sum(weight.numel() for weight in build_shape(shape).unet.parameters()) == weights


def recorded():
    with RECORD.open(encoding="utf-8", newline="") as file:
        return {row.pop("command"): row for row in csv.DictReader(file)}


def test_every_command_fits_a_card_of_12_gb():
    found = recorded()
    assert found.keys() == COMMANDS.keys()
    assert all(float(row["512 px, low"]) < BUDGET for row in found.values())


def check(name):
    peak = peak_of(name, 512, low=True) / 2**30
    assert float(recorded()[name]["512 px, low"]) == pytest.approx(peak, abs=0.006)


def test_the_memory_of_fine_tuning_is_as_recorded():
    check("finetune --batch-size 8")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_memory_of_each_command_is_as_recorded(name):
    check(name)
