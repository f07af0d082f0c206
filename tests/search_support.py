"""What the tests of the pipeline search in, and search with."""

import io
import wave

import numpy as np
from fixtures_orchestrator import World
from PIL import Image


def sound(seconds: float = 1.0, tone_hz: float = 440.0) -> bytes:
    """A WAV file, 16 kHz mono."""
    samples = np.sin(np.arange(int(seconds * 16000)) * tone_hz * 2 * np.pi / 16000) * 8000
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


async def stock(world: World) -> None:
    for item_id, title in [
        ("frog", "green frog"),
        ("red-car", "red car"),
        ("blue-car", "blue car"),
        ("tree", "green tree"),
    ]:
        await world.add(item_id, title)
