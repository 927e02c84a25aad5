"""How ffmpeg encodes a mount: command lines, what they take, what comes out. Pure.

FLAC holds exactly what it is given: samples rounded to 24 bits (or 16, without dither). Opus and MP3 get float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from safa_server.encoding import as_f32, as_s16, as_s24
from safa_stream.types import FloatArray

FORMATS = ("flac", "opus", "mp3")
#: kbit/s, where a mount does not say.
BIT_RATES = {"opus": 160, "mp3": 192}
#: Ogg pages leave when they are so old, in seconds; ffmpeg's own second would be heard as delay.
PAGE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Encoding:
    """format: one of FORMATS; bits: of FLAC's samples, 16 or 24; bit_rate: kbit/s of the others."""

    format: str
    bits: int = 24
    bit_rate: int = 0

    @property
    def content_type(self) -> str:
        """The media type."""
        return "audio/mpeg" if self.format == "mp3" else "audio/ogg"

    @property
    def takes_titles(self) -> bool:
        """Can a title change while it plays? Icecast adds titles to MP3; in an Ogg stream each would begin a new
        logical stream, at which many players stop, so there the first title stays."""
        return self.format == "mp3"

    @property
    def payload(self) -> Callable[[FloatArray], bytes]:
        """Samples [channels, N] as the encoder's input."""
        if self.format != "flac":
            return as_f32
        return as_s16 if self.bits == 16 else as_s24

    def command(self, rate: int, channels: int, title: str) -> list[str]:
        """The encoder: `payload`'s bytes on its standard input, the stream on its standard output."""
        raw = "f32le" if self.format != "flac" else f"s{self.bits}le"
        pages = ["-f", "ogg", "-page_duration", str(round(PAGE_SECONDS * 1e6))]
        codec = {
            "flac": ["-c:a", "flac", *pages],
            "opus": ["-c:a", "libopus", "-b:a", f"{self.bit_rate}k", *pages],
            "mp3": ["-c:a", "libmp3lame", "-b:a", f"{self.bit_rate}k", "-write_xing", "0", "-f", "mp3"],
        }[self.format]
        return [
            *("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error"),
            # Raw samples have nothing to look for in their beginning.
            *("-probesize", "32", "-analyzeduration", "0"),
            *("-f", raw, "-ar", str(rate), "-ac", str(channels), "-i", "pipe:0"),
            *("-metadata", f"title={title}", *codec, "-flush_packets", "1", "pipe:1"),
        ]
