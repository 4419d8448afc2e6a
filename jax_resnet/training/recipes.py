"""The named `Config`s."""

from jax_resnet.errors import UserError
from jax_resnet.training.config import Config, RecipeName

RECIPES: dict[RecipeName, Config] = {
    # The article: SGD, augmentation as in the paper, a fifth of the images kept for validation.
    "article": Config(),
    # He et al. (2015), section 4.2: 45,000 / 5,000 images, the mean by pixel subtracted.
    "paper": Config(
        recipe="paper",
        shortcut="subsample",
        val_fraction=0.1,
        normalization="pixel",
        pad_mode="mean",
    ),
    # Twelve epochs of 45,000 images.
    "fast": Config(
        recipe="fast",
        val_fraction=0.1,
        steps=4_219,
        optimizer="muon",
        learning_rate=0.02,
        muon_momentum=0.7,
        schedule="linear",
        nesterov=True,
        weight_decay=5e-4,
        decay_all=False,
        label_smoothing=0.1,
        pad=2,
        pad_mode="reflect",
        flip="alternating",
    ),
    # 200 epochs of 45,000 images, two cutouts of each.
    "long": Config(
        recipe="long",
        val_fraction=0.1,
        steps=70_313,
        learning_rate=0.2,
        schedule="cosine",
        nesterov=True,
        cutout="dual",
    ),
}


def check_recipe(config: Config) -> None:
    """Raises a `UserError` if a config has the name of a recipe and none of the values in which
    that differs from the default, as where the name alone is given, or with other changes."""
    recipe, default = RECIPES[config.recipe], RECIPES["article"]
    own = [k for k, v in vars(recipe).items() if k != "recipe" and v != getattr(default, k)]
    if own and all(getattr(config, name) != getattr(recipe, name) for name in own):
        raise UserError(
            f"`recipe` is {config.recipe!r}, but no field has its value: expected "
            f"RECIPES[{config.recipe!r}] of jax_resnet.training.recipes, or a copy with changes"
        )
