"""Where webhooks go, and where they do not."""

from __future__ import annotations

import string
from ipaddress import ip_address

import pytest

from contexts.notifications.notifying_shop import RIVAL, TEA_HOUSE, NotifyingShop
from doorbuster.contexts.notifications.model import KINDS, LOCALES, Facts
from doorbuster.contexts.notifications.outgoing import Policy, check_endpoint, is_public
from doorbuster.contexts.notifications.tables import endpoints
from doorbuster.contexts.notifications.templates import TEMPLATES, money_text, one_line
from doorbuster.contracts.notifications import EndpointNotFound, EndpointRefused, TooManyEndpoints
from doorbuster.kernel.money import Money

HOSTS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2002:7f00:1::]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "localhost",
    "a.localhost",
    "metadata.google.internal",
    "printer.local",
    "intranet",
    "tea.example.org.",
    "user@tea.example.org",
    "user:p@tea.example.org",
    "tea.example.org:22",
    "tea.example.org:0",
    "tea.example.org:99999",
    "tea.example.org\\@127.0.0.1",
    "茶.example.org",
    "⑯.example.org",
    "08.8.8.8",
]


async def public(_host: str) -> list[str]:
    return ["8.8.8.8"]


@pytest.mark.parametrize("host", HOSTS)
async def test_what_is_not_public_is_refused(host: str):
    with pytest.raises(EndpointRefused):
        await check_endpoint(Policy(), public, f"https://{host}/")


@pytest.mark.parametrize(
    "url", ["http://tea.example.org/", "ftp://tea.example.org/", "https:///x", "https://a.org/#f", "https://a.org/ x"]
)
async def test_what_is_not_https_is_refused(url: str):
    with pytest.raises(EndpointRefused):
        await check_endpoint(Policy(), public, url)


async def test_public_addresses_are_taken():
    for host in ("tea.example.org", "tea.example.org:8443", "8.8.8.8", "[2606:4700::1111]", "xn--fiq228c.example.org"):
        await check_endpoint(Policy(), public, f"https://{host}/hook?a=b")
    assert not is_public(ip_address("::ffff:8.8.8.8"))


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "::ffff:10.0.0.1", "2002:a00:1::", "not an address"])
async def test_names_of_private_addresses_are_refused(address: str):
    async def resolve(_host: str) -> list[str]:
        return ["8.8.8.8", address]

    with pytest.raises(EndpointRefused):
        await check_endpoint(Policy(), resolve, "https://tea.example.org/")


async def test_endpoints_are_few_and_ones_own(shop: NotifyingShop):
    urls = [f"https://8.8.8.8/{n}" for n in range(6)]
    made = [await shop.service.add_endpoint(TEA_HOUSE, url, url) for url in urls[:5]]
    with pytest.raises(TooManyEndpoints):
        await shop.service.add_endpoint(TEA_HOUSE, "one more", urls[5])
    with pytest.raises(EndpointNotFound):
        await shop.service.delete_endpoint(RIVAL, made[0].id)
    assert len(await shop.rows(endpoints)) == 5
    assert list(await shop.service.endpoints(RIVAL)) == []
    await shop.service.delete_endpoint(TEA_HOUSE, made[0].id)
    assert len(await shop.rows(endpoints)) == 4


def test_every_language_says_everything_with_the_same_values():
    def fields(text: str) -> set[str]:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    for kind in KINDS:
        used = {locale: fields(TEMPLATES[locale][kind].body) for locale in LOCALES}
        assert used["en"] == used["zh"], kind
    assert all(set(TEMPLATES[locale]) == set(KINDS) for locale in LOCALES)


def test_values_cannot_begin_a_line(shop: NotifyingShop):
    evil = Facts(excerpt="<b>x</b>\r\nBcc: a@b.c\u2028\u202e{shop}")
    shown = shop.built.addressing._writer.write("en", "support-message", evil, "", None)
    assert shown.body == "<b>x</b> Bcc: a@b.c {shop}"
    assert "&lt;b&gt;" in shop.built.addressing._writer.mail("en", shown).html
    assert one_line("a\x00b") == "a b"


def test_amounts():
    assert money_text(Money(199_000, "CNY"), "zh") == "¥1,990.00"
    assert money_text(Money(5, "USD"), "en") == "USD 0.05"
    assert money_text(Money(1500, "JPY"), "en") == "JPY 1,500"
