"""E-mail over SMTP. Each message has a Message-ID made of its own id: sent twice, it can be recognised."""

from __future__ import annotations

import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

import aiosmtplib
import msgspec

from doorbuster.contexts.notifications.channels import Away, Failed, Outcome, Refused, Sent
from doorbuster.contexts.notifications.model import Mail, Message
from doorbuster.contexts.notifications.templates import one_line
from doorbuster.platform.settings.tree import NotificationsSettings

_mail = msgspec.json.Decoder(Mail)


class Mailing:
    at_once, per_recipient = 4, 1

    def __init__(self, settings: NotificationsSettings) -> None:
        self._settings = settings
        self._context = None if settings.smtp_tls == "none" else ssl.create_default_context()
        if self._context is not None and settings.smtp_ca_file:
            self._context.load_verify_locations(settings.smtp_ca_file)

    async def send(self, message: Message) -> Outcome:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            tls_context=self._context,
            timeout=settings.send_timeout_s,
        )
        try:
            try:
                await client.connect()
                if settings.smtp_user:
                    await client.login(settings.smtp_user, settings.smtp_password)
            except (aiosmtplib.SMTPException, OSError) as error:
                # Also a refused log-in: that is our setting's fault, not the message's.
                return Away(_words(error))
            return await self._hand_over(client, message)
        finally:
            client.close()

    async def _hand_over(self, client: aiosmtplib.SMTP, message: Message) -> Outcome:
        try:
            await client.send_message(
                self.letter(message), sender=self._settings.mail_from, recipients=[message.target]
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _judged(error.recipients[0].code, _words(error.recipients[0]))
        except aiosmtplib.SMTPResponseException as error:
            return _judged(error.code, _words(error))
        except (aiosmtplib.SMTPException, OSError) as error:
            return Failed(_words(error))  # it may have been taken
        return Sent()

    def letter(self, message: Message) -> EmailMessage:
        """The same bytes whenever it is made: the date is that of the message."""
        mail = _mail.decode(message.content)
        letter = EmailMessage(policy=SMTP)
        sender = self._settings.mail_from
        letter["From"] = Address(one_line(self._settings.shop_name), addr_spec=sender)
        letter["To"] = Address(addr_spec=message.target)
        letter["Subject"] = one_line(mail.subject)
        letter["Date"] = formatdate(message.created_ms / 1000)
        letter["Message-ID"] = f"<{message.id}@{sender.partition('@')[2]}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(mail.text, charset="utf-8")
        letter.add_alternative(mail.html, subtype="html", charset="utf-8")
        letter.set_boundary(f"=_{message.id}")
        return letter

    async def close(self) -> None:
        """Every message has a connection of its own."""


def _judged(code: int, words: str) -> Outcome:
    if code == 421:  # the server is closing
        return Away(words)
    return Refused(words) if 500 <= code < 600 else Failed(words)


def _words(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")
