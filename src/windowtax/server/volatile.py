"""What in a system prompt changes from call to call, as patterns: billing headers, dates, times, ids.

A pattern takes a whole sentence or line and nothing else, so that what is left still reads as it was meant: a date in
the middle of a sentence is left alone.
"""

import re

BILLING, DATE, TIME, IDS = "billing", "date", "time", "ids"
KINDS = (BILLING, DATE, TIME, IDS)

_DAY = r"(?:Mon|Tue|Tues|Wed|Wednes|Thu|Thur|Thurs|Fri|Sat|Satur|Sun)(?:day)?\.?"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_NUMBER = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = (
    rf"(?:{_DAY},?[ ])?(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}"
    rf"|{_MONTH}[ ]{_NUMBER},?[ ]\d{{4}}|{_NUMBER}[ ](?:of[ ])?{_MONTH},?[ ]\d{{4}})(?:[ ]?\({_DAY}\))?"
)
_ZONE = r"(?:[ ]?(?:Z|[A-Z]{2,5}|[+-]\d{2}:?\d{2}|[A-Z][a-z]+/[A-Z][A-Za-z_]+)(?![A-Za-z]))"
CLOCK = (
    r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:[ ]?[AaPp]\.?[Mm]\b\.?)?"
    rf"{_ZONE}{{0,2}}(?:[ ]?\([^()\n]{{1,40}}\))?"
)
BETWEEN = r"(?:T|,?[ ](?:at[ ])?|[ ][-|][ ])"
_UNIX = r"1\d{9}(?:\d{3})?(?!\d)"
_STAMP = (
    rf"(?:{_DATE}(?:{BETWEEN}{CLOCK})?|{CLOCK}(?:(?:,?[ ](?:on[ ])?){_DATE})?"
    rf"|(?:{_DAY}[ ])?{_MONTH}[ ]+\d{{1,2}}[ ]{CLOCK}[ ]\d{{4}}|{_UNIX})"
)
"""A date, a time of day, both in either order, what `date` prints, or seconds since 1970."""

_BEGIN = r"(?:^[ \t]*(?:(?:[-*•>]|#{1,6})[ \t]+)?|(?<=[.!?;][ ]))"
_END = r"(?:[.;]|(?=[ \t]*(?:$|<)))"
"""Where a sentence or a line may begin, and where it must end."""

_SAYS_WHEN = (
    r"(?i:(?:the[ ])?(?:(?:current|today(?:['’]?s)?|present|local|system|utc)[ ])*"
    r"(?:(?:date|time|day)(?:(?:[ ]?(?:and|&|/)[ ]?|[ ])time)?|date-?time|time-?stamp|now|today)"
    r"(?:[ ]\([^()\n]{1,40}\))?"
    r"|(?:the[ ])?current[_-](?:date|time|datetime|timestamp)|it[ ]is[ ](?:now|currently)|today,?[ ]it)"
)
_SEPARATOR = r"(?i:(?:[ ](?:is|was)(?:[ ](?:now|currently))?|\*{0,2}[ ]?[:=]\*{0,2}|)[ ]?)"
WHEN = re.compile(rf"{_BEGIN}\*{{0,2}}{_SAYS_WHEN}{_SEPARATOR}(?P<stamp>{_STAMP})\*{{0,2}}{_END}", re.MULTILINE)
""" "Today's date is 2026-11-22.", "Current time: 14:03 UTC"; the group is what changes."""

BILLING_HEADER = re.compile(
    r"^x-[a-z0-9-]*(?:billing|attribution)[a-z0-9-]*:(?:[ \t]*[\w.-]+=[^;\s]*;?)+", re.MULTILINE | re.IGNORECASE
)
"""What Claude Code writes before its system prompt since 2.1.36, as github.com/anthropics/claude-code issue 68900 shows
it: `x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=sdk-cli; cch=36ee5;`, another cch in every call.
Where blocks were joined, the prompt begins right behind the last semicolon."""

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_ID_NAME = (
    r"(?i:(?:the[ ])?(?:current[ ])?(?:x-)?(?:request|session|conversation|trace|correlation|run|thread|message|chat"
    r"|turn|invocation|span|transaction)[ _-]?(?:id|uuid|identifier))"
)
_ID = rf"(?:{_UUID}|(?=[\w.:-]*\d)[\w.:-]{{7,127}}\w)"
ID_LINE = re.compile(
    rf"{_BEGIN}\*{{0,2}}(?:{_ID_NAME}{_SEPARATOR}{_ID}|[\w .-]{{1,40}}[:=][ \t]*{_UUID})\*{{0,2}}{_END}", re.MULTILINE
)
""" "Request ID: req_8f2...", "session-id=...", and any "name: UUID"."""
