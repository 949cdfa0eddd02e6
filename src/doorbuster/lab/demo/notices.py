"""Who is to be told of what, who was, and whether each was told exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from doorbuster.lab.demo.mail import Letter, Mailboxes
from doorbuster.lab.demo.people import Person, until
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.demo.webhooks import MerchantServer

PAGE = 100
PAGES_MAX = 100
WELCOMES = ("Welcome to Doorbuster", "欢迎来到 Doorbuster")
"""In the language that somebody had chosen when they were welcomed."""
SHOWN_MAX = 10


class Told(Struct, frozen=True):
    """Somebody (by e-mail address) is told of something by one channel. `about` is an order or a conversation."""

    whom: str
    channel: str
    kind: str
    about: str

    @property
    def words(self) -> str:
        return " ".join(filter(None, (self.kind, self.about, "to", self.whom, "by", self.channel)))


class Notified(Struct, frozen=True):
    """Messages that arrived, by channel; of these events and channels `missing` had none, and `twice` too many."""

    in_app: int
    email: int
    webhook: int
    forged: int
    missing: int
    twice: int
    wrong: Sequence[str]
    """Some of them, in words."""

    @property
    def ok(self) -> bool:
        return not (self.missing or self.twice or self.forged)

    @classmethod
    def of(cls, expected: Counter[Told], seen: Counter[Told], forged: int = 0) -> Notified:
        channels = Counter(told.channel for told in seen.elements())
        missing, twice = expected - seen, seen - expected
        return cls(
            in_app=channels["push"],
            email=channels["email"],
            webhook=channels["webhook"],
            forged=forged,
            missing=missing.total(),
            twice=twice.total(),
            wrong=[*_shown("missing", missing), *_shown("too many", twice)],
        )


class Notices:
    """Keeps book of what has to be told in the second act. `channels`: those of every kind, as the shop says."""

    def __init__(self, channels: Mapping[str, Sequence[str]], mailboxes: Mailboxes, server: MerchantServer) -> None:
        self._channels = channels
        self._mailboxes = mailboxes
        self._server = server
        self._expected: Counter[Told] = Counter()
        self._people: dict[str, Person] = {}

    def expect(self, person: Person, kind: str, about: str = "") -> None:
        """By every channel that the kind is told by."""
        self._people[person.email] = person
        self._expected.update(Told(person.email, channel, kind, about) for channel in self._channels[kind])

    def expect_of_sold(self, merchant: Person, *whats: str, order_id: str) -> None:
        """What a merchant hears of their order: in the app as the kind says, and always by webhook."""
        for what in whats:
            self.expect(merchant, f"sold-order-{what}", order_id)
            self._expected[Told(merchant.email, "webhook", f"order.{what}", order_id)] += 1

    async def wait(self) -> Notified:
        """As soon as everybody has heard of everything, or time is up."""

        async def look() -> Notified | None:
            found = await self.look()
            return None if found.missing else found

        try:
            return await until("everybody being told", look)
        except ShopFailed:
            return await self.look()

    async def look(self) -> Notified:
        """What has arrived by now."""
        about = {told.about for told in self._expected}
        seen: Counter[Told] = Counter()
        titles: dict[tuple[str, str], Told] = {}
        for person in self._people.values():
            for told, title in await _in_app(person):
                if told.about in about:
                    seen[told] += 1
                    titles[person.email, title] = told
        seen.update(self._by_email(self._mailboxes.letters(), titles))
        seen.update(Told(*found) for found in self._server.accepted if found[3] in about)
        return Notified.of(self._expected, seen, self._server.forged)

    def _by_email(self, letters: Iterable[Letter], titles: Mapping[tuple[str, str], Told]) -> Iterable[Told]:
        """All e-mails: each says what the notification in the app says, which knows its event. A welcome has none."""
        for letter in letters:
            if known := titles.get((letter.recipient, letter.subject)):
                yield Told(letter.recipient, "email", known.kind, known.about)
            elif letter.subject in WELCOMES:
                yield Told(letter.recipient, "email", "welcome", "")
            else:
                yield Told(letter.recipient, "email", letter.subject, "")


async def _in_app(person: Person) -> Sequence[tuple[Told, str]]:
    """All of a person's notifications, and their titles."""
    found: list[tuple[Told, str]] = []
    path = f"/v1/me/notifications?limit={PAGE}"
    cursor = ""
    for _ in range(PAGES_MAX):
        page = await person.ask("GET", f"{path}&cursor={cursor}" if cursor else path)
        for item in page["items"]:
            about = item["about"].get("order_id") or item["about"].get("conversation_id") or ""
            found.append((Told(person.email, "push", item["kind"], about), item["title"]))
        if not (cursor := page["next_cursor"]):
            return found
    raise ShopFailed(f"{person.name} has more than {PAGES_MAX * PAGE} notifications")


def _shown(what: str, wrong: Counter[Told]) -> Sequence[str]:
    return sorted(f"{what}: {told.words} × {count}" for told, count in wrong.items())[:SHOWN_MAX]
