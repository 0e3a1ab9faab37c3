"""Labels that have a side: classes of the pose, and what they become in a mirror."""

from __future__ import annotations

import numpy as np
import pytest

from fercore.data.labels import of_classes, pose_classes


def test_a_pose_is_that_of_the_nearest_angle() -> None:
    found = pose_classes(np.array([-90.0, -23.0, -22.0, 3.0, 30.0, 44.0]), (45, -45, 0))
    assert found.classes == ("-45°", "0°", "+45°"), "in the order of the angles"
    assert found.values.tolist() == [0, 0, 1, 1, 2, 2] and found.values.dtype == np.int64


def test_a_mirror_exchanges_opposite_poses() -> None:
    found = pose_classes(np.array([-90.0, -40.0, 40.0, 90.0]), (-90, -45, 45, 90))
    assert found.opposite == (3, 2, 1, 0) and found.mirrored.tolist() == [3, 2, 1, 0]
    assert pose_classes(np.array([10.0]), (0,)).mirrored.tolist() == [0]


def test_angles_have_to_lie_alike_on_both_sides() -> None:
    for angles in ((0, 30, 60), (-45, 0, 40)):
        with pytest.raises(ValueError, match="not the same on both sides"):
            pose_classes(np.zeros(1), angles)


def test_an_image_without_a_label_has_none_in_a_mirror() -> None:
    found = of_classes(np.array([-1, 0, 1]), ("left", "right"), (1, 0))
    assert found.mirrored.tolist() == [-1, 1, 0]
    assert of_classes(np.array([-1, 0]), ("a", "b")).mirrored is None, "what has no side stays as it is"
