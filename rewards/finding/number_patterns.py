"""Patterns of numbers in sentences, in digits and in words, and of the verbs that assert them."""

from __future__ import annotations

import re

_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|\\,|\\!|,\\!|[\u00a0\u2009\u202f])\d{3})+(?!\d)"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?\s?(?:[ap]\.?\s?m\.?(?![a-z]))?"
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.^])(?:[-−+]|负)?(?:(?:US|CA|AU|HK|R)?\\?[$€£¥￥₹]\s?[-−]?)?"
    rf"(?:{_CLOCK}|(?:{_GROUPED}|\d{{1,3}}(?: \d{{3}})+(?![\d.])|\d+)(?:\.\d+|,\d{{1,2}}(?![\d,]))?(?!\d*(?:st|nd|rd|th)\b)(?:(?:\s?/\s?|(?:\s|-|\sand\s)\d+/)\d+|\s?[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])?|\.\d+|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])(?:\s?(?:π|\\pi(?![a-z])|pi\b))?"
    r"(?:\s?(?:[x×*]|\\times|\\cdot)\s?10\s?\^\s?\{?[-−]?\d+\}?)?"
    r"(?:\s?\\?[%％‰°]|\s(?:percent|per cent)\b|\s?(?:hundred|thousand|million|billion|trillion|dozen)\b|[百千万亿](?![克米瓦]))*",
    re.I,
)
_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|trillion|dozen"
)
_PARTS = "halves|half|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?"
WORD_NUMBER = re.compile(
    rf"\b(?:(?:minus|negative)\s+)?(?:(?:{_NUMBER_WORDS})(?:(?:[\s-]+(?:and[\s-]+)?(?:a[\s-]+)?)(?:{_NUMBER_WORDS}|{_PARTS})"
    rf"(?![A-Za-z]))*|(?:a|one)[\s-]+(?:{_PARTS})|half)(?:\s+(?:percent|per cent|pi))?\b",
    re.I,
)
CHINESE_NUMBER = re.compile(
    r"(?:负|百分之)?[零〇一二两三四五六七八九十百千万亿]+(?:分之[零一二两三四五六七八九十百千万]+|点[零一二三四五六七八九]+)?"
)
FINITE = re.compile(
    r"(?:\b(?:that|it|there|she|he|which|answer)['’]s|\b(?:is|are|was|were|(?:will|would|can|could|must|should)(?: (?:then|only|still|also|now))?(?: [a-z]+)?|has|have|had|gets?|got|gives|gave|makes|made|needs?|needed|takes|took|costs?|earns|earned"
    r"|pays|paid|spends|spent|saves|saved|receives|received|sells|sold|buys|bought|eats|ate|reads|writes|wrote|weighs|walks|runs|ran|drives|drove"
    r"|travels|traveled|left|remains?|contains?|holds|uses|used|requires?|produces|collects|collected|owns|own|would've been|sees?|totals|totaled|totalled|owes|obtain|find|drinks|bakes|baked"
    r"|picks|picked|wins|won|scores|scored|lasts|keeps|kept|loses|lost|works|worked|equals|makes?|yields?|gives|comes|collects?|uses?|needs?|reads|plants?|grows|makes|caught|scored|measures?|averages?|averaged|ends? up|ended up|amounts? to|receive|earn|pay|cost|take|give|get|make))(?![A-Za-z])",
    re.I,
)
