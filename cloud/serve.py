"""Runs the cloud's processes: HTTP, worker, or both in one, until SIGINT or SIGTERM."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from cloud.error_reports import Webhook, reporting_errors
from cloud.foundation import Cloud, build_cloud
from cloud.identity.peppers import PepperError
from cloud.main import build_app
from cloud.settings import CloudSettings
from cloud.worker import run_worker

_log = logging.getLogger(__name__)

WEBSOCKET_MESSAGE_SIZE_MAX = 4_096
"""What a screen says is short; uvicorn would take 16 MiB."""


async def serve_cloud(settings: CloudSettings, *, port: int | None, with_worker: bool) -> None:
    """Serve HTTP, with a worker beside it if asked; raises what says why it cannot start."""
    cloud = build_cloud(settings)
    stop = _until_signalled()
    _warn_without_peppers(cloud)
    _warn_without_files(settings)
    try:
        with reporting_errors(_reporter(settings), cloud.clock, service="tillbox cloud serve"):
            app = build_app(cloud)
            loops = [_serve(app, settings.http_host, settings.http_port if port is None else port, stop)]
            if with_worker:
                loops.append(run_worker(cloud))
            await _until_first_ends(loops)
    finally:
        cloud.close()


async def work_alone(settings: CloudSettings) -> None:
    """Run one worker."""
    cloud: Cloud = build_cloud(settings)
    stop = _until_signalled()
    try:
        with reporting_errors(_reporter(settings), cloud.clock, service="tillbox cloud worker"):
            await _until_first_ends([_wait(stop), run_worker(cloud)])
    finally:
        cloud.close()


def _reporter(settings: CloudSettings) -> Webhook | None:
    url = settings.error_webhook_url
    return None if url is None else Webhook(url.get_secret_value())


def _warn_without_files(settings: CloudSettings) -> None:
    if not settings.column_key_file.exists():
        _log.warning("column_keys_missing file=%s; nobody can register until it is there", settings.column_key_file)
    if settings.mail_smtp_url is None:
        _log.warning("mail_server_missing folder=%s; letters lie there and nobody gets them", settings.mail_folder)


def _warn_without_peppers(cloud: Cloud) -> None:
    try:
        cloud.identity.hasher.require_pepper(None)
    except PepperError as error:
        _log.warning(
            "peppers_missing code=%s; nobody can log in until %s is there", error.code, cloud.settings.pepper_file
        )


def _until_signalled() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _serve(app: FastAPI, host: str, port: int, stop: asyncio.Event) -> None:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
        ws_max_size=WEBSOCKET_MESSAGE_SIZE_MAX,
        log_config=None,
    )
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    _log.info("cloud_ready host=%s port=%d", host, port)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving


class _QuietServer(uvicorn.Server):
    """Uvicorn without its own signal handlers, which would raise the signal once more behind the clean end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _until_first_ends(loops: list[Coroutine[Any, Any, None]]) -> None:
    """Run everything until one ends: that is a stop asked for, or a failure, which is raised."""
    running = [asyncio.create_task(each) for each in loops]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
