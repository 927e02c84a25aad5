"""What a server is told to be: one frozen value from flags, environment and one TOML file.

Flags go before SAFA_* variables, those before the file, the file before the defaults. In the file the limits stand in a
table of their own, [limits].
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from safa_server.limits import Limits
from safa_server.osc_packet import FRAMINGS
from safa_server.telemetry.tracing import TraceSettings
from safa_stream.errors import UsageError

#: Settings whose values are in no error.
_SECRETS = ("token", "icecast", "icecast_password")
#: Beyond this, sound is not on its way, it is lost.
LARGEST_LATENCY = 10.0


#: What a cluster's front ends do not offer: it belongs to a session that one server has as its own.
SINGLE = (
    "prompt", "scene", "device", "icecast", "rtp", "link", "midi_clock", "osc_tcp_port", "oscquery_port", "restore",
)  # fmt: skip


def _setting(default: Any, help: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every field is also a flag (--tls-cert), a variable (SAFA_TLS_CERT) and a key of the file (tls_cert)."""

    host: str = _setting("127.0.0.1", "address to listen on; beyond loopback a token is needed", "ADDRESS")
    port: int = _setting(8600, "port of page, WebSocket and HTTP; 0 takes a free one", "PORT")
    token: str | None = _setting(
        None,
        "what clients must know; made up beyond loopback if not given; other users see flags, so rather a variable",
        "TOKEN",
    )
    listen_token: str | None = _setting(
        None, "what clients must know who may hear sessions and not steer; beside a token", "TOKEN"
    )
    tenants: Path | None = _setting(None, "who else may use the server, by tokens of their own (TOML)", "FILE")
    origins: tuple[str, ...] = _setting((), "web pages that may connect besides this server's own", "URL,...")
    tls_cert: Path | None = _setting(None, "certificate chain (PEM) for https and wss", "FILE")
    tls_key: Path | None = _setting(None, "its key, if not in the same file", "FILE")
    model: str = _setting("builtin", "builtin, a model's folder, or an id on the hub such as cvssp/audioldm2", "NAME")
    backend: str = _setting("auto", "what runs the networks, such as onnx or torch-cuda", "BACKEND")
    sessions: int = _setting(64, "sessions at a time at most", "N")
    session_seconds: float | None = _setting(
        None, "end clients' sessions when they are so old (default: never)", "SECONDS"
    )
    layers: int | None = _setting(None, "layers in real time at most (default: by measured speed)", "N")
    prompt: str | None = _setting(
        None, "begin with a session that sounds like this and stays, or with the restored one", "PROMPT"
    )
    scene: Path | None = _setting(None, "begin with a session of this scene file and stays", "FILE")
    device: str | None = _setting(None, 'play that session on a sound device; "default" for the default one', "NAME")
    device_buffer: float = _setting(0.2, "sound kept ready for that device; it grows where it is too short", "SECONDS")
    device_latency: float = _setting(0.1, "latency that the device itself is asked for", "SECONDS")
    icecast: tuple[str, ...] = _setting(
        (), "send that session to Icecast as well: icecast://HOST:8000/live.flac, or .opus, .mp3", "URL,..."
    )
    icecast_password: str | None = _setting(
        None, "the source's password where a URL holds none; other users see flags, so rather a variable", "PASSWORD"
    )
    rtp: tuple[str, ...] = _setting(
        (), "send that session as RTP (L24) as well; a group's address is multicast", "HOST:PORT,..."
    )
    rtp_sdp: Path | None = _setting(None, "write what RTP's receivers need to know (SDP)", "FILE")
    channel_map: str | None = _setting(
        None, "that session's channels on the device: quad, 5.1, 7.1, 7.1.4, ambix, or a list such as 3,4,-,1", "MAP"
    )
    link: bool = _setting(False, "follow the tempo of the Ableton Link session in this network", "")
    midi_clock: str | None = _setting(
        None, 'follow a MIDI clock: alsa:NAME or jack:NAME, or "own" as the name for a port to connect to', "PORT"
    )
    tempo_transport: bool = _setting(False, "let its start and stop also start and stop the sessions' clocks", "")
    tempo_latency: float = _setting(0.0, "how much later sound is heard than it leaves, for that", "SECONDS")
    osc_port: int | None = _setting(9600, "UDP port of OSC; 0 takes a free one, -1 is no OSC", "PORT")
    osc_tcp_port: int | None = _setting(None, "TCP port of OSC as well", "PORT")
    osc_framing: str = _setting("auto", "how OSC is framed on TCP: slip, length, or auto by the first byte", "FRAMING")
    osc_other_hosts: bool = _setting(False, "let OSC clients have subscriptions sent to other machines", "")
    oscquery_port: int | None = _setting(None, "port of OSCQuery; 0 takes a free one", "PORT")
    announce: bool | None = _setting(None, "announce OSC by zeroconf (default: beyond loopback)", "")
    name: str = _setting("safa-stream", "the server's name in announcements", "NAME")
    state: Path | None = _setting(None, "keep journals and snapshots of sessions in this folder", "FOLDER")
    restore: bool = _setting(False, "go on with the sessions that the state folder holds", "")
    ready_file: Path | None = _setting(
        None, "write JSON with host, ports, token and pid once connections are taken", "FILE"
    )
    cluster: str | None = _setting(
        None, "serve by engines on a Ray cluster: local (on this machine), auto, or HOST:PORT of its head", "CLUSTER"
    )
    engines: int = _setting(1, "engines that the cluster has at least, each with slots of its own", "N")
    most_engines: int | None = _setting(
        None, "engines that it has at most, begun and ended as sessions need them (default: as many)", "N"
    )
    more_models: tuple[str, ...] = _setting(
        (), "further models of the cluster, which scenes ask for by 'model', each with N engines", "NAME=N,..."
    )
    engine_cpus: float = _setting(1.0, "slots of CPU that an engine takes of its node", "N")
    engine_gpus: float = _setting(0.0, "GPUs that an engine takes of its node", "N")
    trace: str | None = _setting(
        None, 'send traces to this OTLP/HTTP collector; "otel" for where OTEL_* variables say', "URL"
    )
    trace_ratio: float | None = _setting(
        None, "share of traces that are recorded, 0 to 1 (default: all, or as OTEL_* variables say)", "SHARE"
    )
    drain_seconds: float = _setting(5.0, "how long clients are given to leave on SIGTERM", "SECONDS")
    log_level: str = _setting("info", "debug, info, warning or error", "LEVEL")
    log_json: bool = _setting(False, "log lines as JSON objects", "")
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in ("port", "osc_tcp_port", "oscquery_port"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 65535:
                raise UsageError(f"setting {name!r} must be a port from 0 to 65535, not {value}")
        if self.osc_port is not None and not -1 <= self.osc_port <= 65535:
            raise UsageError(f"setting 'osc_port' must be a port from 0 to 65535, or -1 for none, not {self.osc_port}")
        if self.osc_framing not in FRAMINGS:
            raise UsageError(f"setting 'osc_framing' must be auto, slip or length, not {self.osc_framing!r}")
        if self.sessions < 1 or (self.layers is not None and self.layers < 1):
            raise UsageError("settings 'sessions' and 'layers' must be 1 or more")
        if self.session_seconds is not None and not self.session_seconds > 0:
            raise UsageError(f"setting 'session_seconds' must be above 0, not {self.session_seconds}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise UsageError(f"setting 'log_level' must be debug, info, warning or error, not {self.log_level!r}")
        if self.trace is not None:
            TraceSettings(self.trace, self.trace_ratio)
        elif self.trace_ratio is not None:
            raise UsageError("setting 'trace_ratio' needs 'trace', where traces go to")
        if self.tls_key is not None and self.tls_cert is None:
            raise UsageError("setting 'tls_key' needs 'tls_cert'")
        if self.restore and self.state is None:
            raise UsageError("setting 'restore' needs 'state', the folder with what is to be restored")
        if self.channel_map is not None:
            # Not above: help is shown without numpy.
            from safa_stream.channels import channel_map

            channel_map(self.channel_map)
            if self.device is None:
                raise UsageError("setting 'channel_map' needs 'device': it says which of its outputs gets what")
        if self.link and self.midi_clock is not None:
            raise UsageError("settings 'link' and 'midi_clock' cannot both be given: only one can lead")
        if not 0 <= self.tempo_latency <= LARGEST_LATENCY:
            raise UsageError(f"setting 'tempo_latency' must be 0 to {LARGEST_LATENCY:g} s, not {self.tempo_latency:g}")
        if self.engines < 1 or (self.most_engines is not None and self.most_engines < self.engines):
            raise UsageError("setting 'engines' must be 1 or more, and 'most_engines' no fewer")
        _ = self.further_models
        if self.engine_cpus < 0 or self.engine_gpus < 0 or self.engine_cpus + self.engine_gpus == 0:
            raise UsageError("settings 'engine_cpus' and 'engine_gpus' must be 0 or more, and one of them above 0")
        if self.cluster is not None:
            for name in SINGLE:
                if getattr(self, name):
                    raise UsageError(f"setting {name!r} is for a single server: a cluster has no session of its own")
        if self.prompt is not None and self.scene is not None:
            raise UsageError("settings 'prompt' and 'scene' cannot both be given")
        if (self.icecast or self.rtp) and self.prompt is None and self.scene is None and not self.restore:
            raise UsageError("settings 'icecast' and 'rtp' need the session that they send: 'prompt' or 'scene'")
        if self.rtp_sdp is not None and not self.rtp:
            raise UsageError("setting 'rtp_sdp' needs 'rtp', what it is to describe")

    @property
    def further_models(self) -> tuple[tuple[str, int], ...]:
        """`more_models`, read: each with its number of engines. Raises UsageError."""
        found = []
        for text in self.more_models:
            name, _, number = text.rpartition("=")
            if not name or not number.isdecimal() or int(number) < 1 or name == self.model:
                raise UsageError(
                    f"setting 'more_models' must be like cvssp/audioldm2=2, other than 'model', not {text!r}"
                )
            found.append((name, int(number)))
        if len({name for name, _ in found}) < len(found):
            raise UsageError("setting 'more_models' names a model twice")
        if found and self.cluster is None:
            raise UsageError("setting 'more_models' is for a cluster: a single server has one model")
        return tuple(found)


def read_settings(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Settings:
    """Settings from all three places. flags: those that were given. Raises UsageError naming what is wrong."""
    values: dict[str, Any] = {}
    if file is not None:
        values |= _from_file(file)
    hints = get_type_hints(Settings)
    for one in fields(Settings):
        variable = f"SAFA_{one.name.upper()}"
        if one.name != "limits" and variable in environment:
            values[one.name] = _from_text(hints[one.name], environment[variable], variable)
    return Settings(**(values | dict(flags)))


def environment() -> Mapping[str, str]:
    """The process's variables."""
    return os.environ


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened:
            table = tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"cannot read the settings {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings {path} are not TOML: {error}") from None
    hints = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in hints:
            raise UsageError(f"{path}: unknown setting {name!r}; known: {', '.join(hints)}")
        values[name] = _limits(value, path) if name == "limits" else _checked(hints[name], value, f"{path}: {name}")
    return values


def _limits(value: Any, path: Path) -> Limits:
    hints = get_type_hints(Limits)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: limits must be a table, [limits]")
    for name in value:
        if name not in hints:
            raise UsageError(f"{path}: unknown limit {name!r}; known: {', '.join(hints)}")
    return Limits(**{name: _checked(hints[name], one, f"{path}: limits.{name}") for name, one in value.items()})


def _checked(hint: Any, value: Any, where: str) -> Any:
    """A TOML value as the field's type."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    shown = "what is there" if where.endswith(_SECRETS) else repr(value)
    if tuple in kinds or hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{where} must be a list of texts, not {shown}")
        return tuple(value)
    if Path in kinds and isinstance(value, str):
        return Path(value)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    for kind in kinds:
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
    names = " or ".join(kind.__name__ for kind in kinds)
    raise UsageError(f"{where} must be {names}, not {shown}")


def _from_text(hint: Any, text: str, where: str) -> Any:
    """An environment variable's text as the field's type."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if hint == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        if bool in kinds:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return kinds[0](text)
    except (ValueError, KeyError):
        raise UsageError(f"{where} must be {kinds[0].__name__}, not {text!r}") from None
