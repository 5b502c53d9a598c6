"""The frames of an image beside the one that is shown, and their stored form."""

from typing import Protocol

from service.pixels.frame import Frame, Pixels


class Stack(Protocol):
    """The frames of one image, counted from 1, each read when it is wanted.

    Either method raises `NotFound` for a frame that is not there, and `NotAcceptable` for one that cannot be
    decoded.
    """

    @property
    def count(self) -> int:
        """How many frames there are."""
        ...

    def stored(self, number: int) -> Frame:
        """A frame as it is stored."""
        ...

    def pixels(self, number: int) -> Pixels:
        """The samples of a frame."""
        ...
