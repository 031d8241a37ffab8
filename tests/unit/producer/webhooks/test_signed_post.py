"""Targets that webhooks may have, and signatures."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsInvalid, WebhookInvalid
from core.settings import load
from producer.webhooks import signed_post
from producer.webhooks.signed_post import address_of, is_public, post, signatures, target_of
from tests.receiver import receiving
from tests.tls import Authority

BODY, HEADERS = b'{"type":"batch.done"}', {"webhook-id": "msg_1"}


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - not bound
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_addresses_inside_networks_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookInvalid, match="inside a private network"):
        target_of(f"https://{host}/", private=False)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_on_the_internet_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_ipv6_is_checked(address):
    for inside in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ipaddress.ip_address(inside)) == is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "//example.com",
        "https://user@example.com/",
        "https://:secret@example.com/",
        "https://example.com:port/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://例子.com/",
        "https://[::1",
        f"https://example.com/{'x' * 2_000}",
        "",
    ],
)
def test_an_invalid_url_is_refused_without_quoting_it(url):
    with pytest.raises(WebhookInvalid) as error:
        target_of(url, private=False)
    assert "secret" not in str(error.value)


def test_a_name_that_stands_for_a_private_address_is_refused(monkeypatch):
    target = target_of("https://rebind.example/", private=False)
    resolved = [(2, 1, 6, "", ("1.1.1.1", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)
    with pytest.raises(WebhookInvalid, match="the host name resolves to an address inside"):
        address_of(target, private=False)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1"])
def test_other_ways_to_write_loopback_are_refused(host):
    with pytest.raises(WebhookInvalid, match="inside a private network"):
        address_of(target_of(f"https://{host}/", private=False), private=False)


def test_a_name_is_resolved_once(monkeypatch):
    """A second resolution could return another address."""
    with receiving() as receiver:
        answers = [[(2, 1, 6, "", ("127.0.0.1", receiver.port))]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop())
        url = f"http://rebind.example:{receiver.port}/hook?to=us"
        connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda to, *_: plain(connect, to))
        assert post(url, BODY, HEADERS, private=True) == 204
    ((path, headers, body),) = receiver.came
    assert (path, body) == ("/hook?to=us", BODY)
    assert headers["Host"] == f"rebind.example:{receiver.port}"


def plain(_connect, to):
    address, port = to
    ipaddress.ip_address(address)  # an address, not a name
    sock = socket.socket()
    sock.connect((address, port))
    return sock


def test_no_redirect_is_followed():
    with receiving() as receiver:
        receiver.statuses = [302]
        receiver.headers = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
        url = f"http://127.0.0.1:{receiver.port}/"
        assert post(url, BODY, HEADERS, private=True) == 302
        assert len(receiver.came) == 1


def test_the_certificate_must_name_the_receiver(tmp_path):
    ca = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=ca.file)
    with receiving(ca.issue()) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        assert post(url, BODY, HEADERS, private=True, context=trusting) == 204
        with pytest.raises(ssl.SSLCertVerificationError):
            post(url, BODY, HEADERS, private=True)
    with receiving(ca.issue("other.example")) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        with pytest.raises(ssl.SSLCertVerificationError):
            post(url, BODY, HEADERS, private=True, context=trusting)
    assert receiver.came == []


def drip(listener):
    """Begin a response, and complete it if the client is still connected later."""
    client, _ = listener.accept()
    with client, contextlib.suppress(OSError):
        client.recv(1 << 16)
        client.sendall(b"H")
        client.settimeout(3)
        try:
            client.recv(1)
        except TimeoutError:
            client.sendall(b"TTP/1.1 200 OK\r\n\r\n")


def test_a_slow_receiver_is_disconnected(monkeypatch):
    monkeypatch.setattr(signed_post, "_TOTAL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises((OSError, signed_post.http.client.HTTPException)):
            post(url, BODY, HEADERS, private=True)
        thread.join()


def test_the_signature_equals_the_example_of_the_specification():
    # Source: the example of the specification's reference libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    (key,) = load.load(webhook_secret=secret).signing_keys
    signature = signatures(
        [key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_during_a_rotation_both_secrets_sign():
    header = signatures([b"a" * 24, b"b" * 24], "msg", 1, b"")
    assert [part[:3] for part in header.split()] == ["v1,", "v1,"]
    assert header.split()[0] != header.split()[1]


@pytest.mark.parametrize("secret", ["whsec_", "whsec_YWJj", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_an_invalid_secret_is_refused_without_quoting_it(secret):
    with pytest.raises(
        SettingsInvalid, match="ANSWERMILL_WEBHOOK_SECRET: secret 1 is not whsec_"
    ) as error:
        load.load(webhook_secret=secret)
    assert secret == "whsec_" or secret not in str(error.value)
