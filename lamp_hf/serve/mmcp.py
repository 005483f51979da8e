"""MMCP, the Motion Model Context Protocol: `GET /capabilities` and `POST /generate`, for Proscenium in Blender.

A request is answered when its motion is done, as glTF in JSON. The protocol is described at
<https://animatica.ai/mmcp>; the requests are in `mmcp_schema`, the answer is written by `mmcp_gltf`.
"""

import contextlib
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from ..models.motion_requests import check_seed
from ..models.skeleton import Skeleton
from ..motion.clip import Motion
from .errors import ApiError
from .gate import MAX_JSON
from .limits import MAX_CHARACTERS
from .mmcp_constraints import CONSTRAINTS, Start, to_constraints
from .mmcp_gltf import canonical_skeleton, rest_offsets, to_gltf
from .mmcp_schema import GenerateRequest, Guidance, OtherSegment
from .service import Service, Used, ended
from .tasks import MotionResult, Prompt


VERSION = "1.0"
MAX_SAMPLES, MAX_CONSTRAINTS = 8, 64
SEGMENTS, GUIDANCE = ["text"], ["nocfg", "regular"]  # that are supported
_TOLERANCE = 1e-3  # metres by which a skeleton that was sent back may differ
_PATIENCE = 0.5  # seconds between looks if the client is still there

router = APIRouter(tags=["MMCP"])


@router.get("/capabilities")
async def capabilities(service: Used) -> dict[str, Any]:
    """Describe the model, its skeleton and its limits."""
    pipe = service.tasks.generator
    model = {
        "id": service.tasks.name,
        "fps": pipe.fps,
        "canonical_skeleton": canonical_skeleton(pipe.skeleton, body_of(service)),
        "supports_retargeting": False,
        "supports_async": False,
        "supported_constraints": CONSTRAINTS,
        "supported_segments": SEGMENTS,
        "supported_guidance_types": GUIDANCE,
        "predicted_contact_joints": contact_joints(pipe.skeleton),
        "native_clip_seconds": pipe.max_duration,
        "chunking": "stitched",
        "recommended_max_duration_seconds": min(pipe.max_duration, service.limits.max_seconds),
        "limits": {
            "max_duration_seconds": service.limits.max_seconds,
            "max_num_samples": MAX_SAMPLES,
            "max_constraints_per_request": MAX_CONSTRAINTS,
            "max_prompt_length": MAX_CHARACTERS,
            "max_request_bytes": MAX_JSON,
        },
    }
    return {
        "protocol_version": VERSION,
        "rotation_format": "quaternion_xyzw",
        "coordinate_system": "right_handed_y_up",
        "units": "meters",
        "response_formats": ["gltf_2.0_json"],
        "models": [model],
    }


@router.post("/generate", response_class=JSONResponse)
async def generate(body: GenerateRequest, request: Request, service: Used) -> JSONResponse:
    """Generate motions, and answer with a glTF document once they are done."""
    check(body, service)
    jobs = [prompt.as_job() for prompt in to_prompts(body, service)]
    service.queue.submit(*jobs)
    try:
        for job in jobs:
            while not await ended(job, _PATIENCE):
                if await request.is_disconnected():
                    raise ApiError("not_ready", "the client has left")
        document = await run_in_threadpool(to_document, body, service, [job.result() for job in jobs])
    finally:
        for job in jobs:
            with contextlib.suppress(ApiError):  # it was forgotten already
                service.queue.cancel(job.id)
    return JSONResponse(document, media_type="model/gltf+json")


def body_of(service: Service) -> np.ndarray:
    """Return the T-pose of the model's skeleton, see [`rest_offsets`]."""
    return rest_offsets(service.tasks.generator.processor.feature_extractor)


def contact_joints(skeleton: Skeleton) -> list[str]:
    """Name the joints of the feet, in the order in which the features have their contacts."""
    return [skeleton.joint_names[joint] for joint in skeleton.feet]


def check(body: GenerateRequest, service: Service) -> None:
    """Refuse what this server does not do.

    Raises:
        ApiError: with a code of the protocol.
    """
    if body.protocol_version.split(".")[0] != VERSION.split(".")[0]:
        raise ApiError(
            "version_unsupported", f"protocol_version {body.protocol_version[:20]}: this server speaks {VERSION}"
        )
    if body.model != service.tasks.name:
        raise ApiError("unknown_model", f"no model {body.model[:60]!r}: this server has {service.tasks.name!r}")
    for segment in body.segments:
        if isinstance(segment, OtherSegment):
            what = f"{segment.type!r} segments are not supported"
            raise ApiError("unsupported_segment", f"{what}: cover the whole time with text segments")
    if not body.segments:
        raise ApiError("invalid_request", "constraints alone are not enough: give a text segment")
    options = body.options
    for name in ("loop", "keyframe_budget", "model_options"):
        if getattr(options, name):
            raise ApiError("invalid_options", f"this model has no options.{name}: leave it out")
    if len(body.constraints) > MAX_CONSTRAINTS:
        raise ApiError("invalid_options", f"{len(body.constraints)} constraints: at most {MAX_CONSTRAINTS}")
    if options.num_samples > MAX_SAMPLES:
        raise ApiError("invalid_options", f"num_samples is {options.num_samples}: at most {MAX_SAMPLES}")
    if len(body.texts) > 1 and any(segment.seed is not None for segment in body.texts):
        raise ApiError("invalid_options", "a motion of several segments has one seed: give options.seed")
    check_skeleton(body, service)


def check_skeleton(body: GenerateRequest, service: Service) -> None:
    """Refuse a skeleton that is not the canonical one.

    Raises:
        ApiError: when it is another.
    """
    own = canonical_skeleton(service.tasks.generator.skeleton, body_of(service))["joints"]
    sent = body.skeleton.joints
    same = [(joint["name"], joint["parent"]) for joint in own] == [(joint.name, joint.parent) for joint in sent]
    if same:
        places = np.array([joint.rest_translation for joint in sent])
        same = bool(np.abs(places - [joint["rest_translation"] for joint in own]).max() < _TOLERANCE)
    if not same:
        advice = "send the canonical_skeleton of /capabilities as it is; in Blender, import it from the add-on"
        raise ApiError("retargeting_unsupported", f"this server does not retarget: {advice}")


def to_prompts(body: GenerateRequest, service: Service) -> list[Prompt]:
    """Return a prompt for each sample, with the constraints of the request.

    Raises:
        ApiError: when no motion can be generated from one.
    """
    options = body.options
    segments, samples = body.texts, range(options.num_samples)
    seed = check_seed(options.seed if segments[0].seed is None else segments[0].seed)
    texts = [segment.prompt for segment in segments]
    durations = to_seconds([segment.duration_frames for segment in segments], frame_rate(body, service), service)
    scale = guidance_scale(options.guidance)
    skeleton, count = service.tasks.generator.skeleton, sum(segment.duration_frames for segment in segments)
    constraints = to_constraints(body.constraints, count, frame_rate(body, service), skeleton, body_of(service))
    prompts = [service.prompt(texts, durations, seed + sample, guidance_scale=scale) for sample in samples]
    return [replace(prompt, constraints=tuple(constraints)) for prompt in prompts]


def guidance_scale(guidance: Guidance | None) -> float | None:
    """Return the scale for the text; a separate weight of constraints has no counterpart here."""
    if guidance is None:
        return None
    return guidance.weight[0] if guidance.weight else 1.0


def frame_rate(body: GenerateRequest, service: Service) -> float:
    """Return the frames per second of a request and its answer."""
    return service.tasks.generator.fps if body.timing is None else body.timing.fps


def to_seconds(frames: list[int], fps: float, service: Service) -> list[float | None]:
    """Turn frames of segments into seconds whose ends the model can meet: all but the last end with a token.

    The sum is long enough for all frames after resampling.

    Raises:
        ApiError: when a segment is shorter than a token.
    """
    pipe = service.tasks.generator
    if sum(frames) / fps > service.limits.max_seconds:  # before anything is computed from it
        most = service.limits.max_seconds
        raise ApiError(
            "invalid_options", f"{sum(frames) / fps:g} seconds are too long: at most {most:g} are generated"
        )
    token = pipe.frames_per_token
    ends = [round(end / fps * pipe.fps / token) * token for end in itertools.accumulate(frames)]
    ends[-1] = math.ceil((sum(frames) - 1) / fps * pipe.fps - 1e-6) + 1
    lengths = [end - start for start, end in itertools.pairwise([0, *ends])]
    for number, (length, asked) in enumerate(zip(lengths, frames)):
        if length < token:
            problem = f"segment {number} of {asked} frames is too short"
            raise ApiError("invalid_options", f"{problem}: give {math.ceil(1.5 * token / pipe.fps * fps)} or more")
    return [length / pipe.fps for length in lengths]


def to_document(body: GenerateRequest, service: Service, results: list[MotionResult]) -> dict[str, Any]:
    """Write the samples as glTF, at the frame rate of the request."""
    fps, count = frame_rate(body, service), sum(segment.duration_frames for segment in body.texts)
    start, motions, samples = Start.of(body.constraints), [], []
    for number, result in enumerate(results):
        assert result.features is not None  # it was generated
        fitted = "constraint_error" in result.told  # with its feet placed, which are not to be moved again
        motion = result.motion.clean() if body.options.post_processing and not fitted else result.motion
        motion = motion.resample(fps)
        motions.append(Motion(start.to_world(motion.joints[:count]), fps, motion.skeleton))
        rows = np.minimum((np.arange(count) / fps * result.motion.fps).round().astype(int), len(result.features) - 1)
        contacts = result.features[rows][:, service.tasks.generator.skeleton.slices["contacts"]] > 0.5
        sample = {"name": f"sample_{number}", "num_frames": count, "chunk_boundaries": []}
        names = contact_joints(service.tasks.generator.skeleton)
        samples.append(sample | {"foot_contacts": dict(zip(names, contacts.T.tolist()))})
    extension = {"version": VERSION, "model": service.tasks.name, "fps": fps, "samples": samples}
    return to_gltf(motions, body_of(service), extension)
