"""Closed classes of English words for the sentences that state a number. Nouns, names and adjectives stay open."""

from __future__ import annotations

from rewards.notation.units import CHANGING_WORDS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    "the a an his her their its our my your this these those each every all both which one's"
)
PRONOUNS = _words("he she they we i you it him them us me everyone everybody")
BE = _words("is are was were be been remain remains remained can will would must should have has had")
PREPOSITIONS = _words(
    "of in for on at from with by during among around between inside into over within per aboard outside throughout onto behind beside along"
)
REASONS = _words(
    "because since so which where who therefore thus hence due given meaning i.e making leaving but"
)
OCCASIONS = _words("after before when while once until")
"""Words that open a clause of time."""
DEGREES = _words("more fewer less additional extra further other")
"""Words between a number and its noun that say of which kind; alone they say of what it is counted."""
NUMBER_WORDS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen"
    " some any many few several another none no nothing something anything"
)
CLOSING = _words(
    "left remaining altogether overall total combined together apiece each again now today yesterday tomorrow tonight"
    " there here then exactly precisely daily weekly monthly yearly annually currently already still also too."
    " leftover max maximum minimum min old"
)
"""Words that may close a statement after its number or noun."""
PARTICIPLES = _words(
    "sold needed required used remaining left baked picked bought made eaten caught collected saved earned spent planted"
    " given taken paid won lost read written drawn built sent received found seen owed raised donated produced packed"
    " served cooked washed painted cut walked driven traveled travelled run flown added delivered shared borrowed"
    " returned broken kept carried counted worked played watched visited stolen grown gathered harvested filled"
    " poured consumed drunk finished completedsolved scored attended passed done"
) - _words("cut raised added shared")
EXTENTS = _words("old long tall wide deep high thick away apart ago later earlier early late fast each far")
"""What a measure may have after its unit: *5 years old*, *3 km away*."""
IRREGULAR_PLURALS = _words(
    "people children men women feet teeth mice geese sheep fish deer oxen dice pence police data cattle fruit"
    " firemen policemen salesmen fishermen grandchildren schoolchildren salmon shrimp aircraft offspring series species"
    " buses bonuses walruses viruses octopuses cacti fungi vertices indices matrices axes"
)
SINGULAR_HEADS = _words(
    "percent cash money profit change water milk juice flour sugar rice coffee tea bread homework work time space income"
    " revenue interest increase decrease discount chance probability total altogether savings points usd"
)
"""Heads that stand in the singular after any number."""
ARITHMETIC = (
    CHANGING_WORDS
    | _words(
        "ones digits digit times' squares' cubes' thirds halves quarters squared cubed plus minus less than under above below"
        " beyond short upside down up off reverse reversed backward backwards forwards inverted flipped swapped multiplied"
        " quadruple whose not never nor base sign percentage-wise multiple multiples divisor divisors factor factors root"
        " roots inverse conjugate opposite logarithm sine cosine versus vs perhaps maybe or either except besides sideways always lengthways crossways edgeways"
    )
) - _words("score scores per percent into dozen dozens gross added shared double doubles")
FUNCTION_WORDS = (
    DETERMINERS
    | PRONOUNS
    | BE
    | PREPOSITIONS
    | REASONS
    | OCCASIONS
    | CLOSING
    | PARTICIPLES
    | _words(
        "as and or but than that what how why if unless to not yes no perhaps thus its whereas across plus minus"
    )
)
QUANTITIES = _words(
    "total sum amount value profit loss probability chance length area distance cost price speed rate score average volume"
    " width height radius diameter perimeter circumference weight mass age balance mean median maximum minimum number answer"
    " result savings income revenue salary bill discount difference product quotient count maximal minimal tip capacity"
)
FILLERS = (
    _words(
        "the a an exactly precisely just only simply approximately about roughly around altogether another additional extra"
        " further out to us her him them it you me be been equal as at total totals final overall combined still also now"
        " then that there already currently all is equals and in therefore thus hence so indeed actually given by found clearly"
        " x y z n k m course integer number fraction remaining sold paid spent earned saved have made used bought left pay buy make sell get use spend earn"
        " with positive rs year save read do take drive walk run travel collect worth"
    )
    | PRONOUNS
    | QUANTITIES
)
"""Words between a verb and its number that add nothing."""
CONDITIONS = _words(
    "whose whatever whichever what whoever if when unless whether than not never nor n't minus plus times between except"
    " exceeds exceed exceeded before after above below under over any either neither without nearly almost hardly barely"
    " multiplied divided increased decreased predecessor successor complement prime coprime congruent closer like such"
    " starting ending reciprocal negation digit digits row column page chapter step equation problem question wrong"
    " incorrect false guess nobody beyond opposite beats tops passes surpasses misses approaches nears trails lags"
)
"""Words that make another thing of the number that is said of a subject."""
AS_REASON = _words(
    "we it the he she they there this that these both each all computed shown required desired claimed expected"
)
"""After *as*, these open a reason; *as well as* does not."""
UNSUITED = _words("too wrong incorrect not never nor no enough short off false almost nearly")
"""Words that, said of the counted things, take the number back."""
PLACES = _words(
    "times than above below under beyond up down off digits quarters short most least half third except"
)
"""Words of :data:`ARITHMETIC` that may follow a number which was just worked out."""
OTHER_OCCASIONS = _words("older earlier previous former outdated different")
"""Adjectives that make a phrase of place or time speak of another occasion: *in an older edition*."""
