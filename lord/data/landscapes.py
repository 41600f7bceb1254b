"""Rendered landscapes: a place seen under changing conditions."""

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
    uniform,
)

CLASS_PROMPT = "a landscape"
SUBJECT_PROMPT = "a landscape of sks place"

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "terrain": ("mountains", "hills", "dunes", "cliffs"),
    "trees": ("no trees", "pine trees", "round trees", "palm trees"),
    "water": ("no water", "lake", "river"),
    "building": ("no building", "house", "tower"),
    "season": ("spring", "autumn", "winter"),
    "time": ("noon", "sunset", "night"),
    "sky": ("clear", "cloudy", "foggy"),
}
IDENTITY = ("terrain", "trees", "water", "building")

IDENTITY_TRAITS = ("ridge_height", "horizon", "grove", "building_x", "roof", "river_x", "rock_hue")
NUISANCE_TRAITS = ("pan", "zoom", "sun_x", "sun_y", "warmth")

GROUND = [(112, 158, 74), (186, 140, 66), (232, 236, 244)]  # by season
LEAVES = [(64, 124, 58), (206, 106, 40), (150, 166, 164)]
PINES = [(36, 92, 62), (58, 92, 56), (110, 138, 136)]
SAND = [(226, 192, 128), (214, 164, 100), (222, 216, 206)]
ROCK = [(124, 118, 122), (134, 108, 92), (146, 152, 166)]
SKY_TOP = [(74, 140, 220), (92, 74, 140), (12, 18, 48)]  # by time
SKY_LOW = [(188, 222, 246), (250, 160, 92), (44, 56, 104)]
LIGHT = [(255, 252, 244), (255, 196, 150), (116, 130, 184)]
GLOW = [(255, 250, 226), (255, 214, 140), (190, 200, 230)]
DISC = [(255, 253, 236), (255, 226, 150), (236, 238, 226)]
RED_ROCK = [(188, 110, 76), (176, 98, 66), (184, 150, 138)]  # by season
FRONDS = [(74, 138, 62), (120, 138, 58), (130, 156, 132)]
WALLS = [(214, 196, 170), (206, 200, 196)]
ROOFS = [(170, 64, 50), (92, 84, 110), (110, 76, 52)]


def caption(word: dict[str, str]) -> str:
    """One sentence in natural words, from the word of every attribute."""
    parts = [word[name] for name in ("trees", "water", "building") if word[name][:3] != "no "]
    parts = [part if part.endswith("trees") else f"a {part}" for part in parts]
    things = f" with {', '.join(parts)}" if parts else ""
    return (
        f"a landscape of {word['terrain']}{things}, in {word['season']}, at {word['time']}, "
        f"{word['sky']} sky"
    )


def render(attributes: dict[str, Tensor], size: int = 64) -> Tensor:
    """Paint landscapes: (N, 3, size, size) in [0, 1], multiples of 1/255."""
    place = _Place(attributes, size)
    image = place.sky()
    for layer in (place.far, place.relief, place.meadow, place.water, place.building, place.trees):
        image = layer(image)
    return eight_bit(place.weather(image))


class _Place:
    """The geometry shared by all layers of one batch of landscapes."""

    def __init__(self, attributes: dict[str, Tensor], size: int):
        self.a = attributes
        self.px = 2.0 / size
        self.x, self.y = grid(size)
        self.place_seeds = attributes["identity_seed"].tolist()
        self.visit_seeds = attributes["nuisance_seed"].tolist()
        zoom = between(0.90, 1.05, attributes["zoom"])
        # World coordinates: the camera pans and zooms, the place stays.
        self.wx = self.x * zoom + between(-0.22, 0.22, attributes["pan"])
        self.wy = self.y * zoom
        self.terrain = [column(attributes["terrain"] == index) for index in range(4)]
        self.horizon = between(0.10, 0.26, attributes["horizon"])
        self.sun_x = between(-0.8, 0.8, attributes["sun_x"])
        self.sun_y = between(-0.85, -0.35, attributes["sun_y"])
        self.night = column(attributes["time"] == 2)
        self.winter = column(attributes["season"] == 2)
        self.season = attributes["season"]
        self.light = palette(LIGHT, attributes["time"])
        self.fog = column(attributes["sky"] == 2)
        self.low_sky = palette(SKY_LOW, attributes["time"])

    def _edge(self, distance: Tensor, soft: float = 1.0) -> Tensor:
        return inside(distance, soft * self.px)

    def _lit(self, colour: Tensor, shade: Tensor) -> Tensor:
        """A surface colour (N, 3) under the light of the hour, times a shade (N, H, W)."""
        return (colour * self.light)[:, :, None, None] * shade.unsqueeze(1)

    def _texture(self, name: str, stretch: float = 1.0, cells: int = 8) -> Tensor:
        return fractal(
            self.place_seeds, name, self.wx * 0.75, self.wy * 0.75 * stretch, cells, octaves=2
        )

    def _ridge(self, name: str, cells: int, octaves: int) -> Tensor:
        """A relief line: height as a function of world x alone, shape (N, 1, W)."""
        x = self.wx[:, :1] * 0.72
        return fractal(self.place_seeds, name, x, torch.zeros_like(x), cells, octaves)

    def sky(self) -> Tensor:
        top = palette(SKY_TOP, self.a["time"])[:, :, None, None]
        low = self.low_sky[:, :, None, None]
        height = ((self.y + 1) / 1.2).clamp(0, 1).unsqueeze(1)
        image = torch.lerp(top, low, height.expand(len(self.place_seeds), 3, -1, -1))
        distance = torch.sqrt((self.x - self.sun_x) ** 2 + (self.y - self.sun_y) ** 2 + 1e-9)
        glow = torch.exp(-distance / 0.28) * (0.55 - 0.35 * self.night)
        image = paint(image, glow, palette(GLOW, self.a["time"]))
        image = paint(image, self._edge(distance - 0.13), palette(DISC, self.a["time"]))
        crescent = torch.sqrt((self.x - self.sun_x - 0.06) ** 2 + (self.y - self.sun_y + 0.03) ** 2)
        image = paint(
            image,
            self._edge(crescent - 0.11) * self._edge(distance - 0.15) * self.night * 0.85,
            top[:, :, 0, 0],
        )
        return self._clouds(image)

    def _clouds(self, image: Tensor) -> Tensor:
        cloudy = column(self.a["sky"] == 1)
        puffs = fractal(self.visit_seeds, "clouds", self.x * 0.7, self.y * 1.0, cells=3, octaves=3)
        cover = inside(0.06 - puffs, 0.11) * cloudy
        under = fractal(self.visit_seeds, "clouds", self.x * 0.7, self.y + 0.10, cells=3, octaves=3)
        lit = (0.92 + 0.55 * (puffs - under)).clamp(0.65, 1.1)
        white = self._lit(torch.full_like(self.light, 0.97), lit)
        return paint(image, 0.93 * cover, white)

    def far(self, image: Tensor) -> Tensor:
        """A hazy far ridge that separates sky and relief."""
        top = self.horizon - 0.16 - 0.22 * self._ridge("far", 3, 3)
        haze = torch.lerp(self.low_sky, palette(ROCK, self.season) * self.light, 0.35)
        return paint(image, self._edge(top - self.wy), haze)

    def _relief_top(self) -> Tensor:
        mountains, hills, dunes, cliffs = self.terrain
        height = between(0.75, 1.15, self.a["ridge_height"])
        peaks = self._peaks()
        rolling = 0.16 + 0.30 * self._ridge("hills", 2, 1)
        waves = 0.12 + 0.26 * (1 - 2.0 * self._ridge("dunes", 2, 1).abs())
        mesa = 0.14 + 0.44 * inside(-self._ridge("mesa", 3, 1) + 0.03, 0.05)
        blend = mountains * peaks + hills * rolling + dunes * waves + cliffs * mesa
        return self.horizon - height * blend

    def _peaks(self) -> Tensor:
        """The highest of four jagged tents at every world x, shape (N, 1, W)."""
        x = self.wx[:, :1] + 0.10 * self._ridge("jag", 8, 2)
        spots = uniform(self.place_seeds, "peaks", 2, 4)
        tents = [
            between(0.34, 0.72, spots[:, 0, k])
            - 1.15 * (x + 1.1 - 0.60 * k - 0.40 * column(spots[:, 1, k])).abs()
            for k in range(4)
        ]
        return torch.stack(tents).amax(0).clamp(min=0.05)

    def relief(self, image: Tensor) -> Tensor:
        mountains, hills, dunes, cliffs = self.terrain
        top = self._relief_top()
        self.ground = (
            palette(GROUND, self.season) * (1 - dunes[:, 0])
            + palette(SAND, self.season) * dunes[:, 0]
        )
        hue = 0.12 * (self.a["rock_hue"] - 0.5)[:, None] * torch.tensor([1.0, 0.1, -1.0])
        rock = palette(ROCK, self.season) + hue
        red = palette(RED_ROCK, self.season) + hue
        colour = (
            mountains[:, 0] * rock
            + hills[:, 0] * self.ground * 0.86
            + dunes[:, 0] * self.ground
            + cliffs[:, 0] * red
        )
        slope = torch.diff(top, dim=2, append=top[:, :, -1:]) / self.px
        facing = (self.sun_x - self.wx).clamp(-1, 1) * slope.clamp(-1.5, 1.5)
        crags = self._texture("crags", cells=7)
        strata = torch.sin(34 * (self.wy - self.horizon) + 3 * crags)
        depth = (self.wy - top).clamp(0, 1)
        shade = 0.90 + 0.20 * facing + (0.10 + 0.28 * mountains) * crags + 0.10 * cliffs * strata
        image = paint(image, self._edge(top - self.wy), self._lit(colour, shade - 0.12 * depth))
        line = 0.14 + 0.10 * crags + 0.22 * self.winter
        snow = self._edge(depth - line, 2.0) * self._edge(top - self.wy) * mountains
        white = self._lit(torch.full_like(self.light, 0.97), 0.92 + 0.22 * facing + 0.08 * crags)
        return paint(image, snow, white)

    def _meadow_top(self) -> Tensor:
        return self.horizon + 0.10 + 0.08 * self._ridge("meadow", 2, 2)

    def meadow(self, image: Tensor) -> Tensor:
        dunes = self.terrain[2]
        grass = self._texture("grass", 2.0, cells=10)
        ripples = torch.sin(30 * self.wy + 8 * self._texture("ripples", 1.0, cells=2))
        near = ((self.wy - self.horizon) / 0.9).clamp(0, 1)
        shade = 0.98 - 0.20 * near + 0.13 * grass * (1 - dunes) + 0.07 * ripples * dunes
        return paint(image, self._edge(self._meadow_top() - self.wy), self._lit(self.ground, shade))

    def water(self, image: Tensor) -> Tensor:
        lake, river = (column(self.a["water"] == index) for index in (1, 2))
        x0 = between(-0.35, 0.35, self.a["river_x"])
        shore = 0.03 * self._ridge("shore", 4, 2)
        pond = ellipse(self.wx - x0, self.wy - self.horizon - 0.42, 0.72, 0.19) + shore
        down = (self.wy - self.horizon - 0.10).clamp(0, 2)
        bend = x0 + 0.30 * torch.sin(4.5 * down + 6.28 * column(self.a["river_x"])) * (
            1 - 0.3 * down
        )
        start = 0.12 - (self.wy - self.horizon)
        stream = torch.maximum((self.wx - bend).abs() - 0.04 - 0.20 * down, start)
        mask = (self._edge(pond) * lake + self._edge(stream) * river).clamp(0, 1)
        bank = (self._edge(pond - 0.045) * lake + self._edge(stream - 0.04) * river).clamp(0, 1)
        image = paint(image, 0.6 * bank, self._lit(self.ground * 0.62, torch.ones_like(self.wx)))
        waves = fractal(self.visit_seeds, "waves", self.wx * 0.5, self.wy * 1.0, cells=9, octaves=2)
        blue = torch.tensor([[0.16, 0.42, 0.62]]) * (0.4 + 0.6 * self.light.mean(1, keepdim=True))
        blue = torch.lerp(blue, self.low_sky, 0.30)
        ice = torch.lerp(blue, torch.full_like(blue, 0.86) * self.light, 0.35 * self.winter[:, 0])
        glitter = torch.exp(-(((self.x - self.sun_x) / 0.22) ** 2)) * (0.16 + 0.35 * waves).clamp(0)
        colour = ice[:, :, None, None] * (0.95 + 0.22 * waves).unsqueeze(1)
        return paint(
            image, mask, colour + 0.6 * glitter.unsqueeze(1) * self.light[:, :, None, None]
        )

    def building(self, image: Tensor) -> Tensor:
        house, tower = (column(self.a["building"] == index) for index in (1, 2))
        x = self.wx - between(-0.55, 0.55, self.a["building_x"])
        y = self.wy - self.horizon - 0.16
        wall_index = (self.a["roof"] * 7).long() % 2
        roof = palette(ROOFS, (self.a["roof"] * 3).long())
        side = 0.94 - 0.22 * torch.sign(x) * torch.sign(self.x - self.sun_x)
        walls = self._lit(palette(WALLS, wall_index), side)
        warm = torch.lerp(
            torch.tensor([[0.22, 0.25, 0.32]]), torch.tensor([[1.0, 0.82, 0.40]]), self.night[:, 0]
        )

        image = paint(image, self._edge(box(x, y, 0.21, 0.12)) * house, walls)
        gable = torch.maximum((y + 0.30) * -1 + 0.85 * x.abs() - 0.03, y + 0.10)
        image = paint(image, self._edge(gable) * house, self._lit(roof, side))
        for centre in (-0.10, 0.10):
            window = box(x - centre, y - 0.0, 0.045, 0.05)
            image = paint(image, self._edge(window) * house, warm)

        image = paint(image, self._edge(box(x, y + 0.18, 0.085 + 0.02 * y, 0.32)) * tower, walls)
        cap = torch.maximum(1.6 * x.abs() - (y + 0.80), y + 0.49)
        image = paint(image, self._edge(cap) * tower, self._lit(roof, side))
        window = box(x, y + 0.36, 0.035, 0.055)
        return paint(image, self._edge(window) * tower, warm)

    def trees(self, image: Tensor) -> Tensor:
        """Five trees at places of their own, the farther ones smaller and painted first."""
        pine, round_, palm = (column(self.a["trees"] == index) for index in (1, 2, 3))
        spots = uniform(self.place_seeds, "trees", 5)
        leaves = palette(LEAVES, self.season)
        needles = palette(PINES, self.season)
        fronds = palette(FRONDS, self.season)
        bark = torch.tensor([[0.36, 0.26, 0.19]])
        rough = self._texture("leaves", 1.0, cells=14)
        for k in range(5):
            scale = 0.62 + 0.13 * k
            x = (self.wx + 0.95 - 0.46 * ((2 * k) % 5) - 0.30 * column(spots[:, k])) / scale
            y = (self.wy - self.horizon - 0.16 - 0.10 * k) / scale
            light = 0.96 + 0.25 * torch.sign(self.sun_x - self.x) * x.clamp(-0.3, 0.3) / 0.3
            any_tree = (pine + round_ + palm).clamp(0, 1)
            lean = 0.10 * palm * (y.clamp(-0.6, 0) ** 2) / 0.2
            trunk = box(x - lean, y + 0.16 + 0.14 * palm, 0.035, 0.18 + 0.16 * palm)
            image = paint(image, self._edge(trunk * scale) * any_tree, self._lit(bark, light))
            tiers = 0.05 * (((y + 0.72) / 0.19) % 1.0)
            cone = torch.maximum(x.abs() - 0.36 * (y + 0.74) - tiers + 0.03, y + 0.10)
            cone = torch.maximum(cone, -0.74 - y)
            image = paint(
                image, self._edge(cone * scale) * pine, self._lit(needles, light + 0.2 * rough)
            )
            snow = self._edge((cone + 0.09) * scale, 1.5) * self.winter * pine * 0.45
            image = paint(image, snow, self._lit(torch.full_like(needles, 0.95), light))
            crown = ellipse(x, y + 0.42, 0.25 + 0.05 * rough, 0.23 + 0.05 * rough)
            shade = light + 0.28 * rough - 0.5 * (y + 0.42)
            image = paint(image, self._edge(crown * scale) * round_, self._lit(leaves, shade))
            tip = x - 0.18
            radius = torch.sqrt(tip**2 + (y + 0.60) ** 2 + 1e-9)
            angle = torch.atan2(y + 0.60, tip)
            star = radius - 0.30 * (0.30 + 0.70 * torch.sin(2.5 * angle + 0.8).abs())
            droop = torch.maximum(star, y + 0.60 - 0.22)
            image = paint(image, self._edge(droop * scale) * palm, self._lit(fronds, light))
        return image

    def weather(self, image: Tensor) -> Tensor:
        """Fog thickens with distance, that is towards the horizon; the air has a tint."""
        distance = torch.exp(-(((self.wy - self.horizon + 0.05) / 0.55).clamp(min=-0.6) ** 2) * 1.2)
        swirl = fractal(self.visit_seeds, "fog", self.x * 0.5, self.y, cells=3, octaves=2)
        mist = self.fog * (0.60 * distance + 0.10 * swirl)
        air = torch.lerp(self.low_sky, torch.full_like(self.low_sky, 0.82) * self.light, 0.55)
        image = paint(image, mist.clamp(0, 1), air)
        warmth = between(-0.04, 0.04, self.a["warmth"])
        return image * torch.stack([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
