"""The lenient reading: the value that the last sentence of a response asserts, when no answer is stated as such.

Closing courtesies, checks and end marks are passed over. A question, a denial, a plan, a supposition, a repeated piece
of the question or a sentence that was cut off asserts nothing; then nothing is found.
"""

from __future__ import annotations

import re

from rewards.base import Span
from rewards.finding.asserted_formula import DIGIT, MATH, SYMBOLIC
from rewards.finding.assertion import NOT_AFTER, NOT_BUT, asserted_value
from rewards.finding.candidates import Candidate, Kind, Source, Wanted

_TAIL = 4_000
_MAX_SENTENCES = 14
_BOUNDARY = re.compile(
    r"[.!?](?:[*_\"'”’)\]`]{0,4})(?=\s|$)|[。！？；](?:[*_”’）)]{0,4})|\n|(?<=[\]$)])\.(?=\s)|(?<!\d)\.{3}"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:[ap]\.m|approx|sq|cu|ft|no|vs|e\.g|i\.e|Mr|Mrs|Ms|Dr|St)|(?:^|\n)\s*\(?\d{1,2}|(?:^|\n)\W{0,3}[A-J])\.$",
    re.I,
)
_COURTESY = re.compile(
    r"\b(?:hope|let me know|feel free|thank|good luck|questions?\b|glad|happy to|have a (?:nice|great)|anything else|you're welcome"
    r"|cheers|great job|well done|need (?:any )?(?:more|further) (?:help|clarification|assistance)|would you like|i'm here"
    r"|makes? sense|that's it|that is it|we(?:'re| are) done|done|Q\.?E\.?D|as (?:required|desired|claimed)|congratulations"
    r"|confiden(?:t|ce)|certain|i(?:'m| am) sure|% sure|problem (?:is )?solved|this completes|easy|right\?|correct\?|simple)\b|希望|谢谢|如有|欢迎|完毕",
    re.I,
)
_CHECK = re.compile(
    r"^\W*(?:(?:let(?:'s| us| me)|we can|i will|to|now|quick|sanity|double|final)[\s-]+){0,2}(?:double[\s-]?)?(?:check|verif|confirm|proof\b|(?:plug|substitut)\w*\s(?:[^,]{0,40}\s)?back\b(?!.*\bwe (?:get|find|obtain|have))"
    r"|note\b|notice|remark|nb\b|reminder|as a check)|✓|✔|✅|√\s*$|checks? out|is consistent|(?:which|that|this|it|answer|result) is correct|as expected|both sides (?:are|match|agree|equal)|(?:which|that|this) matches|matches (?:the|our|what|with)"
    r"|^\W*(?:验证|检验|检查|代入|注意|验算)",
    re.I,
)
_CONCLUSION = re.compile(
    r"^\W*(?:so|therefore|thus|hence|consequently|in conclusion|finally|in total|altogether|in summary|overall|conclusion|∴)\b"
    r"|^\W*(?:所以|因此|综上|总之|故)|^\W*∴",
    re.I,
)
_PLAN = re.compile(
    r"\b(?:(?:need|needs|have|has) to (?:be|do|find|calculate|compute|add|subtract|multiply|divide|determine|know|figure|convert|consider|work out|solve|use|check|get)|going to|let's|let us|want to|we will|we'll|we should|should (?:find|compute)|next step|the problem (?:asks|says|is)"
    r"|we (?:can|could) (?:now )?(?:use|find|compute|try|apply|write)|we must|to find|to solve|in order to|proceed|by using|remember that|recall|we know|we are given|is given|are given"
    r"|still to|not yet|so far|for instance|for example|e\.g\.|depends?|will be of use|consider|list the|these are|restate|if we)\b"
    r"|^\W*(?:let|suppose|assume|given|consider|step\s*\d+\W*$|first\b|to begin|to start|next\b|now we (?:multiply|add|subtract|divide|need|proceed))"
    r"|^\W*(?:首先|设|假设|已知|接下来|下一步)(?!.*解得)|需要(?:进一步|再|先)|不是最后",
    re.I,
)
_DENIAL = re.compile(
    r"\b(?:wrong|incorrect|mistake|not the case|impossible|contradict\w*|extraneous|reject|no way|false|isn't|aren't|wasn't|doesn't|don't|does not|do not|did not"
    r"|didn't|cannot|can't|couldn't|unable|never|nobody|no one|invalid|not (?:the|a|an|possible|valid|equal|right|correct)|ruled out|exclude|eliminate|discard|rule out|ruled out|would not|wouldn't|doubt|no longer|not (?:far|quite)|不选|≠)\b|≠|\\ne(?:q)?\b|不是|不对|错|无法|不能|不等于",
    re.I,
)
_CUT_OFF = re.compile(
    r"(?:[=+*/×÷(\[{,:<>≤≥^_\\:：，、]|(?<!\d)\$|[-−–—]|\b(?:is|are|was|and|or|the|a|an|of|to|by|for|with|than|then|equals|that|which|from|in|at|we|so|because|these \d+|the \d+))\s*$",
    re.I,
)
_DENIES = "the last sentence denies"
_PRONOUN = re.compile(
    r"\b(?:that|this|it|answer|solution|result)\W+(?:is|was|cannot|can't|isn't|does|contradict)|不对|错", re.I
)
_NUMBERS = re.compile(r"\d+")
_TAKEN_BACK = re.compile(
    r"\b(?:wrong|incorrect|fails?|not (?:correct|right|true|satisfied|equal)|mistake)\b|≠|不对|错", re.I
)
_FENCE = re.compile(r"```[A-Za-z]*")


def last_assertion(
    text: str, wanted: Wanted, prompt: str = "", *, cut_off: bool = False
) -> tuple[Candidate | None, str]:
    """The value asserted at the end of ``text``, or None with the reason why there is none."""
    stripped = len(text.rstrip())
    base = max(0, stripped - _TAIL)
    tail = text[base:stripped]
    if cut_off and not tail.endswith((".", "!", "。", "！", "$", "]", ")", "}", "`", "*")):
        return None, "the response was cut off before its end"
    sentences = _sentences(tail)
    question = " ".join(prompt.lower().split())
    kept = _without_check(tail, sentences)
    if kept and sentences and kept[-1] != sentences[-1] and _TAKEN_BACK.search(tail, kept[-1][1]):
        return None, "it is taken back"
    denied = ""
    for start, end in reversed(kept[-_MAX_SENTENCES:]):
        sentence = tail[start:end]
        if _passed_over(sentence):
            if _TAKEN_BACK.search(sentence):
                return None, "it is taken back"
            continue
        fault = _fault(sentence, question, end >= len(tail), wanted) or _enumeration(
            tail, sentences, start, wanted
        )
        if fault == _DENIES and not denied and DIGIT.search(sentence) and not _PRONOUN.search(sentence):
            denied = sentence
            continue
        if fault:
            return None, fault
        found = asserted_value(sentence, wanted)
        if found is None:
            return None, "the last sentence asserts no value"
        if denied and (
            not _NUMBERS.findall(tail[start:end])
            or set(_NUMBERS.findall(denied)) & set(_NUMBERS.findall(tail[start:end]))
        ):
            return None, _DENIES
        first, last = found
        span = Span(base + start + first, base + start + last)
        return Candidate(text[span.start : span.end], span, Source.LAST_SENTENCE), ""
    return None, "no answer is stated"


def _sentences(tail: str) -> list[tuple[int, int]]:
    """Ranges of the sentences; formulas are never split."""
    hidden = MATH.sub(lambda m: "\x01" * len(m[0]), tail)
    hidden = _FENCE.sub(lambda m: " " * len(m[0]), hidden)
    found: list[tuple[int, int]] = []
    start = 0
    for boundary in _BOUNDARY.finditer(hidden):
        if boundary[0][0] == "." and _ABBREVIATION.search(
            hidden, max(0, boundary.start() - 12), boundary.start() + 1
        ):
            continue
        end = boundary.end()
        if hidden[start:end].strip():
            found.append((start, end))
        start = end
    if hidden[start:].strip():
        found.append((start, len(tail)))
    return found


def _without_check(tail: str, sentences: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out a check at the end, unless a conclusion follows it."""
    recent = sentences[-_MAX_SENTENCES:]
    for index, (start, end) in enumerate(recent):
        sentence = tail[start:end]
        if index and _CHECK.search(sentence) and not _CONCLUSION.search(sentence):
            later = recent[index + 1 :]
            if not any(_CONCLUSION.search(tail[a:b]) and DIGIT.search(tail[a:b]) for a, b in later):
                return recent[:index]
    return recent


def _passed_over(sentence: str) -> bool:
    """Tell whether a sentence says nothing about the answer: courtesies, end marks, emoji, rules."""
    if not any(char.isalnum() for char in sentence):
        return not SYMBOLIC.search(sentence)
    has_value = DIGIT.search(sentence) or ("$" in sentence and "\\" in sentence)
    if re.fullmatch(r"\W*\$?\\(?:blacksquare|square|qed|Box|boxed)\$?\W*", sentence):
        return True
    if _COURTESY.search(sentence) and not (
        has_value and not re.search(r"\d\s*%\s*(?:sure|confident|certain)|confidence", sentence, re.I)
    ):
        return True
    return sentence.lstrip().startswith("(") and bool(_CHECK.search(sentence))


def _fault(sentence: str, question: str, is_last: bool, wanted: Wanted) -> str:
    """Why a sentence asserts nothing, or an empty string."""
    bare = sentence.rstrip(' \t*_"”’)`')
    if bare.endswith(("?", "？")) or re.search(r"吗|\bwonder\b", bare):
        return "the last sentence is a question"
    is_letter = wanted.kind is Kind.CHOICE and len(sentence.strip()) <= 3
    if (
        is_last
        and not is_letter
        and _CUT_OFF.search(sentence.rstrip(" *_`"))
        and not _DISPLAY_END.search(sentence)
    ):
        return "the last sentence is cut off"
    if is_last and (
        sentence.count("{") - sentence.count("\\{") > sentence.count("}") - sentence.count("\\}")
        or _open_math(sentence)
    ):
        return "the last sentence is cut off"
    if _SUPPOSES.search(sentence) and not _CONCLUDES.search(sentence):
        return "the last sentence plans or supposes"
    plan = _PLAN.search(sentence)
    if plan and not _CONCLUDES.search(sentence) and not _RESULT.search(sentence, plan.end()):
        return "the last sentence plans or supposes"
    if _denies(sentence, wanted):
        return _DENIES
    words = " ".join(sentence.lower().split()).strip(' .!"“”*')
    if question and len(words) > 8 and words in question:
        return "the last sentence repeats the question"
    if (
        question
        and '"' in words
        and words.rsplit('"', 1)[-1].strip(" .")
        and words.rsplit('"', 1)[-1].strip(" .") in question
    ):
        return "the last sentence repeats the question"
    if _CODE.search(sentence):
        return "the last sentence is code"
    return ""


_CODE = re.compile(
    r"https?://|"
    r"(?m:^\s*(?:return|def|import|from \w+ import)\b)|\b(?:print|exec|eval|system)\s*\(|[a-z]\.[a-z]+\("
)
_FLAT_DENIAL = re.compile(
    r"不[能应要该]?选|\b(?:answer|result|solution)\s+(?:rounds|exceeds|has|ends|begins|starts|contains|includes|consists|depends|lies|divides|should have|would have|differs)\b|不是最[后终]|不是答案|\b(?:fails?|eliminated|rules? out|ruled out|all but|except)\b|\bnot (?:the|a|an) (?:correct |right |valid |final |possible )*(?:answer|solution|root|result|option|value|choice)|(?:does|do|did)(?: not|n't) (?:work|satisfy|hold|count)|\b(?:is|are|was) (?:not (?:correct|right|valid|possible)|wrong|incorrect)",
    re.I,
)
_DISPLAY_END = re.compile(r"(?:\$|\\\]|\\\)|\\end\{[a-z]+\*?\})\W*$")
_SUPPOSES = re.compile(
    r";\s*(?:find|compute|calculate|determine)\b|\b(?:could|may|might) (?:also )?be\b|^\W*(?:what|which|who|how|why|find|compute|calculate|solve|evaluate|simplify|determine|let|suppose|assume|given|consider|imagine)\b|^\W*(?:设|假设)(?!.*解得)",
    re.I,
)
_RESULT = re.compile(r"[\d)\w%]\s*=\s*[$\\(£€]*\s*[-−]?[\d.][^=:?]{0,80}$")
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence)\b[^,]*(?:=|\bis\b|\bare\b|\bhas\b|\bhave\b|\bneeds?\b)", re.I
)


def _denies(sentence: str, wanted: Wanted) -> bool:
    """Tell whether a sentence denies; "not 17 but 18" and "18, not 17" do not, nor does a gold that is a denial."""
    if (wanted.kind is Kind.WORDS and _DENIAL.search(wanted.words)) or (
        wanted.kind is Kind.WORDS and wanted.words in ("no", "none", "false")
    ):
        return False
    if _FLAT_DENIAL.search(sentence):
        return True
    rest = NOT_BUT.sub(" ", sentence)
    contrast = NOT_AFTER.search(rest)
    return bool(_DENIAL.search(rest[: contrast.start()] if contrast else rest))


def _open_math(sentence: str) -> bool:
    closed = MATH.sub("", sentence)
    return "\\[" in closed or "\\(" in closed or "$$" in closed


def _enumeration(tail: str, sentences: list[tuple[int, int]], start: int, wanted: Wanted) -> str:
    """Say so if the sentence is the last of three or more lines with a bare, different value each."""
    if wanted.several:
        return ""
    if wanted.kind is Kind.WORDS:
        recent = [tail[a:b].strip(" .!\n\t").lower() for a, b in sentences if a <= start][-3:]
        is_listed = len(set(recent)) == 3 and all(0 < len(one.split()) <= 2 for one in recent)
        return "several answers are listed" if is_listed else ""
    if wanted.kind is Kind.CHOICE and len(_OPTION_LINE.findall(tail)) > 1:
        return "the options are listed"
    run = [tail[a:b] for a, b in sentences if a <= start][-3:]
    bare = [found[1] for line in run if (found := _BARE_LINE.fullmatch(line.strip()))]
    return "several values are listed" if len(bare) == 3 and len(set(bare)) > 1 else ""


_OPTION_LINE = re.compile(r"(?:^|\n)\W{0,3}[A-J][).:]\s+\S|\([A-J]\)\s+\S")
_BARE_LINE = re.compile(
    r"(?:\d{1,2}[.)]\s+|[-*•]\s+|\([a-z]\)\s*|[A-Za-z]\s*=\s*)?\$?([-−]?[\d.,/]+?|[A-J])\$?[.;,]?"
)
