"""Proposals of the square attack: where a window is put, and how the perturbation changes in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Shape
from advtransfer_foolbox.apgd_steps import project_into_l1_box
from advtransfer_foolbox.norms import project_onto_ball

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Proposals after which the share of the image that a window covers is halved (their section 5)."""

SMALLEST_WINDOW = 3
"""Side of the smallest window in l_2 and l_1, in pixels."""

GRID_CELLS = 5
"""Cells along a side of the first perturbation in l_2 and l_1."""


class WindowDraw(NamedTuple):
    """Windows of one proposal, one per row.

    Args:
        own: Pixels of the window that changes, ``(B, 1, H, W)`` bool.
        other: Pixels of the window that gives its budget to the first; l_2 and l_1 only.
        pattern: The bump inside the first window, ``(B, 1, H, W)`` float64; l_2 and l_1 only.
        signs: Sign of each channel, ``(B, C, 1, 1)``.
    """

    own: Tensor
    other: Tensor
    pattern: Tensor
    signs: Tensor


@dataclass(slots=True, kw_only=True)
class Proposals:
    """Perturbations that the square attack tries, in a ball around the images and within the box.

    Args:
        norm: The norm of the ball.
        eps: Its radius.
        shape: Shape of an image, ``(C, H, W)``.
        first_share: Share of the image that the first windows cover (`p_init`).
        device: Where the images are.
    """

    norm: Norm
    eps: float
    shape: Shape
    first_share: float
    device: torch.device
    _sides: Tensor = field(init=False)
    _patterns: Tensor = field(init=False)

    def __post_init__(self) -> None:
        sides = [self._window_side(halvings) for halvings in range(len(HALVINGS) + 1)]
        self._sides = torch.tensor(sides, device=self.device)
        if self.norm != "linf":
            self._patterns = self._pattern_table(sides)

    @property
    def start_shape(self) -> Shape:
        """Shape of the numbers that the first point of a sample needs."""
        channels, _, width = self.shape
        if self.norm == "linf":
            return (channels, width)
        rows, columns = self._grid_size()
        return (channels + 1, rows, columns)

    @property
    def numbers(self) -> int:
        """The number of numbers that one proposal needs."""
        return self.shape[0] + (2 if self.norm == "linf" else 5)

    def first_points(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return the points that the searches start at, ``(B, C, H, W)``.

        They are vertical stripes in l_inf, and a grid of bumps in l_2 and l_1.

        Args:
            images: Images ``(B, C, H, W)`` in the box.
            drawn: Numbers ``(B, *start_shape)`` in [0, 1).
        """
        if self.norm == "linf":
            return (images + self.eps * _signs(drawn)[:, :, None, :].to(images)).clamp(0, 1)
        offsets = self._bump_grid(drawn.double())
        order = 2 if self.norm == "l2" else 1
        lengths: Tensor = torch.linalg.vector_norm(offsets, ord=order, dim=(1, 2, 3), keepdim=True)
        scales = self.eps / lengths
        # In l_1 the projection chooses the pixels that keep something: longer ones make it sparse.
        scales = scales if self.norm == "l2" else scales.clamp_min(1.0)
        return self._bring_inside(images.double() + scales * offsets, images)

    def next_points(
        self, points: Tensor, images: Tensor, drawn: Tensor, proposals_done: Tensor
    ) -> Tensor:
        """Return the points to try next, ``(B, C, H, W)``.

        Args:
            points: The best points so far.
            images: Their images.
            drawn: Numbers ``(B, numbers)`` in [0, 1).
            proposals_done: The number of proposals that each row has had, ``(B,)``.
        """
        windows = self._draw_windows(drawn, proposals_done)
        if self.norm == "linf":
            # Twice eps up or down, clipped to the ball, is its upper or its lower edge.
            edges = (images + self.eps * windows.signs.to(images)).clamp(0, 1)
            return torch.where(windows.own, edges, points)
        offsets = points.double() - images.double()
        moved = self._bring_inside(images.double() + self._move_budget(offsets, windows), images)
        if self.norm == "l1":
            return moved
        # Outside the windows a pixel keeps its bits: projecting it again would change its rounding.
        return torch.where(windows.own | windows.other, moved, points)

    def _move_budget(self, offsets: Tensor, windows: WindowDraw) -> Tensor:
        """Return offsets with the budget of both windows in the first one (their algorithm 3)."""
        power = 2 if self.norm == "l2" else 1
        sizes = offsets.abs() ** power
        unused = (self.eps**power - sizes.sum((1, 2, 3), keepdim=True)).clamp_min(0)
        both = windows.own | windows.other
        in_windows = (sizes * both).sum((2, 3), keepdim=True)
        budgets = (in_windows + unused / self.shape[0]) ** (1 / power)
        if self.norm == "l1":
            # The projection onto ball and box takes back what is too much.
            budgets = budgets * self.shape[0]
        old = offsets * windows.own
        new = windows.signs.double() * windows.pattern + old / self._lengths(old)
        new = new / self._lengths(new) * budgets
        return torch.where(windows.own, new, torch.where(windows.other, 0.0, offsets))

    def _lengths(self, offsets: Tensor) -> Tensor:
        """Return the length of each channel, ``(B, C, 1, 1)``, never 0."""
        order = 2 if self.norm == "l2" else 1
        lengths: Tensor = torch.linalg.vector_norm(offsets, ord=order, dim=(2, 3), keepdim=True)
        return lengths.clamp_min(1e-12)

    def _bring_inside(self, points: Tensor, images: Tensor) -> Tensor:
        if self.norm == "l1":
            radii = torch.full((len(images),), self.eps, dtype=torch.float64, device=images.device)
            return project_into_l1_box(points, images, eps=radii)
        # The box takes nothing out of the ball, since the images lie in the box.
        return project_onto_ball(points, images, norm="l2", eps=self.eps).clamp(0, 1)

    def _draw_windows(self, drawn: Tensor, proposals_done: Tensor) -> WindowDraw:
        thresholds = torch.tensor(HALVINGS, device=proposals_done.device)
        stages = (proposals_done[:, None] > thresholds).sum(1)
        sides = self._sides[stages]
        own, corner = self._window(drawn[:, :2], sides)
        signs = _signs(drawn[:, -self.shape[0] :])[:, :, None, None]
        if self.norm == "linf":
            return WindowDraw(own, own, own, signs)
        other, _ = self._window(drawn[:, 2:4], sides)
        pattern = self._patterns[stages, (drawn[:, 4] < 0.5).long()]
        return WindowDraw(own, other, self._put_pattern(pattern, corner, own), signs)

    def _window(self, drawn: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels of a window ``(B, 1, H, W)``, and its upper left corner ``(B, 2)``."""
        _, height, width = self.shape
        room = torch.tensor([height, width], device=sides.device) - sides[:, None] + 1
        corner = (drawn * room).long().minimum(room - 1)
        rows = torch.arange(height, device=sides.device) - corner[:, :1]
        columns = torch.arange(width, device=sides.device) - corner[:, 1:]
        in_rows = (rows >= 0) & (rows < sides[:, None])
        in_columns = (columns >= 0) & (columns < sides[:, None])
        return (in_rows[:, :, None] & in_columns[:, None, :])[:, None], corner

    def _put_pattern(self, pattern: Tensor, corner: Tensor, window: Tensor) -> Tensor:
        """Return patterns ``(B, H, W)`` with their corner moved to `corner`, ``(B, 1, H, W)``."""
        _, height, width = self.shape
        rows = (torch.arange(height, device=corner.device) - corner[:, :1]).clamp_min(0)
        columns = (torch.arange(width, device=corner.device) - corner[:, 1:]).clamp_min(0)
        moved = pattern.gather(1, rows[:, :, None].expand(-1, -1, width))
        moved = moved.gather(2, columns[:, None, :].expand(-1, height, -1))
        return moved[:, None] * window

    def _window_side(self, halvings: int) -> int:
        """Return the side of the windows after so many halvings of their share of the image."""
        _, height, width = self.shape
        side = round(math.sqrt(self.first_share / 2**halvings * height * width))
        if self.norm != "linf":
            # Odd, so that a bump has one pixel in its middle.
            side = max(side, SMALLEST_WINDOW)
            side += 1 - side % 2
        return min(max(side, 1), height, width)

    def _pattern_table(self, sides: list[int]) -> Tensor:
        """Return the bump of each stage and its transpose, ``(stages, 2, H, W)`` float64."""
        _, height, width = self.shape
        table = torch.zeros(len(sides), 2, height, width, dtype=torch.float64)
        for stage, side in enumerate(sides):
            bump = double_bump(side, norm=self.norm)
            table[stage, 0, :side, :side] = bump
            table[stage, 1, :side, :side] = bump.T
        return table.to(self.device)

    def _grid_size(self) -> tuple[int, int]:
        """Return the number of rows and columns of the first perturbation's grid."""
        _, height, width = self.shape
        side = max(1, height // GRID_CELLS)
        return height // side, width // side

    def _bump_grid(self, drawn: Tensor) -> Tensor:
        """Return a grid of bumps with random signs, ``(B, C, H, W)``, for numbers `drawn`."""
        channels, height, width = self.shape
        side = max(1, height // GRID_CELLS)
        rows, columns = self._grid_size()
        bump = double_bump(side, norm=self.norm).to(drawn.device)
        is_turned = drawn[:, :1, :, :, None, None] < 0.5
        cells = torch.where(is_turned, bump.T, bump) * _signs(drawn[:, 1:])[..., None, None]
        grid = cells.permute(0, 1, 2, 4, 3, 5).reshape(-1, channels, rows * side, columns * side)
        # Centred; pixels that no cell covers stay as they are.
        top = (height - rows * side) // 2
        left = (width - columns * side) // 2
        offsets = torch.zeros(len(drawn), *self.shape, dtype=drawn.dtype, device=drawn.device)
        offsets[:, :, top : top + rows * side, left : left + columns * side] = grid
        return offsets


def double_bump(side: int, *, norm: Norm) -> Tensor:
    """Return a bump above its own negative, ``(side, side)`` float64, of length 1 in the norm.

    Andriushchenko et al. (2020), equation 4; in l_1 the bump falls with the fourth power.
    """
    upper = _bump(side // 2, side, norm=norm)
    lower = _bump(side - side // 2, side, norm=norm)
    both = torch.cat([upper, -lower])
    order = 2 if norm == "l2" else 1
    length: Tensor = torch.linalg.vector_norm(both, ord=order)
    return both / length


def _bump(height: int, width: int, *, norm: Norm) -> Tensor:
    """Return a rectangle that falls from its middle to its edges, ``(height, width)``, of length 1."""
    if not height:
        return torch.zeros(0, width, dtype=torch.float64)
    power, order = (2, 2) if norm == "l2" else (4, 1)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    rings = torch.maximum(rows[:, None], columns[None, :])
    last = max(height, width) // 2
    # A pixel on ring d has the sum of 1 / (k + 1)^power over the rings k from d to the last one.
    terms = 1 / (torch.arange(last + 1, dtype=torch.float64) + 1) ** power
    sums = terms.flip(0).cumsum(0).flip(0)
    bump = sums[rings]
    length: Tensor = torch.linalg.vector_norm(bump, ord=order)
    return bump / length


def _signs(drawn: Tensor) -> Tensor:
    """Return -1 or 1 for each number in [0, 1)."""
    return torch.where(drawn < 0.5, -1.0, 1.0)
