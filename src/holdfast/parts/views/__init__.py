"""What happens to an image between a file and a model: printed, photographed, cropped, stored; differentiable, its noise keyed by row."""

from collections.abc import Callable

from holdfast.parts.views.blur import Blurred
from holdfast.parts.views.camera import Cropped, Photographed, Rescaled
from holdfast.parts.views.chains import athalye, driven_by, physical
from holdfast.parts.views.colour import Exposed, Printed
from holdfast.parts.views.jpeg import Jpeg
from holdfast.parts.views.view import Chain, View

VIEWS: dict[str, Callable[..., View]] = {
    "athalye": athalye,
    "blurred": Blurred,
    "cropped": Cropped,
    "driven_by": driven_by,
    "exposed": Exposed,
    "jpeg": Jpeg,
    "photographed": Photographed,
    "physical": physical,
    "printed": Printed,
    "rescaled": Rescaled,
}
"""The views that `--views` knows by name."""

__all__ = [
    "VIEWS",
    "Blurred",
    "Chain",
    "Cropped",
    "Exposed",
    "Jpeg",
    "Photographed",
    "Printed",
    "Rescaled",
    "View",
    "athalye",
    "driven_by",
    "physical",
]
