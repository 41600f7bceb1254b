"""Bad inputs: a good command with one thing broken, drawn at random for each category."""

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import typer
import yaml
from campaign.world import COMMANDS, replace_text
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from lord.cli import app
from lord.cli.manifest import FILE


@dataclass(frozen=True)
class Trial:
    """A command in a copied world, in which something is broken first.

    Attributes:
        says: one of these has to be in the message.
        works: nothing is wrong; the command has to come to its end.
        file_size: bytes that a file may have, as if the disk were full.
        held: a folder in which another command is writing.
    """

    command: str
    what: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda folder: None
    works: bool = False
    file_size: int | None = None
    held: str | None = None


# Numbers.

NO_NUMBER = ("nan", "inf", "-inf", "1e400", "1/0", "²")
COUNTS = {
    "count",
    "steps",
    "rank",
    "identities",
    "size",
    "rounds",
    "draws",
    "factor",
    "class_count",
}
"""Of these a huge number is none that anybody means."""

DRIVING = {"learning_rate", "guidance_scale", "alpha", "prior_weight", "lora_scale"}
"""So are these, which multiply."""

ANY_SIGN = {"lora_scale"}

TREATMENTS = ("lambda=1e300", "lambda=nan", "lambda=inf", "lambda=", "prior=2", "prior=0")
TREATMENTS += ("prior=-1", "prior=nan", "merged=inf", "merged=abc", "none", "lambda")


@cache
def parameters(command: str) -> tuple[Any, ...]:
    """The arguments and options of a command."""
    found = typer.main.get_command(app)
    for word in COMMANDS[command]:
        if not hasattr(found, "commands"):
            break
        found = found.commands[word]
    return tuple(found.params)


def number(parameter: Any) -> type | None:
    """Whether an option takes one number: its type, int or float."""
    kind = parameter.type_descriptor.annotation
    return kind if parameter.opts[0].startswith("--") and kind in (int, float) else None


def with_option(command: str, option: str, value: str) -> tuple[str, ...]:
    """The arguments of a command with an option, whatever they say of it already."""
    kept: list[str] = []
    words = iter(COMMANDS[command])
    for word in words:
        if word == option:
            next(words)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return (*kept, f"{option}={value}")


def bad_numbers() -> Iterator[Trial]:
    for command in COMMANDS:
        for parameter in parameters(command):
            kind = number(parameter)
            if kind is None:
                continue
            name, option = parameter.name, parameter.opts[0]
            values = [*NO_NUMBER, *(["1.5"] if kind is int else [])]
            values += ["-1"] if "seed" not in name and name not in ANY_SIGN else []
            if name in COUNTS or name in ("attack_steps", "refine_steps", "sampler_steps"):
                values += ["100000000000", "9" * 400]
            if name in DRIVING:
                values += ["1e300"]
            if "seed" in name:
                values += ["9" * 20, "9" * 400]
            for value in values:
                yield Trial(
                    command,
                    f"{option}={value[:20]}",
                    with_option(command, option, value),
                    (option, name, name.removeprefix("attack_")),
                )
    for value in TREATMENTS:
        arguments = with_option("generate", "--treatment", value)
        yield Trial("generate", f"--treatment={value}", arguments, ("--treatment", value))


# Paths.

LONG = "x" * 300


def paths(command: str) -> Iterator[tuple[str, str]]:
    """What of a command is a path: its place among the words, and whether it is written to."""
    for word in COMMANDS[command]:
        if word.startswith("out/"):
            yield word, "out"
        elif word in ("album", "other", "defence", "model/embedded") or word.startswith("pixel"):
            yield word, "folder"
        elif word.endswith((".safetensors", ".yaml")):
            yield word, "file"


def bad_paths() -> Iterator[Trial]:
    for command, words in COMMANDS.items():
        for word, kind in paths(command):
            ending = Path(word).suffix
            values = {"a.png/inside" + ending, LONG + ending, "loop/x" + ending, "a\0b" + ending}
            if kind == "out":
                values |= {"/proc/nothing/x" + ending, "dangling/x/" + LONG + ending}
                values |= {"album"} if ending else {"a.png"}
                values |= {"/dev/full/x" + ending}
            else:
                values |= {"nowhere" + ending, "loop" + ending, "/dev/null" + ending, "empty"}
                values |= {"album"} if kind == "file" else {"a.png"}
            if command.startswith("study"):  # these are no paths there, but names
                values = {value for value in values if value.endswith(ending) and ending}
            for value in sorted(values):
                arguments = tuple(value if w == word else w for w in words)
                # The end of a path that is too long for a message, or what is told of its options.
                says = (value.replace("\0", "\\x00")[:60], "null" if "\0" in value else value[:60])
                yield Trial(command, f"{word} is {value[:30]!r}", arguments, says, odd_places)


def odd_places(folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    for ending in ("", ".safetensors", ".yaml"):
        (folder / f"loop{ending}").symlink_to(folder / f"loop{ending}")
    (folder / "dangling").symlink_to(folder / "not" / "there")
    (folder / "empty").mkdir()


# Models and adapters.

TEXTS = ("", "{}", "null", "[]", "not json", '{"a": ', '"text"', "3", b"\xff\xfe\x00")
VALUES = (None, "abc", -1, 10**9, [], {}, math.nan)
FIELDS = {
    "model/embedded/model_index.json": ("_class_name", "unet", "vae", "scheduler", "tokenizer"),
    "model/embedded/unet/config.json": (
        *("sample_size", "in_channels", "block_out_channels", "cross_attention_dim"),
        *("layers_per_block", "down_block_types", "norm_num_groups"),
    ),
    "model/embedded/vae/config.json": (
        *("latent_channels", "block_out_channels", "layers_per_block", "down_block_types"),
        *("scaling_factor", "norm_num_groups"),
    ),
    "model/embedded/scheduler/scheduler_config.json": (
        *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type"),
    ),
    "model/embedded/tokenizer/tokenizer_config.json": ("model_max_length",),
    "model/embedded/text_encoder/config.json": ("hidden_size", "vocab_size", "num_hidden_layers"),
    "pixel0/model_index.json": ("_class_name", "unet", "scheduler"),
    "pixel0/unet/config.json": ("sample_size", "in_channels", "block_out_channels"),
    "pixel0/scheduler/scheduler_config.json": ("num_train_timesteps", "beta_start", "beta_end"),
    "model/features/config.json": ("kinds", "attributes", "image_size", "width"),
    "model/clip/config.json": (),
    "defence/adapter_config.json": (
        *("r", "lora_alpha", "target_modules", "gate", "gate_hidden", "fixed_gate"),
    ),
    "defence/audit.json": ("slope", "intercept"),
}
UNUSED = {
    "model/embedded/scheduler/scheduler_config.json",
    "model/embedded/tokenizer/tokenizer_config.json",
    "pixel0/scheduler/scheduler_config.json",
}
"""What these say is nothing to a list of components."""
HARMLESS = {
    ("fixed_gate", "None"),
    ("fixed_gate", "-1"),
    ("slope", "-1"),
    ("intercept", "-1"),
}
"""Values that may be: a gate fixed to any number, and any curve of a calibration."""
TENSORS = {
    "model/embedded/unet/diffusion_pytorch_model.safetensors": "conv_in.weight",
    "model/embedded/vae/diffusion_pytorch_model.safetensors": "decoder.conv_in.weight",
    "model/embedded/text_encoder/model.safetensors": "final_layer_norm.weight",
    "pixel0/unet/diffusion_pytorch_model.safetensors": "conv_in.weight",
    "model/features/model.safetensors": "project.weight",
    "model/clip/model.safetensors": "logit_scale",
    "defence/adapter_model.safetensors": "lora_B",
    "lora.safetensors": "lora_B",
    "trigger.safetensors": "mu",
    "noises.safetensors": "noises",
}
HARM = ("nan", "inf", "1e30", "shape", "missing", "truncated", "empty", "garbage", "gone")
USERS = {
    "model": (
        *("attack", "purify", "finetune", "generate", "components", "defend", "audit", "evaluate"),
        "pretrain editing",
    ),
    "model/features": ("evaluate",),
    "model/clip": ("evaluate",),
    "pixel0": ("backdoor scan", "purify pixel", "components pixel"),
    "defence": ("audit", "finetune", "generate"),
    "lora.safetensors": ("generate",),
    "trigger.safetensors": ("backdoor inputs",),
    "noises.safetensors": ("backdoor inputs",),
}


def broken_files(adapters: bool) -> Iterator[Trial]:
    """Models, or adapters and other files of numbers, with one thing wrong."""

    def trial(path: str, what: str, prepare: Callable[[Path], None], says: str = "") -> list[Trial]:
        first = path.split("/")[0]
        first = next((judge for judge in ("model/features", "model/clip") if judge in path), first)
        users = USERS[first] if not path.endswith("audit.json") else ("audit",)
        harmless = ("=" in what and path in UNUSED) or ("tokenizer" in path and what == "'{}'")
        if harmless or what == "sample_size=None":
            users = [user for user in users if not user.startswith("components")]
        says = (first if first != "model" else "model/embedded", says or first)
        return [Trial(c, f"{path}: {what}", COMMANDS[c], says, prepare) for c in users]

    for path, fields in FIELDS.items():
        if path.startswith("defence") != adapters:
            continue
        for text in TEXTS:
            yield from trial(path, repr(text), lambda f, p=path, t=text: replace_text(f / p, t))
        for field in fields:
            for value in VALUES:
                if (field, str(value)) not in HARMLESS:
                    change = f"{field}={value!r}"
                    yield from trial(
                        path,
                        change,
                        lambda f, p=path, k=field, v=value: set_field(f / p, k, v),
                        field,
                    )
    for path, tensor in TENSORS.items():
        if path.startswith(("model", "pixel")) == adapters:
            continue
        for harm in HARM:
            yield from trial(
                path, harm, lambda f, p=path, t=tensor, h=harm: harm_tensors(f / p, t, h)
            )
    if adapters:
        for field in ("r", "lora_alpha", "target_modules"):
            for value in VALUES:
                yield from trial(
                    "lora.safetensors",
                    f"metadata {field}={value!r}",
                    lambda f, k=field, v=value: set_metadata(f / "lora.safetensors", k, v),
                )
        for value in ("somebody/model", "https://example.com", "../x", None):
            prepare = lambda f, v=value: set_field(  # noqa: E731
                f / "defence/adapter_config.json", "base_model_name_or_path", v
            )
            for user in USERS["defence"]:
                what = f"base_model_name_or_path={value}"
                yield Trial(user, what, COMMANDS[user], (), prepare, works=True)
        return
    for part in ("tokenizer", "text_encoder", "scheduler", "vae", "unet"):
        yield from trial("model", f"without {part}", lambda f, p=part: without(f / MODEL / p))


MODEL = "model/embedded"


def without(folder: Path) -> None:
    folder.rename(folder.parent / f"no_{folder.name}")


def set_field(path: Path, field: str, value: Any) -> None:
    content = json.loads(path.read_text())
    replace_text(path, json.dumps(content | {field: value}))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def set_metadata(path: Path, field: str, value: Any) -> None:
    tensors, metadata = read(path)
    key = "lora_adapter_metadata"
    settings = json.loads(metadata[key])
    name = next(name for name in settings if name.endswith(field))
    path.unlink()
    save_file(tensors, path, metadata | {key: json.dumps(settings | {name: value})})


def harm_tensors(path: Path, tensor: str, harm: str) -> None:
    if harm in ("truncated", "empty", "garbage", "gone"):
        content = path.read_bytes()
        path.unlink()
        if harm != "gone":
            shown = {"truncated": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 99}
            path.write_bytes(shown[harm])
        return
    tensors, metadata = read(path)
    name = next(name for name in tensors if tensor in name)
    value = tensors[name].clone()
    if harm == "missing":
        del tensors[name]
    elif harm == "shape":
        tensors[name] = torch.zeros(3, 5)
    else:
        value.view(-1)[0] = float(harm)
        tensors[name] = value
    path.unlink()
    save_file(tensors, path, metadata)


# Pictures.

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n"
PICTURES = {
    "empty": b"",
    "text": b"no picture",
    "postscript": POSTSCRIPT,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"/>',
    "zeros": bytes(4000),
}
MORE_PICTURES = ("truncated", "bomb", "speck", "folder", "checksum", "binary caption", "loop")
LOOKING = ("attack", "purify", "audit", "defend", "finetune", "evaluate")
LOOKING += ("dataset inpainting", "dataset super-resolution", "dataset variation")


def broken_pictures() -> Iterator[Trial]:
    for command in LOOKING:
        for what in (*PICTURES, *MORE_PICTURES):
            for name in ("picture-00001.png", "zz.jpg"):
                if what not in ("binary caption", "truncated", "checksum") or name[0] == "p":
                    prepare = lambda f, w=what, n=name: spoil(f / "album" / n, w)  # noqa: E731
                    says = (Path(name).stem,)
                    yield Trial(command, f"{name}: {what}", COMMANDS[command], says, prepare)


def spoil(path: Path, what: str) -> None:
    content = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if what in PICTURES:
        path.write_bytes(PICTURES[what])
    elif what == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif what == "checksum":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(8) + content[middle + 8 :])
    elif what == "bomb":
        Image.new("1", (20_000, 20_000)).save(path, format="PNG")
    elif what == "speck":
        Image.new("RGB", (1, 1)).save(path, format="PNG")
    elif what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(content)
        path.with_suffix(".txt").unlink(missing_ok=True)
        path.with_suffix(".txt").write_bytes(b"\xff\xfe\x00")


# Names.

HOSTILE = (
    *("x[/y]", "[red]x", "<script>alert(1)</script>", "a\nb", "\x1b[2Jx", "../../x", "$(touch x)"),
    *("`touch x`", "x' \"y", "%s%n", "{0}", "\u202ex", "x\udcff", "-rf", "a;b", "con", "é" * 200),
)


def hostile_names() -> Iterator[Trial]:
    """Names that are markup, code or paths, where there is nothing of that name."""
    for name in HOSTILE:
        shown = (name.split("\n")[0].strip("\x1b\u202e")[:20].removesuffix("\udcff"),)
        for command, option in (
            ("components", None),
            ("generate", "--model"),
            ("attack", "--device"),
            ("attack", "--component"),
            ("attack", "--target"),
            ("attack", "--method"),
            ("generate", "--treatment"),
            ("render", "--domain"),
            ("study status", "--profile"),
            ("study run", "--experiment"),
            ("study run", "--where"),
            ("study notebook", "--parameter"),
            ("study book", "--profile"),
            ("generate", "--shard"),
        ):
            arguments = ("components", name)
            if option:
                arguments = with_option(command, option, name)
            yield Trial(command, f"{option}={name[:20]!r}", arguments, (*shown, option or "model"))
        for command in ("study sheet", "study notebook"):
            words = COMMANDS[command]
            arguments = (*words[:2], *words[3:], "--", name)
            yield Trial(command, f"name {name[:20]!r}", arguments, (*shown, "name"))
        if "/" not in name and len(name) < 100:
            for command in ("render", "generate", "purify"):
                words = [f"out/{name}" if w.startswith("out/") else w for w in COMMANDS[command]]
                what = f"folder {name[:20]!r}"
                yield Trial(command, what, tuple(words), (), works=True)
    for command, words in COMMANDS.items():
        yield Trial(command, "--no-such-option", (*words, "--no-such-option"), ("no-such-option",))
    for key in ("compute", "again", "results", "profile", "experiment"):
        arguments = with_option("study run", "--where", f"{key}=1")
        yield Trial("study run", f"--where={key}=1", arguments, (key,))


# Profiles.

SMOKE = yaml.safe_load((Path(__file__).parents[2] / "lord/study/profiles/smoke.yaml").read_text())
WRONG = (math.nan, math.inf, -math.inf, 1e30, 10**12, {"a": {"b": 1}}, "abc", [], None, [[]], True)
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 8)}]\n" for k in range(12)
)
TEXTS_OF_PROFILES = (
    *("", "[", "- a", "1: 2", "a: 1", BOMB, "a: &a [*a]", "[" * 3000, "\t", "evidence: maybe"),
    *("evidence: true\nevidence: false", "name: ../../x\nevidence: true", b"\xff\xfe\x00", "~"),
    *(
        "a: !!python/object/apply:os.system ['touch x']",
        "evidence: 1e400",
        "evidence: true\nlord: 3",
    ),
)


def leaves(values: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All numbers and texts of nested settings, each with the way to it."""
    pairs: Any = []
    if isinstance(values, dict):
        pairs = values.items()
    elif isinstance(values, list):
        pairs = enumerate(values)
    else:
        yield place, values
    for key, value in pairs:
        yield from leaves(value, (*place, key))


FREE = {"prompt", "model", "component", "components", "target", "auxiliary"}
"""Texts that may be anything, as far as a profile can know."""


def bad_profile_files() -> Iterator[Trial]:
    for text in TEXTS_OF_PROFILES:
        prepare = lambda f, t=text: replace_text(f / "mine.yaml", t)  # noqa: E731
        arguments = COMMANDS["study status"]
        yield Trial("study status", repr(text)[:40], arguments, ("mine.yaml",), prepare)
    for name in ("full", "smoke", "a b", "A", "x" * 80, "x..y", "-x'"):
        arguments = with_option("study status", "--profile", f"{name}.yaml")
        prepare = lambda f, n=name: (f / "mine.yaml").rename(f / f"{n}.yaml")  # noqa: E731
        yield Trial("study status", f"called {name[:20]}", arguments, (name[:60], "name"), prepare)


def bad_profiles() -> Iterator[Trial]:
    for place, value in leaves(SMOKE):
        for wrong in (*WRONG, *([-5] if isinstance(value, int) else [])):
            if FREE & set(place) or (wrong is None and len(place) < 3):
                continue
            if wrong is True and isinstance(value, bool):
                continue
            if wrong == "abc" and isinstance(value, str):
                wrong = "<b>../abc"
            prepare = lambda f, p=place, w=wrong: change_profile(f / "mine.yaml", p, w)  # noqa: E731
            what = f"{'.'.join(map(str, place))}={wrong!r}"
            names = tuple(str(key) for key in place if isinstance(key, str))
            yield Trial("study status", what, COMMANDS["study status"], names[-1:], prepare)


def change_profile(path: Path, place: tuple[Any, ...], wrong: Any) -> None:
    values = yaml.safe_load(path.read_text())
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    replace_text(path, yaml.safe_dump(values))


# The disk.

WRITING = ("render", "attack", "purify", "defend", "finetune", "generate", "pretrain")
WRITING += ("backdoor scan", "dataset inpainting", "dataset super-resolution", "study run")
WRITING += ("finetune class", "generate shard", "purify pixel", "pretrain pixel")
WRITING += ("pretrain editing",)
LARGER = {"defend": 40_000, "finetune": 10_000, "pretrain": 200_000, "pretrain pixel": 10_000}
"""Bytes that some of their files take, and not all."""


def full_disk() -> Iterator[Trial]:
    """Files may have a few bytes only, as if the disk were full."""
    for command in WRITING:
        for size in (0, 1, 20, 100, 200, 400, *([LARGER[command]] if command in LARGER else [])):
            says = ("out/", "/r/", "mine")
            words = COMMANDS[command]
            yield Trial(command, f"{size} bytes left", words, says, file_size=size)
    for command in WRITING:
        prepare = lambda f: (f / "r").write_text("a file") and (f / "out").write_text("x")  # noqa: E731
        yield Trial(command, "the folder is a file", COMMANDS[command], ("out", "/r"), prepare)


# What lies where a command writes, or has been written and changed since.

PLACES = {
    "render": ("out/render/picture-00000.png", "out/render/picture-00001.txt"),
    "attack": ("out/attack/picture-00000.png", "out/attack/picture-00002.txt"),
    "purify": ("out/purify/picture-00001.png", "out/purify/picture-00001.txt"),
    "generate": ("out/generate/00000.png", "out/generate/00001.txt"),
    "generate shard": ("out/shard/00001.png",),
    "dataset inpainting": (
        *("out/inpainting/contact_sheet.png", "out/inpainting/train/metadata.jsonl"),
        "out/inpainting/train/mask/picture-00000.png",
    ),
    "defend": tuple(
        f"out/defend/{name}"
        for name in ("adapter_model.safetensors", "adapter_config.json", "audit.json")
    ),
    "finetune": ("out/finetune.safetensors",),
    "finetune class": (
        *("out/class.safetensors", "out/class.csv", "out/class.png"),
        "out/class.samples/step-000001.png",
    ),
    "pretrain": tuple(
        f"out/pretrain/{name}"
        for name in ("embedded/model_index.json", "features/config.json", "clip/model.safetensors")
    ),
    "pretrain pixel": ("out/pixel/portraits/README.md", "out/pixel/portraits/model_index.json"),
    "pretrain editing": ("out/editing/inpainting/adaptation.safetensors",),
    "backdoor scan": (
        "out/scan/trigger.safetensors",
        "out/scan/clean.json",
        "out/scan/trigger.png",
    ),
    "memory": ("out/memory.csv",),
}
"""Files that are written, of which there may be one of somebody else's."""

MANIFESTS = (
    *("", "{", "[1]", "null", '{"a": null}', "[" * 9000, b"\xff\xfe"),
    '{"a": {"group": "x", "request": null, "files": {"00000.png": 5}}}',
    '{"a": {"group": [], "request": {}, "files": []}}',
    '{"a": {"group": "x", "request": "x", "files": {"../../album/a.png": ["x"]}, "eps": "x"}}',
)


def placed(path: str, content: str | bytes) -> Callable[[Path], None]:
    """What puts a file into a world."""

    def prepare(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).unlink(missing_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def changed_since(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """What changes the album after it was written."""

    def prepare(folder: Path) -> None:
        (folder / "album.json").rename(folder / "album" / FILE)
        change(folder)

    return prepare


def neighbours() -> Iterator[Trial]:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, format="PNG")
    for command, places in PLACES.items():
        words, folder = COMMANDS[command], "/".join(places[0].split("/")[:2])
        for place in places:
            for content in ("mine", "", "[]", picture.getvalue()):
                what = f"{content[:4]!r} is {place}"
                yield Trial(command, what, words, (Path(place).name,), placed(place, content))
        if "." not in folder:
            yield Trial(command, "at once", words, ("another command",), held=folder)
        if "txt" in "".join(places):
            what, says = "a picture beside", ("beside.png",)
            prepare = placed(f"{folder}/beside.png", picture.getvalue())
            yield Trial(command, what, words, says, prepare)
            for text in MANIFESTS:
                prepare, what = placed(f"{folder}/.lord.json", text), f"manifest {text[:60]!r}"
                yield Trial(command, what, words, (".lord.json",), prepare)
    for command, work in (("finetune", "out/.finetune.work"), ("defend", "out/defend/.work")):
        words, prepare = COMMANDS[command], placed(f"{work}/mine.txt", "mine")
        yield Trial(command, "somebody's work", words, (), prepare, works=True)
        yield Trial(command, "work is a file", words, ("work",), placed(work, "mine"))
    for command in LOOKING:
        for file, content in (("picture-00001.txt", "mine"), ("beside.png", picture.getvalue())):
            prepare = changed_since(placed(f"album/{file}", content))
            yield Trial(command, f"{file} is new", COMMANDS[command], (file,), prepare)


# Records.

RECORDS = (
    *("x", "{", "[" * 9000, b"\xff\xfe", '{"experiment": "triggers"}\n{}'),
    '{"experiment": "triggers", "shared": []}\n{"name": 5}',
    '{"experiment": "triggers", "shared": {"settings": 5}}\n{"name": "a"}',
    '{"experiment": "triggers", "shared": {}}\n[]',
    '{"experiment": "triggers", "shared": {}}\n{"name": "a", "metrics": {"x": NaN}}',
)


def broken_records() -> Iterator[Trial]:
    for command in ("study status", "study run", "study tables", "study sheet"):
        words = COMMANDS[command]
        for text in RECORDS:
            prepare = placed("r/mine/terd.jsonl", text)
            yield Trial(command, f"records {text[:60]!r}", words, ("terd.jsonl",), prepare)
    for command in ("study run", "study sheet"):
        for place in ("r/mine/terd.jsonl/x", "r/mine/.work", "r/mine"):
            says = (Path(place).parts[-1], "terd.jsonl")
            yield Trial(command, f"{place} is there", COMMANDS[command], says, placed(place, "x"))


CATEGORIES: dict[str, Callable[[], Iterator[Trial]]] = {
    "numbers": bad_numbers,
    "paths": bad_paths,
    "models": lambda: broken_files(adapters=False),
    "adapters": lambda: broken_files(adapters=True),
    "pictures": broken_pictures,
    "names": hostile_names,
    "profiles": bad_profiles,
    "files of profiles": bad_profile_files,
    "disk": full_disk,
    "neighbours": neighbours,
    "records": broken_records,
}


def trials(category: str) -> st.SearchStrategy[Trial]:
    """Any of the trials of a category."""
    return st.sampled_from(list(CATEGORIES[category]()))
