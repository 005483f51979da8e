"""Requests of MMCP, the Motion Model Context Protocol, version 1.0: <https://animatica.ai/mmcp>.

Right-handed, Y up, metres; times are frames; quaternions are x, y, z, w. Fields of later versions are accepted where
they ask for nothing.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


Number = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Number, Number, Number]
Quaternion = tuple[Number, Number, Number, Number]
Frame = Annotated[int, Field(ge=0, lt=10**7)]
Count = Annotated[int, Field(gt=0, lt=10**7)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Joint(_Strict):
    """A joint of the skeleton."""

    name: str
    parent: str | None = None
    rest_translation: Point
    rest_rotation: Quaternion
    display_name: str | None = None


class Skeleton(_Strict):
    """The character's skeleton; this server knows its own alone."""

    joints: list[Joint] = Field(min_length=1)
    coordinate_system: Literal["right_handed_y_up"] = "right_handed_y_up"
    units: Literal["meters"] = "meters"


class TextSegment(_Strict):
    """A text, and how many frames it is shown."""

    type: Literal["text"]
    prompt: str = Field(min_length=1)
    duration_frames: Count
    language: str | None = "en"
    seed: int | None = Field(default=None, ge=0, lt=2**63)


class OtherSegment(BaseModel):
    """A segment of a type that this server does not know how to make."""

    model_config = ConfigDict(extra="allow")
    type: Literal["unconditioned", "pose", "motion_reference", "video_reference"]


class RootPath(_Strict):
    """Where the root is on the floor, and which way the body faces."""

    type: Literal["root_path"]
    frames: list[Frame] = Field(min_length=1)
    positions_xz: list[tuple[Number, Number]]
    heading_radians: list[Number] | None = None

    @model_validator(mode="after")
    def _check(self) -> "RootPath":
        _check_lengths(self.frames, positions_xz=self.positions_xz, heading_radians=self.heading_radians)
        if sorted(set(self.frames)) != self.frames:
            raise ValueError("frames must be strictly ascending")
        return self


class EffectorTarget(_Strict):
    """Where a joint is."""

    type: Literal["effector_target"]
    joint: str
    frames: list[Frame] = Field(min_length=1)
    positions: list[Point]
    rotations: list[Quaternion] | None = None

    @model_validator(mode="after")
    def _check(self) -> "EffectorTarget":
        _check_lengths(self.frames, positions=self.positions, rotations=self.rotations)
        return self


class PoseKeyframe(_Strict):
    """A pose, or the rotations of some of its joints."""

    type: Literal["pose_keyframe"]
    frame: Frame
    joint_rotations: dict[str, Quaternion] = Field(min_length=1)
    root_position: Point | None = None
    fill_mode: Literal["rest", "generate"] = "generate"


class OtherConstraint(BaseModel):
    """A constraint of a type that this server does not know."""

    model_config = ConfigDict(extra="allow")
    type: Literal["ground_height"]


class Guidance(_Strict):
    """Strength of the text."""

    type: Literal["nocfg", "regular", "separated"]
    weight: list[Annotated[Number, Field(ge=0, le=100)]] = []

    @model_validator(mode="after")
    def _check(self) -> "Guidance":
        expected = {"nocfg": 0, "regular": 1, "separated": 2}[self.type]
        if len(self.weight) != expected:
            raise ValueError(f"weight must have {expected} numbers for type {self.type!r}, got {len(self.weight)}")
        return self


class Options(_Strict):
    """Options of generation; the protocol lets a server ignore those that its model does not have."""

    diffusion_steps: int = Field(default=100, ge=1, le=500)
    num_samples: int = Field(default=1, ge=1, le=16)
    seed: int | None = Field(default=None, ge=0, lt=2**62)
    post_processing: bool = True
    transition_frames: int = Field(default=5, ge=0, le=60)
    guidance: Guidance | None = None
    loop: bool = False
    keyframe_budget: Number | None = None
    model_options: dict[str, Any] | None = None


class Timing(_Strict):
    """The frame rate of the request and its answer."""

    fps: Number = Field(gt=0, le=1000)


Segment = Annotated[TextSegment | OtherSegment, Field(discriminator="type")]
Constraint = Annotated[RootPath | EffectorTarget | PoseKeyframe | OtherConstraint, Field(discriminator="type")]


class GenerateRequest(_Strict):
    """Motions of one character to generate."""

    protocol_version: str = Field(pattern=r"^\d+\.\d+$")
    model: str
    skeleton: Skeleton
    segments: list[Segment] = []
    constraints: list[Constraint] = []
    duration_frames: Count | None = None
    timing: Timing | None = None
    options: Options = Options()

    @property
    def texts(self) -> list[TextSegment]:
        """Segments that are texts."""
        return [segment for segment in self.segments if isinstance(segment, TextSegment)]

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """Take null for "not given", as the protocol's own clients send it."""
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check(self) -> "GenerateRequest":
        if not self.segments and not self.constraints:
            raise ValueError("give segments or constraints")
        if bool(self.segments) == (self.duration_frames is not None):
            raise ValueError("duration_frames is for requests without segments")
        return self


def _check_lengths(frames: list, **columns: list | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != len(frames):
            raise ValueError(f"{name} must have length {len(frames)}, got {len(column)}")
