"""vae_zoo: a model zoo of variational autoencoders for PyTorch Lightning."""

# No import here: python -m vae_zoo runs this while the working folder is first on the path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "from_pretrained", "load", "push_to_hub", "save_pretrained"]


def __getattr__(name: str) -> "Any":
    if name in __all__:  # on demand, so that importing the package alone does not import torch
        from vae_zoo import hub

        return getattr(hub, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
