"""The wheel's Triton on the real repository, through plain clients."""

from __future__ import annotations

import asyncio
import json
import re
import wave
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from urllib.request import urlopen

import numpy as np
import pytest
from fixtures_triton import PUBLIC, Triton
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from serving.canary import canary_bytes

TIMEOUT_S = 60.0


def infer(client: InferenceServerClient, model: str, **content: bytes | list[bytes]) -> InferResult:
    inputs = []
    for name, value in content.items():
        rows = value if isinstance(value, list) else [value]
        tensor = InferInput(name, [len(rows), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[row] for row in rows], dtype=object))
        inputs.append(tensor)
    return client.infer(model, inputs, client_timeout=TIMEOUT_S)


def refusal(client: InferenceServerClient, model: str, **content: bytes) -> dict[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        infer(client, model, **content)
    found = re.search(r"\{.*\}", caught.value.message(), re.DOTALL)
    assert found is not None, caught.value.message()
    return dict(json.loads(found[0]))


@pytest.fixture(scope="module")
def client(triton: Triton) -> InferenceServerClient:
    return InferenceServerClient(triton.grpc)


def counts(triton: Triton, model: str) -> tuple[float, float]:
    """(inferences, executions) so far."""
    with urlopen(f"http://{triton.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values = []
    for metric in ("count", "exec_count"):
        found = re.search(
            rf'^nv_inference_{metric}{{model="{model}",version="\d+"}} (\d+)', text, re.MULTILINE
        )
        assert found is not None
        values.append(float(found[1]))
    return values[0], values[1]


def test_every_public_model_is_ready(triton: Triton) -> None:
    # the re-ranker is there where one was trained
    assert set(triton.state.models) - {"attend", "rerank"} == set(PUBLIC)
    assert all(model.canary_ms is not None for model in triton.state.models.values())


@pytest.mark.parametrize(
    ("kind", "native"), [("text", None), ("image", None), ("audio", 512), ("video", 2048)]
)
def test_embeds_encoded_content(client: InferenceServerClient, kind: str, native: int | None) -> None:
    result = infer(client, f"embed_{kind}", **{kind: canary_bytes(kind)})
    for name, size in (("embedding", 1024), ("native", native)):
        if size is None:
            continue
        array = result.as_numpy(name)
        assert array.shape == (1, size)
        assert array.dtype == np.float32
        assert np.linalg.norm(array) == pytest.approx(1.0, abs=1e-3)


def test_related_texts_are_nearer_than_unrelated_ones(client: InferenceServerClient) -> None:
    texts = [b"a green frog", b"an amphibian sitting on a leaf", b"an invoice for office furniture"]
    frog, amphibian, invoice = infer(client, "embed_text", text=texts).as_numpy("embedding")
    assert frog @ amphibian > frog @ invoice


def test_padding_and_company_do_not_change_an_embedding(client: InferenceServerClient) -> None:
    short, long = b"a red bicycle", b"a red bicycle " * 30
    alone = infer(client, "embed_text", text=short).as_numpy("embedding")
    with_long = infer(client, "embed_text", text=[short, long]).as_numpy("embedding")
    assert float((alone @ with_long[0]).item()) > 0.9999


def wav(samples: np.ndarray) -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def test_a_sound_is_heard_the_same_beside_others(client: InferenceServerClient) -> None:
    rng = np.random.default_rng(2)
    time_s = np.arange(32_000) / 16_000
    hum = wav(0.02 * np.sin(2 * np.pi * 120 * time_s))
    sounds = [hum, wav(rng.uniform(-0.9, 0.9, 32_000)), canary_bytes("audio")]
    alone = infer(client, "embed_audio", audio=hum)
    beside = infer(client, "embed_audio", audio=sounds)
    for name in ("embedding", "native"):
        assert float(alone.as_numpy(name)[0] @ beside.as_numpy(name)[0]) > 0.9999
    phrases = json.dumps(["A humming bird", "Hum", "A drum"]).encode()
    alone = infer(client, "transcribe_audio", audio=hum, phrases=phrases)
    beside = infer(client, "transcribe_audio", audio=sounds, phrases=[phrases] * 3)
    assert alone.as_numpy("text")[0, 0] == beside.as_numpy("text")[0, 0]
    assert alone.as_numpy("score")[0, 0] == pytest.approx(beside.as_numpy("score")[0, 0], abs=1e-4)


def test_one_process_answers_as_the_ensemble_would(client: InferenceServerClient) -> None:
    texts = [b"a green frog", "ein gr\u00fcner Frosch".encode(), b"word " * 700]
    steps = ("decode_text", "encode_text")
    for step in steps:
        client.load_model(step)
    try:
        for text in texts:
            tokens = infer(client, "decode_text", text=text)
            inputs = []
            for name in ("input_ids", "attention_mask"):
                values = tokens.as_numpy(name)
                tensor = InferInput(name, list(values.shape), "INT64")
                tensor.set_data_from_numpy(values)
                inputs.append(tensor)
            by_steps = client.infer("encode_text", inputs, client_timeout=TIMEOUT_S).as_numpy("embedding")
            at_once = infer(client, "embed_text", text=text).as_numpy("embedding")
            np.testing.assert_allclose(at_once, by_steps, atol=1e-5)
    finally:
        for step in steps:
            client.unload_model(step)


def test_rows_of_different_lengths_come_back_in_order(client: InferenceServerClient) -> None:
    texts = [b"a red bicycle", b"a very long story about a frog " * 40, b"a blue whale", b"one more " * 9]
    together = infer(client, "embed_text", text=texts).as_numpy("embedding")
    alone = np.concatenate([infer(client, "embed_text", text=text).as_numpy("embedding") for text in texts])
    assert np.all(np.argmax(together @ alone.T, axis=1) == np.arange(len(texts)))
    assert np.min(np.sum(together * alone, axis=1)) > 0.9999


async def test_concurrent_requests_form_batches(triton: Triton) -> None:
    rounds, concurrent = 20, 32

    async def caller(client: AsyncClient, number: int) -> None:
        for turn in range(rounds):
            tensor = InferInput("text", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[f"thing {number} of {turn}".encode()]], dtype=object))
            await client.infer("embed_text", [tensor], client_timeout=TIMEOUT_S)

    before = counts(triton, "embed_text")
    async with AsyncClient(triton.grpc) as client:
        await asyncio.gather(*(caller(client, number) for number in range(concurrent)))
    after = counts(triton, "embed_text")
    assert after[0] - before[0] > (rounds - 1) * concurrent, "the last may not be counted yet"
    assert (after[0] - before[0]) / (after[1] - before[1]) >= 4


@pytest.mark.parametrize(
    ("model", "content", "code"),
    [
        ("embed_text", {"text": b""}, "media.empty"),
        ("embed_text", {"text": b"\xff\xfe\xfa not utf-8"}, "text.not_utf8"),
        ("embed_text", {"text": b"word " * 3000}, "text.too_long"),
        ("embed_image", {"image": b"certainly no picture"}, "media.unsupported"),
        ("embed_image", {"image": canary_bytes("image")[:-30]}, "media.truncated"),
        ("embed_audio", {"audio": canary_bytes("image")}, "media.unsupported"),
        ("embed_video", {"video": canary_bytes("audio")}, "media.unsupported"),
        ("transcribe_audio", {"audio": b"\0" * 1000}, "media.unsupported"),
        ("transcribe_audio", {"audio": canary_bytes("audio"), "phrases": b"no list"}, "text.invalid"),
        (
            "transcribe_audio",
            {"audio": canary_bytes("audio"), "phrases": b'["a"' + b',"a"' * 5000 + b"]"},
            "text.too_long",
        ),
    ],
)
def test_bad_content_is_refused_and_the_server_serves_on(
    client: InferenceServerClient, model: str, content: dict[str, bytes], code: str
) -> None:
    error = refusal(client, model, **content)
    assert error["code"] == code
    assert set(error) == {"code", "message", "kind", "limit"}
    kind = next(iter(content))
    infer(client, model, **{kind: canary_bytes(kind)})


def test_a_bad_picture_fails_alone_in_its_batch(client: InferenceServerClient) -> None:
    contents = [canary_bytes("image") if number % 4 else b"no picture" for number in range(16)]

    def answer(content: bytes) -> bool:
        try:
            return infer(client, "embed_image", image=content).as_numpy("embedding").shape == (1, 1024)
        except InferenceServerException:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(answer, contents)) == [bool(number % 4) for number in range(16)]


def test_a_picture_of_any_size_is_read(client: InferenceServerClient) -> None:
    for size in ((1, 1), (3, 700), (1600, 900)):
        buffer = BytesIO()
        Image.new("RGB", size, (200, 30, 60)).save(buffer, "JPEG")
        assert infer(client, "embed_image", image=buffer.getvalue()).as_numpy("embedding").shape == (1, 1024)


def test_phrases_are_optional_and_scores_are_log_probabilities(client: InferenceServerClient) -> None:
    sound = canary_bytes("audio")
    free = infer(client, "transcribe_audio", audio=sound)
    biased = infer(client, "transcribe_audio", audio=sound, phrases=json.dumps(["A dromedary."]).encode())
    for result in (free, biased):
        assert result.as_numpy("text").shape == (1, 1)
        assert result.as_numpy("score")[0, 0] <= 0
