"""The HTTP interface: `lamp-hf serve`. It needs FastAPI: `pip install ".[serve]"`.

    POST /jobs/generate, /jobs/caption, /jobs/search, /jobs/convert     queue a job
    GET  /jobs/{id}                   status and result; with ?wait=30 it waits for up to 30 seconds
    GET  /jobs/{id}/motion.bvh        files of a motion: motion.npz, .bvh, .glb, .json, features.npy
    DELETE /jobs/{id}                 cancel the job, or drop its result

`/docs` explains every field. `GET /capabilities` and `POST /generate` speak MMCP, see `mmcp`.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, Query, Response, Security, UploadFile
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .. import __version__
from . import mmcp
from .errors import ApiError, add_error_handlers
from .gate import Gate
from .jobs import Job
from .limits import MAX_CANDIDATES, Limits
from .results import FILES, encode
from .service import Service, Used, ended, read_text
from .tasks import ModelTasks, MotionResult
from .tasks import Query as Search
from .uploads import MOTIONS


MAX_WAIT, MAX_HITS = 60.0, 100
_MOTION = f"A motion file ({', '.join(MOTIONS)})."
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds to wait for the end of the job.")
]


class Segment(BaseModel):
    """A text and how long it is shown."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(description="What the person does, in a sentence.")
    duration: Seconds | None = Field(default=None, description="Seconds; chosen by the model if not given.")


class Generate(BaseModel):
    """A motion to generate, from one text or from several that follow one another."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = Field(default=None, description="What the person does, in a sentence.")
    duration: Seconds | None = Field(
        default=None, description="Seconds of the text; chosen by the model if not given."
    )
    segments: list[Segment] = Field(default=[], description="Texts that follow one another, in place of `text`.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="The same seed gives the same motion; drawn if not given."
    )
    num_candidates: int = Field(
        default=1,
        ge=1,
        le=MAX_CANDIDATES,
        description="Motions to generate, with successive seeds; LaMP keeps the best.",
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="How closely to follow the text; 1 is without guidance.",
    )

    @model_validator(mode="after")
    def _check(self) -> "Generate":
        if (self.text is None) == (not self.segments):
            raise ValueError("give either a text or segments")
        if self.segments and self.duration is not None:
            raise ValueError("give each segment its duration")
        return self


class Problem(BaseModel):
    """An error, in one line."""

    code: str
    message: str
    details: dict = {}


class JobStatus(BaseModel):
    """A job: how far it is, and its result."""

    id: str
    task: str
    status: str = Field(description="queued, running, done, failed or cancelled")
    position: int | None = Field(default=None, description="Number of jobs before it in the queue.")
    seconds: float = Field(description="Since it was submitted; of one that has ended, until it did.")
    result: dict[str, Any] | None = None
    files: dict[str, str] = Field(default={}, description="Where to fetch the motion, by format.")
    error: Problem | None = None


router = APIRouter(prefix="/jobs", tags=["jobs"])


async def describe(service: Service, job: Job, wait: float, response: Response) -> JobStatus:
    """Describe a job after waiting for it; 202 for one that has not ended."""
    if wait:
        await ended(job, wait)
    status = job.status
    response.headers["Location"] = f"/jobs/{job.id}"
    if status in ("queued", "running"):
        response.status_code = 202
        response.headers["Retry-After"] = "1"
    end = job.ended if job.ended == job.ended else time.monotonic()
    described = JobStatus(id=job.id, task=job.task, status=status, seconds=round(end - job.submitted, 3))
    described.position = service.queue.position(job)
    if status == "done":
        result = job.result()
        described.result = motion_summary(result) if isinstance(result, MotionResult) else result
        if isinstance(result, MotionResult):
            described.files = {name: f"/jobs/{job.id}/{name}" for name in FILES}
    elif status == "failed":
        try:
            job.result()
        except ApiError as error:
            described.error = Problem(code=error.code, message=error.message)
    return described


def motion_summary(result: MotionResult) -> dict[str, Any]:
    """Say what is known of a motion, without its frames."""
    motion = result.motion
    summary = {"seconds": round(motion.duration, 3), "frames": motion.num_frames, "fps": motion.fps}
    return summary | {"skeleton": motion.skeleton, "text": motion.text} | result.told


@router.post("/generate", status_code=200)
async def generate(body: Generate, service: Used, response: Response, wait: Wait = 0) -> JobStatus:
    """Generate a motion from a text, or from several that follow one another."""
    segments = body.segments or [Segment(text=body.text or "", duration=body.duration)]
    prompt = service.prompt(
        [segment.text for segment in segments],
        [segment.duration for segment in segments],
        body.seed,
        body.num_candidates,
        guidance_scale=body.guidance_scale,
    )
    job = prompt.as_job()
    service.queue.submit(job)
    return await describe(service, job, wait, response)


@router.post("/caption")
async def caption(
    motion: Annotated[UploadFile, File(description=_MOTION)],
    service: Used,
    response: Response,
    wait: Wait = 0,
) -> JobStatus:
    """Describe a motion file in words."""
    job = Job("caption", await service.read(motion))
    service.queue.submit(job)
    return await describe(service, job, wait, response)


@router.post("/search")
async def search(
    service: Used,
    response: Response,
    text: Annotated[str | None, Form(description="What the person does, in a sentence.")] = None,
    motion: Annotated[UploadFile | None, File(description="A motion file; finds similar motions.")] = None,
    k: Annotated[int, Form(ge=1, le=MAX_HITS, description="Number of hits.")] = 10,
    wait: Wait = 0,
) -> JobStatus:
    """Find motions of the server's gallery by a text, a motion file, or both."""
    if service.tasks.index is None:
        raise ApiError("invalid_request", "this server has no gallery: start it with --gallery FOLDER")
    if text is None and motion is None:
        raise ApiError("invalid_request", "nothing to search for: give a text or a motion file")
    text = None if text is None else read_text(text)
    job = Job("search", Search(text, None if motion is None else await service.read(motion), k))
    service.queue.submit(job)
    return await describe(service, job, wait, response)


@router.post("/convert")
async def convert(
    motion: Annotated[UploadFile, File(description=_MOTION)],
    service: Used,
    response: Response,
    fps: Annotated[
        float | None,
        Form(gt=0, le=1000, allow_inf_nan=False, description="Frames per second; the file's if not given."),
    ] = None,
) -> JobStatus:
    """Read a motion file, to fetch it in another format."""
    job = Job("convert", None)
    service.queue.add_done(job, MotionResult(await service.read(motion, fps)))
    return await describe(service, job, 0, response)


@router.get("/{job_id}")
async def status(job_id: str, service: Used, response: Response, wait: Wait = 0) -> JobStatus:
    """Tell how far a job is, with its result once it is done."""
    return await describe(service, service.queue.get(job_id), wait, response)


@router.get("/{job_id}/{file}", response_class=Response)
def fetch(job_id: str, file: str, service: Used) -> Response:
    """Return a file of a motion: motion.npz, motion.bvh, motion.glb, motion.json or features.npy."""
    result = service.queue.get(job_id).result()
    if not isinstance(result, MotionResult):
        raise ApiError("not_found", "the job made no motion: its result is in its status")
    content, media_type = encode(result, file)
    return Response(content, media_type=media_type)


@router.delete("/{job_id}", status_code=204)
async def cancel(job_id: str, service: Used) -> None:
    """Cancel a job, or drop the result of one that has ended."""
    service.queue.cancel(job_id)


async def health(service: Used) -> dict:
    """Tell that the server runs, and how many requests wait."""
    return {"status": "ok", "model": service.tasks.name, "waiting": service.queue.num_waiting}


def build_app(tasks: ModelTasks, limits: Limits | None = None, token: str | None = None) -> FastAPI:
    """Build the application.

    Args:
        tasks ([`ModelTasks`]): the models.
        limits ([`Limits`], *optional*): limits of requests.
        token (`str`, *optional*): the token that clients must show; anyone may come in if not given.
    """
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service(tasks, limits)
        yield
        app.state.service.close()

    secured = [Security(HTTPBearer(auto_error=False))] if token else []  # lets the page at /docs ask for it
    app = FastAPI(title="lamp-hf", version=__version__, lifespan=lifespan, redoc_url=None, dependencies=secured)
    app.include_router(router)
    app.include_router(mmcp.router)
    app.add_api_route("/health", health, tags=["server"])
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    add_error_handlers(app)
    app.add_middleware(Gate, max_upload=limits.max_upload, token=token)
    return app
