"""Methods for sharing models, implemented in ``vae_zoo.hub``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import vae_zoo

if TYPE_CHECKING:
    from typing_extensions import Self


class Shareable:
    """Saves and loads a model as safetensors and JSON, in a folder or on the Hugging Face Hub."""

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> Path:
        """Write weights, configuration and a model card to a folder; see :func:`vae_zoo.hub.save_pretrained`."""
        return vae_zoo.save_pretrained(self, folder, **kwargs)

    @classmethod
    def from_pretrained(cls, source: str | Path, **kwargs: Any) -> Self:
        """The model of a folder or repository; see :func:`vae_zoo.hub.from_pretrained`.

        Raises:
            ValueError: If it is of another class.
        """
        model = vae_zoo.from_pretrained(source, **kwargs)
        if not isinstance(model, cls):
            raise ValueError(f"{source} holds a {type(model).__name__}, which is no {cls.__name__}.")
        return model

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload the model to the Hugging Face Hub; see :func:`vae_zoo.hub.push_to_hub`."""
        return vae_zoo.push_to_hub(self, repo_id, **kwargs)
