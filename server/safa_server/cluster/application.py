"""A cluster's front ends as an application of Ray Serve: `serve run safa_server.cluster.application:app`.

Serve has the port, the replicas and how many there are; what a replica does with a client is what every front end does.
Settings are those of `safa-stream serve`: variables (SAFA_STATE) and, with `:build`, arguments (state=FOLDER).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from safa_server.cluster.actors import RayHead
from safa_server.cluster.asgi import FrontEnd
from safa_server.cluster.front import FrontHttp, Lobby, parts
from safa_server.cluster.serve import cluster_settings
from safa_server.serve import security_of, set_up_logging
from safa_server.settings import Settings, environment, read_settings
from safa_stream.errors import UsageError
from safa_stream.rayclusters import AUTO, library

#: Replicas, by how many clients each is to have; `serve deploy` can say otherwise.
SCALING = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 100, "downscale_delay_s": 600}
#: A replica that is to end has clients that do not: they come back to another one, and lose nothing.
ENDING_SECONDS = 2.0
#: What Serve's proxies do, and what belongs to a process that has a port of its own.
OTHERS = ("cluster", "port", "tls_cert", "tls_key", "ready_file", "osc_port", "osc_other_hosts", "announce")


def build(args: Mapping[str, Any]) -> Any:
    """The application. args: settings by their names, and `config`, a settings file. Raises UsageError."""
    library()
    settings = _settings(args)
    security_of(settings)
    front = FrontEnd(partial(_begin, settings))
    serve: Any = import_module("ray.serve")
    deployed = serve.deployment(
        name="FrontEnd",
        autoscaling_config=SCALING,
        max_ongoing_requests=settings.limits.connections,
        graceful_shutdown_timeout_s=ENDING_SECONDS,
        # They wait and hand on; what takes a core is the engines.
        ray_actor_options={"num_cpus": 0},
    )
    return deployed(serve.ingress(front)(_Replica)).bind()


def __getattr__(name: str) -> Any:
    """`app`, made when it is asked for: the variables of that moment count."""
    if name == "app":
        return build({})
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _settings(args: Mapping[str, Any]) -> Settings:
    """Arguments are read as variables are: Serve's command line has texts only."""
    known = {one.name for one in fields(Settings)} - {"limits", *OTHERS}
    unknown = sorted(set(args) - known - {"config"})
    if unknown:
        raise UsageError(f"unknown argument {unknown[0]!r}; known: config, {', '.join(sorted(known))}")
    given = {f"SAFA_{name.upper()}": _text(value) for name, value in args.items() if name != "config"}
    file = Path(str(args["config"])) if "config" in args else None
    settings = read_settings({"cluster": AUTO}, {**environment(), **given}, file)
    if settings.tls_cert is not None:
        raise UsageError("setting 'tls_cert' is not for Ray Serve, whose proxies have the port: let them speak TLS")
    if settings.state is None:
        raise UsageError(
            "Ray Serve needs 'state', the folder where all nodes keep sessions: SAFA_STATE or state=FOLDER"
        )
    return settings


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


class _Replica:
    """Serve wants a class; all that there is to do is the ASGI application's."""


async def _begin(settings: Settings) -> tuple[Lobby, FrontHttp]:
    """The cluster's head and engines, begun where they are not there yet, and what serves clients by them."""
    assert settings.state is not None
    set_up_logging(settings.log_level, settings.log_json)
    head = RayHead.begun(cluster_settings(settings, settings.state.resolve(), alone=False))
    secret = (await head.start()).engine.secret
    context: Any = import_module("ray.serve").get_replica_context()
    return parts(head, secret, security_of(settings), settings.limits, str(context.replica_tag))
