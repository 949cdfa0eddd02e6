"""Secrets: given by the settings or made once, kept for their owner's eyes only, and replaced without an outage."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.tokens import InvalidToken, KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.secrets import FILE, Secrets, load_secrets, rotate
from doorbuster.platform.settings.tree import AuthSettings, PaymentsSettings, Settings, WrongSetting

BUYER = Principal(42, "customer")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=str(tmp_path / "data"))


def file_of(settings: Settings) -> Path:
    return settings.folder / FILE


def test_they_are_made_at_the_first_start_and_kept(settings: Settings):
    first = load_secrets(settings)
    assert load_secrets(settings) == load_secrets(settings) == first
    assert len(first.signing_keys()) == len(first.webhook_secrets) == 1
    assert len(first.webhook_secrets[0]) >= 43


def test_two_shops_have_different_ones(tmp_path: Path):
    one, other = (load_secrets(Settings(data=str(tmp_path / name))) for name in ("one", "other"))
    assert one.token_keys != other.token_keys
    assert one.webhook_secrets != other.webhook_secrets


def test_nobody_else_can_read_them_and_no_draft_is_left(settings: Settings):
    for change in (load_secrets, rotate, rotate):
        change(settings)
        assert [file.name for file in settings.folder.iterdir()] == [FILE]
        assert stat.S_IMODE(file_of(settings).stat().st_mode) == 0o600


def test_a_generous_umask_changes_nothing(settings: Settings):
    code = (
        "import os, sys; os.umask(0)\n"
        "from doorbuster.platform.settings.secrets import load_secrets\n"
        "from doorbuster.platform.settings.tree import Settings\n"
        "load_secrets(Settings(data=sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, settings.data], check=True, timeout=60)
    assert stat.S_IMODE(file_of(settings).stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree(settings: Settings):
    script = Path(__file__).with_name("starting_up.py")
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, script, settings.data], stdin=pipe, stdout=pipe, text=True) for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = {process.communicate(timeout=60)[0] for process in processes}
    kept = load_secrets(settings)
    assert told == {f"{kept.token_keys} {kept.webhook_secrets}\n"}
    assert [file.name for file in settings.folder.iterdir()] == [FILE]


def test_what_the_settings_give_comes_first_and_the_rest_is_kept(settings: Settings):
    key = Key.generate().render()
    given = msgspec.structs.replace(settings, auth=AuthSettings(keys=(key,)))
    mixed = load_secrets(given)
    assert mixed.token_keys == (key,)
    assert mixed.webhook_secrets == load_secrets(settings).webhook_secrets


def test_a_shop_that_is_given_everything_writes_nothing(settings: Settings):
    given = msgspec.structs.replace(
        settings, auth=AuthSettings(keys=(Key.generate().render(),)), payments=PaymentsSettings(webhook_secrets=("s",))
    )
    load_secrets(given)
    assert not settings.folder.exists()


@pytest.mark.parametrize(
    "keys",
    [("canary",), ("k1:canary",), (f"k1:{'A' * 43}", f"k1:{'B' * 42}E"), ("",)],
    ids=["no key", "too short", "one name twice", "empty"],
)
def test_a_key_that_is_none_stops_the_start_and_is_not_quoted(settings: Settings, keys: tuple[str, ...]):
    given = msgspec.structs.replace(settings, auth=AuthSettings(keys=keys))
    with pytest.raises(WrongSetting) as raised:
        load_secrets(given)
    assert raised.value.key == "auth.keys"
    assert "canary" not in str(raised.value) and "AAA" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"canary",
        b'{"token_keys": "canary", "webhook_secrets": []}',
        b'{"token_keys": []}',
        b'{"token_keys": ["canary"], "webhook_secrets": ["canary"]}',
        b'{"token_keys": [], "webhook_secrets": []}',
    ],
)
def test_a_damaged_file_stops_the_start_and_is_neither_quoted_nor_overwritten(settings: Settings, content: bytes):
    settings.folder.mkdir()
    file_of(settings).write_bytes(content)
    for load in (load_secrets, rotate):
        with pytest.raises(WrongSetting) as raised:
            load(settings)
        assert "canary" not in str(raised.value)
        assert file_of(settings).read_bytes() == content


def test_rotation_puts_new_ones_first_and_keeps_one_old(settings: Settings):
    first = load_secrets(settings)
    second = rotate(settings)
    third = rotate(settings)
    assert load_secrets(settings) == third
    assert second.token_keys[1:] == first.token_keys
    assert third.token_keys[1:] == second.token_keys[:1]
    assert second.webhook_secrets[1:] == first.webhook_secrets
    assert third.webhook_secrets[1:] == second.webhook_secrets[:1]
    assert len({*first.token_keys, *second.token_keys, *third.token_keys}) == 3


def test_tokens_live_through_one_rotation_and_not_through_two(settings: Settings, clock: ManualClock):
    def ring(secrets: Secrets) -> KeyRing:
        return KeyRing(secrets.signing_keys(), clock)

    before = ring(load_secrets(settings)).sign(BUYER, 900).encode()
    assert ring(rotate(settings)).verify(before) == BUYER
    with pytest.raises(InvalidToken):
        ring(rotate(settings)).verify(before)
