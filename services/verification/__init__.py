"""The auditor: was every input settled or shown to a person, exactly once? It reads topics and changes nothing.

A second opinion: it shares no rule with the services and no code with the engine or the adapters, only what the domain
says about ids, money, calendars and codes. It compares records with records, so that a fault in the engine, in a stage
or in the log is a difference that can be named.

Give it a `World` (what lies on the topics now) and a `Decode` (how bytes become plain values), and it answers with a
`Report` of ten findings:

V1  every committed input has its outputs, an exception, a dead letter, or still waits for something that is named
V2  every output has a cause, and none is there twice
V3  the order within a key is the order of the input, and nothing overtakes what waits for a repair
V4  quantities and cash are conserved, to the last unit
V5  no transaction is open
V6  the state that a worker would rebuild is the one that inputs and outputs imply
V7  dead letters, outputs, duplicates, exceptions and waits add up to the inputs; dead letters are byte for byte
V8  the audit chain verifies (this version of the service writes none)
V9  the counters of the workers agree with the topics (only where the world knows them: no running cluster does)
V10 everything was read to the end, and nothing waits that could go on

A world that is `settled` is judged in full. In one that still moves, inputs after the committed offsets are in flight:
they may have effects or none, and are neither missing nor wrong. The report says how many wait.
"""

from services.verification.audit import verify
from services.verification.model import Decode, Entry, Finding, Report, World

__all__ = ["Decode", "Entry", "Finding", "Report", "World", "verify"]
