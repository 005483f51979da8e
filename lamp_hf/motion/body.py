"""How the body looks in every picture: the thickness and colour of its bones."""

BONE_RADII = {  # metres; bones are named by their outer joint, without its side
    "hip": 0.09, "knee": 0.075, "ankle": 0.055, "foot": 0.04, "heel": 0.04, "spine1": 0.11, "spine2": 0.115,
    "spine3": 0.12, "neck": 0.1, "head": 0.085, "collar": 0.07, "shoulder": 0.06, "elbow": 0.048, "wrist": 0.04,
}  # fmt: skip

_TRUNK, _LEFT, _RIGHT = (96, 108, 128), (214, 108, 72), (58, 124, 186)


def bone_colour(joint_name: str) -> tuple[int, int, int]:
    """Left limbs are orange, right limbs blue, the trunk grey; RGB up to 255."""
    return {"left": _LEFT, "right": _RIGHT}.get(joint_name.partition("_")[0], _TRUNK)
