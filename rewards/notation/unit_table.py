"""The table of unit names: spellings, symbols, and for each dimension the size of its units.

Sizes serve only quantities written in several parts (5 ft 3 in); single units are never converted.
"""

from __future__ import annotations

from fractions import Fraction

# canonical name: case-insensitive spellings (plural s is understood). Sizes are below.
_SPELLINGS: dict[str, str] = {
    # length
    "nm": "nm nanometer nanometre 纳米",
    "um": "um micrometer micrometre micron 微米",
    "mm": "mm millimeter millimetre 毫米",
    "cm": "cm cms centimeter centimetre 厘米 公分",
    "dm": "dm decimeter decimetre 分米",
    "m": "meter metre mtr 米 公尺",
    "hm": "hectometer hectometre",
    "km": "km kms kilometer kilometre 千米 公里",
    "in": "inch inches 英寸",
    "ft": "ft foot feet 英尺",
    "yd": "yd yard 码",
    "mi": "mi mile 英里",
    "nmi": "nmi nautical_mile 海里",
    "ly": "ly light_year lightyear light-year 光年",
    # area with names of their own
    "ha": "ha hectare 公顷",
    "acre": "acre ac",
    "mu": "亩",
    # mass
    "ug": "ug mcg microgram 微克",
    "mg": "mg milligram 毫克",
    "g": "gram gramme gm gms 克",
    "kg": "kg kgs kilo kilogram kilogramme 千克 公斤",
    "t": "ton tonne metric_ton 吨",
    "oz": "oz ounce 盎司",
    "lb": "lb lbs pound_mass 磅",
    "stone": "stone",
    "jin": "斤",
    # volume
    "ul": "ul microliter microlitre",
    "ml": "ml milliliter millilitre 毫升",
    "cl": "cl centiliter centilitre",
    "dl": "dl deciliter decilitre",
    "l": "ltr liter litre 升 公升",
    "kl": "kl kiloliter kilolitre",
    "floz": "fl_oz fluid_ounce",
    "cup": "cup",
    "pint": "pint pt",
    "quart": "quart qt",
    "gal": "gal gallon 加仑",
    "tbsp": "tbsp tablespoon",
    "tsp": "tsp teaspoon",
    "barrel": "barrel bbl",
    # time
    "ns": "ns nanosecond",
    "us": "us microsecond 微秒",
    "ms": "ms millisecond msec 毫秒",
    "s": "sec second 秒 秒钟",
    "min": "min minute 分钟",
    "h": "hr hour 小时 个小时 钟头",
    "d": "day 天 日",
    "wk": "week wk 周 星期 个星期 礼拜",
    "mo": "month mo 月 个月",
    "yr": "yr year 年 岁 year_old years_old",
    "decade": "decade",
    "century": "century centuries 世纪",
    # angle, temperature
    "deg": "deg degree 度",
    "arcmin": "arcmin arcminute",
    "arcsec": "arcsec arcsecond",
    "rad": "rad radian 弧度",
    "rev": "rev revolution 圈",
    "degC": "celsius centigrade degree_c degree_celsius degree_centigrade deg_c deg_celsius 摄氏度",
    "degF": "fahrenheit degree_f degree_fahrenheit deg_f 华氏度",
    "K": "kelvin",
    # physics
    "N": "newton",
    "kN": "kn kilonewton",
    "J": "joule",
    "kJ": "kj kilojoule",
    "cal": "cal calorie",
    "kcal": "kcal kilocalorie",
    "W": "watt",
    "kW": "kw kilowatt",
    "hp": "hp horsepower",
    "kWh": "kwh kilowatt_hour kilowatt-hour 千瓦时",
    "Wh": "wh watt_hour",
    "V": "volt",
    "kV": "kv kilovolt",
    "A": "amp ampere",
    "mA": "ma milliamp milliampere",
    "ohm": "ohm",
    "F": "farad",
    "C": "coulomb",
    "T": "tesla",
    "H": "henry",
    "Hz": "hz hertz",
    "kHz": "khz kilohertz",
    "MHz": "mhz megahertz",
    "GHz": "ghz gigahertz",
    "Pa": "pa pascal",
    "kPa": "kpa kilopascal",
    "atm": "atm atmosphere",
    "psi": "psi",
    "mol": "mol mole",
    "mmol": "mmol millimole",
    "M": "molar",
    "eV": "ev electronvolt",
    "dB": "db decibel",
    "lm": "lumen",
    "u": "amu dalton",
    # data
    "bit": "bit",
    "B": "byte",
    "KB": "kb kilobyte",
    "MB": "mb megabyte",
    "GB": "gb gigabyte",
    "TB": "tb terabyte",
    "px": "px pixel",
    # money
    "USD": "usd dollar buck us_dollar 美元 美金",
    "cent": "cent ¢ 美分",
    "EUR": "eur euro € 欧元",
    "GBP": "gbp £ 英镑 pound_sterling",
    "pence": "pence penny pennies",
    "pound": "pound",  # of mass or of money
    "CNY": "cny rmb yuan renminbi ¥ 元 块钱 元钱 圆 人民币",
    "jiao": "jiao 角 毛钱",
    "JPY": "jpy yen 日元",
    "INR": "inr rs rupee ₹",
    "KRW": "krw won ₩ 韩元",
    "RUB": "rub ruble rouble ₽",
    "TRY": "lira ₺",
    "VND": "vnd dong ₫",
    "ILS": "shekel ₪",
    "NGN": "naira ₦",
    "THB": "baht ฿",
    "BRL": "brl real reais",
    "MXN": "mxn peso",
    "CHF": "chf franc",
    "PLN": "zloty",
    "SEK": "kr krona kronor krone kroner",
    "PHP": "₱",
    "MYR": "myr rm ringgit",
    "AUD": "aud",
    "CAD": "cad",
    # counts that data sets use as units
    "pair": "pair",
    "percent": "percentage_point",
}
_EXACT = {
    **{
        "m": "m",
        "s": "s",
        "h": "h",
        "g": "g",
        "l": "l",
        "L": "l",
        "t": "t",
        "d": "d",
        "N": "N",
        "J": "J",
        "W": "W",
    },
    **{
        "V": "V",
        "A": "A",
        "K": "K",
        "C": "C",
        "F": "F",
        "MW": "MW",
        "mW": "mW",
        "mV": "mV",
    },
    **{
        "Mbps": "Mbps",
        "mb": "MB",
        "Mb": "Mb",
        "in": "in",
        "Ω": "ohm",
        "\\Omega": "ohm",
        "Omega": "ohm",
    },
    **{
        "时": "h",
        "°C": "degC",
        "°F": "degF",
        "°": "deg",
        "lbf": "lbf",
        "Mg": "Mg",
        "Nm": "N*m",
        "MPa": "MPa",
        "mPa": "mPa",
    },
}
_COMPOUND = {
    "mph": "mi/h",
    "kph": "km/h",
    "kmph": "km/h",
    "kmh": "km/h",
    "kmhr": "km/h",
    "mps": "m/s",
    "fps": "ft/s",
    "rpm": "rev/min",
    "mpg": "mi/gal",
    "cc": "cm^3",
    "ccs": "cm^3",
    "ccm": "cm^3",
    "sqm": "m^2",
    "sqft": "ft^2",
    "sqkm": "km^2",
    "sqcm": "cm^2",
    "sqin": "in^2",
    "sqmi": "mi^2",
    "cuft": "ft^3",
    "cum": "m^3",
    "ppm": "ppm",
    "bpm": "beat/min",
    "平": "m^2",
}

BY_EXACT_NAME: dict[str, str] = _EXACT
BY_NAME: dict[str, str] = {
    **{name.replace("_", " "): unit for unit, names in _SPELLINGS.items() for name in names.split()},
    **_COMPOUND,
}
"""Lower-case spelling → canonical unit. Longer phrases (``light year``) stand in it with a space."""
SINGLE_LETTERS = frozenset("mshgtLl")
"""Letters that may be a unit directly after a number (``5m``), where they may also be a variable."""
CHINESE: tuple[str, ...] = tuple(
    sorted((name for name in BY_NAME if name[0] > "\u4e00"), key=lambda name: -len(name))
)
_MONEY = (
    "USD cent EUR GBP pence CNY jiao JPY INR KRW RUB TRY VND ILS NGN THB BRL MXN CHF PLN SEK PHP MYR AUD CAD"
)
CURRENCIES = frozenset(_MONEY.split())

_F = Fraction
SIZES: dict[str, tuple[str, Fraction]] = {
    **{u: ("length", _F(s)) for u, s in (("mm", 1), ("cm", 10), ("dm", 100), ("m", 1000), ("km", 10**6))},
    **{
        u: ("length", _F(s)) for u, s in (("in", "25.4"), ("ft", "304.8"), ("yd", "914.4"), ("mi", "1609344"))
    },
    **{
        u: ("mass", _F(s)) for u, s in (("mg", 1), ("g", 1000), ("kg", 10**6), ("t", 10**9), ("jin", 500_000))
    },
    **{u: ("mass", _F("453592.37") * s) for u, s in (("lb", _F(1)), ("oz", _F(1, 16)), ("stone", _F(14)))},
    **{u: ("volume", _F(s)) for u, s in (("ml", 1), ("cl", 10), ("dl", 100), ("l", 1000), ("kl", 10**6))},
    **{u: ("US volume", _F(s)) for u, s in (("tsp", 1), ("tbsp", 3), ("floz", 6), ("cup", 48), ("pint", 96))},
    **{u: ("US volume", _F(s)) for u, s in (("quart", 192), ("gal", 768))},
    **{u: ("time", _F(s)) for u, s in (("s", 1), ("min", 60), ("h", 3600), ("d", 86400), ("wk", 604_800))},
    **{u: ("time", _F(s)) for u, s in (("ms", _F(1, 1000)), ("us", _F(1, 10**6)))},
    **{u: ("calendar", _F(s)) for u, s in (("mo", 1), ("yr", 12), ("decade", 120), ("century", 1200))},
    **{u: ("angle", _F(s)) for u, s in (("arcsec", 1), ("arcmin", 60), ("deg", 3600))},
    **{u: ("dollars", _F(s)) for u, s in (("cent", 1), ("USD", 100))},
    **{u: ("pounds", _F(s)) for u, s in (("pence", 1), ("GBP", 100))},
    "pound": ("mass", _F("453592.37")),
    **{u: ("yuan", _F(s)) for u, s in (("fen", 1), ("jiao", 10), ("CNY", 100))},
    **{u: ("area", _F(s)) for u, s in (("m^2", 1), ("ha", 10_000), ("km^2", 10**6))},
    **{u: ("area", _F(s)) for u, s in (("cm^2", _F(1, 10**4)), ("dm^2", _F(1, 100)))},
    **{u: ("space", _F(s)) for u, s in (("cm^3", 1), ("dm^3", 1000), ("m^3", 10**6))},
}
"""Unit → its dimension and its size in the smallest unit of that dimension."""
