from __future__ import annotations

from pathlib import Path

import pytest

from safa_server.settings import Settings, read_settings
from safa_stream.errors import UsageError


def test_flags_go_before_variables_and_those_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "safa.toml"
    file.write_text(
        'port = 1\nosc_port = 2\nsessions = 3\norigins = ["https://a.example"]\n[limits]\nconnections = 9\n'
    )
    environment = {"SAFA_OSC_PORT": "5", "SAFA_SESSIONS": "6", "SAFA_LOG_JSON": "yes", "SAFA_STATE": str(tmp_path)}
    found = read_settings({"sessions": 7}, environment, file)
    assert (found.port, found.osc_port, found.sessions) == (1, 5, 7)
    assert found.origins == ("https://a.example",)
    assert found.log_json is True and found.state == tmp_path
    assert found.limits.connections == 9


@pytest.mark.parametrize(
    "text, said",
    [
        ("prot = 1", "unknown setting 'prot'"),
        ('port = "1"', "port must be int, not '1'"),
        ("port = true", "port must be int, not True"),
        ("[limits]\nconections = 1", "unknown limit 'conections'"),
        ("limits = 3", "limits must be a table"),
        ("port = ", "are not TOML"),
        ("port = 70000", "'port' must be a port from 0 to 65535"),
        ('link = true\nmidi_clock = "jack:own"', "cannot both be given: only one can lead"),
        ("tempo_latency = -1", "'tempo_latency' must be 0 to 10 s, not -1"),
        ("session_seconds = 0", "'session_seconds' must be above 0, not 0"),
        ("session_seconds = nan", "'session_seconds' must be above 0, not nan"),
        ('osc_framing = "cobs"', "'osc_framing' must be auto, slip or length, not 'cobs'"),
        ("restore = true", "'restore' needs 'state'"),
        ('log_level = "loud"', "'log_level'"),
        ('tls_key = "k.pem"', "'tls_key' needs 'tls_cert'"),
        ('prompt = "rain"\nscene = "s.json"', "cannot both be given"),
        ('channel_map = "quad"', "'channel_map' needs 'device'"),
        ('channel_map = "9.9"\ndevice = "default"', "is none of quad, 5.1"),
    ],
)
def test_what_is_wrong_in_a_settings_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "safa.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_settings({}, {}, file)


def test_a_variable_that_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SAFA_PORT must be int, not 'http'"):
        read_settings({}, {"SAFA_PORT": "http"}, None)
    with pytest.raises(UsageError, match="SAFA_OSC_OTHER_HOSTS must be bool, not 'maybe'"):
        read_settings({}, {"SAFA_OSC_OTHER_HOSTS": "maybe"}, None)
    assert read_settings({}, {"SAFA_SESSION_SECONDS": "600"}, None).session_seconds == 600
    with pytest.raises(UsageError, match="cannot read the settings"):
        read_settings({}, {}, tmp_path / "none.toml")


def test_nothing_listens_beyond_this_machine_by_default() -> None:
    assert Settings().host == "127.0.0.1"
