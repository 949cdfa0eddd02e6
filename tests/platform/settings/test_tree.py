"""Settings: every key has a default, a type and a name, and whoever gets one wrong is told which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import Struct

from doorbuster.platform.settings import sources as module
from doorbuster.platform.settings.sources import load_settings
from doorbuster.platform.settings.tree import Settings, WrongSetting


def walk(kind: type[Struct] = Settings, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, type) of every setting, and of every section with the type Struct."""
    for name, held in get_type_hints(kind, include_extras=True).items():
        key = f"{path}{name}"
        if isinstance(held, type) and issubclass(held, Struct):
            yield key, Struct
            yield from walk(held, f"{key}.")
        else:
            yield key, held


KEYS = dict(walk())
VALUES = [key for key, kind in KEYS.items() if kind is not Struct]
SECTIONS = [key for key, kind in KEYS.items() if kind is Struct]


def is_text(key: str) -> bool:
    """Any text will do, or texts of some kind of which the empty one is one."""
    return str in (KEYS[key], getattr(KEYS[key], "__origin__", None))


def env_name(key: str) -> str:
    return f"DOORBUSTER_{key.replace('.', '_').upper()}"


def toml_of(key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    return f"[{section}]\n{name} = {value}\n" if section else f"{name} = {value}\n"


def value_of(settings: Settings, key: str) -> Any:
    held: Any = settings
    for name in key.split("."):
        held = getattr(held, name)
    return held


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without a file, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DOORBUSTER_")]:
        monkeypatch.delenv(name)


def from_toml(folder: Path, text: str) -> Settings:
    file = folder / "shop.toml"
    file.write_text(text)
    return load_settings(file, {})


def test_there_are_settings_to_test():
    assert len(VALUES) > 15 and len(SECTIONS) > 4


def test_everything_has_a_default_that_is_valid():
    settings = load_settings(environment={})
    assert settings == Settings()
    assert msgspec.convert(msgspec.to_builtins(settings), Settings) == settings


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("wrong", ["{ a = 1 }", "[[1]]", "1979-05-27", "nan", "-1.5", "[1, 2]", "true"])
def test_a_value_of_a_wrong_type_is_named(tmp_path: Path, key: str, wrong: str):
    boolean = wrong == "true" and bool in (KEYS[key], *getattr(KEYS[key], "__args__", ()))
    if boolean or (wrong == "{ a = 1 }" and key in SECTIONS):
        return
    with pytest.raises(WrongSetting) as raised:
        from_toml(tmp_path, toml_of(key, wrong))
    assert raised.value.key == key or raised.value.key.startswith(f"{key}["), raised.value
    assert str(raised.value).startswith(raised.value.key)


@pytest.mark.parametrize("key", [key for key in VALUES if not is_text(key)])
@pytest.mark.parametrize("wrong", ["", "surely not", "[", "1e999", "nan", "{}", "99999999999999999999999"])
def test_a_wrong_word_in_the_environment_is_named(key: str, wrong: str):
    with pytest.raises(WrongSetting) as raised:
        load_settings(environment={env_name(key): wrong})
    assert raised.value.key == key


@pytest.mark.parametrize("key", [key for key in VALUES if not is_text(key)])
def test_a_wrong_override_is_named(key: str):
    with pytest.raises(WrongSetting) as raised:
        load_settings(environment={}, overrides={key: "surely not"})
    assert raised.value.key == key


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_a_key_that_does_not_exist_is_named_wherever_it_comes_from(tmp_path: Path, section: str):
    key = f"{section}.no_such_key".strip(".")
    variable = env_name(key)
    for load, named in (
        (lambda: from_toml(tmp_path, toml_of(key, "1")), key),
        (lambda: load_settings(environment={}, overrides={key: "1"}), key),
        (lambda: load_settings(environment={variable: "1"}), key if section else variable),
    ):
        with pytest.raises(WrongSetting, match="there is no such setting") as raised:
            load()
        assert raised.value.key == named


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_is_named(tmp_path: Path, key: str):
    with pytest.raises(WrongSetting) as raised:
        from_toml(tmp_path, toml_of(f"{key}s" if key in SECTIONS else f"{key}_", "1"))
    assert raised.value.key.startswith(key)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_a_value_is_named_also_when_the_environment_adds_to_it(tmp_path: Path, section: str):
    key = next(key for key in VALUES if key.startswith(f"{section}."))
    file = tmp_path / "shop.toml"
    file.write_text(f"{section} = 1\n")
    with pytest.raises(WrongSetting) as raised:
        load_settings(file, {env_name(key): "1"})
    assert raised.value.key == section


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_no_variable(section: str):
    for variable in (env_name(section), f"{env_name(section)}_"):
        with pytest.raises(WrongSetting) as raised:
            load_settings(environment={variable: "1"})
        assert raised.value.key.lower().replace("doorbuster_", "").startswith(section)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("http.port", 65_536),
        ("http.port", -1),
        ("http.body_bytes_max", 1_023),
        ("http.request_timeout_s", 0),
        ("http.request_timeout_s", float("nan")),
        ("http.request_timeout_s", float("inf")),
        ("database.pool_size", 0),
        ("database.pool_size", 101),
        ("auth.access_token_s", 9),
        ("flash_sale.batch_max", 0),
        ("flash_sale.waiting_max", 1_000_001),
        ("payments.webhook_tolerance_s", 0),
        ("process.log_level", "loud"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(key: str, wrong: object):
    with pytest.raises(WrongSetting) as raised:
        load_settings(environment={}, overrides={key: wrong})
    assert raised.value.key == key


def test_later_sources_win_key_by_key(tmp_path: Path):
    file = tmp_path / "shop.toml"
    file.write_text('data = "from file"\n[http]\nport = 1\nhost = "file"\nbody_bytes_max = 5000\n')
    environment = {"DOORBUSTER_HTTP_PORT": "2", "DOORBUSTER_HTTP_HOST": "environment", "PATH": "/bin"}
    settings = load_settings(file, environment, {"http.port": 3, "http.host": None})
    assert (settings.data, settings.http.body_bytes_max) == ("from file", 5000)
    assert (settings.http.host, settings.http.port) == ("environment", 3)
    assert settings.database == Settings().database


def test_a_wrong_value_that_is_overridden_does_not_matter(tmp_path: Path):
    file = tmp_path / "shop.toml"
    file.write_text('[http]\nport = "never"\n')
    assert load_settings(file, {"DOORBUSTER_HTTP_PORT": "8001"}).http.port == 8001


def test_the_environment_may_say_everything():
    environment = {
        "DOORBUSTER_DATA": "elsewhere",
        "DOORBUSTER_DATABASE_POOL_SIZE": "7",
        "DOORBUSTER_DATABASE_ALLOW_VOLATILE": "true",
        "DOORBUSTER_HTTP_REQUEST_TIMEOUT_S": "2.5",
        "DOORBUSTER_HTTP_BODY_BYTES_MAX": "2048",
        "DOORBUSTER_AUTH_KEYS": '["a:b", "c:d"]',
        "DOORBUSTER_FLASH_SALE_BATCH_MAX": "64",
        "DOORBUSTER_PROCESS_LOG_JSON": "false",
    }
    settings = load_settings(environment=environment)
    assert (settings.data, settings.database.pool_size, settings.database.allow_volatile) == ("elsewhere", 7, True)
    assert (settings.http.request_timeout_s, settings.http.body_bytes_max) == (2.5, 2048)
    assert settings.auth.keys == ("a:b", "c:d")
    assert (settings.flash_sale.batch_max, settings.process.log_json) == (64, False)


@pytest.mark.parametrize("key", VALUES)
def test_every_default_can_be_said_again_in_the_environment(key: str):
    default = value_of(Settings(), key)
    if default is None:
        return
    text = default if isinstance(default, str) else msgspec.json.encode(default).decode()
    assert load_settings(environment={env_name(key): text}) == Settings()


def test_the_file_is_found_by_its_name_or_by_the_environment_or_not_at_all(tmp_path: Path):
    (tmp_path / "doorbuster.toml").write_text('data = "by its name"\n')
    other = tmp_path / "other.toml"
    other.write_text('data = "by the environment"\n')
    given = tmp_path / "given.toml"
    given.write_text('data = "given"\n')
    environment = {"DOORBUSTER_CONFIG": str(other)}
    assert load_settings(environment={}).data == "by its name"
    assert load_settings(environment=environment).data == "by the environment"
    assert load_settings(given, environment).data == "given"


@pytest.mark.parametrize("content", [b"data = ", b"\xff\xfe", b"data = 'a'\ndata = 'b'", None], ids=str)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None):
    file = tmp_path / "shop.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongSetting) as raised:
        load_settings(file, {})
    assert raised.value.key == str(file)


def test_variables_that_are_no_settings_are_left_alone():
    environment = dict.fromkeys(module._NOT_SETTINGS - {"DOORBUSTER_CONFIG"}, "x")
    assert load_settings(environment={**environment, "DOORBUSTERS": "x", "HTTP_PORT": "x"}) == Settings()


def test_a_wrong_secret_is_named_and_not_quoted():
    for wrong in ("canary-1234", '["canary-1234"', '{"canary": 1}', '[["canary"]]'):
        for key in ("auth.keys", "payments.webhook_secrets"):
            with pytest.raises(WrongSetting) as raised:
                load_settings(environment={env_name(key): wrong})
            assert "canary" not in str(raised.value)
