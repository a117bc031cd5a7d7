"""Diagnoses of images and image files."""

from __future__ import annotations

from vae_zoo.evaluation.diagnosis.data.source import Picture, Source
from vae_zoo.evaluation.diagnosis.finding import Finding, judge, number_of

BLANK = 0.001
"""Share of images of one colour that may be in a data set by right."""


def _readable(source: Source) -> list[Picture]:
    return [picture for picture in source.pictures if not picture.error]


def unreadable_images(source: Source) -> Finding | None:
    """Image files are corrupt, truncated or empty.

    A fit refuses them, unless told to skip them.
    """
    if source.kind != "folder":
        return None
    bad = [picture for picture in source.pictures if picture.error]
    return judge(
        "unreadable_images",
        "fault" if bad else "fine",
        f"{len(bad)} of {len(source.pictures)} images cannot be read"
        + (f", the first is {bad[0].name}" if bad else ""),
        "none",
        "mend or remove them, or set --data.bad_files skip",
    )


def images_of_mixed_sizes(source: Source) -> Finding | None:
    """Images have several sizes: they will be resized, and cropped where their shapes differ.

    A warning if aspect ratios differ by more than a tenth, or sides by more than a factor of 2.
    """
    found = _readable(source)
    if source.kind != "folder" or not found:
        return None
    sizes = {picture.size for picture in found}
    ratios = [width / height for width, height in sizes]
    sides = [min(size) for size in sizes]
    mixed = max(ratios) > 1.1 * min(ratios) or max(sides) > 2 * min(sides)
    return judge(
        "images_of_mixed_sizes",
        "warning" if mixed else "fine",
        f"{number_of(len(sizes), 'size')}, from {min(sizes)[0]}x{min(sizes)[1]} to {max(sizes)[0]}x{max(sizes)[1]}",
        "one shape, and sides within a factor of 2",
        f"look at crops: --data.crop false stretches instead; choose --data.image_size up to {min(sides)}",
    )


def transparent_images(source: Source) -> Finding | None:
    """Images have transparent pixels, which become black.

    The remedy is another background.
    """
    found = _readable(source)
    if source.kind != "folder" or not found:
        return None
    num = sum(picture.transparent for picture in found)
    return judge(
        "transparent_images",
        "warning" if num else "fine",
        f"{num} of {len(found)} images have transparent pixels",
        "none",
        "choose what they become, as in --data.background white",
    )


def grey_stored_as_colour(source: Source) -> Finding | None:
    """All images are grey and stored in colour: three equal channels cost three times the computation.

    Their pixels are also counted three times in the bound.
    """
    if source.kind == "images" and source.x.ndim == 4 and source.x.size:
        same = source.x.shape[1] == 3 and bool((source.x[:500] == source.x[:500, :1]).all())
        return judge(
            "grey_stored_as_colour",
            "warning" if same else "fine",
            number_of(source.x.shape[1], "channel") + (", all of them equal" if same else ""),
            "channels differ",
            "save one of them: numpy.save(path, x[:, :1])",
        )
    found = _readable(source)
    if source.kind != "folder" or not found:
        return None
    grey = all(picture.grey for picture in found)
    colour = sum(picture.colour for picture in found)
    return judge(
        "grey_stored_as_colour",
        "warning" if grey else "fine",
        f"all images are grey, {colour} of {len(found)} are stored in colour" if grey else "images have colours",
        "images have colours, since the default is three channels",
        "set --data.channels 1",
    )


def blank_images(source: Source) -> Finding | None:
    """Images are of one value only, such as all black; a fault if half of them are.

    They often come from a failed conversion or from the frames before a film starts.
    """
    if source.kind == "images" and source.x.size:
        flat = source.x.reshape(len(source.x), -1)
        blank = (flat == flat[:, :1]).all(1)
        num, total = int(blank.sum()), len(flat)
    elif source.kind == "folder" and _readable(source):
        num, total = sum(picture.blank for picture in _readable(source)), len(_readable(source))
    else:
        return None
    return judge(
        "blank_images",
        "fault" if 2 * num >= total else "warning" if num > BLANK * total else "fine",
        f"{num} of {total} images have one value only",
        f"up to {BLANK:.1%}",
        "remove them, and look at how they were made",
    )
