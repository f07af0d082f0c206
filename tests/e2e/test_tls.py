"""TLS of both faces, over fakes: whom it lets in, whom it does not, and a certificate renewed under way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import grpc
import httpx
import pytest
from fixtures_access import Authority, Door
from fixtures_orchestrator import MakeWorld, Serving

from cli.client import Client
from loadtests.calls import GrpcCalls, RestCalls
from loadtests.samples import Outcome
from orchestrator.errors import ConfigurationError
from orchestrator.server import Ports
from orchestrator.settings import ApiSettings
from orchestrator.tls import tls_of
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc


async def rest_status(ports: Ports, ca: Path, own: tuple[Path, Path] | None = None) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    if own is not None:
        context.load_cert_chain(*own)
    async with httpx.AsyncClient(verify=context, timeout=10) as client:
        return (await client.get(f"https://127.0.0.1:{ports.http}/v1/status")).status_code


async def grpc_code(ports: Ports, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    address = f"127.0.0.1:{ports.grpc}"
    made = (
        grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
    )
    async with made as channel:
        try:
            await rpc.SensoriumStub(channel).GetStatus(  # type: ignore[no-untyped-call]
                pb.GetStatusRequest(), timeout=5
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def trusting(ca: Path, own: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    certificate, key = own or (None, None)
    return grpc.ssl_channel_credentials(
        ca.read_bytes(),
        key.read_bytes() if key else None,
        certificate.read_bytes() if certificate else None,
    )


async def test_both_faces_speak_tls_and_nothing_else(
    make_world: MakeWorld, serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    async with serving(make_world(api=authority.settings())) as ports:
        assert await rest_status(ports, authority.file) == 200
        assert await grpc_code(ports, trusting(authority.file)) is grpc.StatusCode.OK
        # A client that trusts another authority goes no further than the handshake.
        with pytest.raises(httpx.ConnectError):
            await rest_status(ports, stranger.file)
        assert await grpc_code(ports, trusting(stranger.file)) is grpc.StatusCode.UNAVAILABLE
        # Plaintext gets nothing.
        async with httpx.AsyncClient(timeout=5) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{ports.http}/healthz")
        assert await grpc_code(ports, None) is grpc.StatusCode.UNAVAILABLE
        # And none of it did any harm.
        assert await rest_status(ports, authority.file) == 200


async def test_old_versions_of_tls_are_not_spoken(
    make_world: MakeWorld, serving: Serving, authority: Authority
) -> None:
    old = ssl.create_default_context(cafile=str(authority.file))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(make_world(api=authority.settings())) as ports:
        for port in (ports.http, ports.grpc):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.to_thread(handshake, port, old)


def handshake(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that the server shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


async def test_with_an_authority_for_clients_it_wants_a_certificate(
    make_world: MakeWorld, serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    own, stranger = authority.issue("client"), Authority(tmp_path / "stranger")
    api = authority.settings(tls_client_ca_file=authority.file)
    async with serving(make_world(api=api)) as ports:
        assert await rest_status(ports, authority.file, own) == 200
        assert await grpc_code(ports, trusting(authority.file, own)) is grpc.StatusCode.OK
        for bad in (None, stranger.issue("client")):
            with pytest.raises(httpx.TransportError):
                await rest_status(ports, authority.file, bad)
            assert await grpc_code(ports, trusting(authority.file, bad)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("now")
async def test_a_renewed_certificate_is_taken_without_a_restart(
    make_world: MakeWorld, serving: Serving, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tls._RENEW_EVERY_S", 0.05)
    trusted = ssl.create_default_context(cafile=str(authority.file))
    certificate = authority.folder / "server.pem"
    async with serving(make_world(api=authority.settings())) as ports:

        async def shown() -> set[bytes]:
            return {await asyncio.to_thread(handshake, port, trusted) for port in (ports.http, ports.grpc)}

        first = await shown()
        assert first == {ssl.PEM_cert_to_DER_cert(certificate.read_text().split("-----END")[0] + END)}
        # Half a renewal, a certificate without its key, changes nothing.
        old_key = (authority.folder / "server.key").read_bytes()
        _, key = authority.issue()
        new_key = key.read_bytes()
        key.write_bytes(old_key)
        await asyncio.sleep(0.3)
        assert await shown() == first
        key.write_bytes(new_key)
        async with asyncio.timeout(10):
            while (second := await shown()) == first or len(second) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert second == {ssl.PEM_cert_to_DER_cert(certificate.read_text().split("-----END")[0] + END)}
        assert await grpc_code(ports, trusting(authority.file)) is grpc.StatusCode.OK


END = "-----END CERTIFICATE-----\n"


def test_files_that_cannot_be_used_stop_the_start(authority: Authority, tmp_path: Path) -> None:
    settings = authority.settings()
    (authority.folder / "server.key").write_bytes(Authority(tmp_path / "other").issue()[1].read_bytes())
    with pytest.raises(ConfigurationError):
        tls_of(settings)
    with pytest.raises(ValueError, match="set together"):
        ApiSettings(tls_key_file=authority.file)


async def test_our_clients_speak_tls_with_a_key(
    make_world: MakeWorld,
    serving: Serving,
    authority: Authority,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    credential_file = tmp_path / "credential"
    credential_file.write_text(f"{door.key()}\n")
    own = authority.issue("client")
    monkeypatch.setenv("SENSORIUM_CLIENT_CREDENTIAL_FILE", str(credential_file))
    monkeypatch.setenv("SENSORIUM_CLIENT_TLS_CA_FILE", str(authority.file))
    monkeypatch.setenv("SENSORIUM_CLIENT_TLS_CERTIFICATE_FILE", str(own[0]))
    monkeypatch.setenv("SENSORIUM_CLIENT_TLS_KEY_FILE", str(own[1]))
    api = authority.settings(tls_client_ca_file=authority.file)
    world = make_world(api=api, access=door.settings)

    def load(grpc_port: int, http_port: int) -> list[Outcome]:
        calls = (
            GrpcCalls(f"127.0.0.1:{grpc_port}", 5.0),
            RestCalls(f"https://127.0.0.1:{http_port}", 5.0, 1),
        )
        outcomes = [each.search("text", b"green frog").outcome for each in calls]
        calls[1]._client.close()
        return outcomes

    def use(target: str) -> tuple[pb.Status, list[pb.UpsertResult], pb.SearchResponse]:
        with Client(target) as client:
            results = list(client.upsert(iter([pb.Item(id="frog", title="green frog")])))
            asked = pb.SearchRequest(parts=[pb.QueryPart(text="green frog")])
            return client.status(), results, client.search(asked)

    async with serving(world) as ports:
        status, results, answer = await asyncio.to_thread(use, f"127.0.0.1:{ports.grpc}")
        assert await asyncio.to_thread(load, ports.grpc, ports.http) == [Outcome.ANSWERED] * 2
    assert status.items == 1
    assert [result.outcome for result in results] == [pb.UpsertResult.INDEXED]
    assert [hit.item.id for hit in answer.hits] == ["frog"]


def test_a_misspelt_variable_or_a_missing_file_is_named() -> None:
    with pytest.raises(connect.ConnectionSettingsError, match="SENSORIUM_CLIENT_KEY"):
        connect.headers({"SENSORIUM_CLIENT_KEY": "x"})
    with pytest.raises(connect.ConnectionSettingsError, match="CREDENTIAL_FILE"):
        connect.channel("127.0.0.1:1", environ={"SENSORIUM_CLIENT_CREDENTIAL_FILE": "/nowhere"})
