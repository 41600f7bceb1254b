"""What a LoRD adapter promises, on the U-Net of a tiny pipeline and on single layers."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from helpers import randomise
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lord.adapter import (
    LordConfig,
    activate,
    active_adapters,
    adapter_tensors,
    add_adapter,
    load_tensors,
    lord_layers,
    merge,
    record_gates,
    remove_adapter,
    remove_adapters,
    set_gate,
    unmerge,
    without_adapters,
)
from lord.models.embedded import TINY

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@pytest.fixture
def untouched(pipeline: StableDiffusionPipeline) -> UNet2DConditionModel:
    return pipeline.unet


@pytest.fixture
def unet(own_pipeline: StableDiffusionPipeline) -> UNet2DConditionModel:
    return own_pipeline.unet


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(3, 4, 16, 16, generator=generator)
    text = torch.randn(3, TINY.text_length, TINY.text_width, generator=generator)
    return latents, torch.tensor([3, 400, 900]), text


def output(unet: UNet2DConditionModel, inputs: tuple[Tensor, ...]) -> Tensor:
    return unet(*inputs, return_dict=False)[0]


def lord_config(**settings) -> LordConfig:
    return LordConfig(**({"r": 3, "lora_alpha": 6, "target_modules": TARGETS} | settings))


def lora_config() -> LoraConfig:
    return LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS)


def randomised_lord(unet: UNet2DConditionModel, **settings) -> None:
    add_adapter(unet, lord_config(**settings), "lord")
    randomise(unet, "lord")


def as_plain_lora(unet: UNet2DConditionModel, original: UNet2DConditionModel) -> nn.Module:
    """The plain LoRA (A, B) inside the LoRD adapter of ``unet``, on a copy of the original."""
    plain = copy.deepcopy(original)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=TARGETS)
    add_adapter(plain, config, "plain")
    shared = {k: v for k, v in adapter_tensors(unet, "lord").items() if ".lora_A." in k}
    shared |= {k: v for k, v in adapter_tensors(unet, "lord").items() if ".lora_B." in k}
    remove_adapters(plain)
    load_tensors(plain, config, shared, "plain", "test")
    return plain


@pytest.mark.parametrize("granularity", ["sample", "token"])
@pytest.mark.parametrize("prior", [0.5, 0.1])
@pytest.mark.parametrize("gate", ["learned", 0.0, 0.35, 1.0, -2.0])
@pytest.mark.parametrize("kind", ["linear", "linear on 2 axes", "convolution"])
def test_layer_computes_the_equation(granularity, gate, kind, prior):
    torch.manual_seed(0)
    if kind == "convolution":
        network, x = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1)), torch.randn(2, 4, 6, 6)
    else:
        network, x = nn.Sequential(nn.Linear(4, 5)), torch.randn(2, 7, 4)
        x = x[:, 0] if kind == "linear on 2 axes" else x
    config = LordConfig(r=3, lora_alpha=6, target_modules=["0"], gate=granularity, gate_hidden=4)
    inject_adapter_in_model(config, network, "lord")
    randomise(network, "lord", scale=1.0)
    set_gate(network, gate, prior)

    layer = network[0]
    branch = (6 / 3) * layer.lora_B["lord"](layer.lora_A["lord"](x))
    defence = (6 / 3) * layer.lora_defence_B["lord"](layer.lora_A["lord"](x))
    tokens = branch.movedim(1, -1) if kind == "convolution" else branch
    shape = tokens.shape[:-1]
    if granularity == "sample":
        tokens = tokens.reshape(2, -1, 5).mean(1)
    mlp = nn.Sequential(layer.lora_gate_in["lord"], nn.SiLU(), layer.lora_gate_out["lord"])
    # Bayes' rule: the odds that the input is attacked are those learned times those of the prior.
    odds = mlp(tokens).double().exp() * prior / (1 - prior)
    learned = (1 / (1 + 1 / odds)).float()
    if granularity == "sample":
        learned = learned.reshape(2, *[1] * len(shape[1:]), 1).expand(*shape, 1)
    if kind == "convolution":
        learned = learned.movedim(-1, 1)
    factor = learned if gate == "learned" else gate
    expected = layer.base_layer(x) + branch + factor * defence
    torch.testing.assert_close(network(x), expected)


def test_fresh_lord_changes_nothing_and_equals_plain_lora(unet, untouched, inputs):
    add_adapter(unet, lord_config(), "lord")
    torch.testing.assert_close(output(unet, inputs), output(untouched, inputs), rtol=0, atol=0)
    randomise(unet, "lord", only="lora_A")
    randomise(unet, "lord", only="lora_B")  # B′ is still zero
    plain = as_plain_lora(unet, untouched)
    assert (output(unet, inputs) - output(untouched, inputs)).abs().max() > 1e-3
    torch.testing.assert_close(output(unet, inputs), output(plain, inputs))


def test_closed_gate_equals_plain_lora(unet, untouched, inputs):
    randomised_lord(unet)
    plain = as_plain_lora(unet, untouched)
    assert (output(unet, inputs) - output(plain, inputs)).abs().max() > 1e-3
    set_gate(unet, 0)
    torch.testing.assert_close(output(unet, inputs), output(plain, inputs))


def test_inactive_and_removed_equal_the_base_exactly(unet, untouched, inputs):
    base = output(untouched, inputs)
    randomised_lord(unet)
    add_adapter(unet, lora_config(), "subject")
    randomise(unet, "subject")
    with without_adapters(unet):
        assert torch.equal(output(unet, inputs), base)
    assert not torch.equal(output(unet, inputs), base)
    activate(unet, [])
    assert torch.equal(output(unet, inputs), base)
    activate(unet, ["lord", "subject"])
    assert not torch.equal(output(unet, inputs), base)
    remove_adapters(unet)
    assert torch.equal(output(unet, inputs), base)
    assert unet.state_dict().keys() == untouched.state_dict().keys()
    assert active_adapters(unet) == []


def test_plain_lora_adds_to_lord_on_the_same_layers(unet, inputs):
    randomised_lord(unet)
    alone = output(unet, inputs)
    add_adapter(unet, lora_config(), "subject")
    assert active_adapters(unet) == ["lord", "subject"]
    trainable = [name for name, p in unet.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * len(lord_layers(unet))
    assert all(".subject." in name for name in trainable)
    randomise(unet, "subject")
    both = output(unet, inputs)
    activate(unet, ["subject"])
    subject = output(unet, inputs)
    assert len({t.sum().item() for t in (alone, both, subject)}) == 3
    remove_adapter(unet, "subject")
    activate(unet, ["lord"])
    torch.testing.assert_close(output(unet, inputs), alone, rtol=0, atol=0)


def test_lord_after_a_plain_lora_is_refused(unet):
    add_adapter(unet, lora_config(), "subject")
    with pytest.raises(ValueError, match="before any plain LoRA"):
        add_adapter(unet, lord_config(), "lord")
    with pytest.raises(ValueError, match="variant"):  # peft itself, not silently a plain LoRA
        inject_adapter_in_model(lord_config(), unet, "lord")


@pytest.mark.parametrize("granularity", ["sample", "token"])
def test_samples_of_a_batch_do_not_see_each_other(unet, inputs, granularity):
    randomised_lord(unet, gate=granularity)
    among_others = tuple(torch.cat((t[:1], t[1:].flip(0))) for t in inputs)
    first, again = output(unet, inputs)[0], output(unet, among_others)[0]
    assert torch.equal(first, again)


def test_gradients_reach_the_input_and_every_weight(unet, inputs):
    randomised_lord(unet)
    latents = inputs[0].clone().requires_grad_()
    output(unet, (latents, *inputs[1:])).square().mean().backward()
    assert latents.grad.isfinite().all() and latents.grad.abs().max() > 0
    for name, parameter in unet.named_parameters():
        if ".lord." in name:
            assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None and not parameter.requires_grad


@pytest.mark.parametrize(("granularity", "tokens"), [("sample", {1}), ("token", {256, 64, 40})])
def test_recorded_gates(unet, inputs, granularity, tokens):
    randomised_lord(unet, gate=granularity)
    before = output(unet, inputs)
    with record_gates(unet) as gates:
        during = output(unet, inputs)
        output(unet, inputs)
    torch.testing.assert_close(before, during, rtol=0, atol=0)
    assert gates.logits.keys() == lord_layers(unet).keys()
    assert {logits.shape[1] for passes in gates.logits.values() for logits in passes} == tokens
    per_sample = gates.per_sample()
    assert per_sample.shape == (2, len(gates.logits), 3)
    assert ((per_sample > 0) & (per_sample < 1)).all() and per_sample.std() > 0.01
    target = torch.tensor([0.0, 1.0, 1.0])
    expected = torch.stack(
        [
            nn.functional.binary_cross_entropy(logits.sigmoid(), target[:, None].expand_as(logits))
            for passes in gates.logits.values()
            for logits in passes
        ]
    ).mean()
    torch.testing.assert_close(gates.cross_entropy(target), expected)
    output(unet, inputs)
    assert all(len(passes) == 2 for passes in gates.logits.values())  # recording has ended


def test_cross_entropy_stays_finite_where_the_gate_saturates(unet, inputs):
    randomised_lord(unet)
    randomise(unet, "lord", only="gate_out", scale=1e4)
    with record_gates(unet) as gates:
        output(unet, inputs)
    assert gates.cross_entropy(torch.tensor([0.0, 1.0, 1.0])).isfinite()


def test_the_gate_learns_what_it_can_see():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8))
    inject_adapter_in_model(LordConfig(r=4, target_modules=["0"]), network, "lord")
    x, attacked = torch.randn(64, 20, 8), torch.arange(64) >= 32
    x[attacked, :, 0] += 1
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 0.02)
    for _ in range(60):
        with record_gates(network) as gates:
            network(x)
        gates.cross_entropy(attacked).backward()
        optimizer.step()
        optimizer.zero_grad()
    with record_gates(network) as gates:
        network(x)
    assert torch.equal(gates.per_sample()[0, 0] > 0.5, attacked)


@pytest.mark.parametrize("gate", [0.0, 0.7])
def test_merged_equals_the_fixed_gate_and_unmerges_exactly(unet, untouched, inputs, gate):
    randomised_lord(unet)
    add_adapter(unet, lora_config(), "subject")
    randomise(unet, "subject")
    set_gate(unet, gate)
    fixed = output(unet, inputs)
    merge(unet)
    torch.testing.assert_close(output(unet, inputs), fixed, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="unmerge"):
        set_gate(unet, 1)
    with pytest.raises(ValueError, match="merged already"):
        merge(unet)
    unmerge(unet)
    torch.testing.assert_close(output(unet, inputs), fixed, rtol=0, atol=0)
    merge(unet)
    remove_adapters(unet)
    assert torch.equal(output(unet, inputs), output(untouched, inputs))


def test_convolution_merges():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1)), torch.randn(2, 4, 6, 6)
    inject_adapter_in_model(LordConfig(r=2, target_modules=["0"]), network, "lord")
    randomise(network, "lord")
    set_gate(network, 0.4)
    fixed = network(x)
    merge(network)
    torch.testing.assert_close(network(x), fixed)


def test_a_learned_gate_does_not_merge(unet, inputs):
    randomised_lord(unet)
    before = output(unet, inputs)
    with pytest.raises(ValueError, match="learned gate cannot be merged"):
        merge(unet)
    torch.testing.assert_close(output(unet, inputs), before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="learned gate"):
        next(iter(lord_layers(unet).values())).merge()  # nor through peft's own door


@pytest.mark.parametrize("granularity", ["sample", "token"])
def test_saved_and_loaded_under_another_name(unet, untouched, inputs, granularity):
    randomised_lord(unet, gate=granularity)
    expected = output(unet, inputs)
    tensors = adapter_tensors(unet, "lord")
    assert len(tensors) == 7 * len(lord_layers(unet))
    assert not any("lord." in key for key in tensors)
    other = copy.deepcopy(untouched)
    load_tensors(other, lord_config(gate=granularity), tensors, "defence", "test")
    torch.testing.assert_close(output(other, inputs), expected, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_config_survives_its_own_file(tmp_path):
    config = lord_config(gate="token", gate_hidden=5)
    config.save_pretrained(tmp_path)
    loaded = LordConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, LordConfig) and loaded.to_dict() == config.to_dict()


@pytest.mark.parametrize("change", ["rank", "missing", "surplus"])
def test_an_adapter_of_another_model_is_refused(unet, untouched, inputs, change):
    randomised_lord(unet)
    tensors = adapter_tensors(unet, "lord")
    if change == "missing":
        tensors.pop(next(iter(tensors)))
    if change == "surplus":
        tensors["nowhere.to_q.lora_A.weight"] = torch.zeros(3, 4)
    other = copy.deepcopy(untouched)
    config = lord_config(r=4) if change == "rank" else lord_config()
    with pytest.raises(ValueError, match="source: this adapter does not belong"):
        load_tensors(other, config, tensors, "lord", "source")
    assert torch.equal(output(other, inputs), output(untouched, inputs))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_network_keeps_a_float32_adapter(untouched, inputs, dtype):
    unet = copy.deepcopy(untouched).to(dtype)
    half = tuple(t.to(dtype) if t.is_floating_point() else t for t in inputs)
    randomised_lord(unet)
    weights = [p for name, p in unet.named_parameters() if ".lord." in name]
    assert {p.dtype for p in weights} == {torch.float32}
    result = output(unet, half)
    assert result.dtype == dtype and result.isfinite().all()
    result.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in weights)
    set_gate(unet, 0.5)
    fixed = output(unet, half)
    merge(unet)
    torch.testing.assert_close(output(unet, half), fixed, rtol=0.1, atol=0.1)


def test_initialisation_depends_on_its_seed_alone(untouched):
    def start(seed: int) -> dict[str, Tensor]:
        torch.rand(1)  # the global random state differs from call to call
        unet = copy.deepcopy(untouched)
        add_adapter(unet, lord_config(), "lord", seed=seed)
        return adapter_tensors(unet, "lord")

    first, same, other = start(1), start(1), start(2)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("prior", [0, 1, -0.1, float("nan")])
def test_bad_priors_are_refused(unet, prior):
    add_adapter(unet, lord_config(), "lord")
    with pytest.raises(ValueError, match="prior"):
        set_gate(unet, "learned", prior)


@pytest.mark.parametrize("gate", ["open", None, float("nan")])
def test_bad_gates_are_refused(unet, gate):
    add_adapter(unet, lord_config(), "lord")
    with pytest.raises(ValueError, match="gate"):
        set_gate(unet, gate)


def test_bad_use_is_refused(unet):
    with pytest.raises(ValueError, match="no LoRD adapter"):
        set_gate(unet, 0.5)
    with pytest.raises(ValueError, match="gate"):
        lord_config(gate="image")
    with pytest.raises(ValueError, match="gate_hidden"):
        lord_config(gate_hidden=0)
    with pytest.raises(ValueError, match="use_dora"):
        lord_config(use_dora=True)
    add_adapter(unet, lord_config(), "lord")
    with pytest.raises(ValueError, match="already there"):
        add_adapter(unet, lord_config(), "lord")
    with pytest.raises(ValueError, match="no adapter named 'nobody'"):
        activate(unet, ["nobody"])
