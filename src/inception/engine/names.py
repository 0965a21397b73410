"""Names and ids: 64 hex digits, their prefixes, and the names that containers get when nobody gives one."""

from __future__ import annotations

import os

from inception.errors import InvalidArgument

# By hand where a regular expression would say it: `re` costs 3 ms to import, a good part of `inception exec`.
_NAME_SIGNS = str.maketrans("", "", "_.-")

_ADJECTIVES = """
    able agile airy alert amber ample apt arctic astute azure balmy bold brave breezy brief bright brisk bronze
    buoyant calm candid careful cheery chief civil clean clear clever coastal cosmic cosy crisp curious daring
    dapper deft direct dreamy eager early earnest easy elegant even exact fabled fair famous fast fearless fine
    firm fleet fluent fond frank fresh gentle giddy gifted glad golden grand green handy happy hardy hearty honest
    humble ideal jolly jovial keen kind late lively logical loyal lucid lucky lunar mellow merry mighty mild
    modest neat nimble noble novel open patient placid plucky polite prime proud pure quick quiet ready regal
    robust rosy rustic serene sharp silent silver sincere sleek smart snug solar solid spry stable steady stoic
    sturdy subtle sunny swift tactful tidy tough tranquil trusty upbeat valiant vivid warm wise witty zesty
""".split()  # noqa: SIM905

_SURNAMES = """
    abel adleman aiken allen ampere archimedes avogadro babbage backus bardeen bernoulli bohr boole borg brahe
    brunel carnot carson cauchy cerf chandra church codd coulomb cray curie dahl darwin davy descartes dijkstra
    dirac eckert edison einstein engelbart erdos euclid euler faraday fermat fermi feynman floyd fourier franklin
    galilei gauss germain goddard godel goldberg gray hamilton hamming hawking heisenberg hertz hilbert hoare
    hodgkin hopper hubble huffman huygens hypatia iverson jacobi joule kahn kay kelvin kepler kernighan khorana
    kilby knuth kovalevskaya lagrange lamarr lamport laplace leavitt leibniz liskov lovelace mandelbrot maxwell
    mccarthy mcclintock meitner mendel mendeleev mirzakhani moore morse napier naur newton nobel noether noyce ohm
    pascal pasteur pauling perlman planck poincare postel ramanujan riemann ritchie rivest rubin rutherford sagan
    salk shamir shannon sinclair stallman tesla thompson torvalds turing volta wiles wirth wozniak wu yalow yonath
""".split()  # noqa: SIM905


def new_id() -> str:
    """64 random hex digits. Never all decimal in the first twelve, which would not be a valid host name everywhere."""
    while True:
        candidate = os.urandom(32).hex()
        if not candidate[:12].isdecimal():
            return candidate


def random_name(attempt: int = 0) -> str:
    """`adjective_surname`; from the second *attempt* on with a number, as names get scarce."""
    number = int.from_bytes(os.urandom(4), "little")
    name = f"{_ADJECTIVES[number % len(_ADJECTIVES)]}_{_SURNAMES[(number >> 12) % len(_SURNAMES)]}"
    return f"{name}{number % 10 if attempt < 5 else number}" if attempt else name


def check_name(name: str, kind: str = "container") -> str:
    """*name* without a leading slash. Raises InvalidArgument in Docker's words."""
    word = name.removeprefix("/")
    if len(word) < 2 or not word.isascii() or not word[0].isalnum() or not word.translate(_NAME_SIGNS).isalnum():
        hint = "" if len(word) >= 2 else "a name has at least two characters" if word else "the name is empty"
        raise InvalidArgument(f"Invalid {kind} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", hint)
    return word


def is_id_prefix(text: str) -> bool:
    """Whether *text* could start an id."""
    return 0 < len(text) <= 64 and not text.strip("0123456789abcdef")
