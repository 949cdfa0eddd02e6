"""Profiles: one name for what differs, key by key beneath what anybody says, and no toys in production."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from doorbuster.platform.settings.sources import load_settings
from doorbuster.platform.settings.tree import Settings, WrongSetting

FILE = """
profile = "test"
[http]
port = 1
host = "file"
[process]
log_level = "error"
[profiles.test.http]
host = "of test"
[profiles.production.http]
host = "of production"
body_bytes_max = 4096
[profiles.production.process]
log_level = "info"
"""
TOYS = {
    "database.allow_volatile": True,
    "payments.simulator_url": "http://127.0.0.1:9",
    "notifications.webhook_local": True,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without a file."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "shop.toml"
    file.write_text(FILE)
    return file


def test_each_profile_has_defaults_of_its_own():
    assert load_settings(environment={}) == Settings()
    test = load_settings(environment={"DOORBUSTER_PROFILE": "test"})
    assert (test.http.port, test.process.log_level) == (0, "warning")
    production = load_settings(environment={"DOORBUSTER_PROFILE": "production"})
    assert (production.process.log_json, production.http) == (True, Settings().http)


def test_a_file_has_a_section_for_each_and_whoever_starts_it_has_the_last_word(file: Path):
    test = load_settings(file, {})
    assert (test.http.host, test.http.port, test.process.log_level) == ("of test", 1, "error")
    production = load_settings(file, {"DOORBUSTER_PROFILE": "production", "DOORBUSTER_HTTP_PORT": "2"})
    assert (production.http.host, production.http.port, production.http.body_bytes_max) == ("of production", 2, 4096)
    assert (production.process.log_level, production.process.log_json) == ("info", True)
    told = load_settings(file, {"DOORBUSTER_PROFILE": "production"}, {"http.host": "told", "profile": "development"})
    assert (told.profile, told.http.host, told.process.log_json) == ("development", "told", None)


@pytest.mark.parametrize("key", TOYS)
def test_there_are_no_toys_in_production(key: str):
    assert load_settings(environment={}, overrides={key: TOYS[key]}).profile == "development"
    with pytest.raises(WrongSetting, match="the profile is production") as raised:
        load_settings(environment={"DOORBUSTER_PROFILE": "production"}, overrides={key: TOYS[key]})
    assert raised.value.key == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('profile = "prod"', "profile"),
        ("profile = 3", "profile"),
        ("profiles = 3", "profiles"),
        ("[profiles.staging]", "profiles.staging"),
        ("[profiles]\ntest = 3", "profiles.test"),
        ('[profiles.test]\nprofile = "production"', "profiles.test.profile"),
        ("[profiles.development.http]\nport = 70000", "profiles.development.http.port"),
        ("[profiles.development.htp]\nport = 7", "profiles.development.htp"),
        ("[profiles.development.http.port]\na = 7\n[http]\nport = 7", "profiles.development.http.port"),
        # Also of a profile that is not in force: it will be one day, when it matters most.
        ("[profiles.production.htp]\nport = 7", "profiles.production.htp"),
        ('[profiles.production.http]\nport = "x"', "profiles.production.http.port"),
        ("[profiles.production]\nhttp = 5", "profiles.production.http"),
    ],
)
def test_what_is_wrong_with_them_is_named(tmp_path: Path, text: str, key: str):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(WrongSetting) as raised:
        load_settings(file, {})
    assert raised.value.key == key


def test_what_is_nested_without_end_is_refused_like_everything_else(tmp_path: Path):
    file = tmp_path / "deep.toml"
    file.write_text(f"data = {'[' * 5000}")
    with pytest.raises(WrongSetting, match="cannot be read"):
        load_settings(file, {})
    with pytest.raises(WrongSetting) as raised:
        load_settings(environment={"DOORBUSTER_AUTH_KEYS": "[" * 50_000})
    assert raised.value.key == "auth.keys"


def test_the_command_line_says_which_toy_stops_the_start(tmp_path: Path):
    words = [sys.executable, "-m", "doorbuster", "serve", "--data", str(tmp_path / "data"), "--port", "0"]
    words += ["--simulator", "http://127.0.0.1:9"]
    environment = {**os.environ, "DOORBUSTER_PROFILE": "production"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode != 0
    assert "payments.simulator_url" in done.stderr
    assert not (tmp_path / "data").exists(), "nothing was begun"
