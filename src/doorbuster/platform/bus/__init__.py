"""Events between contexts: outbox on the way out, inbox on the way in, a relay between them.

outbox    rows written in the transaction that made the event true
relay     carries them to a consumer, in order, in batches, woken after each commit
inbox     what a consumer has handled, written in the transaction of the effect: each effect happens once
parked    events whose effect failed; retried with growing pauses, dead after `ATTEMPTS_MAX`, replayable
"""
