"""Rendered portraits: a person (identity) seen under changing circumstances (nuisance).

Nobody real is shown: every face is drawn from numbers.
"""

import torch
from torch import Tensor

from lord.data.canvas import (
    between,
    box,
    column,
    eight_bit,
    ellipse,
    fractal,
    grid,
    inside,
    paint,
    palette,
)

CLASS_PROMPT = "a portrait of a person"
SUBJECT_PROMPT = "a portrait of sks person"

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "skin": ("pale", "tan", "brown", "dark"),
    "hair_colour": ("black", "brown", "blond", "red", "grey"),
    "hair_style": ("short", "long", "curly", "tied"),
    "beard": ("no beard", "beard"),
    "glasses": ("no glasses", "glasses"),
    "shirt": ("red", "blue", "green", "yellow", "white"),
    "expression": ("smiling", "serious", "surprised"),
    "wall": ("blue", "green", "grey", "orange"),
    "light": ("left", "right", "front"),
}
IDENTITY = ("skin", "hair_colour", "hair_style", "beard", "glasses", "shirt")

# Traits without a word of their own: they tell two people with one caption apart.
IDENTITY_TRAITS = ("face_width", "jaw", "brow", "nose", "eye_gap", "eye_hue", "fringe", "collar")
NUISANCE_TRAITS = ("yaw", "tilt", "zoom", "shift_x", "shift_y", "warmth", "wall_shade", "gaze")

SKIN = [(246, 214, 192), (224, 178, 140), (168, 116, 80), (104, 68, 48)]
HAIR = [(34, 30, 34), (98, 62, 36), (222, 184, 104), (176, 70, 30), (168, 168, 172)]
SHIRT = [(190, 48, 52), (48, 84, 176), (48, 132, 76), (232, 190, 60), (232, 232, 236)]
WALL = [(120, 160, 208), (134, 178, 136), (168, 166, 164), (226, 160, 104)]
IRIS = [(78, 48, 28), (70, 118, 170), (76, 124, 74)]
LIGHT = torch.tensor([[-0.75, -0.35, 0.56], [0.75, -0.35, 0.56], [0.0, -0.35, 0.94]])


def caption(word: dict[str, str]) -> str:
    """One sentence in natural words, from the word of every attribute."""
    extras = [word[name] for name in ("beard", "glasses") if not word[name].startswith("no ")]
    extras = [f"a {extra}" if extra == "beard" else extra for extra in extras]
    hair = f"{word['hair_style']} {word['hair_colour']} hair"
    features = ", ".join([f"{word['skin']} skin", hair, *extras])
    return (
        f"a portrait of a {word['expression']} person with {features}, in a {word['shirt']} shirt, "
        f"{word['wall']} wall, {word['light']} light"
    )


def render(attributes: dict[str, Tensor], size: int = 64) -> Tensor:
    """Paint portraits: (N, 3, size, size) in [0, 1], multiples of 1/255."""
    face = _Face(attributes, size)
    image = face.wall()
    for layer in (face.back_hair, face.body, face.head, face.features, face.beard, face.hair):
        image = layer(image)
    image = face.glasses(image)
    warmth = between(-0.05, 0.05, attributes["warmth"])
    tint = torch.stack([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
    return eight_bit(image * tint)


class _Face:
    """The geometry shared by all layers of one batch of portraits."""

    def __init__(self, attributes: dict[str, Tensor], size: int):
        self.a = attributes
        self.px = 2.0 / size
        self.x, self.y = grid(size)
        self.identity_seeds = attributes["identity_seed"].tolist()
        self.nuisance_seeds = attributes["nuisance_seed"].tolist()
        self.light = LIGHT[attributes["light"]]
        self.yaw = between(-1, 1, attributes["yaw"])
        zoom = between(0.92, 1.14, attributes["zoom"])
        tilt = between(-0.13, 0.13, attributes["tilt"])
        dx = self.x - between(-0.09, 0.09, attributes["shift_x"])
        dy = self.y + 0.14 - between(-0.05, 0.05, attributes["shift_y"])
        self.rx = zoom * between(0.37, 0.45, attributes["face_width"])
        self.ry = zoom * 0.54
        self.zoom, self.dx, self.dy = zoom, dx, dy
        # Head coordinates: (u, v) on the unit disc, tilted with the head.
        self.u = (dx * torch.cos(tilt) + dy * torch.sin(tilt)) / self.rx
        self.v = (dy * torch.cos(tilt) - dx * torch.sin(tilt)) / self.ry
        taper = 1 + between(0.05, 0.35, attributes["jaw"]) * self.v.clamp(0, 1.2) ** 2
        self.r = torch.sqrt((self.u * taper) ** 2 + self.v**2 + 1e-9)
        # Features move with the turning head, over the head's outline.
        self.fu = self.u - 0.20 * self.yaw
        self.fv = self.v - 0.02
        self.hair_colour = palette(HAIR, attributes["hair_colour"])
        self.skin_colour = palette(SKIN, attributes["skin"])
        self.long = self._style("long")
        self.curly = self._style("curly")
        self.tied = self._style("tied")

    def _style(self, name: str) -> Tensor:
        return column(self.a["hair_style"] == ATTRIBUTES["hair_style"].index(name))

    def _edge(self, distance: Tensor, soft: float = 1.0) -> Tensor:
        return inside(distance, soft * self.px)

    def _lambert(self, nx: Tensor, ny: Tensor) -> Tensor:
        """Diffuse light on a rounded surface with normal (nx, ny, ·), about 0 to 1."""
        nz = torch.sqrt((1 - nx**2 - ny**2).clamp(min=0.03))
        lx, ly, lz = (column(part) for part in self.light.unbind(1))
        return (nx * lx + ny * ly + nz * lz).clamp(0, 1)

    def wall(self) -> Tensor:
        base = palette(WALL, self.a["wall"])[:, :, None, None]
        lx, ly, _ = (column(part) for part in self.light.unbind(1))
        fall = 0.16 * (self.x * lx + self.y * ly) - 0.10 * (self.x**2 + self.y**2)
        grain = fractal(self.nuisance_seeds, "wall", self.x, self.y, cells=3, octaves=3)
        shade = between(0.85, 1.12, self.a["wall_shade"]) * (1.03 + fall + 0.10 * grain)
        return base * shade.unsqueeze(1)

    def _hair_shade(self) -> Tensor:
        """Strands run down the head; a band of shine lies across the crown."""
        strands = fractal(
            self.identity_seeds, "strands", self.u * 0.9, self.v * 0.22, cells=12, octaves=2
        )
        curls = fractal(
            self.identity_seeds, "curls", self.u * 0.7, self.v * 0.7, cells=7, octaves=2
        )
        texture = torch.lerp(0.24 * strands, 0.42 * curls, self.curly)
        shine = 0.30 * torch.exp(-((self.v + 0.78 - 0.25 * self.u**2) ** 2) / 0.02)
        light = self._lambert(self.u.clamp(-0.9, 0.9) * 0.8, (self.v * 0.6).clamp(-0.9, 0.9))
        return 0.62 + 0.5 * light + texture + shine

    def _hair_colour(self) -> Tensor:
        return self.hair_colour[:, :, None, None] * self._hair_shade().unsqueeze(1)

    def _curl(self) -> Tensor:
        angle = torch.atan2(self.v, self.u)
        phase = 6.28 * column(self.a["fringe"])
        return self.curly * (0.13 + 0.055 * torch.sin(11 * angle + phase))

    def back_hair(self, image: Tensor) -> Tensor:
        long = box(self.u, self.v - 0.32, 1.20, 1.18, corner=0.55)
        curly = torch.sqrt(self.u**2 + (self.v + 0.10) ** 2) - 1.12 - 1.5 * self._curl()
        mask = self._edge(long * self.rx) * self.long + self._edge(curly * self.rx) * self.curly
        bun = ellipse(self.u - 0.15 * self.yaw, self.v + 1.20, 0.42, 0.30)
        mask = (mask + self._edge(bun * self.rx) * self.tied).clamp(0, 1)
        return paint(image, mask, self._hair_colour() * 0.82)

    def body(self, image: Tensor) -> Tensor:
        x, y = self.dx / self.zoom, self.dy / self.zoom
        shoulders = box(x, y - 1.15, 0.80, 0.52, corner=0.38)
        lx = column(self.light[:, 0])
        weave = fractal(self.identity_seeds, "weave", self.x, self.y, cells=10, octaves=1)
        folds = fractal(self.identity_seeds, "folds", self.x, self.y * 0.4, cells=5, octaves=2)
        shade = 0.86 + 0.26 * lx * x + 0.10 * folds + 0.04 * weave - 0.25 * (x.abs() - 0.5).clamp(0)
        shirt = palette(SHIRT, self.a["shirt"])[:, :, None, None] * shade.unsqueeze(1)
        image = paint(image, self._edge(shoulders), shirt)
        neck = box(x, y - 0.52, 0.19, 0.30, corner=0.10)
        depth = between(0.10, 0.26, self.a["collar"])
        neckline = ellipse(x, y - 0.64, 0.26, depth)
        shadow = 0.60 + 0.28 * self._lambert((x / 0.30).clamp(-0.9, 0.9), torch.zeros_like(y))
        skin = self.skin_colour[:, :, None, None] * shadow.unsqueeze(1)
        collar = self._edge(neckline - 0.035) * self._edge(shoulders)
        image = paint(image, collar, shirt * 0.72)
        return paint(image, self._edge(torch.minimum(neck, neckline)), skin)

    def _skin(self, shade: Tensor | float) -> Tensor:
        if isinstance(shade, float):
            return self.skin_colour * shade
        return self.skin_colour[:, :, None, None] * shade.unsqueeze(1)

    def head(self, image: Tensor) -> Tensor:
        light = self._lambert(
            (self.u * 0.92).clamp(-0.95, 0.95), (self.v * 0.75).clamp(-0.95, 0.95)
        )
        skin = self._skin(0.52 + 0.56 * light)
        for side in (-1.0, 1.0):
            ear = ellipse(self.u - side * 1.0, self.v - 0.02, 0.14, 0.20)
            image = paint(image, self._edge(ear * self.rx), skin * 0.86)
        cheeks = sum(
            torch.exp(-((self.fu - side * 0.50) ** 2 + (self.fv - 0.28) ** 2) / 0.05)
            for side in (-1.0, 1.0)
        )
        blush = torch.tensor([0.05, -0.03, -0.02])[None, :, None, None] * cheeks.unsqueeze(1)
        return paint(image, self._edge((self.r - 1) * self.rx), skin + blush)

    def features(self, image: Tensor) -> Tensor:
        image = self._nose(image)
        for side in (-1.0, 1.0):
            image = self._eye(image, side)
        return self._mouth(image)

    def _eye(self, image: Tensor, side: float) -> Tensor:
        gap = between(0.36, 0.46, self.a["eye_gap"])
        surprised = column(self.a["expression"] == 2)
        u, v = self.fu - side * gap, self.fv + 0.08
        height = 0.115 + 0.035 * surprised
        eye = ellipse(u, v, 0.21, height) * self.rx
        gaze = between(-0.05, 0.05, self.a["gaze"]) + 0.04 * self.yaw
        iris_index = (self.a["eye_hue"] * len(IRIS)).long()
        centred = torch.sqrt((u - gaze) ** 2 + (v * 1.3) ** 2 + 1e-9)
        white = torch.full_like(self.skin_colour, 0.93)
        inner = self._edge(eye)
        image = paint(image, self._edge(eye - 0.6 * self.px) * 0.75, self._skin(0.40))
        image = paint(image, inner, white)
        image = paint(
            image, inner * self._edge((centred - 0.125) * self.rx), palette(IRIS, iris_index)
        )
        image = paint(image, inner * self._edge((centred - 0.06) * self.rx), white * 0.08)
        lift = between(0.0, 0.05, self.a["brow"]) + 0.09 * surprised
        arch = v + 0.24 + lift - 0.35 * (u + side * 0.02) ** 2 + 0.05 * side * u
        thick = between(0.035, 0.065, self.a["brow"])
        brow = torch.maximum(arch.abs() - thick, u.abs() - 0.24) * self.ry
        return paint(image, self._edge(brow) * 0.85, self.hair_colour * 0.72)

    def _nose(self, image: Tensor) -> Tensor:
        lx = column(self.light[:, 0])
        width = between(0.07, 0.12, self.a["nose"])
        u, v = self.fu - 0.06 * self.yaw, self.fv
        bridge = torch.exp(-(((u + 0.09 * lx) / 0.07) ** 2)) * inside((v - 0.10).abs() - 0.2, 0.1)
        image = paint(image, 0.30 * bridge, self._skin(0.45))
        tip = torch.exp(-((u / width) ** 2 + ((v - 0.25) / 0.07) ** 2))
        image = paint(image, 0.55 * tip, self._skin(1.12))
        below = torch.exp(-((u / (1.3 * width)) ** 2 + ((v - 0.345) / 0.035) ** 2))
        return paint(image, 0.55 * below, self._skin(0.38))

    def _mouth(self, image: Tensor) -> Tensor:
        smiling, surprised = (column(self.a["expression"] == index) for index in (0, 2))
        u, v = self.fu, self.fv - 0.58
        lips = torch.tensor([0.62, 0.24, 0.24]) * 0.55 + self.skin_colour * 0.38
        curve = v + 0.9 * smiling * (u**2 - 0.05)
        line = torch.maximum(curve.abs() - 0.055 - 0.03 * smiling, u.abs() - 0.27 - 0.06 * smiling)
        image = paint(image, self._edge(line * self.rx) * (1 - surprised), lips)
        teeth = torch.maximum((curve + 0.005).abs() - 0.035, u.abs() - 0.25) * self.rx
        image = paint(image, self._edge(teeth) * smiling, torch.full_like(lips, 0.95))
        open_mouth = ellipse(u, v, 0.15, 0.13) * self.rx
        image = paint(image, self._edge(open_mouth - 0.025) * surprised, lips)
        return paint(image, self._edge(open_mouth) * surprised, lips * 0.25)

    def beard(self, image: Tensor) -> Tensor:
        present = column(self.a["beard"] == 1)
        curls = fractal(self.identity_seeds, "beard", self.u, self.v, cells=12, octaves=2)
        jaw = torch.maximum(self.r - 1.07, 0.30 - self.v + 0.10 * self.u**2 + 0.05 * curls)
        mouth = ellipse(self.fu, self.fv - 0.57, 0.36, 0.13)
        mask = self._edge(torch.maximum(jaw, -mouth) * self.rx, 1.4) * present
        light = self._lambert((self.u * 0.9).clamp(-0.9, 0.9), (self.v * 0.6).clamp(-0.9, 0.9))
        shade = (0.58 + 0.4 * light + 0.18 * curls).unsqueeze(1)
        return paint(image, 0.92 * mask, self.hair_colour[:, :, None, None] * shade)

    def hair(self, image: Tensor) -> Tensor:
        part = between(-0.35, 0.35, self.a["fringe"])
        side = 0.95 * self.long + 0.10 * self.curly - 0.12 * self.tied
        hairline = -0.52 + 0.30 * (self.fu - part) ** 2 + (0.45 + side) * self.u.abs() ** 5
        hairline = hairline + 0.05 * torch.sin(9 * self.u + 20 * part)
        hairline = hairline - 0.10 * self.tied
        crown = torch.sqrt(self.u**2 + (self.v + 0.05) ** 2 + 1e-9) - 1.07 - 0.05 * self.long
        distance = torch.maximum(crown - self._curl(), self.v - hairline) * self.rx
        # Hair casts a little shade on the forehead below it.
        below = self._edge(distance - 0.03, 2.5) * self._edge((self.r - 1) * self.rx)
        image = paint(image, 0.35 * below, self._skin(0.40))
        return paint(image, self._edge(distance), self._hair_colour())

    def glasses(self, image: Tensor) -> Tensor:
        present = column(self.a["glasses"] == 1)
        gap = between(0.36, 0.46, self.a["eye_gap"]) + 0.02
        u, v = self.fu, self.fv + 0.07
        lens = torch.minimum(
            box(u - gap, v, 0.30, 0.21, corner=0.12),
            box(u + gap, v, 0.30, 0.21, corner=0.12),
        )
        bridge = torch.maximum(u.abs() - 0.16, (v + 0.04).abs() - 0.03)
        arms = torch.maximum(torch.maximum(0.66 - u.abs(), u.abs() - 1.0), (v + 0.06).abs() - 0.03)
        frame = torch.minimum(torch.minimum(lens.abs() - 0.045, bridge), arms) * self.rx
        image = paint(image, 0.16 * self._edge(lens * self.rx) * present, torch.full((1, 3), 0.95))
        return paint(image, self._edge(frame) * present, torch.full((1, 3), 0.10))
